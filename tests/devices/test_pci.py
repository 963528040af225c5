"""The PCI bus: who is on it, by vendor, device and class."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpuwatch.devices import pci
from gpuwatch.devices.nvidia import NvidiaDevices
from gpuwatch.errors import Absent, Unavailable
from gpuwatch.model import Site
from tests.pci import GOOGLE, NVIDIA, add_function, with_nvidia


def test_functions_of_one_vendor_by_address(tmp_path: Path) -> None:
    """Numbers are those of sysfs; what cannot be read is left out."""
    add_function(tmp_path, "0000:00:05.0", GOOGLE, 0x0063)
    add_function(tmp_path, "0000:00:04.0", GOOGLE, 0x0027, subsystem=0x4E)
    add_function(tmp_path, "0000:00:06.0", NVIDIA, 0x2330)
    broken = add_function(tmp_path, "0000:00:07.0", GOOGLE, 0x0063)
    (broken / "device").write_text("none\n")

    found = [
        (each.address, each.device, each.subsystem, each.kind) for each in pci.functions(str(tmp_path), GOOGLE)
    ]
    assert found == [("0000:00:04.0", 0x27, 0x4E, 0x12), ("0000:00:05.0", 0x63, 0, 0x12)]


def test_a_network_card_is_no_graphics_card(tmp_path: Path) -> None:
    """One vendor makes both; without sysfs nobody can say that there is none."""
    add_function(tmp_path, "0000:00:05.0", NVIDIA, 0x1234, kind=0x020000)

    assert not pci.has_graphics(str(tmp_path), NVIDIA)
    assert pci.has_graphics(str(with_nvidia(tmp_path)), NVIDIA)
    assert pci.has_graphics(str(tmp_path / "nothing"), NVIDIA)


def test_without_a_card_the_missing_library_is_no_fault(tmp_path: Path) -> None:
    """With one it is."""
    (tmp_path / "bus").mkdir()
    without = NvidiaDevices(NvidiaDevices.Settings(), Site(sysfs=str(tmp_path)))
    with_one = NvidiaDevices(NvidiaDevices.Settings(), Site(sysfs=str(with_nvidia(tmp_path))))

    with pytest.raises(Absent, match="no NVIDIA GPU is on the PCI bus"):
        without.scan(0.0)
    with pytest.raises(Unavailable) as told:
        with_one.scan(0.0)
    assert not isinstance(told.value, Absent)
