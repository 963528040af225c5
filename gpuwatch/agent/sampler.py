"""Read every source with a deadline; keep its health; let nothing that hangs hold up anything else.

Every board (a device with its slices, or all devices of a source that asks once for all of them), host source and
job source has a thread of its own. A call that misses its deadline is waited for by nobody: its late answer is
dropped, and the source is asked again once it has come back.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, Protocol

from gpuwatch import hygiene
from gpuwatch.devices.base import DeviceSource
from gpuwatch.devices.checks import checked
from gpuwatch.errors import Absent, GpuwatchError, RestartRequired
from gpuwatch.host.base import Disbelieved, HostSource
from gpuwatch.jobs.base import JobSource, JobsReading, NodeView, Run
from gpuwatch.model import Device, HostReading, Labels, Reading, SourceHealth, merge_host

log = logging.getLogger("gpuwatch.agent")

SCAN_SECONDS = 60.0
RESCAN_SECONDS = 5.0
FORGET_SECONDS = 900.0
FIRST_SCAN_SECONDS = 5.0
# The host's values explain; nothing is metered from them, so they need not cost as much as the devices'.
HOST_SECONDS = 5.0


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


def _answered(call: Callable[[], Any]) -> Answer:
    began, answer = time.monotonic(), Answer()
    try:
        answer.value = call()
    except Exception as exc:  # noqa: BLE001 - the outermost loop of a source's thread: it may raise anything
        answer.error = exc
    answer.seconds = time.monotonic() - began
    return answer


class Round:
    """Calls that are waited for together; the last answer wakes the one who waits."""

    def __init__(self, names: Iterable[str]) -> None:
        self._missing = set(names)
        self._answers: dict[str, Answer] = {}
        self._lock = threading.Lock()
        self._complete = threading.Event()

    def answer(self, name: str, answer: Answer) -> None:
        """One call has ended; after `wait` has returned nobody hears of it any more."""
        with self._lock:
            self._answers[name] = answer
            self._missing.discard(name)
            if not self._missing:
                self._complete.set()

    def wait(self, timeout: float) -> dict[str, Answer]:
        """The answers that have come once all have, or the time is up."""
        if self._missing:
            self._complete.wait(max(0.0, timeout))
        with self._lock:
            return dict(self._answers)


class Worker:
    """A daemon thread that makes one call at a time."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.busy = False
        self._calls: SimpleQueue[tuple[Round, Callable[[], Any]] | None] = SimpleQueue()
        threading.Thread(target=self._work, name=name[:15], daemon=True).start()

    def ask(self, round_: Round, call: Callable[[], Any]) -> None:
        """Make the call; the answer goes to the round."""
        self.busy = True
        self._calls.put((round_, call))

    def stop(self) -> None:
        """End the thread once its call has returned."""
        self._calls.put(None)

    def _work(self) -> None:
        while (asked := self._calls.get()) is not None:
            round_, call = asked
            answer = _answered(call)
            self.busy = False
            round_.answer(self.name, answer)


class Crew:
    """Workers by name, and one round of asking them."""

    def __init__(self) -> None:
        self._workers: dict[str, Worker] = {}

    def round(self, calls: Mapping[str, Callable[[], Any]], timeout: float) -> dict[str, Answer]:
        """Make the calls side by side; a call that did not return in time, now or earlier, has no answer."""
        for name in calls:
            if name not in self._workers:
                self._workers[name] = Worker(name)
        free = [name for name in calls if not self._workers[name].busy]
        round_ = Round(free)
        for name in free:
            self._workers[name].ask(round_, calls[name])
        return round_.wait(timeout)

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
    absent: bool = False

    def succeeded(self, now: float, seconds: float) -> None:
        """The source was read."""
        if self.up is False:
            log.info("source is up again source=%s", self.source)
        self.up, self.seconds, self.last_success, self.message, self.absent = True, seconds, now, "", False

    def failed(self, message: str, error: Exception | None = None) -> None:
        """The source could not be read; an error that no source should raise is logged with where it came from."""
        if self.up is not False or self.message != message:
            bug = error if not isinstance(error, GpuwatchError) else None
            log.warning("source is down source=%s reason=%s", self.source, message, exc_info=bug)
        self.up, self.message, self.absent = False, message, False

    def not_here(self, message: str) -> None:
        """This node has nothing that the source could read."""
        if not self.absent:
            log.debug("nothing of a source is on this node source=%s reason=%s", self.source, message)
        self.absent, self.message = True, message

    def reject(self, reasons: Mapping[str, int]) -> None:
        """Values of the source were not believed."""
        for reason, count in reasons.items():
            self.rejected[reason] = self.rejected.get(reason, 0.0) + count

    def value(self) -> SourceHealth:
        """The health as a frozen value."""
        up = None if self.absent else bool(self.up)
        return SourceHealth(self.source, up, self.seconds, self.last_success, dict(self.rejected), self.message)


@dataclass(slots=True)
class Listed:
    """A device that a source lists, or listed not long ago."""

    device: Device
    source: str
    board: str
    """What is read in one thread: a slice is read after its parent, and hangs with it."""
    seen: float


@dataclass(frozen=True, slots=True)
class Sample:
    """What one tick brought in. A device that could not be read is in `readings` with None.

    `runs` are the ids of the runs that the job sources were shown.
    """

    devices: Mapping[str, Device]
    readings: Mapping[str, Reading | None]
    host: HostReading
    jobs: Mapping[str, JobsReading | None]
    runs: frozenset[str] = frozenset()


def _message(error: Exception) -> str:
    return hygiene.log(str(error) if isinstance(error, GpuwatchError) else f"{type(error).__name__}: {error}")


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
        self._had_devices: set[str] = set()
        self._first = True
        self._now = 0.0
        self._next_host = float("-inf")
        self._host_reading = HostReading(0.0)
        self.health = {name: Health(name) for name in (*devices, *host, *jobs)}

    def sample(self, now: float, wall: float, runs: Callable[[], Mapping[str, Run]]) -> Sample:
        """Read everything once; job sources are shown this tick's readings, and the `runs` of that moment."""
        self._now = now
        deadline = time.monotonic() + self._deadline_seconds
        self._scan(now, wall)
        readings = self._read(now, wall)
        devices = {uid: listed.device for uid, listed in self._listed.items()}
        read = {uid: reading for uid, reading in readings.items() if reading is not None}
        shown = runs()
        jobs = self._read_jobs(wall, NodeView(wall, devices, read, shown), deadline)
        return Sample(devices, readings, self._host_reading, jobs, frozenset(shown))

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
                self._not_scanned(name, "a scan of the devices does not return")
            elif isinstance(answer.error, Absent) and name not in self._had_devices:
                self.health[name].not_here(_message(answer.error))
                self._next_scan[name] = now + SCAN_SECONDS
            elif answer.error is not None:
                _raise_fatal(answer.error)
                self._not_scanned(name, _message(answer.error), answer.error)
            elif not answer.value:
                self._not_scanned(name, "there is no device")
            else:
                self._list(name, answer.value, now)
                self._next_scan[name] = now + SCAN_SECONDS
        for uid in [uid for uid, listed in self._listed.items() if now - listed.seen > FORGET_SECONDS]:
            self._drop(uid)

    def _not_scanned(self, name: str, message: str, error: Exception | None = None) -> None:
        """A source with devices is judged by what reading them says, once; one without has nothing else to say."""
        if all(listed.source != name for listed in self._listed.values()):
            self.health[name].failed(message, error)

    def _list(self, source: str, devices: Iterable[Device], now: float) -> None:
        self._had_devices.add(source)
        together = getattr(self._devices[source], "together", False)
        for device in devices:
            board = source if together else device.parent or device.uid
            self._listed[device.uid] = Listed(device, source, board, now)
        # A board that is not listed may be lost; a slice that is not was taken apart and has successors.
        for uid, listed in list(self._listed.items()):
            if listed.source == source and listed.device.parent is not None and listed.seen < now:
                self._drop(uid)

    def _drop(self, uid: str) -> None:
        board = self._listed.pop(uid).board
        if all(listed.board != board for listed in self._listed.values()):
            self._crew.dismiss(f"read {board}")

    def _read(self, now: float, wall: float) -> dict[str, Reading | None]:
        boards: dict[str, list[Listed]] = {}
        for listed in self._listed.values():
            boards.setdefault(listed.board, []).append(listed)
        calls: dict[str, Callable[[], Any]] = {
            f"read {board}": _bind(self._read_board, parts, wall) for board, parts in boards.items()
        }
        host_due = now >= self._next_host
        if host_due:
            self._next_host = now + HOST_SECONDS
            calls |= {f"host {name}": _bind(source.read, wall) for name, source in self._host.items()}
        answers = self._crew.round(calls, self._deadline_seconds)
        if host_due:
            parts = [self._judge_host(name, answers.get(f"host {name}"), wall) for name in self._host]
            self._host_reading = merge_host(wall, iter([part for part in parts if part is not None]))
        return self._readings(answers, wall)

    def _read_board(self, parts: Iterable[Listed], wall: float) -> dict[str, Answer]:
        """In the board's thread: what reading each of its parts came to."""
        answers = {}
        for listed in sorted(parts, key=lambda listed: listed.device.parent is not None):
            answers[listed.device.uid] = _answered(_bind(self._devices[listed.source].read, listed.device, wall))
        return answers

    def _judge(self, name: str, answer: Answer | None, wall: float) -> Any:
        health = self.health[name]
        if answer is None:
            health.failed(f"a read does not return within {self._deadline_seconds:g} s")
            return None
        if answer.error is not None:
            _raise_fatal(answer.error)
            health.failed(_message(answer.error), answer.error)
            return None
        health.succeeded(wall, answer.seconds)
        return answer.value

    def _judge_host(self, name: str, answer: Answer | None, wall: float) -> HostReading | None:
        if answer is not None and isinstance(answer.error, Absent):
            self.health[name].not_here(_message(answer.error))
            return None
        reading: HostReading | None = self._judge(name, answer, wall)
        if reading is not None:
            self.health[name].reject(reading.rejected)
        elif answer is not None and isinstance(answer.error, Disbelieved):
            self.health[name].reject(answer.error.rejected)
        return reading

    def _readings(self, answers: Mapping[str, Answer], wall: float) -> dict[str, Reading | None]:
        readings: dict[str, Reading | None] = {}
        by_source: dict[str, list[Answer | None]] = {}
        for uid, listed in self._listed.items():
            board = answers.get(f"read {listed.board}")
            answer = board.value.get(uid) if board is not None else None
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
            self.health[source].failed(_message(errors[0]), errors[0])
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
