"""What must hold for any NVIDIA driver: on the fake one always, on the real one with `pytest -m gpu`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from gpuwatch.devices import capture, interview
from gpuwatch.devices.nvidia import NvidiaDevices
from gpuwatch.errors import Unavailable
from gpuwatch.model import Device, Reading, Site, metrics_of
from tests.fake_nvml import FakeNvml, loaded_here

SETTLED = 3


def real_source(marks: str) -> NvidiaDevices:
    """A source on the machine's own driver; skips the test, with the reason, where there is none."""
    if "gpu" not in marks or loaded_here():
        pytest.skip("a process has the fake driver or the real one; for the real one: pytest -m gpu")
    source = NvidiaDevices(NvidiaDevices.Settings(), Site())
    try:
        source.scan(time.time())
    except Unavailable as missing:
        pytest.skip(f"no NVIDIA GPU within reach: {missing}")
    return source


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.gpu)])
def source(request: pytest.FixtureRequest) -> Iterator[NvidiaDevices]:
    """A source on each of the two drivers."""
    if request.param == "real":
        source = real_source(request.config.option.markexpr)
    else:
        driver: Callable[[int], FakeNvml] = request.getfixturevalue("driver")
        driver(2)
        source = NvidiaDevices(NvidiaDevices.Settings(), Site())
    yield source
    source.close()


def whole(source: NvidiaDevices) -> Device:
    """The first GPU that is no slice of another."""
    return next(device for device in source.scan(time.time()) if device.kind == "gpu")


def readings(source: NvidiaDevices, times: int = 1) -> list[Reading]:
    """So many readings of the first device, 0.1 s apart, and as if 5 s apart: each asks what is asked seldom."""
    device, taken, began = whole(source), [], time.time()
    for number in range(times):
        if taken:
            time.sleep(0.1)
        taken.append(source.read(device, began + 5.0 * number))
    return taken


def test_devices_have_identities(source: NvidiaDevices) -> None:
    """UUIDs are unique, and so are the indices of whole GPUs; model, address and driver are known."""
    devices = source.scan(time.time())
    indices = [device.index for device in devices if device.kind == "gpu"]

    assert len(devices) == len({device.uid for device in devices})
    assert len(indices) == len(set(indices))
    assert all(device.uid.startswith({"gpu": "GPU-", "mig": "MIG-"}[device.kind]) for device in devices)
    assert all(device.model and device.pci and device.driver for device in devices)


def test_a_second_scan_finds_the_same(source: NvidiaDevices) -> None:
    """Nothing is told apart that is one device."""
    assert source.scan(time.time()) == source.scan(time.time())


def test_slices_belong_to_a_device_that_is_there(source: NvidiaDevices) -> None:
    """Their parts of one parent are at most the whole of it."""
    devices = source.scan(time.time())
    slices = [device for device in devices if device.kind == "mig"]
    if not slices:
        pytest.skip("no device here is split into MIG instances")

    parents = {device.uid for device in devices if device.kind == "gpu"}
    assert {device.parent for device in slices} <= parents
    for parent in parents:
        assert sum(device.fraction for device in slices if device.parent == parent) <= 1


def test_every_device_can_be_read(source: NvidiaDevices) -> None:
    """Slices too; used and reserved memory fit into what there is, and no process is listed twice."""
    for device in source.scan(time.time()):
        reading = source.read(device, time.time())
        pids = [process.pid for process in reading.processes or ()]

        assert reading.device == device.uid
        assert (reading.memory_used_bytes or 0) + (reading.memory_reserved_bytes or 0) <= (
            reading.memory_total_bytes or 0
        )
        assert len(pids) == len(set(pids))


def test_values_are_believable(source: NvidiaDevices) -> None:
    """Whatever is known lies within the bounds that the model declares."""
    (reading,) = readings(source)

    wrong = {
        (name, number)
        for name, metric in metrics_of(Reading)
        if (value := getattr(reading, name)) is not None
        for number in (value.values() if metric.labels else [value])
        if (metric.low is not None and number < metric.low) or (metric.high is not None and number > metric.high)
    }
    assert set() == wrong


def test_the_essential_values_are_known(source: NvidiaDevices) -> None:
    """Every supported device says its memory, power and temperature."""
    (reading,) = readings(source)

    assert reading.memory_total_bytes
    assert reading.power_watts
    assert reading.temperature_celsius


def test_energy_grows_as_power_says(source: NvidiaDevices) -> None:
    """Over a second the counter and the power agree to a factor: units are right."""
    began = time.monotonic()
    taken = readings(source, times=11)
    seconds = time.monotonic() - began
    first, last = taken[0], taken[-1]
    if first.energy_joules is None or last.energy_joules is None:
        pytest.skip("this device has no energy counter")
    watts = sum(max(reading.power_watts.values()) for reading in taken) / len(taken)

    assert (last.energy_joules - first.energy_joules) / seconds == pytest.approx(watts, rel=0.5)


def test_support_settles(source: NvidiaDevices) -> None:
    """After the first readings, the same values are known every time."""
    taken = readings(source, times=SETTLED + 3)[SETTLED:]
    known = [
        {name for name, _ in metrics_of(Reading) if getattr(each, name)} - {"utilization_ratio"} for each in taken
    ]

    assert all(each >= {"memory_total_bytes", "power_watts"} for each in known)
    assert [set(each.throttle_seconds) for each in taken] == [set(taken[0].throttle_seconds)] * len(taken)


def test_counters_do_not_fall(source: NvidiaDevices) -> None:
    """Times, errors, bytes and joules since the driver was loaded."""
    first, last = readings(source, times=2)

    for counter in ("throttle_seconds", "ecc_errors", "nvlink_bytes"):
        before, after = getattr(first, counter), getattr(last, counter)
        assert all(after[labels] >= number for labels, number in before.items()), counter
    assert (last.energy_joules or 0) >= (first.energy_joules or 0)


def test_processor_time_of_a_reading_is_small(source: NvidiaDevices) -> None:
    """Over 20 s, with the driver's share in it: 1.5 ms a second would be 12 ms for eight devices, too much."""
    device, now = whole(source), time.time()
    source.read(device, now)
    began = time.thread_time()
    for second in range(1, 21):
        source.read(device, now + second)

    assert (time.thread_time() - began) / 20 < 0.0015


def test_a_recording_of_this_driver_names_nobody(source: NvidiaDevices) -> None:
    """It says what gpuwatch reads, and neither UUID nor address of any device here."""
    devices, reading = source.scan(time.time()), readings(source)[0]
    identities = [part for device in devices for part in (device.uid.partition("-")[2], device.pci)]
    recorded = list(capture.record(lambda call: call()))
    text = "".join(map(capture.text_of, recorded)).lower()

    masked = [word for word in identities if word and not word.startswith("00000000:01:")]
    assert recorded
    assert [word for word in masked if word.lower() in text] == []
    assert {capture.unanswered(each) for each in recorded} == {0}
    memory = interview.value_of(recorded[0]["calls"], "nvmlDeviceGetMemoryInfo")
    assert memory["total"] == reading.memory_total_bytes


@pytest.mark.gpu
def test_everything_the_model_has_is_known(request: pytest.FixtureRequest) -> None:
    """Of the real driver; what it does not say, after time enough to say it, is named as the reason to skip."""
    source = real_source(request.config.option.markexpr)
    try:
        device, reading = whole(source), readings(source, times=SETTLED)[-1]
    finally:
        source.close()
    unknown = [name for name, _ in metrics_of(Reading) if getattr(reading, name) in (None, {})]

    if unknown:
        pytest.skip(f"{device.model}, driver {device.driver}, does not say: {', '.join(unknown)}")
