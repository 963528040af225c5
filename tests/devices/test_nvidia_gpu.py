"""What must hold for any NVIDIA driver: on the fake one always, on the real one with `pytest -m gpu`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from gpuwatch.devices.nvidia import NvidiaDevices
from gpuwatch.errors import Unavailable
from gpuwatch.model import Reading, Site, metrics_of
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


def readings(source: NvidiaDevices, times: int = 1) -> list[Reading]:
    """So many readings of the first device, 0.1 s apart."""
    device, taken = source.scan(time.time())[0], []
    for _ in range(times):
        if taken:
            time.sleep(0.1)
        taken.append(source.read(device, time.time()))
    return taken


def test_devices_have_identities(source: NvidiaDevices) -> None:
    """UUIDs are unique, and so are the indices; model, address and driver are known."""
    devices = source.scan(time.time())

    assert len(devices) == len({device.uid for device in devices}) == len({device.index for device in devices})
    assert all(device.uid.startswith("GPU-") for device in devices)
    assert all(device.model and device.pci and device.driver for device in devices)


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
    taken = readings(source, times=11)
    first, last = taken[0], taken[-1]
    if first.energy_joules is None or last.energy_joules is None:
        pytest.skip("this device has no energy counter")
    watts = sum(max(reading.power_watts.values()) for reading in taken) / len(taken)

    assert (last.energy_joules - first.energy_joules) / (last.time - first.time) == pytest.approx(watts, rel=0.5)


def test_support_settles(source: NvidiaDevices) -> None:
    """After the first readings, the same values are known every time."""
    taken = readings(source, times=SETTLED + 3)[SETTLED:]
    known = [
        {name for name, _ in metrics_of(Reading) if getattr(each, name)} - {"utilization_ratio"} for each in taken
    ]

    assert all(each >= {"memory_total_bytes", "power_watts"} for each in known)
    assert [set(each.throttle_seconds) for each in taken] == [set(taken[0].throttle_seconds)] * len(taken)


def test_throttle_time_does_not_fall(source: NvidiaDevices) -> None:
    """They are counters."""
    first, last = (each.throttle_seconds for each in (readings(source, times=2)))

    assert all(last[reason] >= seconds for reason, seconds in first.items())


def test_processor_time_of_a_reading_is_small(source: NvidiaDevices) -> None:
    """2 ms would be 16 ms for eight devices: already too much, with the driver's own share in it."""
    device = source.scan(time.time())[0]
    source.read(device, time.time())
    began = time.thread_time()
    for _ in range(20):
        source.read(device, time.time())

    assert (time.thread_time() - began) / 20 < 0.002
