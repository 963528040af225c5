"""What is on the PCI bus of this node, as sysfs tells it; read without waking any device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DISPLAYS = 0x03
ACCELERATORS = 0x12


@dataclass(frozen=True, slots=True)
class Function:
    """One function of a device on the bus; `kind` is the first byte of its class, None where it is not told."""

    path: Path
    vendor: int
    device: int
    subsystem: int | None
    kind: int | None

    @property
    def address(self) -> str:
        """Its address, as `0000:00:05.0`."""
        return self.path.name


def functions(sysfs: str, vendor: int) -> Iterator[Function]:
    """All functions of a vendor, by address; what cannot be read is left out."""
    try:
        paths = sorted(Path(sysfs, "bus", "pci", "devices").iterdir())
    except OSError:
        return
    for path in paths:
        if number(path / "vendor") == vendor and (device := number(path / "device")) is not None:
            kind = number(path / "class")
            yield Function(
                path, vendor, device, number(path / "subsystem_device"), None if kind is None else kind >> 16
            )


def has_graphics(sysfs: str, vendor: int) -> bool:
    """Whether a display or an accelerator of a vendor is on the bus; also where sysfs is not there to say."""
    if not Path(sysfs, "bus").is_dir():
        return True
    return any(each.kind in (None, DISPLAYS, ACCELERATORS) for each in functions(sysfs, vendor))


def number(path: Path | str) -> int | None:
    """The number in a file of sysfs, None where there is none."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - read each second, and a Path costs more than the call
            return int(file.read(32), 0)
    except (OSError, ValueError):
        return None
