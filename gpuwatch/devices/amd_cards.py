"""Which AMD cards a node has, what each is called, and which files it has: looked up at a scan, not at a read.

A card is what the display subsystem lists (`class/drm/card*`) with AMD's vendor id, a count of its own memory and
a load: what computes. Graphics within a processor have both too; their `gpu_metrics` is of a format of its own,
and they are left out unless a setting says otherwise. A GPU that is cut into partitions (XCP) has a card for each,
of which all but the first are no PCI devices; where several say the same unique id, the first by PCI address is
the device.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gpuwatch import hygiene
from gpuwatch.devices import amd_files as files
from gpuwatch.devices.amd_metrics import is_integrated

VENDOR = 0x1002

# By PCI device id; names as in libdrm's amdgpu.ids, the last four as in Linux and from memory.
NAMES: Mapping[int, str] = {
    0x738C: "AMD Instinct MI100",
    0x7408: "AMD Instinct MI250X",
    0x740F: "AMD Instinct MI210",
    0x74A0: "AMD Instinct MI300A",
    0x74A1: "AMD Instinct MI300X",
    0x74A5: "AMD Instinct MI325X",
    0x74A9: "AMD Instinct MI300X HF",
    0x74B5: "AMD Instinct MI300X VF",
    0x74BD: "AMD Instinct MI300X HF",
    0x74B9: "AMD Instinct MI325X VF",
    0x75A0: "AMD Instinct MI350X",
    0x75A3: "AMD Instinct MI355X",
}
_MI250 = 0x740C  # two models have this one
_TWO_DIES = frozenset((0x7408, _MI250))
_MI300A = 0x74A0

_CARD = re.compile(r"card\d{1,4}")
_PCI = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_UNIQUE = re.compile(r"[0-9a-f]{1,32}")
_SENSOR = re.compile(r"temp\d{1,2}_label")
_CLOCK = re.compile(r"freq\d{1,2}_label")
# The names that the driver gives its sensors (amdgpu_pm.c), and ours.
_TEMPERATURES = {"edge": "edge", "junction": "junction", "mem": "memory"}
_CLOCKS = {"sclk": "graphics", "mclk": "memory"}
_LONGEST_NAME = 120


@dataclass(frozen=True, slots=True)
class Sensors:
    """Files of the hardware monitor: temperatures and clocks by the labels of ours, power by its window."""

    temperatures: tuple[tuple[str, str], ...] = ()
    clocks: tuple[tuple[str, str], ...] = ()
    powers: tuple[tuple[str, str], ...] = ()
    cap: str | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """A card as it was found: `path` is its device directory, `unique_id` hexadecimal where it has one.

    `module`: it is one of two dies, and the power that it gives is that of both. `with_cpu`: its processor is in
    the same package, and the power is that of the package.
    """

    path: str
    pci: str
    model: str
    unique_id: str | None
    sensors: Sensors
    module: bool
    with_cpu: bool = False

    @property
    def uid(self) -> str:
        """What the card is known by: its unique id, or its address where it says none."""
        return f"amd:{self.unique_id or self.pci}"


def cards(sysfs: str, integrated: bool) -> list[Card]:
    """The cards there are, each GPU once, in the order of their PCI addresses."""
    found = sorted(_found(sysfs, integrated), key=lambda card: card.pci)
    first: dict[str, Card] = {}
    for card in found:
        first.setdefault(card.uid, card)
    return list(first.values())


def _found(sysfs: str, integrated: bool) -> Iterator[Card]:
    for name in files.entries(f"{sysfs}/class/drm") or ():
        path = f"{sysfs}/class/drm/{name}/device"
        if _CARD.fullmatch(name) and files.hexadecimal(f"{path}/vendor") == VENDOR and _computes(path, integrated):
            yield _card(path)


def left_out(sysfs: str) -> list[str]:
    """The cards of AMD's that do not count as devices."""
    names = [name for name in files.entries(f"{sysfs}/class/drm") or () if _CARD.fullmatch(name)]
    return [name for name in names if files.hexadecimal(f"{sysfs}/class/drm/{name}/device/vendor") == VENDOR]


def _computes(path: str, integrated: bool) -> bool:
    if files.integer(f"{path}/mem_info_vram_total") is None or not Path(path, "gpu_busy_percent").exists():
        return False
    return integrated or not is_integrated(files.content(f"{path}/gpu_metrics") or b"")


def _card(path: str) -> Card:
    identity = files.hexadecimal(f"{path}/device")
    return Card(
        path,
        _address(path),
        _model(path, identity),
        _unique_id(path),
        look_for_sensors(path),
        identity in _TWO_DIES,
        identity == _MI300A,
    )


def _address(path: str) -> str:
    """The PCI address, by the name of the directory that it really is, else by what the bus says of it."""
    for name in (Path(path).resolve().name, _slot(path)):
        if _PCI.fullmatch(name.lower()):
            return name.lower()
    return Path(path).parent.name


def _slot(path: str) -> str:
    lines = (files.content(f"{path}/uevent") or b"").decode(errors="replace").splitlines()
    return next((line.partition("=")[2] for line in lines if line.startswith("PCI_SLOT_NAME=")), "")


def _unique_id(path: str) -> str | None:
    found = (files.text(f"{path}/unique_id") or "").lower().removeprefix("0x")
    known = _UNIQUE.fullmatch(found) and found.strip("0") and found.strip("f")
    return found if known else None


def _model(path: str, identity: int | None) -> str:
    """By its number where that means one model, else as its maker wrote into it, else the number itself."""
    if identity is not None and identity in NAMES:
        return NAMES[identity]
    product = hygiene.label(files.text(f"{path}/product_name") or "")[:_LONGEST_NAME].strip()
    if identity == _MI250:
        return "AMD Instinct MI250X" if "MI250X" in product.upper() else "AMD Instinct MI250"
    return product or (f"AMD {identity:#06x}" if identity is not None else "AMD")


def look_for_sensors(path: str) -> Sensors:
    """The files of the card's hardware monitor; each time the driver is loaded it has another number."""
    for name in files.entries(f"{path}/hwmon") or ():
        at = f"{path}/hwmon/{name}"
        inside = files.entries(at) or []
        found = Sensors(
            tuple(_labelled(at, inside, _SENSOR, _TEMPERATURES)),
            tuple(_labelled(at, inside, _CLOCK, _CLOCKS)),
            tuple((window, f"{at}/{file}") for window, file in _POWERS if file in inside),
            f"{at}/power1_cap" if "power1_cap" in inside else None,
        )
        if found != Sensors():
            return found
    return Sensors()


_POWERS = (("average", "power1_average"), ("instant", "power1_input"))


def _labelled(
    at: str, inside: Iterable[str], pattern: re.Pattern[str], names: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    for file in inside:
        if pattern.fullmatch(file):
            name = names.get(files.text(f"{at}/{file}") or "")
            if name is not None:
                yield name, f"{at}/{file.removesuffix('label')}input"
