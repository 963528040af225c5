"""Read every source with a deadline; keep its health; let nothing that hangs hold up anything else.

Every device, host source and job source has a thread of its own. A call that misses its deadline is waited
for by nobody: its late answer is dropped, and the source is asked again once it has come back.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from gpuwatch.devices.base import DeviceSource
from gpuwatch.devices.checks import checked
from gpuwatch.errors import GpuwatchError, RestartRequired
from gpuwatch.host.base import HostSource
from gpuwatch.jobs.base import JobSource, JobsReading, NodeView, Run
from gpuwatch.model import Device, HostReading, Labels, Reading, SourceHealth, merge_host

log = logging.getLogger("gpuwatch.agent")

SCAN_SECONDS = 60.0
RESCAN_SECONDS = 5.0
FORGET_SECONDS = 900.0
FIRST_SCAN_SECONDS = 5.0


class Clock(Protocol):
    """Two clocks: one that only goes forward, and the wall's, which is a label."""

    def monotonic(self) -> float: ...
    def time(self) -> float: ...


@dataclass(slots=True)
class Answer:
    """How one call ended: a value or an error, and how long it took."""

    value: Any = None
    error: Exception | None = None
    seconds: float = 0.0


class Worker:
    """A daemon thread that makes one call at a time."""

    def __init__(self, name: str, answers: SimpleQueue[tuple[Worker, int, Answer]]) -> None:
        self.name = name
        self.token = 0
        self.busy = False
        self.asked_at = 0.0
        self._answers = answers
        self._calls: SimpleQueue[tuple[int, Callable[[], Any]] | None] = SimpleQueue()
        threading.Thread(target=self._work, name=name[:15], daemon=True).start()

    def ask(self, call: Callable[[], Any]) -> None:
        """Make the call; the answer comes by the queue with the token that `token` has now."""
        self.token += 1
        self.busy = True
        self.asked_at = time.monotonic()
        self._calls.put((self.token, call))

    def stop(self) -> None:
        """End the thread once its call has returned."""
        self._calls.put(None)

    def _work(self) -> None:
        while (asked := self._calls.get()) is not None:
            token, call = asked
            began = time.monotonic()
            answer = Answer()
            try:
                answer.value = call()
            except Exception as exc:  # noqa: BLE001 - the outermost loop of this thread: a source may raise anything
                answer.error = exc
            answer.seconds = time.monotonic() - began
            self._answers.put((self, token, answer))


class Crew:
    """Workers by name, and one round of asking them."""

    def __init__(self) -> None:
        self._answers: SimpleQueue[tuple[Worker, int, Answer]] = SimpleQueue()
        self._workers: dict[str, Worker] = {}

    def round(self, calls: Mapping[str, Callable[[], Any]], timeout: float) -> dict[str, Answer]:
        """Make the calls side by side; a call that did not return in time, now or earlier, has no answer."""
        self._drain()
        waiting: dict[tuple[str, int], None] = {}
        for name, call in calls.items():
            worker = self._workers.get(name)
            if worker is None:
                worker = self._workers[name] = Worker(name, self._answers)
            if not worker.busy:
                worker.ask(call)
                waiting[(name, worker.token)] = None
        return self._collect(waiting, time.monotonic() + timeout)

    def _collect(self, waiting: dict[tuple[str, int], None], deadline: float) -> dict[str, Answer]:
        answers: dict[str, Answer] = {}
        while waiting:
            try:
                worker, token, answer = self._answers.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                break
            worker.busy = False
            if (worker.name, token) in waiting:
                del waiting[(worker.name, token)]
                answers[worker.name] = answer
        return answers

    def _drain(self) -> None:
        while True:
            try:
                worker, _token, _answer = self._answers.get_nowait()
            except Empty:
                return
            worker.busy = False

    def hung_seconds(self, name: str) -> float:
        """How long the current call of a worker has been out; 0 where it is not."""
        worker = self._workers.get(name)
        return time.monotonic() - worker.asked_at if worker is not None and worker.busy else 0.0

    def dismiss(self, name: str) -> None:
        """Stop a worker that is not needed any more."""
        worker = self._workers.pop(name, None)
        if worker is not None:
            worker.stop()

    def stop(self) -> None:
        """Stop all workers; one that hangs is left behind, as a daemon thread."""
        for name in list(self._workers):
            self.dismiss(name)


@dataclass(slots=True)
class Health:
    """A source's health as it is kept between ticks; said in the log only when it changes."""

    source: str
    up: bool | None = None
    seconds: float | None = None
    last_success: float | None = None
    rejected: dict[Labels, float] = field(default_factory=dict)
    message: str = ""

    def succeeded(self, now: float, seconds: float) -> None:
        """The source was read."""
        if self.up is False:
            log.info("source is up again source=%s", self.source)
        self.up, self.seconds, self.last_success, self.message = True, seconds, now, ""

    def failed(self, message: str) -> None:
        """The source could not be read."""
        if self.up is not False or self.message != message:
            log.warning("source is down source=%s reason=%s", self.source, message)
        self.up, self.message = False, message

    def reject(self, reasons: Mapping[str, int]) -> None:
        """Values of the source were not believed."""
        for reason, count in reasons.items():
            self.rejected[reason] = self.rejected.get(reason, 0.0) + count

    def value(self) -> SourceHealth:
        """The health as a frozen value."""
        return SourceHealth(
            self.source, bool(self.up), self.seconds, self.last_success, dict(self.rejected), self.message
        )


@dataclass(slots=True)
class Listed:
    """A device that a source lists, or listed not long ago."""

    device: Device
    source: str
    seen: float


@dataclass(frozen=True, slots=True)
class Sample:
    """What one tick brought in. A device that could not be read is in `readings` with None."""

    devices: Mapping[str, Device]
    readings: Mapping[str, Reading | None]
    host: HostReading
    jobs: Mapping[str, JobsReading | None]


def _message(error: Exception) -> str:
    return str(error) if isinstance(error, GpuwatchError) else f"{type(error).__name__}: {error}"


class Sampler:
    """All sources of a node. `sample` is called in one thread, once a tick."""

    def __init__(
        self,
        devices: Mapping[str, DeviceSource],
        host: Mapping[str, HostSource],
        jobs: Mapping[str, JobSource],
        deadline_seconds: float = 0.8,
    ) -> None:
        self.job_sources = jobs
        self._devices = devices
        self._host = host
        self._deadline_seconds = deadline_seconds
        self._crew = Crew()
        self._listed: dict[str, Listed] = {}
        self._next_scan: dict[str, float] = dict.fromkeys(devices, float("-inf"))
        self._first = True
        self._now = 0.0
        self.health = {name: Health(name) for name in (*devices, *host, *jobs)}

    def sample(self, now: float, wall: float, runs: Callable[[], Mapping[str, Run]]) -> Sample:
        """Read everything once; job sources are shown this tick's readings, and the `runs` of that moment."""
        self._now = now
        deadline = time.monotonic() + self._deadline_seconds
        self._scan(now, wall)
        readings, host = self._read(wall)
        devices = {uid: listed.device for uid, listed in self._listed.items()}
        read = {uid: reading for uid, reading in readings.items() if reading is not None}
        jobs = self._read_jobs(wall, NodeView(wall, devices, read, runs()), deadline)
        return Sample(devices, readings, host, jobs)

    def close(self) -> None:
        """Close the device sources, each within a second, and stop the threads."""
        self._crew.round({f"scan {name}": source.close for name, source in self._devices.items()}, timeout=1.0)
        self._crew.stop()

    def _scan(self, now: float, wall: float) -> None:
        due = [name for name, at in self._next_scan.items() if now >= at]
        calls = {f"scan {name}": _bind(self._devices[name].scan, wall) for name in due}
        timeout = FIRST_SCAN_SECONDS if self._first else self._deadline_seconds / 2
        self._first = False
        answers = self._crew.round(calls, timeout) if calls else {}
        for name in due:
            answer = answers.get(f"scan {name}")
            self._next_scan[name] = now + RESCAN_SECONDS
            if answer is None:
                self.health[name].failed("a scan of the devices does not return")
            elif answer.error is not None:
                _raise_fatal(answer.error)
                self.health[name].failed(_message(answer.error))
            else:
                self._list(name, answer.value, now)
                self._next_scan[name] = now + SCAN_SECONDS
        for uid in [uid for uid, listed in self._listed.items() if now - listed.seen > FORGET_SECONDS]:
            self._crew.dismiss(f"read {uid}")
            del self._listed[uid]

    def _list(self, source: str, devices: Iterable[Device], now: float) -> None:
        for device in devices:
            self._listed[device.uid] = Listed(device, source, now)

    def _read(self, wall: float) -> tuple[dict[str, Reading | None], HostReading]:
        calls: dict[str, Callable[[], Any]] = {}
        for uid, listed in self._listed.items():
            calls[f"read {uid}"] = _bind(self._devices[listed.source].read, listed.device, wall)
        for name, source in self._host.items():
            calls[f"host {name}"] = _bind(source.read, wall)
        answers = self._crew.round(calls, self._deadline_seconds)
        readings = self._readings(answers, wall)
        parts = [self._judge(name, answers.get(f"host {name}"), wall) for name in self._host]
        return readings, merge_host(wall, iter([part for part in parts if part is not None]))

    def _judge(self, name: str, answer: Answer | None, wall: float) -> Any:
        health = self.health[name]
        if answer is None:
            health.failed(f"a read does not return within {self._deadline_seconds:g} s")
            return None
        if answer.error is not None:
            _raise_fatal(answer.error)
            health.failed(_message(answer.error))
            return None
        health.succeeded(wall, answer.seconds)
        return answer.value

    def _readings(self, answers: Mapping[str, Answer], wall: float) -> dict[str, Reading | None]:
        readings: dict[str, Reading | None] = {}
        by_source: dict[str, list[Answer | None]] = {}
        for uid, listed in self._listed.items():
            answer = answers.get(f"read {uid}")
            by_source.setdefault(listed.source, []).append(answer)
            readings[uid] = None
            if answer is not None and answer.error is None:
                reading, rejected = checked(answer.value)
                readings[uid] = reading
                if rejected:
                    self.health[listed.source].reject(rejected)
        for source, told in by_source.items():
            self._judge_devices(source, told, wall)
        return readings

    def _judge_devices(self, source: str, told: list[Answer | None], wall: float) -> None:
        """A source is up while one of its devices answers; which do not is said by the devices themselves."""
        good = [answer for answer in told if answer is not None and answer.error is None]
        errors = [answer.error for answer in told if answer is not None and answer.error is not None]
        for error in errors:
            _raise_fatal(error)
        if good:
            self.health[source].succeeded(wall, max(answer.seconds for answer in good))
        elif errors:
            self.health[source].failed(_message(errors[0]))
        else:
            self.health[source].failed(f"no device answers within {self._deadline_seconds:g} s")
        if len(good) < len(told):
            self._next_scan[source] = min(self._next_scan[source], self._now + RESCAN_SECONDS)

    def _read_jobs(self, wall: float, view: NodeView, deadline: float) -> dict[str, JobsReading | None]:
        calls = {f"jobs {name}": _bind(source.read, view) for name, source in self.job_sources.items()}
        # Device reads may have used the time up; the job sources still get a little.
        answers = self._crew.round(calls, max(0.1, deadline - time.monotonic()))
        return {name: self._judge(name, answers.get(f"jobs {name}"), wall) for name in self.job_sources}


def _bind(call: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    return lambda: call(*arguments)


def _raise_fatal(error: Exception) -> None:
    if isinstance(error, RestartRequired):
        raise error
