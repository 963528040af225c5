"""Slices of a GPU (MIG): devices of their own, by UUID, with what is theirs and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpuwatch.devices.nvidia import NvidiaDevices
from gpuwatch.model import Process, Reading
from tests.devices.nvidia_readings import activity, by_uid
from tests.fake_nvml import FakeNvml, wait_until
from tests.fake_nvml.mig import GIB, FakeSlice

Connect = Callable[[], NvidiaDevices]
Ticks = Callable[[float], None]
NOT_SUPPORTED, NO_PERMISSION, FUNCTION_NOT_FOUND = 3, 4, 13


def test_a_device_of_seven_slices_is_eight_devices(
    fake: FakeNvml, seven: list[FakeSlice], connect: Connect
) -> None:
    """The whole comes first; each slice is a seventh of it, with its index, address and driver."""
    whole, *slices = connect().scan(0.0)

    assert (whole.uid, whole.kind, whole.parent, whole.fraction) == (fake.devices[0].uuid, "gpu", None, 1.0)
    assert [each.uuid for each in seven] == [each.uid for each in slices]
    assert {("mig", whole.uid, 1 / 7, 0, whole.pci, whole.driver, "nvidia", "n1")} == {
        (each.kind, each.parent, each.fraction, each.index, each.pci, each.driver, each.vendor, each.node)
        for each in slices
    }
    assert {"NVIDIA H100 80GB HBM3 MIG 1g.10gb"} == {each.model for each in slices}
    assert sum(each.fraction for each in slices) == pytest.approx(1.0)


def test_fractions_are_compute_slices_of_the_whole(fake: FakeNvml, connect: Connect) -> None:
    """Of a GPU instance that several share, each has its compute instance's part."""
    fake.devices[0].mig(["3g.40gb", "1c.3g.40gb", "2c.3g.40gb"])

    assert [1.0, 3 / 7, 1 / 7, 2 / 7] == [device.fraction for device in connect().scan(0.0)]


@pytest.mark.parametrize("refusal", [NOT_SUPPORTED, FUNCTION_NOT_FOUND])
def test_fractions_are_in_the_name_where_the_driver_has_no_attributes(
    fake: FakeNvml, connect: Connect, refusal: int
) -> None:
    """The profile says the same."""
    fake.devices[0].mig(["3g.40gb", "1c.3g.40gb"])
    fake.fail("nvmlDeviceGetAttributes_v2", refusal)

    assert [1.0, 3 / 7, 1 / 7] == [device.fraction for device in connect().scan(0.0)]


def test_devices_without_slices_are_as_before(eight: FakeNvml, connect: Connect) -> None:
    """One device is cut, one is in MIG mode with nothing on it, the others are whole."""
    eight.devices[2].mig(["7g.80gb"])
    eight.devices[5].mig([])
    devices = connect().scan(0.0)

    assert [0, 1, 2, 2, 3, 4, 5, 6, 7] == [device.index for device in devices]
    assert ["gpu"] * 3 + ["mig"] + ["gpu"] * 5 == [device.kind for device in devices]


def test_holes_in_the_numbers_of_slices_hide_none(
    fake: FakeNvml, seven: list[FakeSlice], connect: Connect
) -> None:
    """A slice in the middle that was destroyed leaves those after it."""
    seven[0].remove()
    seven[3].remove()

    assert {seven[i].uuid for i in (1, 2, 4, 5, 6)} == by_uid(connect()).keys() - {fake.devices[0].uuid}


def test_a_slice_says_memory_and_processes_and_nothing_of_its_gpu(
    fake: FakeNvml, seven: list[FakeSlice], connect: Connect
) -> None:
    """Power, energy, temperature, clocks, throttling, ECC and XIDs are the whole's."""
    seven[4].processes((70, 2 * GIB), (71, 3 * GIB))
    source = connect()
    devices = by_uid(source)
    reading = source.read(devices[seven[4].uuid], 0.0)

    assert (reading.memory_total_bytes, reading.memory_used_bytes) == (10 * GIB, 5 * GIB)
    assert reading.processes == (Process(70, 2 * GIB), Process(71, 3 * GIB))
    assert source.read(devices[seven[3].uuid], 0.0).processes == ()
    assert (
        Reading(
            device=seven[4].uuid,
            time=0.0,
            memory_used_bytes=reading.memory_used_bytes,
            memory_total_bytes=reading.memory_total_bytes,
            memory_reserved_bytes=reading.memory_reserved_bytes,
            processes=reading.processes,
        )
        == reading
    )


def test_nobody_holds_a_device_that_is_cut(fake: FakeNvml, seven: list[FakeSlice], connect: Connect) -> None:
    """Its reading has no process, whatever the driver lists for it, and what else the driver supports."""
    fake.devices[0].processes((70, GIB))
    fake.devices[0].load(0.9)
    source = connect()
    reading = source.read(by_uid(source)[fake.devices[0].uuid], 0.0)

    assert reading.processes == ()
    assert (reading.utilization_ratio, reading.encoder_ratio) == (None, None)
    assert reading.energy_joules is not None
    assert reading.power_watts["average", "device"] == 70.0
    assert reading.temperature_celsius == {"gpu": 34}
    assert fake.calls("nvmlDeviceGetComputeRunningProcesses_v3") == 0


def test_activity_of_a_slice_is_that_of_its_gpu_instance(
    fake: FakeNvml, seven: list[FakeSlice], connect: Connect, ticks: Ticks
) -> None:
    """Each of the seven has its own, and the whole has its own as well."""
    for number, each in enumerate(seven):
        each.activity(sm=number / 10, tensor=number / 20, dram=number / 40)
    fake.devices[0].activity(sm=0.5)
    source = connect()
    devices = by_uid(source)
    for device in devices.values():
        source.read(device, 0.0)
    ticks(1.0)
    readings = {uid: source.read(device, 1.0) for uid, device in devices.items()}

    for number, each in enumerate(seven):
        assert activity(readings[each.uuid]) == pytest.approx((number / 10, number / 20, number / 40))
    assert readings[fake.devices[0].uuid].sm_activity_ratio == pytest.approx(0.5)
    assert (fake.gpm_samples, fake.gpm_panics) == (16, 0)


def test_activity_is_absent_where_others_share_the_gpu_instance(
    fake: FakeNvml, connect: Connect, ticks: Ticks
) -> None:
    """It would be another's activity too. One that spans its instance has it."""
    slices = fake.devices[0].mig(["3g.40gb", "1c.3g.40gb", "2c.3g.40gb"])
    for each in slices:
        each.activity(sm=0.7)
    source = connect()
    devices = by_uid(source)
    for each in slices:
        source.read(devices[each.uuid], 0.0)
    ticks(1.0)

    assert [pytest.approx(0.7), None, None] == [
        source.read(devices[each.uuid], 1.0).sm_activity_ratio for each in slices
    ]
    assert fake.calls("nvmlGpmMigSampleGet") == 2


@pytest.mark.parametrize("refusal", [NOT_SUPPORTED, NO_PERMISSION, FUNCTION_NOT_FOUND])
def test_a_slice_without_activity_keeps_the_rest(
    fake: FakeNvml, seven: list[FakeSlice], connect: Connect, ticks: Ticks, refusal: int
) -> None:
    """GPM of slices can be missing where that of the whole is there."""
    fake.fail("nvmlGpmMigSampleGet", refusal)
    source = connect()
    device = by_uid(source)[seven[0].uuid]
    source.read(device, 0.0)
    ticks(1.0)
    reading = source.read(device, 1.0)

    assert activity(reading) == (None, None, None)
    assert reading.memory_total_bytes == 10 * GIB
    assert (fake.calls("nvmlGpmMigSampleGet"), fake.gpm_samples) == (1, 0)


@pytest.mark.parametrize("refusal", [NOT_SUPPORTED, NO_PERMISSION])
def test_processes_of_a_slice_are_unknown_where_the_driver_refuses(
    fake: FakeNvml, seven: list[FakeSlice], connect: Connect, refusal: int
) -> None:
    """Without the right to see other users' processes nobody knows who holds it."""
    fake.fail("nvmlDeviceGetComputeRunningProcesses_v3", refusal)
    source = connect()

    assert source.read(by_uid(source)[seven[0].uuid], 0.0).processes is None


def test_a_slice_asks_little(fake: FakeNvml, seven: list[FakeSlice], connect: Connect, ticks: Ticks) -> None:
    """Who it is, memory, activity: three calls, with one for its processes now and then."""
    source = connect()
    device = by_uid(source)[seven[0].uuid]
    source.read(device, 0.0)
    # The thread that listens for events has registered the devices once it waits.
    assert wait_until(lambda: fake.calls("nvmlEventSetWait_v2") > 0)
    before = fake.all_calls
    ticks(1.0)
    source.read(device, 1.0)
    made = {call for call, count in fake.all_calls.items() if count != before.get(call)}

    assert {"nvmlDeviceGetUUID", "nvmlDeviceGetMemoryInfo_v2", "nvmlGpmMigSampleGet", "nvmlGpmMetricsGet"} == (
        made - {"nvmlEventSetWait_v2"}
    )


def test_only_whole_devices_are_listened_to(fake: FakeNvml, seven: list[FakeSlice], connect: Connect) -> None:
    """A slice cannot be registered for events; the XID of the whole is not repeated for its slices."""
    source = connect()
    devices = by_uid(source)
    waits = fake.calls("nvmlEventSetWait_v2")
    assert wait_until(lambda: fake.calls("nvmlEventSetWait_v2") > waits)
    fake.raise_event(fake.devices[0], 94)
    whole = devices[fake.devices[0].uuid]

    assert wait_until(lambda: source.read(whole, 1.0).xid_errors == {"94": 1.0})
    assert source.read(devices[seven[0].uuid], 1.0).xid_errors == {}
    assert fake.calls("nvmlDeviceRegisterEvents") == 1
