"""Slices of a GPU (MIG) that come and go: found soon, and never taken for others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from gpuwatch.devices.nvidia import NvidiaDevices
from gpuwatch.errors import Unavailable
from gpuwatch.model import Device, Process, Reading
from tests.devices.nvidia_readings import SEVEN, activity, by_uid
from tests.fake_nvml import FakeNvml, wait_until
from tests.fake_nvml.mig import GIB, FakeSlice

Connect = Callable[[], NvidiaDevices]
Ticks = Callable[[float], None]
UNKNOWN = 999


def settle(source: NvidiaDevices, device: Device, until: float = 11.0) -> list[str]:
    """Read for so long; what went wrong."""
    errors = []
    for second in range(1, int(until)):
        try:
            source.read(device, float(second))
        except Unavailable as error:
            errors.append(str(error))
    return errors


def test_switching_mig_on_fails_one_read_so_that_slices_are_listed_soon(fake: FakeNvml, connect: Connect) -> None:
    """The agent lists devices anew within seconds of a read that failed; that one read costs nothing."""
    source = connect()
    (device,) = source.scan(0.0)
    fake.devices[0].processes((70, GIB))
    source.read(device, 0.0)
    slices = fake.devices[0].mig(SEVEN)
    errors = settle(source, device)

    assert [f"nvidia: {device.uid} was cut anew (MIG); its devices are listed again"] == errors
    assert source.read(device, 12.0).processes == ()
    assert {each.uuid for each in slices} < by_uid(source, 12.0).keys()
    assert settle(source, device, until=30.0) == []


def test_switching_mig_off_makes_the_device_whole_again(
    fake: FakeNvml, seven: list[FakeSlice], connect: Connect
) -> None:
    """Its processes and its utilization are read again; the slices are gone, not lost."""
    source = connect()
    devices = by_uid(source)
    whole = devices[fake.devices[0].uuid]
    source.read(whole, 0.0)
    source.read(devices[seven[0].uuid], 0.0)
    fake.devices[0].mig(None)
    fake.devices[0].processes((70, GIB))
    fake.devices[0].load(0.5)
    errors = settle(source, whole)
    reading = source.read(whole, 12.0)

    assert len(errors) == 1
    assert [whole.uid] == list(by_uid(source, 12.0))
    assert (reading.processes, reading.utilization_ratio) == ((Process(70, GIB),), 0.5)
    with pytest.raises(Unavailable):
        source.read(devices[seven[0].uuid], 12.0)
    with pytest.raises(Unavailable, match="no longer there"):
        source.read(devices[seven[0].uuid], 13.0)
    assert (fake.gpm_samples, fake.gpm_panics) == (2, 0)


def test_a_slice_that_is_added_is_listed_soon(fake: FakeNvml, connect: Connect) -> None:
    """Though no slice is missed, the whole notices within ten seconds."""
    source = connect()
    fake.devices[0].mig([])
    (whole,) = source.scan(0.0)
    source.read(whole, 0.0)
    (added,) = fake.devices[0].mig(["2g.20gb"])

    assert len(settle(source, whole)) == 1
    assert by_uid(source, 12.0)[added.uuid].fraction == 2 / 7


@pytest.mark.parametrize("same_handles", [False, True], ids=["new handles", "same handles"])
def test_ids_that_are_given_again_are_not_confused(
    fake: FakeNvml, seven: list[FakeSlice], connect: Connect, same_handles: bool
) -> None:
    """After the device is cut anew, instance ids and even handles mean others: the UUID tells."""
    seven[0].processes((70, GIB))
    source = connect()
    devices = by_uid(source)
    assert source.read(devices[seven[0].uuid], 0.0).processes == (Process(70, GIB),)
    new = fake.devices[0].mig(SEVEN, same_handles=same_handles)
    new[0].processes((90, 2 * GIB))
    for second in (1.0, 2.0):
        with pytest.raises(Unavailable):
            source.read(devices[seven[0].uuid], second)
    again = by_uid(source, 3.0)

    assert seven[0].uuid not in again
    assert source.read(again[new[0].uuid], 3.0).processes == (Process(90, 2 * GIB),)


def test_activity_never_spans_two_slices_with_one_id(
    fake: FakeNvml, seven: list[FakeSlice], connect: Connect, ticks: Ticks
) -> None:
    """The first reading of the new slice has none, its second has its own."""
    seven[0].activity(sm=1.0)
    source = connect()
    source.read(by_uid(source)[seven[0].uuid], 0.0)
    ticks(1.0)
    new = fake.devices[0].mig(SEVEN, same_handles=True)
    device = by_uid(source, 1.0)[new[0].uuid]
    first = source.read(device, 1.0)
    ticks(1.0)

    assert first.sm_activity_ratio is None
    assert source.read(device, 2.0).sm_activity_ratio == 0.0


@pytest.mark.integration
def test_cutting_anew_under_running_reads_mixes_nothing_up(fake: FakeNvml, connect: Connect, ticks: Ticks) -> None:
    """Every reading is of the slice that was asked for, also while ids and handles pass to others."""
    source = connect()
    pids: dict[str, int] = {}
    wrong: list[Reading] = []
    seen: set[str] = set()
    threads: list[threading.Thread] = []

    def read(device: Device) -> None:
        with suppress(Unavailable):
            while not wrong:
                ticks(0.05)
                reading = source.read(device, 0.0)
                seen.add(device.uid)
                if [each.pid for each in reading.processes or ()] not in ([], [pids[device.uid]]):
                    wrong.append(reading)

    for turn in range(1, 9):
        for number, each in enumerate(fake.devices[0].mig(SEVEN, same_handles=turn % 2 == 0)):
            pids[each.uuid] = 100 * turn + number
            each.processes((pids[each.uuid], GIB + turn))
        for thread in threads:
            thread.join(10.0)
        slices = [device for device in source.scan(0.0) if device.kind == "mig"]
        threads = [threading.Thread(target=read, args=(device,), daemon=True) for device in slices]
        for thread in threads:
            thread.start()
        assert wait_until(lambda: len(seen) == 7 * turn)  # noqa: B023 - called before the next turn
    fake.devices[0].mig(None)
    for thread in threads:
        thread.join(10.0)

    assert (wrong, [thread for thread in threads if thread.is_alive()]) == ([], [])
    assert fake.gpm_panics == 0


@pytest.mark.integration
def test_a_slice_whose_sample_hangs_holds_up_no_neighbour(
    fake: FakeNvml, seven: list[FakeSlice], connect: Connect, ticks: Ticks
) -> None:
    """Samples of one GPU are taken one after the other; who cannot have its turn goes without activity."""
    source = connect()
    devices = by_uid(source)
    for each in seven:
        source.read(devices[each.uuid], 0.0)
    fake.devices[0].hang(60.0, ["nvmlGpmMigSampleGet"])
    ticks(1.0)
    taken = fake.calls("nvmlGpmMigSampleGet")
    hung = threading.Thread(target=lambda: source.read(devices[seven[0].uuid], 1.0), daemon=True)
    hung.start()
    assert wait_until(lambda: fake.calls("nvmlGpmMigSampleGet") > taken)
    neighbour = source.read(devices[seven[1].uuid], 1.0)
    fake.devices[0].unhang()
    hung.join(10.0)

    assert (neighbour.memory_total_bytes, activity(neighbour)) == (10 * GIB, (None, None, None))
    assert fake.calls("nvmlGpmMigSampleGet") == taken + 1
    assert fake.gpm_panics == 0


def test_a_lost_device_keeps_its_slices_listed(fake: FakeNvml, seven: list[FakeSlice], connect: Connect) -> None:
    """They are lost with it, and come back with it."""
    source = connect()
    devices = by_uid(source)
    source.read(devices[seven[0].uuid], 0.0)
    fake.devices[0].lose()
    with pytest.raises(Unavailable, match="fallen off the bus"):
        source.read(devices[seven[0].uuid], 1.0)
    during = by_uid(source, 1.0)
    fake.devices[0].restore()
    source.scan(2.0)

    assert devices == during
    assert source.read(devices[seven[0].uuid], 2.0).memory_total_bytes == 10 * GIB


@pytest.mark.integration
def test_a_device_that_hangs_is_scanned_with_the_slices_of_before(
    fake: FakeNvml, seven: list[FakeSlice], connect: Connect
) -> None:
    """A scan asks a device in which a call hangs for nothing that could hang too."""
    source = connect()
    devices = by_uid(source)
    fake.devices[0].hang(60.0)
    hung = threading.Thread(target=lambda: source.read(devices[fake.devices[0].uuid], 0.0), daemon=True)
    hung.start()
    assert wait_until(lambda: fake.devices[0].calls("nvmlDeviceGetFieldValues") > 0)
    asked = fake.calls("nvmlDeviceGetMigMode")

    assert devices == by_uid(source, 1.0)
    assert asked == fake.calls("nvmlDeviceGetMigMode")
    fake.devices[0].unhang()
    hung.join(10.0)


def test_slices_that_cannot_be_listed_hide_not_their_device(
    fake: FakeNvml, seven: list[FakeSlice], connect: Connect
) -> None:
    """They are left out, and the rest of the scan goes on."""
    fake.devices[0].fail("nvmlDeviceGetMigDeviceHandleByIndex", UNKNOWN)

    assert [fake.devices[0].uuid] == list(by_uid(connect()))


@pytest.mark.parametrize("call", ["nvmlDeviceGetMigMode", "nvmlDeviceGetMaxMigDeviceCount"])
def test_a_device_that_does_not_say_how_it_is_cut_is_as_before(
    fake: FakeNvml, seven: list[FakeSlice], connect: Connect, call: str
) -> None:
    """An error that passes hides neither the device nor its slices."""
    source = connect()
    before = by_uid(source)
    fake.fail(call, UNKNOWN)

    assert before == by_uid(source, 1.0)


@pytest.mark.parametrize("call", ["nvmlDeviceGetGpuInstanceId", "nvmlDeviceGetDeviceHandleFromMigDeviceHandle"])
def test_a_slice_that_cannot_be_sampled_is_read_without_activity(
    fake: FakeNvml, seven: list[FakeSlice], connect: Connect, ticks: Ticks, call: str
) -> None:
    """Its memory and its processes are there."""
    fake.fail(call, 3)
    source = connect()
    device = by_uid(source)[seven[0].uuid]
    source.read(device, 0.0)
    ticks(1.0)
    reading = source.read(device, 1.0)

    assert (reading.memory_total_bytes, reading.processes) == (10 * GIB, ())
    assert activity(reading) == (None, None, None)


def test_a_device_that_cannot_say_its_mode_is_whole(fake: FakeNvml, connect: Connect) -> None:
    """Before Ampere and on boards without MIG; the question is not repeated."""
    fake.devices[0].most_slices(0)
    source = connect()
    (device,) = source.scan(0.0)
    source.read(device, 0.0)
    asked = fake.calls("nvmlDeviceGetMigMode")

    assert settle(source, device, until=25.0) == []
    assert asked == fake.calls("nvmlDeviceGetMigMode")


def test_fault_24_mig_toggled_and_numbered_anew_keeps_every_identity(eight: FakeNvml, connect: Connect) -> None:
    """UUIDs are what devices are known by, over a new order, a cut and its end: no energy changes its device."""
    source = connect()
    for number, board in enumerate(eight.devices):
        board.power_watts = 0.0
        board.energy_joules = 1000.0 + number
    before = by_uid(source)
    joules = {uid: source.read(device, 0.0).energy_joules for uid, device in before.items()}
    slices = eight.devices[3].mig(["3g.40gb", "4g.40gb"])
    eight.reorder([7, 6, 5, 4, 3, 2, 1, 0])
    during = by_uid(source, 1.0)
    for uid in before:
        with pytest.raises(Unavailable):
            source.read(during[uid], 1.0)  # by the handle of before
    again = {uid: source.read(during[uid], 2.0).energy_joules for uid in before}
    eight.devices[3].mig(None)
    after = by_uid(source, 3.0)

    assert joules == again == {board.uuid: 1000.0 + n for n, board in enumerate(eight.devices)}
    assert during.keys() - before.keys() == {each.uuid for each in slices}
    assert {during[each.uuid].parent for each in slices} == {eight.devices[3].uuid}
    assert (during[eight.devices[0].uuid].index, during[slices[0].uuid].index) == (7, 4)
    assert after.keys() == before.keys()
