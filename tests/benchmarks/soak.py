"""The agent through a busy shift: jobs come and go, devices get lost, scrapes and readers come; does it grow?

`make bench SOAK=1800` runs it for so many seconds. The first part is left out of the slope: what ended is shown
for fifteen minutes, so that what is kept grows until then.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.node import DEVICES, start, status
from tests.fake_nvml import FakeNvml

# Not more often: what one user may put into the journal in an hour is bounded, and a refused job is none.
JOB_EVERY, JOB_LASTS = 15.0, 60.0
SCRAPE_EVERY, USAGE_EVERY, LOOK_EVERY = 15.0, 60.0, 5.0
LOST_EVERY, LOST_LASTS = 120.0, 15.0
XID_EVERY, RELOAD_EVERY = 30.0, 300.0
KEPT_SECONDS = 960.0


@dataclass(slots=True)
class Every:
    """Calls something at fixed intervals of the monotonic clock."""

    seconds: float
    call: Callable[[], None]
    next: float = field(default_factory=time.monotonic)

    def tick(self, now: float) -> None:
        """Call it where it is due."""
        if now >= self.next:
            self.next += self.seconds
            self.call()


class Jobs:
    """Jobs one after another, each a process that registers itself, holds a device, reports, and ends."""

    def __init__(self, path: Path, fake: FakeNvml) -> None:
        self._path = str(path)
        self._fake = fake
        self._running: dict[int, tuple[int, float]] = {}
        self.begun = 0

    def begin(self) -> None:
        """One more, on the next device."""
        device = self.begun % DEVICES
        self.begun += 1
        pid = os.fork()
        if pid == 0:
            _live(self._path, f"job-{self.begun}")
        self._running[pid] = device, time.monotonic() + JOB_LASTS
        self._show()

    def end_due(self) -> None:
        """End those that are old enough, and wait for them."""
        for pid, (_, until) in list(self._running.items()):
            if time.monotonic() >= until:
                self._end(pid)
        self._show()

    def end_all(self) -> None:
        """End them all."""
        for pid in list(self._running):
            self._end(pid)

    def _end(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        del self._running[pid]

    def _show(self) -> None:
        for number, device in enumerate(self._fake.devices):
            holders = [pid for pid, (held, _) in self._running.items() if held == number]
            device.processes(*((pid, 1 << 30) for pid in holders))
            device.load(0.9 if holders else 0.0)
            device.power_watts = 500.0 if holders else 70.0


def _live(path: str, name: str) -> None:
    """What a job's process does: never returns."""
    try:
        with socket.socket(socket.AF_UNIX) as agent:
            agent.connect(path)
            file = agent.makefile("rw")
            for message in (
                {"type": "run", "name": name},
                {"type": "declare", "text": "device-hours=0.1 energy=50Wh"},
                *({"type": "progress", "step": step, "total": 12} for step in range(12)),
            ):
                file.write(json.dumps(message) + "\n")
                file.flush()
                file.readline()
                time.sleep(JOB_LASTS / 20)
        signal.pause()
    finally:
        os._exit(0)


class Reader:
    """What accounting and Prometheus do."""

    def __init__(self, address: str) -> None:
        self._url = f"http://{address}"
        self._seq = 0

    def scrape(self) -> None:
        """Read the metrics once, on a connection of its own."""
        with urllib.request.urlopen(f"{self._url}/metrics", timeout=10) as answer:
            answer.read()

    def take(self) -> None:
        """Read what is new and acknowledge it."""
        with urllib.request.urlopen(f"{self._url}/api/v1/usage?since={self._seq}", timeout=10) as answer:
            self._seq = json.load(answer)["seq"]
        body = json.dumps({"seq": self._seq}).encode()
        with urllib.request.urlopen(f"{self._url}/api/v1/ack", body, timeout=10) as answer:
            answer.read()


class Faults:
    """A device that gets lost and comes back, XIDs, and a driver that is loaded anew."""

    def __init__(self, fake: FakeNvml) -> None:
        self._fake = fake
        self._back = float("inf")
        self._xids = 0

    def lose(self) -> None:
        """Lose the last device for a while."""
        self._fake.devices[-1].lose()
        self._back = time.monotonic() + LOST_LASTS

    def bring_back(self) -> None:
        """Bring it back where its time has come."""
        if time.monotonic() >= self._back:
            self._back = float("inf")
            self._fake.devices[-1].restore()

    def report(self) -> None:
        """Report an XID."""
        self._xids += 1
        self._fake.raise_event(self._fake.devices[self._xids % DEVICES], 31 + self._xids % 5)


@dataclass(frozen=True, slots=True)
class Look:
    """The process at one moment."""

    time: float
    resident: int
    threads: int
    descriptors: int


def look(pid: int) -> Look:
    """How large the process is now."""
    descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return Look(time.monotonic(), status(pid, "VmRSS"), status(pid, "Threads"), descriptors)


def slope(looks: list[Look]) -> float:
    """Bytes per second by which memory grows, by least squares."""
    times = [each.time for each in looks]
    mean_time, mean_size = sum(times) / len(times), sum(each.resident for each in looks) / len(looks)
    spread = sum((each - mean_time) ** 2 for each in times)
    return sum((each.time - mean_time) * (each.resident - mean_size) for each in looks) / spread


def figures(looks: list[Look], jobs: int) -> Mapping[str, float]:
    """What is reported: growth after the time for which ended jobs are kept, at most half of the whole."""
    length = looks[-1].time - looks[0].time
    late = [each for each in looks if each.time - looks[0].time >= min(KEPT_SECONDS, length / 2)]
    third = max(1, len(late) // 3)
    first, last = late[:third], late[-third:]
    return {
        "soak_seconds": round(length, 1),
        "soak_jobs": jobs,
        "soak_rss_bytes_max": max(each.resident for each in looks),
        "soak_rss_slope_bytes_per_hour": round(3600 * slope(late)),
        "soak_threads_growth": max(each.threads for each in last) - max(each.threads for each in first),
        "soak_descriptors_growth": max(each.descriptors for each in last)
        - max(each.descriptors for each in first),
    }


@contextmanager
def running(directory: Path, fake: FakeNvml) -> Iterator[tuple[int, str]]:
    """The agent's pid and address."""
    process, address = start(directory, fake)
    try:
        yield process.pid, address
    finally:
        process.terminate()
        process.communicate(timeout=15)


def measure(duration: float) -> Mapping[str, float]:
    """Run it for so many seconds; figures by name."""
    with tempfile.TemporaryDirectory() as name:
        fake = FakeNvml(Path(name) / "nvml", DEVICES)
        with running(Path(name), fake) as (pid, address):
            jobs, reader, faults = Jobs(Path(name) / "agent.sock", fake), Reader(address), Faults(fake)
            looks: list[Look] = []
            duties = [
                Every(JOB_EVERY, jobs.begin),
                Every(1.0, jobs.end_due),
                Every(SCRAPE_EVERY, reader.scrape),
                Every(USAGE_EVERY, reader.take),
                Every(LOST_EVERY, faults.lose),
                Every(1.0, faults.bring_back),
                Every(XID_EVERY, faults.report),
                Every(RELOAD_EVERY, fake.reload_driver),
                Every(LOOK_EVERY, lambda: looks.append(look(pid))),
            ]
            until = time.monotonic() + duration
            try:
                while (now := time.monotonic()) < until:
                    for duty in duties:
                        duty.tick(now)
                    time.sleep(0.1)
            finally:
                jobs.end_all()
            return figures(looks, jobs.begun)
