"""Chips on the bus: by device id alone, with the nodes that belong to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpuwatch.devices.tpu_chips import Node, chips, counted
from gpuwatch.specs import lookup
from tests.devices.tpus import Host
from tests.fake_tpu import GENERATIONS
from tests.pci import GOOGLE, add_function


@pytest.mark.parametrize("generation", sorted(GENERATIONS))
def test_a_generation_is_known_by_its_ids(generation: str, tmp_path: Path, tpu_host: Host) -> None:
    """Each with a spec, and with the network card and the disk of the same vendor left out."""
    node = tpu_host(generation)
    found = chips(str(node.sysfs))

    assert f"{node.chips} × {node.generation.model}" == counted(found)
    assert node.generation.model == getattr(lookup(node.generation.model), "name", None)
    assert [node.generation.devices] * node.chips == [chip.generation.devices for chip in found]


def test_two_functions_are_one_chip(tpu_host: Host) -> None:
    """By the address of the first; both its groups are its nodes."""
    node = tpu_host("7x", 2)
    first, second = chips(str(node.sysfs))

    assert ("0000:00:05.0", (Node("vfio/0"), Node("vfio/1"))) == (first.address, first.nodes)
    assert ("tpu:0000:00:06.0", 1, (Node("vfio/2"), Node("vfio/3"))) == (second.uid, second.index, second.nodes)


def test_v2_and_v3_differ_in_their_subsystem(tmp_path: Path) -> None:
    """One with another subsystem is neither, and is not guessed at."""
    for place, subsystem in enumerate((0x004E, 0x004F, 0x0050)):
        add_function(tmp_path, f"0000:00:0{place + 4}.0", GOOGLE, 0x0027, subsystem=subsystem)

    assert ["TPU v2", "TPU v3"] == [chip.generation.model for chip in chips(str(tmp_path))]


def test_chips_are_counted_in_the_order_of_their_nodes(tmp_path: Path) -> None:
    """The groups of vfio count other devices too: the tenth comes after the ninth, whatever their addresses."""
    for address, group in (("0000:00:04.0", 10), ("0000:00:05.0", 9), ("0000:00:06.0", 12)):
        path = add_function(tmp_path, address, GOOGLE, 0x006F)
        (tmp_path / "kernel" / "iommu_groups" / str(group)).mkdir(parents=True)
        (path / "iommu_group").symlink_to(f"../../../kernel/iommu_groups/{group}")

    assert [(0, "0000:00:05.0"), (1, "0000:00:04.0"), (2, "0000:00:06.0")] == [
        (chip.index, chip.address) for chip in chips(str(tmp_path))
    ]


def test_the_number_of_accel_is_the_index(tmp_path: Path) -> None:
    """Also where one is missing: batch systems call the others by it; sysfs tells the number of the node."""
    for address, number in (("0000:00:04.0", 3), ("0000:00:05.0", 1)):
        path = add_function(tmp_path, address, GOOGLE, 0x005E)
        own = tmp_path / "class" / "accel" / f"accel{number}"
        own.mkdir(parents=True)
        (own / "device").symlink_to(path)
        (own / "dev").write_text(f"121:{number}\n")

    assert [(1, (Node("accel1", "121:1"),)), (3, (Node("accel3", "121:3"),))] == [
        (chip.index, chip.nodes) for chip in chips(str(tmp_path))
    ]


def test_a_bus_that_cannot_be_read_has_no_chips(tmp_path: Path) -> None:
    """Nor has one where a file is rubbish."""
    path = add_function(tmp_path, "0000:00:04.0", GOOGLE, 0x0063)
    (path / "vendor").write_text("rubbish\n")

    assert () == chips(str(tmp_path))
    assert () == chips(str(tmp_path / "nothing"))
