"""XIDs: counted by device and code in a thread of their own, whatever happens to the driver's event set."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pynvml
import pytest

from gpuwatch.devices.nvidia import NvidiaDevices
from gpuwatch.devices.xids import XidWatch
from gpuwatch.errors import Unavailable
from tests.fake_nvml import FakeNvml, wait_until

Connect = Callable[[], NvidiaDevices]
Listen = Callable[[FakeNvml], XidWatch]
NOT_SUPPORTED, GPU_IS_LOST, UNKNOWN = 3, 15, 999
NOW = 1_700_000_000.0


@pytest.fixture
def listen(fake: FakeNvml) -> Iterator[Listen]:
    """Start a watch whose clock stands still and that retries at once."""
    pynvml.nvmlInit()
    watch = XidWatch(clock=lambda: NOW, retry_seconds=0.01)

    def start(driver: FakeNvml) -> XidWatch:
        watch.watch(pynvml, handles(driver))
        return watch

    yield start
    watch.stop()
    pynvml.nvmlShutdown()


def handles(driver: FakeNvml) -> dict[str, object]:
    return {device.uuid: pynvml.nvmlDeviceGetHandleByUUID(device.uuid) for device in driver.devices}


def listening(driver: FakeNvml) -> bool:
    """Whether somebody waits for events from now on."""
    waits = driver.calls("nvmlEventSetWait_v2")
    return wait_until(lambda: driver.calls("nvmlEventSetWait_v2") > waits)


def test_no_xid_is_absent(fake: FakeNvml, connect: Connect) -> None:
    """A device without an XID has no series of it."""
    source = connect()
    reading = source.read(source.scan(0.0)[0], 0.0)

    assert (reading.xid_errors, reading.xid_last_timestamp_seconds) == ({}, {})


def test_xids_of_a_device_are_in_its_readings(eight: FakeNvml, connect: Connect) -> None:
    """They are given with the readings of their own device only."""
    source = connect()
    devices = source.scan(0.0)
    assert listening(eight)
    eight.raise_event(eight.devices[6], 79)

    assert wait_until(lambda: source.read(devices[6], 1.0).xid_errors == {"79": 1.0})
    assert list(source.read(devices[6], 1.0).xid_last_timestamp_seconds) == ["79"]
    assert source.read(devices[5], 1.0).xid_errors == {}


def test_the_same_xid_twice_counts_twice(fake: FakeNvml, listen: Listen) -> None:
    """A repeated code is not hidden by the first."""
    watch = listen(fake)
    uid = fake.devices[0].uuid
    assert listening(fake)
    for code in (63, 94, 63):
        fake.raise_event(fake.devices[0], code)

    assert wait_until(lambda: watch.counts(uid) == {"63": 2.0, "94": 1.0})
    assert watch.last(uid) == {"63": NOW, "94": NOW}


def test_a_reading_given_out_does_not_change(fake: FakeNvml, listen: Listen) -> None:
    """What was read stays what it was when more XIDs come."""
    watch = listen(fake)
    uid = fake.devices[0].uuid
    assert listening(fake)
    fake.raise_event(fake.devices[0], 13)
    assert wait_until(lambda: watch.counts(uid) == {"13": 1.0})
    before = watch.counts(uid)
    fake.raise_event(fake.devices[0], 13)
    assert wait_until(lambda: watch.counts(uid) == {"13": 2.0})

    assert before == {"13": 1.0}


def test_events_of_other_kinds_are_not_xids(fake: FakeNvml, listen: Listen) -> None:
    """A clock change is no error."""
    watch = listen(fake)
    assert listening(fake)
    fake.raise_event(fake.devices[0], 13, kind=0x10)
    fake.raise_event(fake.devices[0], 31)

    assert wait_until(lambda: watch.counts(fake.devices[0].uuid) == {"31": 1.0})


@pytest.mark.parametrize("result", [UNKNOWN, GPU_IS_LOST])
def test_listening_goes_on_after_an_error(fake: FakeNvml, listen: Listen, result: int) -> None:
    """The event set is built again, and what was counted stays counted."""
    watch = listen(fake)
    uid = fake.devices[0].uuid
    assert listening(fake)
    fake.raise_event(fake.devices[0], 48)
    assert wait_until(lambda: watch.counts(uid) == {"48": 1.0})
    fake.fail("nvmlEventSetWait_v2", result)
    made = fake.calls("nvmlEventSetCreate")
    assert wait_until(lambda: fake.calls("nvmlEventSetCreate") > made)
    fake.fail("nvmlEventSetWait_v2", 0)
    assert listening(fake)
    assert listening(fake)  # twice: the first may have been the last wait that failed
    fake.raise_event(fake.devices[0], 48)

    assert wait_until(lambda: watch.counts(uid) == {"48": 2.0})


def test_an_error_is_logged_once_while_it_lasts(
    fake: FakeNvml, listen: Listen, caplog: pytest.LogCaptureFixture
) -> None:
    """Retrying is not worth a line each time."""
    fake.fail("nvmlEventSetCreate", UNKNOWN)
    listen(fake)
    assert wait_until(lambda: fake.calls("nvmlEventSetCreate") > 3)

    assert caplog.text.count("xid events interrupted") == 1


def test_a_device_that_cannot_be_listened_to_silences_no_other(eight: FakeNvml, connect: Connect) -> None:
    """Slices and some boards refuse to be registered."""
    eight.devices[0].fail("nvmlDeviceRegisterEvents", NOT_SUPPORTED)
    source = connect()
    devices = source.scan(0.0)
    assert listening(eight)
    eight.raise_event(eight.devices[1], 94)

    assert wait_until(lambda: source.read(devices[1], 1.0).xid_errors == {"94": 1.0})


def test_devices_that_come_later_are_listened_to(eight: FakeNvml, connect: Connect) -> None:
    """A scan that finds another device adds it."""
    source = connect()
    eight.reorder([0, 1])
    source.scan(0.0)
    assert listening(eight)
    eight.reorder(range(8))
    devices = source.scan(1.0)
    assert wait_until(lambda: eight.devices[7].calls("nvmlDeviceRegisterEvents") > 0)
    assert listening(eight)
    eight.raise_event(eight.devices[7], 31)

    assert wait_until(lambda: source.read(devices[7], 2.0).xid_errors == {"31": 1.0})


def test_counts_survive_a_reload_of_the_driver(fake: FakeNvml, connect: Connect) -> None:
    """The counters belong to the agent, not to the event set."""
    source = connect()
    (device,) = source.scan(0.0)
    assert listening(fake)
    fake.raise_event(fake.devices[0], 119)
    assert wait_until(lambda: source.read(device, 1.0).xid_errors == {"119": 1.0})
    fake.fail_everything(1)
    with pytest.raises(Unavailable, match="unloaded"):
        source.read(device, 2.0)
    fake.fail_everything(0)
    fake.reload_driver()
    source.scan(3.0)
    assert listening(fake)
    fake.raise_event(fake.devices[0], 119)

    assert wait_until(lambda: source.read(device, 4.0).xid_errors == {"119": 2.0})


def test_closing_ends_the_thread(fake: FakeNvml, listen: Listen) -> None:
    """Nobody waits for events any more."""
    watch = listen(fake)
    assert listening(fake)

    assert watch.stop()
    assert not any(thread.name == "xid" for thread in threading.enumerate())
