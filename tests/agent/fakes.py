"""Sources of a made-up node: devices that do as they are told, and holders set by the test."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from gpuwatch.agent.agent import Agent
from gpuwatch.agent.sampler import Sampler
from gpuwatch.agent.state import StateDirectory
from gpuwatch.errors import Unavailable
from gpuwatch.jobs.base import JobsReading, Variable
from gpuwatch.model import Allocation, Device, GroupUse, HostReading, Reading, Site


class FakeClock:
    """Both clocks, moved by hand."""

    def __init__(self, wall: float = 1_700_000_000.0) -> None:
        self.now = 1000.0
        self.wall = wall

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.wall

    def pass_(self, seconds: float) -> None:
        self.now += seconds
        self.wall += seconds


class FakeDevices:
    """Devices of constant power with an energy counter; any of them can be lost, hang or raise."""

    def __init__(self, clock: FakeClock, count: int = 2, watts: float = 300.0) -> None:
        self.clock, self.watts = clock, watts
        self.uids = [f"fake:{index}" for index in range(count)]
        self.lost: set[str] = set()
        self.hang: dict[str, threading.Event] = {}
        self.scan_error: Exception | None = None
        self.read_error: Exception | None = None
        self.xids: dict[str, float] = {}
        self.driver = "1.0"
        self.counted_from = 0.0

    def scan(self, now):
        if self.scan_error:
            raise self.scan_error
        return [
            Device(uid, "node", index, "fake", "Fake 700W", driver=self.driver)
            for index, uid in enumerate(self.uids)
        ]

    def read(self, device, now):
        if device.uid in self.hang:
            self.hang[device.uid].wait(30)
        if self.read_error:
            raise self.read_error
        if device.uid in self.lost:
            raise Unavailable(f"{device.uid}: device is lost")
        return Reading(
            device.uid, now, utilization_ratio=0.9, power_watts={("average", "device"): self.watts},
            power_limit_watts=700.0, energy_joules=(self.clock.now - self.counted_from) * self.watts, processes=(),
            xid_errors=dict(self.xids),
        )  # fmt: skip

    def close(self):
        return None


class FakeHost:
    """A host with one number, and what a test gives it of meters."""

    def __init__(self) -> None:
        self.joules: Callable[[], dict[str, float]] = dict

    def read(self, now):
        return HostReading(now, load1=0.5, cpu_count=10.0, energy_joules=self.joules())


class FakeJobs:
    """Holders as the test sets them: device to job id."""

    def __init__(self) -> None:
        self.holders: dict[str, str] = {}
        self.alive: set[str] = set()
        self.linger = 0.0
        self.error: Exception | None = None
        self.pids: dict[int, str] = {}
        self.waits: dict[str, float] = {}
        self.uses: dict[str, GroupUse] = {}
        self.declared: dict[str, Variable] = {}
        self.meanwhile = lambda: None

    def read(self, view):
        self.meanwhile()
        if self.error:
            raise self.error
        claims = tuple(Allocation(job, uid, 1.0, "whole") for uid, job in self.holders.items())
        return JobsReading(
            claims, frozenset(self.alive), storage_waits=dict(self.waits), group_uses=dict(self.uses),
            declared=dict(self.declared),
        )  # fmt: skip

    def job_of(self, pid, runs):
        for run in runs.values():
            if run.pid == pid:
                return run.job_id
        return self.pids.get(pid)

    def linger_seconds(self, job_id):
        return self.linger


class Collected:
    """A sink that keeps every snapshot."""

    def __init__(self) -> None:
        self.snapshots = []
        self.started = 0
        self.told = {}

    def start(self):
        self.started += 1

    def take(self, snapshot):
        self.snapshots.append(snapshot)

    def health(self):
        return self.told

    def close(self):
        return None


class FakeNode:
    """An agent over fake sources in a directory; `restart` and `crash` begin its next life."""

    def __init__(self, path: Path, devices: int = 2, deadline: float = 0.5, save_seconds: float = 0.0) -> None:
        self.path = path
        self.save_seconds = save_seconds
        self.deadline = deadline
        self.clock = FakeClock()
        self.devices = FakeDevices(self.clock, devices)
        self.jobs = FakeJobs()
        self.host = FakeHost()
        self.sink = Collected()
        self.begin()

    def begin(self) -> None:
        self.directory = self.open()
        self.directory.__enter__()
        self.sampler = Sampler({"fake": self.devices}, {"system": self.host}, {"local": self.jobs}, self.deadline)
        site = Site("c", "node")
        self.agent = Agent(
            site, self.sampler, [self.sink], self.directory, clock=self.clock, save_seconds=self.save_seconds
        )

    def open(self) -> StateDirectory:
        """The state directory of the next life."""
        return StateDirectory(self.path)

    def tick(self, times: int = 1, seconds: float = 1.0):
        for _ in range(times):
            self.clock.pass_(seconds)
            snapshot = self.agent.tick(self.clock.now)
            assert eventually(lambda: not self.agent.saving)
        return snapshot

    def crash(self) -> None:
        """As kill -9 does: nothing is saved, the lock is gone."""
        self.sampler.close()
        self.directory.__exit__(None, None, None)
        self.begin()

    def stop(self) -> None:
        self.agent.close()
        self.directory.__exit__(None, None, None)

    def restart(self) -> None:
        self.stop()
        self.begin()


def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Wait for other threads, in real time."""
    waiting = threading.Event()
    for _ in range(int(seconds / 0.001)):
        if condition():
            return True
        waiting.wait(0.001)
    return False
