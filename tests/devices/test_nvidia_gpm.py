"""Activity between two GPM samples: when it is known, and whose the samples are."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from gpuwatch.devices.nvidia import NvidiaDevices
from gpuwatch.errors import Unavailable
from gpuwatch.model import Device
from tests.devices.nvidia_readings import activity
from tests.fake_nvml import FakeNvml, wait_until

Connect = Callable[[], NvidiaDevices]
Ticks = Callable[[float], None]
GPM_CALLS = ("nvmlGpmQueryDeviceSupport", "nvmlGpmSampleAlloc", "nvmlGpmSampleGet", "nvmlGpmMetricsGet")
REFUSALS = [pytest.param(3, id="not supported"), pytest.param(4, id="no permission"), pytest.param(13, id="old")]
UNKNOWN = 999


def primed(source: NvidiaDevices) -> Device:
    """The first device, with a sample to measure from."""
    device = source.scan(0.0)[0]
    assert activity(source.read(device, 0.0)) == (None, None, None)
    return device


@pytest.fixture
def working(fake: FakeNvml) -> FakeNvml:
    """A driver whose device works in all its units."""
    fake.devices[0].activity(sm=0.9, tensor=0.45, dram=0.3)
    return fake


def test_activity_is_known_from_the_second_read_on(working: FakeNvml, connect: Connect, ticks: Ticks) -> None:
    """Percentages become ratios of SMs, tensor units and memory; between two reads there is one sample."""
    source = connect()
    device = primed(source)
    for second in (1.0, 2.0, 3.0):
        ticks(1.0)
        assert activity(source.read(device, second)) == pytest.approx((0.9, 0.45, 0.3))

    assert working.calls("nvmlGpmSampleGet") == 4
    assert working.calls("nvmlGpmQueryDeviceSupport") == 1
    assert (working.gpm_samples, working.gpm_panics) == (2, 0)


def test_activity_is_that_since_the_last_sample(fake: FakeNvml, connect: Connect, ticks: Ticks) -> None:
    """The two samples take turns: what was before the last one is not in it."""
    source = connect()
    device = primed(source)
    seen = []
    for ratio in (0.8, 0.0, 0.5):
        fake.devices[0].activity(sm=ratio)
        source.read(device, 1.0)  # too soon: the sample stays that of before the change
        ticks(1.0)
        seen.append(source.read(device, 1.0).sm_activity_ratio)

    assert seen[0] is not None and seen[0] > 0.4
    assert seen[1] is not None and seen[1] < 0.4
    assert seen[2] is not None and 0.2 < seen[2] <= 0.5


def test_a_sample_that_is_too_fresh_is_kept(working: FakeNvml, connect: Connect, ticks: Ticks) -> None:
    """Within 100 ms nothing is measured and no sample taken; after that it is, over the whole time."""
    source = connect()
    device = primed(source)
    ticks(0.09)
    too_soon = source.read(device, 0.09)
    taken = working.calls("nvmlGpmSampleGet")
    ticks(0.02)

    assert activity(too_soon) == (None, None, None)
    assert taken == 1
    assert activity(source.read(device, 0.11)) == pytest.approx((0.9, 0.45, 0.3))


def test_a_window_over_a_gap_is_not_used(working: FakeNvml, connect: Connect, ticks: Ticks) -> None:
    """After half a minute without a read the next one begins anew."""
    source = connect()
    device = primed(source)
    ticks(31.0)
    after = source.read(device, 31.0)
    ticks(1.0)

    assert activity(after) == (None, None, None)
    assert activity(source.read(device, 32.0)) == pytest.approx((0.9, 0.45, 0.3))


def test_a_device_without_gpm_is_asked_once(fake: FakeNvml, connect: Connect, ticks: Ticks) -> None:
    """Before Hopper there is none: no sample is allocated, and nothing else is missing."""
    fake.devices[0].without_gpm()
    source = connect()
    device = primed(source)
    ticks(1.0)
    reading = source.read(device, 1.0)

    assert activity(reading) == (None, None, None)
    assert reading.memory_used_bytes == 0
    assert [1, 0, 0, 0] == [fake.calls(call) for call in GPM_CALLS]


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("call", GPM_CALLS)
def test_a_refusal_of_gpm_is_final_and_costs_nothing_else(
    working: FakeNvml, connect: Connect, ticks: Ticks, call: str, refusal: int
) -> None:
    """Whichever call is refused, by old driver or for want of permission: the rest is read, samples are freed."""
    source = connect()
    working.fail(call, refusal)
    device = primed(source)
    ticks(1.0)
    source.read(device, 1.0)
    asked = [working.calls(each) for each in GPM_CALLS]
    ticks(4.0)
    reading = source.read(device, 5.0)

    assert activity(reading) == (None, None, None)
    assert reading.energy_joules is not None
    assert asked == [working.calls(each) for each in GPM_CALLS]
    assert (working.gpm_samples, working.gpm_panics) == (0, 0)


@pytest.mark.parametrize("error", [UNKNOWN, 15, 1])
@pytest.mark.parametrize("call", GPM_CALLS[2:])
def test_an_error_of_gpm_makes_activity_absent_once(
    working: FakeNvml, connect: Connect, ticks: Ticks, call: str, error: int
) -> None:
    """Even one that says the device is lost: that is for the other calls to say."""
    source = connect()
    device = primed(source)
    working.fail(call, error)
    ticks(1.0)
    during = source.read(device, 1.0)
    working.fail(call, 0)
    ticks(1.0)

    assert activity(during) == (None, None, None)
    assert during.utilization_ratio == 0.0
    assert activity(source.read(device, 2.0)) == pytest.approx((0.9, 0.45, 0.3))


def test_a_little_more_than_all_is_all(fake: FakeNvml, connect: Connect, ticks: Ticks) -> None:
    """The driver's own rounding does not make a busy unit unbelievable; nonsense is passed on to be rejected."""
    fake.devices[0].activity(sm=1.004, tensor=1.7)
    source = connect()
    device = primed(source)
    ticks(1.0)
    reading = source.read(device, 1.0)

    assert reading.sm_activity_ratio == 1.0
    assert reading.tensor_activity_ratio == pytest.approx(1.7)


def test_samples_are_freed_with_the_driver(eight: FakeNvml, connect: Connect) -> None:
    """Closing leaves nothing allocated."""
    source = connect()
    for device in source.scan(0.0):
        source.read(device, 0.0)
    held = eight.gpm_samples
    source.close()

    assert (held, eight.gpm_samples, eight.gpm_panics) == (16, 0, 0)


@pytest.mark.parametrize("ending", ["lost", "probed again", "reloaded"])
def test_samples_are_not_gathered(fake: FakeNvml, connect: Connect, ending: str) -> None:
    """However often a device comes back, or is asked anew what it supports, it has two samples."""
    source = connect()
    device = primed(source)
    for turn in range(1, 6):
        if ending == "reloaded":
            fake.reload_driver()
        if ending == "lost":
            fake.devices[0].lose()
        if ending != "probed again":
            with pytest.raises(Unavailable):
                source.read(device, float(turn))
        if ending == "lost":
            fake.devices[0].restore()
        source.scan(float(turn))
        source.read(device, 700.0 * turn)

    assert (fake.gpm_samples, fake.gpm_panics) == (2, 0)


@pytest.mark.integration
def test_a_sample_in_which_a_call_hangs_is_not_freed(fake: FakeNvml, connect: Connect, ticks: Ticks) -> None:
    """Its owner still uses it: closing leaves it, and the owner finds it sound when the call returns."""
    source = connect()
    device = primed(source)
    fake.devices[0].hang(60.0, ["nvmlGpmSampleGet"])
    ticks(1.0)
    hung = threading.Thread(target=lambda: source.read(device, 1.0), daemon=True)
    hung.start()
    assert wait_until(lambda: fake.devices[0].calls("nvmlGpmSampleGet") == 2)
    source.close()
    left = fake.gpm_samples
    fake.devices[0].unhang()
    hung.join(10.0)

    assert not hung.is_alive()
    assert (left, fake.gpm_panics) == (2, 0)


def test_the_fake_notices_a_sample_used_from_two_places(fake: FakeNvml) -> None:
    """The detector that the other tests rely on works: concurrent use, the same sample twice, use after free."""
    import pynvml

    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    sample = pynvml.nvmlGpmSampleAlloc()
    fake.devices[0].hang(60.0, ["nvmlGpmSampleGet"])
    first = threading.Thread(target=pynvml.nvmlGpmSampleGet, args=(handle, sample), daemon=True)
    first.start()
    assert wait_until(lambda: fake.devices[0].calls("nvmlGpmSampleGet") == 1)
    with pytest.raises(pynvml.NVMLError):
        pynvml.nvmlGpmSampleGet(handle, sample)
    fake.devices[0].unhang()
    first.join(10.0)
    pynvml.nvmlGpmSampleFree(sample)
    with pytest.raises(pynvml.NVMLError):
        pynvml.nvmlGpmSampleGet(handle, sample)
    panics = fake.gpm_panics
    pynvml.nvmlShutdown()

    assert panics == 2
