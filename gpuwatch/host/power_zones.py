"""Where a node's own power meters are in sysfs: RAPL zones and the meters of ACPI.

RAPL counts a package with all that is in it, its cores too, and the memory beside it; `psys` is the platform with
all of them. Cores are never shown, so that packages and memory may be added. AMD's processors have the same tree,
without memory. Only `power_meter` is taken of hwmon: others measure a device that has joules of its own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_ZONE = re.compile(r"intel-rapl:([0-9]+)(?::[0-9]+)?")
_PACKAGE = re.compile(r"package-([0-9]+(?:-die-[0-9]+)?)")
# Grace says of each meter what it is of: `CPU Power Socket 0`, `Module Power Socket 0`, `SysIO Power Socket 0`.
_OEM = re.compile(r"(?P<what>[A-Za-z]+) Power Socket (?P<socket>[0-9]+)")
_OEM_NAMES = {"cpu": "cpu", "module": "module", "sysio": "io", "io": "io", "grace": "grace"}
MOST = 64


class Zone(NamedTuple):
    """A RAPL zone: its domain, its directory, and after how many microjoules it wraps."""

    domain: str
    path: str
    span: int


class Meter(NamedTuple):
    """A meter of ACPI: its domain, and the file with its microwatts."""

    domain: str
    path: str


def zones(sysfs: Path) -> list[Zone]:
    """The packages, memory and platform zones, each domain once."""
    found: dict[str, Zone] = {}
    root = sysfs / "class" / "powercap"
    packages = {name: _package(root / name) for name in _names(root) if name.count(":") == 1}
    for name in _names(root):
        match = _ZONE.fullmatch(name)
        domain = _domain(root / name, packages.get(f"intel-rapl:{match[1]}")) if match else None
        span = number(f"{root}/{name}/max_energy_range_uj")
        if domain is not None and span and domain not in found and len(found) < MOST:
            found[domain] = Zone(domain, f"{root}/{name}/energy_uj", span)
    return list(found.values())


def _package(path: Path) -> str | None:
    match = _PACKAGE.fullmatch(text(f"{path}/name") or "")
    return match[1] if match else None


def _domain(path: Path, package: str | None) -> str | None:
    name = text(f"{path}/name") or ""
    if path.name.count(":") == 1:
        return f"package-{package}" if package is not None else "psys" if name == "psys" else None
    return f"dram-{package}" if name == "dram" and package is not None else None


def meters(sysfs: Path) -> Iterator[Meter]:
    """The meters of ACPI, each domain once; one that does not say what it is of is numbered."""
    seen: set[str] = set()
    root = sysfs / "class" / "hwmon"
    for entry in _names(root)[:MOST]:
        path = f"{root}/{entry}"
        if text(f"{path}/name") != "power_meter":
            continue
        oem = _OEM.match(text(f"{path}/power1_oem_info") or "")
        what = _OEM_NAMES.get(oem["what"].lower()) if oem else None
        domain = f"{what}-{oem['socket']}" if oem and what else f"meter-{len(seen)}"
        readings = (f"{path}/power1_average", f"{path}/power1_input", f"{path}/device/power1_average")
        reading = next((each for each in readings if os.path.lexists(each)), None)
        if reading is not None and domain not in seen:
            seen.add(domain)
            yield Meter(domain, reading)


def number(path: str) -> int | None:
    """A whole number from a file; None where it says something else. Raises `PermissionError`."""
    words = text(path)
    return int(words) if words and words.isascii() and words.isdecimal() and len(words) <= 20 else None


def text(path: str) -> str | None:
    """A short file's content; None where it cannot be read. Raises `PermissionError`."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        raise
    except OSError:
        return None
    try:
        return os.read(file, 256).decode(errors="replace").strip()
    except OSError:
        return None
    finally:
        os.close(file)


def _names(path: Path) -> list[str]:
    try:
        return sorted(os.listdir(path))  # noqa: PTH208 - names alone
    except OSError:
        return []
