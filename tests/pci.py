"""A PCI bus in a folder, as sysfs shows it."""

from __future__ import annotations

from pathlib import Path

NVIDIA, GOOGLE = 0x10DE, 0x1AE0


def add_function(
    sysfs: Path, address: str, vendor: int, device: int, kind: int = 0x120000, subsystem: int = 0
) -> Path:
    """Put a function of a device on the bus; its folder."""
    path = sysfs / "bus" / "pci" / "devices" / address
    path.mkdir(parents=True)
    for name, value in (("vendor", vendor), ("device", device), ("subsystem_device", subsystem)):
        (path / name).write_text(f"0x{value:04x}\n")
    (path / "class").write_text(f"0x{kind:06x}\n")
    return path


def with_nvidia(folder: Path) -> Path:
    """The sysfs of a node that has an NVIDIA card, whether or not anything drives it."""
    add_function(folder / "sys", "0000:3b:00.0", NVIDIA, 0x2330, 0x030200)
    return folder / "sys"
