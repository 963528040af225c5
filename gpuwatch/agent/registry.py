"""Which jobs there are on this node: when each began, what it declared, how far it is, and that it ended."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from gpuwatch.jobs.base import JobsReading, Run
from gpuwatch.meter import Holding
from gpuwatch.meter.documents import of_document
from gpuwatch.model import Allocation, Declared, Estimate, JobKey, Progress, Reading, Scope

LIMIT_WAITING = 10_000
HOUR_SECONDS = 3600.0
QUOTA_BYTES_PER_HOUR = 256_000
CHANNELS = ("file", "environment", "socket")
"""The ways of declaring on a node, each outranking those before it (docs/socket.md)."""

_MOST_SPEAKERS = 256


@dataclass(slots=True)
class Quota:
    """How much each user may have written to the journal in an hour: it is bounded, and belongs to all.

    Of a job whose user is not known, the job itself stands for him.
    """

    limit_bytes: int = QUOTA_BYTES_PER_HOUR
    _hour: int = 0
    _used: dict[int | str, int] = field(default_factory=dict)

    def take(self, who: int | str, size: int, now: float) -> bool:
        """Whether so much more fits into this hour; counted only where it does. `now` is monotonic."""
        hour = int(now // HOUR_SECONDS)
        if hour != self._hour:
            self._hour, self._used = hour, {}
        used = self._used.get(who, 0) + size
        if used > self.limit_bytes:
            return False
        self._used[who] = used
        return True


@dataclass(slots=True)
class OpenJob:
    """A job that holds a device, or may again."""

    key: JobKey
    last_held: float
    linger_seconds: float


@dataclass(slots=True)
class Said:
    """What a job said about itself; it may say it before it holds a device. `seq` is that of its progress.

    `heard` has what came last by ways that repeat themselves, `steps` how far each of its processes was.
    """

    estimates: dict[str, Estimate] = field(default_factory=dict)
    campaign: str | None = None
    campaign_channel: str = CHANNELS[0]
    progress: Progress | None = None
    seq: int = 0
    heard: dict[str, str] = field(default_factory=dict)
    steps: dict[object, float] = field(default_factory=dict)


def claims(
    readings: Mapping[str, Reading | None], jobs: Mapping[str, JobsReading | None]
) -> tuple[list[Allocation], set[str]]:
    """Who holds what, over all job sources, and the devices of which that is not fully known.

    The first source that claims a device decides about it. A device is not fully known where a source is
    silent or says so, or where nobody claims it and it could not be read.
    """
    allocations: list[Allocation] = []
    claimed: set[str] = set()
    unknown: set[str] = set(readings) if any(each is None for each in jobs.values()) else set()
    for each in jobs.values():
        if each is None:
            continue
        mine = [allocation for allocation in each.allocations if allocation.device not in claimed]
        allocations.extend(mine)
        unknown |= each.unknown - claimed
        claimed |= {allocation.device for allocation in mine}
    unknown |= {uid for uid, reading in readings.items() if reading is None and uid not in claimed}
    return allocations, unknown


class Registry:
    """The jobs of a node. Not thread-safe: the agent's lock covers it."""

    def __init__(self) -> None:
        self.open: dict[str, OpenJob] = {}
        self.runs: dict[str, Run] = {}
        self._source: dict[str, str] = {}
        self._said: dict[str, Said] = {}
        self._over: dict[JobKey, Said] = {}
        self._last_started: dict[str, int] = {}

    def hold(
        self, allocations: Iterable[Allocation], linger: Callable[[str], float], now: float, wall: float
    ) -> list[Holding]:
        """The allocations with their jobs identified; a job seen for the first time begins now."""
        holdings = []
        for allocation in allocations:
            job = self.open.get(allocation.job_id)
            if job is None:
                job = self._begin(allocation.job_id, linger(allocation.job_id), now, wall)
            job.last_held = now
            holdings.append(Holding(job.key, allocation.device, allocation.share, allocation.basis))
        return holdings

    def _begin(self, job_id: str, linger_seconds: float, now: float, wall: float) -> OpenJob:
        # Two lives of one id must not share a key, also where the first ended within this second.
        started = max(int(wall), self._last_started.get(job_id, 0) + 1)
        self._last_started[job_id] = started
        _trim(self._last_started)
        job = self.open[job_id] = OpenJob(JobKey(job_id, started), now, linger_seconds)
        return job

    def see(self, jobs: Mapping[str, JobsReading | None]) -> set[str]:
        """The jobs and runs that may still live, by what their own sources say now.

        A job lives while the source that knew it last lists it, or does not answer: a source that is down
        neither ends its jobs nor keeps those of others.
        """
        for source, told in jobs.items():
            for job_id in _listed(told):
                self._source[job_id] = source
        known = {*self.open, *self.runs}
        self._source = {job_id: source for job_id, source in self._source.items() if job_id in known}
        listed = set().union(*(_listed(told) for told in jobs.values()))
        silent = {source for source, told in jobs.items() if told is None}
        return listed | {job_id for job_id in known if silent and self._source.get(job_id) in {*silent, None}}

    def ended(self, alive: Collection[str], now: float) -> list[JobKey]:
        """Jobs that hold nothing, are not alive, and have lingered long enough; they are closed by this."""
        gone = [
            job
            for job_id, job in self.open.items()
            if job_id not in alive and job.last_held < now and now - job.last_held >= job.linger_seconds
        ]
        for job in gone:
            del self.open[job.key.job_id]
            if job.key.job_id in self._said:
                self._over[job.key] = self._said.pop(job.key.job_id)
        return [job.key for job in gone]

    def end(self, jobs: Iterable[JobKey]) -> None:
        """Close jobs of which it is known that they have ended; their keys are not given again."""
        for key in jobs:
            if self.key_of(key.job_id) == key:
                self._over[key] = self._said.pop(key.job_id, Said())
                del self.open[key.job_id]
            self._last_started[key.job_id] = max(key.started, self._last_started.get(key.job_id, 0))

    def forget(self, key: JobKey) -> None:
        """Drop what an ended job said, once nobody shows it any more."""
        self._over.pop(key, None)

    def said(self, job_id: str) -> Said:
        """What a job said so far, to be added to."""
        said = self._said.setdefault(job_id, Said())
        _trim(self._said, self.open)
        return said

    def latest(self, job_id: str) -> tuple[JobKey | None, Said]:
        """The job that has this id now, else the last that had it, while its end is shown; with what it said."""
        over = [key for key in self._over if key.job_id == job_id]
        if job_id in self.open or job_id in self._said or not over:
            return self.key_of(job_id), self.said(job_id)
        key = max(over, key=lambda each: each.started)
        return key, self._over[key]

    def report(
        self, said: Said, step: float, total: float, wall: float, seq: int, speaker: object = None
    ) -> Progress:
        """Note how far a job is, as its process `speaker` says; the first step it reports is where it began."""
        said.progress, said.seq = reported(said, step, total, wall, speaker), seq
        return said.progress

    def declare(
        self, said: Said, estimates: Iterable[Estimate], campaign: str | None, channel: str = "socket"
    ) -> None:
        """Note what a job declared for itself: on each quantity the best channel's word stands, its latest."""
        if campaign is not None and (said.campaign is None or _outranks(channel, said.campaign_channel)):
            said.campaign, said.campaign_channel = campaign, channel
        for estimate in estimates:
            before = said.estimates.get(estimate.quantity)
            if before is None or _outranks(channel, before.channel):
                said.estimates[estimate.quantity] = estimate

    def key_of(self, job_id: str) -> JobKey | None:
        """The key of an open job; None where it has not held a device yet."""
        job = self.open.get(job_id)
        return job.key if job is not None else None

    def progress_since(self, seq: int) -> list[tuple[str, JobKey | None, Said]]:
        """Jobs whose progress changed after `seq`, also those that ended meanwhile."""
        current = [(job_id, self.key_of(job_id), said) for job_id, said in self._said.items()]
        over = [(key.job_id, key, said) for key, said in self._over.items()]
        return [each for each in (*over, *current) if each[2].seq > seq and each[2].progress]

    def declared(self, keys: Iterable[JobKey]) -> dict[JobKey, Declared]:
        """The current numbers of the given jobs, where they have any."""
        told = {}
        for key in keys:
            said = self._said.get(key.job_id) if self.key_of(key.job_id) == key else self._over.get(key)
            if said is not None:
                told[key] = Declared(key, tuple(said.estimates.values()), said.progress, said.campaign)
        return told

    def document(self) -> dict[str, Any]:
        """Everything as JSON."""
        return {
            "open": [[*job.key, job.last_held, job.linger_seconds] for job in self.open.values()],
            "runs": [asdict(run) for run in self.runs.values()],
            "said": {job_id: _said_document(said) for job_id, said in self._said.items()},
            "last_started": self._last_started,
        }

    def restore(self, document: Mapping[str, Any]) -> None:
        """Go on from a document of an earlier life."""
        for job_id, started, last_held, linger_seconds, *_ in document.get("open", ()):
            self.open[job_id] = OpenJob(JobKey(job_id, started), last_held, linger_seconds)
        for run in document.get("runs", ()):
            self.runs[run["job_id"]] = of_document(Run, run)
        for job_id, said in document.get("said", {}).items():
            self._said[job_id] = _said(said)
        self._last_started.update(document.get("last_started", {}))


def reported(said: Said, step: float, total: float, wall: float, speaker: object = None) -> Progress:
    """How far a job is once one of its processes, `speaker`, says so; the job's first step is where it began.

    Lost is what a process itself went back, or how far a new one begins behind where the job was: several that
    report side by side are a step or so apart all the time, and lose nothing by it.
    """
    before = said.progress
    reached = said.steps.pop(speaker, before.step if before is not None else step)
    said.steps[speaker] = step
    while len(said.steps) > _MOST_SPEAKERS:
        del said.steps[next(iter(said.steps))]
    if before is None:
        return Progress(step, total, step, wall, best=step, lost=0.0)
    best = max(step, before.step, before.best or 0.0)
    lost = (before.lost or 0.0) + max(0.0, reached - step)
    return Progress(step, total, before.start_step, wall, best, lost)


def _outranks(channel: str, other: str) -> bool:
    """Whether a word counts against an earlier one."""
    rank = {name: place for place, name in enumerate(CHANNELS)}
    return rank.get(channel, -1) >= rank.get(other, -1)


def _listed(told: JobsReading | None) -> set[str]:
    return {*told.alive, *(allocation.job_id for allocation in told.allocations)} if told is not None else set()


def _trim(known: dict[str, Any], kept: Collection[str] = ()) -> None:
    """Anybody may make up jobs: of those that are only talked about, the oldest go first."""
    while len(known) > LIMIT_WAITING:
        oldest = next((job_id for job_id in known if job_id not in kept), None)
        if oldest is None:
            return
        del known[oldest]


def _said_document(said: Said) -> dict[str, Any]:
    return {
        "estimates": [asdict(estimate) for estimate in said.estimates.values()],
        "campaign": said.campaign,
        "campaign_channel": said.campaign_channel,
        "progress": asdict(said.progress) if said.progress else None,
        "seq": said.seq,
        "heard": said.heard,
    }


def _said(document: Mapping[str, Any]) -> Said:
    told = [{**each, "scope": Scope(*each["scope"][:2])} for each in document.get("estimates", ())]
    estimates = {each.quantity: each for each in (of_document(Estimate, each) for each in told)}
    progress = of_document(Progress, document["progress"]) if document.get("progress") else None
    # An earlier program knew of the socket alone.
    channel = document.get("campaign_channel", CHANNELS[-1])
    heard = dict(document.get("heard", {}))
    return Said(estimates, document.get("campaign"), channel, progress, document.get("seq", 0), heard)
