"""Reading with deadlines: rounds, health, scans, and the host at its own pace."""

from __future__ import annotations

import threading
import time

import pytest

from gpuwatch.agent.sampler import Crew, Health, Sampler
from gpuwatch.errors import Absent, Unavailable
from gpuwatch.host.base import HostSource
from gpuwatch.model import Device, HostReading, Reading
from tests.agent.fakes import FakeClock, FakeDevices, FakeJobs, eventually


def test_calls_of_a_round_run_side_by_side():
    """Four calls that meet each other can only end if none waits for another."""
    crew, meeting = Crew(), threading.Barrier(4, timeout=5)

    answers = crew.round({str(n): meeting.wait for n in range(4)}, timeout=5)
    assert sorted(answer.value for answer in answers.values()) == [0, 1, 2, 3]


def test_late_answer_is_dropped_and_its_worker_is_asked_again_later():
    """A call that misses its deadline holds up nobody; while it is out it is not asked twice."""
    crew, release, calls = Crew(), threading.Event(), []

    def slow():
        calls.append("slow")
        release.wait(5)
        return "late"

    first = crew.round({"slow": slow, "quick": lambda: 1}, timeout=0.05)
    began = time.monotonic()
    second = crew.round({"slow": slow, "quick": lambda: 2}, timeout=5)
    waited = time.monotonic() - began
    release.set()

    assert ({name: a.value for name, a in first.items()}, waited < 1) == ({"quick": 1}, True)
    assert {name: a.value for name, a in second.items()} == {"quick": 2}
    assert calls == ["slow"]
    assert eventually(lambda: "slow" in crew.round({"slow": lambda: "again"}, timeout=0.05))


def test_what_a_call_raises_is_its_answer():
    """An error of one source is no error of the round."""
    answers = Crew().round({"bad": lambda: 1 / 0, "good": lambda: 1}, timeout=5)

    assert isinstance(answers["bad"].error, ZeroDivisionError)
    assert answers["good"].value == 1


def test_nothing_to_ask_is_no_wait():
    """An empty round is over at once."""
    began = time.monotonic()

    assert Crew().round({}, timeout=5) == {}
    assert time.monotonic() - began < 1


def test_threads_end_when_the_crew_is_stopped():
    """Nothing is left running but what hangs."""
    crew = Crew()
    crew.round({"one": lambda: 1, "two": lambda: 2}, timeout=5)
    named = {thread for thread in threading.enumerate() if thread.name in ("one", "two")}
    crew.stop()

    assert len(named) == 2
    assert eventually(lambda: not any(thread.is_alive() for thread in named))


def test_health_is_logged_when_it_changes_and_not_each_time(caplog):
    """Down three times for one reason is one line; up again is another."""
    caplog.set_level("INFO")
    health = Health("nvidia")
    for _ in range(3):
        health.failed("driver is not loaded")
    health.failed("no GPU")
    health.succeeded(1.0, 0.1)
    health.succeeded(2.0, 0.1)

    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "source is down source=nvidia reason=driver is not loaded",
        "source is down source=nvidia reason=no GPU",
        "source is up again source=nvidia",
    ]


def test_a_source_with_nothing_on_the_node_is_neither_up_nor_down_nor_heard(clock, caplog):
    """It is looked for again once a minute, and is up as soon as there is a device."""
    caplog.set_level("INFO")
    devices = FakeDevices(clock)
    devices.scan_error = Absent("fake: none on this node")
    sampler = Sampler({"fake": devices}, {}, {})
    sampler.sample(clock.now, clock.wall, dict)
    absent = sampler.health["fake"].value()
    devices.scan_error = None
    clock.pass_(30)
    still = sampler.sample(clock.now, clock.wall, dict)
    clock.pass_(31)
    sampler.sample(clock.now, clock.wall, dict)
    found = sampler.health["fake"].value()
    sampler.close()

    assert (absent.up, absent.message) == (None, "fake: none on this node")
    assert not still.devices
    assert (found.up, found.message) == (True, "")
    assert not caplog.records


def test_a_source_whose_devices_have_gone_is_down_whatever_it_says(clock):
    """Devices that were there do not become a node that never had any."""
    devices = FakeDevices(clock)
    sampler = Sampler({"fake": devices}, {}, {})
    sampler.sample(clock.now, clock.wall, dict)
    devices.scan_error, devices.read_error = Absent("fake: none on this node"), Unavailable("fake: gone")
    for _ in range(20):
        clock.pass_(60)
        sampler.sample(clock.now, clock.wall, dict)
    health = sampler.health["fake"].value()
    sampler.close()

    assert (health.up, health.message) == (False, "fake: none on this node")


class CountingHost(HostSource):
    """A host that counts how often it is read."""

    def __init__(self):
        self.reads = 0

    def read(self, now: float) -> HostReading:
        self.reads += 1
        return HostReading(now, load1=float(self.reads))


class Absurd(FakeDevices):
    """Devices whose utilization cannot be."""

    def read(self, device: Device, now: float) -> Reading:
        return Reading(device.uid, now, utilization_ratio=7.0, memory_used_bytes=1.0)


@pytest.fixture
def clock():
    return FakeClock()


def sample(sampler, clock, times=1):
    for _ in range(times):
        clock.pass_(1)
        told = sampler.sample(clock.now, clock.wall, dict)
    return told


def test_host_is_read_every_five_seconds_and_shown_all_the_time(clock):
    """What only explains costs less than what is metered."""
    host = CountingHost()
    sampler = Sampler({}, {"system": host}, {})

    told = sample(sampler, clock, 11)
    assert (host.reads, told.host.load1) == (3, 3.0)


def test_host_source_that_fails_leaves_no_old_value(clock):
    """A failed read publishes nothing and says so."""
    host = CountingHost()
    sampler = Sampler({}, {"system": host}, {})
    sample(sampler, clock)
    host.read = lambda now: (_ for _ in ()).throw(Unavailable("no procfs"))

    told = sample(sampler, clock, 5)
    assert told.host.load1 is None
    assert (sampler.health["system"].up, sampler.health["system"].message) == (False, "no procfs")


def test_unbelievable_value_is_dropped_and_counted(clock):
    """Utilization of 700 % is rejected; the rest of the reading stands."""
    sampler = Sampler({"fake": Absurd(clock)}, {}, {"local": FakeJobs()})

    told = sample(sampler, clock)
    assert {reading.utilization_ratio for reading in told.readings.values()} == {None}
    assert {reading.memory_used_bytes for reading in told.readings.values()} == {1.0}
    assert sampler.health["fake"].rejected == {"too_high": 2}


def test_driver_that_comes_later_is_found_within_seconds(clock):
    """An agent that started before the driver finds it by itself."""
    devices = FakeDevices(clock)
    devices.scan_error = Unavailable("driver is not loaded")
    sampler = Sampler({"fake": devices}, {}, {})
    nothing = sample(sampler, clock)
    devices.scan_error = None

    assert nothing.devices == {}
    assert set(sample(sampler, clock, 5).devices) == {"fake:0", "fake:1"}
    assert sampler.health["fake"].up


def test_source_that_reads_well_is_not_called_down_because_a_scan_failed(clock, caplog):
    """Devices that answer say more than a list that does not come; nothing flaps in the log."""
    caplog.set_level("INFO")
    devices = FakeDevices(clock)
    sampler = Sampler({"fake": devices}, {}, {})
    sample(sampler, clock)
    devices.scan_error = Unavailable("busy")
    clock.pass_(60)
    sample(sampler, clock, 20)

    assert sampler.health["fake"].up
    assert caplog.records == []


def test_no_device_at_all_is_a_source_that_is_down(clock):
    """An empty list is a failed collection, and says so."""
    devices = FakeDevices(clock, count=0)
    sampler = Sampler({"fake": devices}, {}, {})
    sample(sampler, clock)

    assert (sampler.health["fake"].up, sampler.health["fake"].message) == (False, "there is no device")


def test_bug_in_a_source_is_logged_with_where_it_is(caplog):
    """What no source should raise comes with its traceback; what it may raise does not."""
    health = Health("lamps")
    health.failed("ZeroDivisionError: bug", ZeroDivisionError("bug"))
    health.failed("no driver", Unavailable("no driver"))

    assert [bool(record.exc_info) for record in caplog.records] == [True, False]


class Cut(FakeDevices):
    """Two boards; the first is cut into two slices, listed before it. Notes in which thread what is read."""

    def __init__(self, clock):
        super().__init__(clock)
        self.uids = ["slice:0", "slice:1", "fake:0", "fake:1"]
        self.read_in: list[tuple[str, int]] = []
        self.broken: set[str] = set()

    def scan(self, now):
        return [
            Device(uid, "n", 0, "fake", "Fake", parent="fake:0" if uid.startswith("slice") else None)
            for uid in self.uids
        ]

    def read(self, device, now):
        self.read_in.append((device.uid, threading.get_ident()))
        if device.uid in self.broken:
            raise ZeroDivisionError("bug")
        return super().read(device, now)


def test_slices_are_read_in_the_thread_of_their_board_and_after_it(clock):
    """Fifty-six slices take no more threads than the eight boards that they are of."""
    devices = Cut(clock)
    told = sample(Sampler({"fake": devices}, {}, {}), clock)
    threads = dict(devices.read_in)

    assert None not in told.readings.values() and len(told.readings) == 4
    assert [uid for uid, _ in devices.read_in if uid != "fake:1"] == ["fake:0", "slice:0", "slice:1"]
    assert threads["fake:0"] == threads["slice:0"] == threads["slice:1"] != threads["fake:1"]


def test_devices_of_a_source_that_asks_once_for_all_are_read_in_one_thread(clock):
    """Threads that would only wait for the first of them are not woken; one device that fails is still alone."""
    devices = Cut(clock)
    devices.together = True
    devices.broken = {"fake:0"}
    told = sample(Sampler({"fake": devices}, {}, {}), clock)

    assert len({thread for _, thread in devices.read_in}) == 1
    assert {uid for uid, reading in told.readings.items() if reading is None} == {"fake:0"}


def test_slice_that_fails_leaves_its_board_and_its_neighbour(clock):
    """Its own reading alone is missing."""
    devices = Cut(clock)
    devices.broken = {"slice:0"}
    told = sample(Sampler({"fake": devices}, {}, {}), clock)

    assert {uid for uid, reading in told.readings.items() if reading is None} == {"slice:0"}


def test_slice_that_hangs_takes_its_board_with_it_and_no_other(clock):
    """They are one driver's one device; the other board is read on, and all come back."""
    devices, release = Cut(clock), threading.Event()
    devices.hang = {"slice:1": release}
    sampler = Sampler({"fake": devices}, {}, {}, deadline_seconds=0.1)
    first, second = sample(sampler, clock), sample(sampler, clock)
    release.set()

    for told in (first, second):
        assert {uid for uid, reading in told.readings.items() if reading is not None} == {"fake:1"}
    assert eventually(lambda: None not in sample(sampler, clock).readings.values())


def test_slice_that_is_not_listed_any_more_is_gone_at_once(clock):
    """It was taken apart, and its successors stand in its place; a board may only be lost."""
    devices = FakeDevices(clock)
    sampler = Sampler({"fake": devices}, {}, {})
    devices.scan = lambda now: [
        Device(uid, "node", 0, "fake", "Fake", parent=None if uid == "fake:0" else "fake:0")
        for uid in devices.uids
    ]
    sample(sampler, clock)
    devices.uids = ["fake:0", "fake:2"]
    clock.pass_(60)

    assert set(sample(sampler, clock).devices) == {"fake:0", "fake:2"}


def test_device_that_is_not_listed_any_more_is_forgotten_in_the_end(clock):
    """Also a board, after a quarter of an hour."""
    devices = FakeDevices(clock)
    sampler = Sampler({"fake": devices}, {}, {})
    sample(sampler, clock)
    devices.uids = ["fake:1"]
    clock.pass_(800)
    listed = sample(sampler, clock)
    clock.pass_(200)

    assert set(listed.devices) == {"fake:0", "fake:1"}
    assert set(sample(sampler, clock).devices) == {"fake:1"}
