"""Which TPUs a node has: found on the PCI bus by device id, as their vendor makes network cards and disks too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from gpuwatch.devices import pci

VENDOR = 0x1AE0


class Generation(NamedTuple):
    """`model` as the specs name it, and how many devices the runtime shows for a chip.

    `by_chip`: the duty cycle is told by chip even so.
    """

    model: str
    devices: int = 1
    by_chip: bool = False


_BY_SUBSYSTEM: Mapping[tuple[int, int | None], Generation] = {
    (0x0027, 0x004E): Generation("TPU v2", 2, by_chip=True),
    (0x0027, 0x004F): Generation("TPU v3", 2, by_chip=True),
}
_BY_DEVICE: Mapping[int, Generation] = {
    0x005E: Generation("TPU v4"),
    0x0063: Generation("TPU v5e"),
    0x0062: Generation("TPU v5p"),
    0x006F: Generation("TPU v6e"),
    0x0076: Generation("TPU7x", 2),
}


@dataclass(frozen=True, slots=True)
class Node:
    """A file that whoever uses a chip has open: its name below /dev, and `major:minor` where sysfs tells it."""

    name: str
    number: str | None = None

    @property
    def order(self) -> int:
        """The number at the end of its name."""
        return int("".join(filter(str.isdigit, self.name)) or 0)


@dataclass(frozen=True, slots=True)
class Chip:
    """A TPU chip: `address` is that of its first function. `index` is what batch systems call it."""

    address: str
    index: int
    generation: Generation
    nodes: tuple[Node, ...]
    vendor_file: str

    @property
    def uid(self) -> str:
        """What it is called everywhere."""
        return f"tpu:{self.address}"

    @property
    def there(self) -> bool:
        """Whether it still answers on the bus."""
        return pci.number(self.vendor_file) == VENDOR


def chips(sysfs: str) -> tuple[Chip, ...]:
    """The chips of a node in the order of their device nodes, as Google's own client and its device plugin count.

    A chip of the seventh generation has two functions on the bus.
    """
    by_chip: dict[str, list[tuple[pci.Function, Generation]]] = {}
    for each in pci.functions(sysfs, VENDOR):
        generation = _BY_SUBSYSTEM.get((each.device, each.subsystem)) or _BY_DEVICE.get(each.device)
        if generation is not None:
            by_chip.setdefault(each.address.rpartition(".")[0], []).append((each, generation))
    found = [_chip(sysfs, functions) for functions in by_chip.values()]
    found.sort(key=lambda chip: (chip.nodes[0].order if chip.nodes else 0, chip.address))
    return tuple(_numbered(found))


def _chip(sysfs: str, functions: list[tuple[pci.Function, Generation]]) -> Chip:
    first, generation = functions[0]
    nodes = dict.fromkeys(node for each, _ in functions for node in _nodes(sysfs, each.path))
    return Chip(first.address, 0, generation, tuple(nodes), str(first.path / "vendor"))


def _numbered(found: list[Chip]) -> Iterator[Chip]:
    """By the number of /dev/accelN where each has one; the numbers of /dev/vfio count other devices too."""
    orders = [chip.nodes[0].order if chip.nodes else -1 for chip in found]
    accel = all(chip.nodes and chip.nodes[0].name.startswith("accel") for chip in found)
    own = accel and len(set(orders)) == len(orders)
    for place, chip in enumerate(found):
        yield Chip(chip.address, orders[place] if own else place, chip.generation, chip.nodes, chip.vendor_file)


def _nodes(sysfs: str, function: Path) -> Iterator[Node]:
    yield from (Node(path.name, _text(path / "dev")) for path in sorted(function.glob("*/accel[0-9]*")))
    for path in sorted(Path(sysfs, "class", "accel").glob("accel[0-9]*")):
        if _resolved(path / "device") == _resolved(function):
            yield Node(path.name, _text(path / "dev"))
    group = _resolved(function / "iommu_group")
    if group is not None and group.name.isdigit():
        yield Node(f"vfio/{group.name}", _text(Path(sysfs, "class", "vfio", group.name, "dev")))


def _resolved(path: Path) -> Path | None:
    try:
        return path.resolve() if path.is_symlink() or path.exists() else None
    except (OSError, RuntimeError):
        return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def counted(found: Iterable[Chip]) -> str:
    """`4 × TPU v4`, for each model there is."""
    models = [chip.generation.model for chip in found]
    return ", ".join(f"{models.count(model)} × {model}" for model in dict.fromkeys(models))
