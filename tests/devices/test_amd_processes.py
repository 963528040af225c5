"""Who holds an AMD card, as the compute driver lists it; and when nobody can say."""

from __future__ import annotations

import os
import re
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from gpuwatch.devices.amd import AmdDevices
from gpuwatch.devices.amd_processes import RUNTIME_BYTES, ComputeProcesses
from gpuwatch.model import Process, Site
from tests.agent.fakes import eventually
from tests.fake_sysfs import amd

GIB = 2**30
ONE, TWO = 41001, 52002


@pytest.fixture
def compute(tmp_path: Path) -> amd.FakeCompute:
    """Two cards and the driver that lists who computes on them."""
    first = amd.mi210(tmp_path, 1, "0000:03:00.0", "00000000000000a1")
    second = amd.mi210(tmp_path, 2, "0000:83:00.0", "00000000000000b2")
    made = amd.FakeCompute(tmp_path)
    made.gpu(1, ONE, first, unique_id=0xA1)
    made.gpu(2, TWO, second, unique_id=0xB2)
    return made


def holders(root: Path) -> list[tuple[Process, ...] | None]:
    """Who holds each device, in order."""
    source = AmdDevices(AmdDevices.Settings(), Site(sysfs=str(root), procfs=str(root / "proc")))
    return [source.read(device, 1.0).processes for device in source.scan(0.0)]


def test_process_holds_the_card_on_which_it_has_memory(tmp_path: Path, compute: amd.FakeCompute) -> None:
    """Others that it only sees have what the runtime takes everywhere."""
    compute.process(100, {ONE: 30 * GIB, TWO: RUNTIME_BYTES - 1})

    assert [(Process(100, 30 * GIB),), ()] == holders(tmp_path)


def test_process_holds_the_card_on_which_it_has_a_queue(tmp_path: Path, compute: amd.FakeCompute) -> None:
    """However little memory it has there."""
    compute.process(100, {ONE: 0, TWO: 4096}, queues={0: TWO})

    assert [(), (Process(100, 4096),)] == holders(tmp_path)


def test_cards_nobody_computes_on_have_no_holders(tmp_path: Path, compute: amd.FakeCompute) -> None:
    """Which is known, since the list can be read."""
    assert [(), ()] == holders(tmp_path)


def test_card_is_found_by_address_where_no_unique_id_is_told(tmp_path: Path) -> None:
    """The number of a partition stands where the address has its function."""
    card = amd.mi300x(tmp_path)
    compute = amd.FakeCompute(tmp_path)
    for part in range(8):
        compute.gpu(part + 1, 1000 + part, card, part=part)
    compute.process(7, {1000: GIB, 1003: 2 * GIB})
    compute.process(9, {1007: GIB})

    assert [(Process(7, 3 * GIB), Process(9, GIB))] == holders(tmp_path)


def test_without_the_compute_driver_nobody_can_say(tmp_path: Path) -> None:
    """Unknown, and never nobody."""
    amd.mi210(tmp_path)

    assert [None] == holders(tmp_path)


def test_topology_that_a_device_cgroup_hides_makes_holders_unknown(
    tmp_path: Path, compute: amd.FakeCompute
) -> None:
    """The kernel refuses gpu_id and properties of a card whose render node may not be opened."""
    compute.process(100, {ONE: GIB, TWO: GIB})
    node = compute.path / "topology" / "nodes" / "1"
    (node / "gpu_id").unlink()
    (node / "gpu_id").mkdir()  # cannot be read, whoever reads

    assert [None, (Process(100, GIB),)] == holders(tmp_path)


def test_process_whose_memory_cannot_be_read_makes_holders_unknown(
    tmp_path: Path, compute: amd.FakeCompute
) -> None:
    """It may be the one that holds a card."""
    path = compute.process(100, {ONE: GIB})
    (path / f"vram_{TWO}").mkdir()

    assert [None, None] == holders(tmp_path)


def test_list_that_cannot_be_read_makes_holders_unknown(tmp_path: Path, compute: amd.FakeCompute) -> None:
    """Also where it was read before."""
    (compute.path / "proc").rmdir()

    assert [None, None] == holders(tmp_path)


def test_what_is_no_process_is_passed_over(tmp_path: Path, compute: amd.FakeCompute) -> None:
    """Names that are no pids, and processes that ended between two looks."""
    (compute.path / "proc" / "self").mkdir()
    (compute.path / "proc" / "²").mkdir()
    (compute.path / "proc" / "100").symlink_to("gone")

    assert [(), ()] == holders(tmp_path)


def test_list_is_read_when_memory_changed_and_every_five_seconds(tmp_path: Path, compute: amd.FakeCompute) -> None:
    """Once for all cards of a tick; a process that changes no card's memory is seen within five seconds."""
    source = AmdDevices(AmdDevices.Settings(), Site(sysfs=str(tmp_path)))
    devices = source.scan(0.0)
    before = [source.read(device, 1.0).processes for device in devices]
    compute.process(100, {ONE: GIB, TWO: GIB})
    unnoticed = [source.read(devices[0], now).processes for now in (2.0, 5.9)]
    in_time = source.read(devices[0], 6.0).processes
    compute.process(200, {ONE: GIB, TWO: 0})
    (tmp_path / "class" / "drm" / "card2" / "device" / "mem_info_vram_used").write_text("123\n")
    noticed = [source.read(device, 7.0).processes for device in reversed(devices)]

    assert (before, unnoticed) == ([(), ()], [(), ()])
    assert in_time == (Process(100, GIB),)
    assert noticed == [(Process(100, GIB),), (Process(100, GIB), Process(200, GIB))]


def test_list_that_hangs_leaves_the_other_cards_alone(tmp_path: Path, compute: amd.FakeCompute) -> None:
    """Their holders are unknown meanwhile; all else of them is read."""
    source = AmdDevices(AmdDevices.Settings(), Site(sysfs=str(tmp_path)))
    first, second = source.scan(0.0)
    pipe = compute.process(100, {ONE: GIB}) / f"vram_{TWO}"
    os.mkfifo(pipe)
    held_open = os.open(pipe, os.O_RDWR)  # who reads it waits for what is never written
    hanging = threading.Thread(target=source.read, args=(first, 1.0), daemon=True)
    hanging.start()
    assert eventually(lambda: pipe in opened_by_this_process())

    reading = source.read(second, 1.0)
    os.close(held_open)
    hanging.join(5.0)
    assert (reading.processes, reading.utilization_ratio) == (None, 0.97)
    assert not hanging.is_alive()


def opened_by_this_process() -> list[Path]:
    """Files that it has open to read only."""
    found = []
    for entry in Path("/proc/self/fdinfo").iterdir():
        with suppress(OSError):
            flags = int(re.findall(r"flags:\s+(\d+)", entry.read_text())[0], 8)
            if flags & os.O_ACCMODE == os.O_RDONLY:
                found.append(Path("/proc/self/fd", entry.name).readlink())
    return found


def test_card_that_was_not_looked_for_has_unknown_holders(tmp_path: Path, compute: amd.FakeCompute) -> None:
    """Which cards there are is told to it by a scan."""
    assert ComputeProcesses(str(tmp_path)).of("amd:00000000000000a1", 1.0, None) is None
