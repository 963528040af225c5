"""A job as the ledger has it: its attempts, what it was allocated, held and used, and what it declared. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from gpuwatch.ledger import attempts, scopes
from gpuwatch.ledger.attempts import Attempt, Chain
from gpuwatch.ledger.comments import NO_NODE, commented
from gpuwatch.ledger.facts import Facts, Line
from gpuwatch.ledger.ledger import NOT_STARTED, JournalEntry, JournalId, RunEvent, merge_progress
from gpuwatch.ledger.records import allocated_seconds, comments_of
from gpuwatch.ledger.scopes import Life, Revision
from gpuwatch.model import EMPTY, Estimate, Progress, Scope, Usage
from gpuwatch.schedulers.base import Record

UNSEEN_SECONDS = 900.0
"""After how long without news a job that did not end is called unseen."""

LOST_SECONDS = 86_400.0
"""After how long without news a job that did not end is taken to have ended when it was last seen."""

_NOTHING = Usage()

State = Literal["running", "waiting", "unseen", "ended"]
"""`waiting` is a job that ran and waits in the queue to run again."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one attempt of a job, or parts of it side by side, used; `allocated_seconds` are device-seconds."""

    started: int
    last_seen: float
    usage: Usage
    allocated_seconds: float | None = None
    outcome: str = ""
    held_besides_seconds: float = 0.0
    """What was held by those of its parts of which the batch system does not know the devices."""
    lines: tuple[Line, ...] = ()
    """What agents saw; a line is open only in the epoch that its node is in."""
    progress: Progress | None = None

    @property
    def device_seconds(self) -> float:
        """What it is charged: allocated device-seconds, and held ones where no batch system says."""
        if self.allocated_seconds is None:
            return self.usage.held_seconds
        return self.allocated_seconds + self.held_besides_seconds


@dataclass(frozen=True, slots=True)
class Part:
    """One attempt of one job id, with what agents saw of it."""

    attempt: Attempt
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """One job with all its attempts, nodes and devices. `last_seen` is its end where it has ended.

    `allocated_seconds` are device-seconds by the batch system's word, None where it says nothing of the job;
    `usage.held_seconds` is what nodes saw. `progress` is that of the latest run. `job_ids` are those of its parts.
    `devices` and `by_device` are empty where the ledger was not read device by device.
    """

    scope: Scope
    cluster: str
    job_id: str
    started: int
    last_seen: float
    state: State
    nodes: tuple[str, ...]
    devices: tuple[str, ...]
    models: tuple[str, ...]
    usage: Usage
    by_device: Mapping[str, Usage] = field(default_factory=dict)
    name: str | None = None
    uid: int | None = None
    exit_code: int | None = None
    campaign: str | None = None
    progress: Progress | None = None
    revisions: tuple[Revision, ...] = ()
    runs: tuple[Run, ...] = ()
    allocated_seconds: float | None = None
    record: Record | None = None
    job_ids: frozenset[str] = frozenset()
    parts: tuple[Part, ...] = ()
    tags: Mapping[str, str] = EMPTY

    @property
    def estimates(self) -> dict[str, Estimate]:
        """What is declared for the job and in force, by quantity."""
        return {each.estimate.quantity: each.estimate for each in self.revisions if each.in_force}

    @property
    def wall_seconds(self) -> float:
        """From its first to its last sight."""
        return max(0.0, self.last_seen - self.started)

    @property
    def device_seconds(self) -> float:
        """What it is charged: the sum over its runs of what each is charged."""
        return sum(run.device_seconds for run in self.runs) if self.runs else self.usage.held_seconds

    @property
    def display(self) -> str:
        """What its users call it: the batch system's way to write its id, where it has one."""
        written = self.record.facts.display if self.record is not None else ""
        return written if written and self.scope.name == self.job_id else self.scope.name


@dataclass(frozen=True, slots=True)
class Campaign:
    """All that ever ran for one purpose, with what is declared for it as a whole."""

    scope: Scope
    jobs: tuple[Job, ...]
    revisions: tuple[Revision, ...] = ()

    @property
    def estimates(self) -> dict[str, Estimate]:
        """What is declared for the campaign and in force, by quantity."""
        return {each.estimate.quantity: each.estimate for each in self.revisions if each.in_force}

    @property
    def usage(self) -> Usage:
        """What its jobs used, with failed and repeated ones."""
        return sum((job.usage for job in self.jobs), Usage())

    @property
    def allocated_seconds(self) -> float | None:
        """Device-seconds that batch systems allocated to its jobs; None where they say nothing of any."""
        known = [job.allocated_seconds for job in self.jobs if job.allocated_seconds is not None]
        return sum(known) if known else None

    @property
    def device_seconds(self) -> float:
        """What its jobs are charged."""
        return sum(job.device_seconds for job in self.jobs)

    @property
    def started(self) -> int:
        """When its first job began."""
        return min(job.started for job in self.jobs)

    @property
    def last_seen(self) -> float:
        """When its last job was last seen."""
        return max(job.last_seen for job in self.jobs)

    @property
    def wall_seconds(self) -> float:
        """From its first job's start to its last one's end."""
        return max(0.0, self.last_seen - self.started)

    @property
    def state(self) -> State:
        """That of its liveliest job."""
        states: dict[str, State] = {job.state: job.state for job in self.jobs}
        return next((states[each] for each in ("running", "waiting", "unseen") if each in states), "ended")


def used(scope: Job | Campaign, quantity: str) -> float | None:
    """What a scope used so far of a quantity, in its base unit; None where that is not known."""
    if quantity == "device-hours":
        return scope.device_seconds
    if quantity == "energy":
        return scope.usage.joules if scope.usage.energy_joules else None
    return scope.wall_seconds if quantity == "wall" else None


def jobs_in(facts: Facts, now: float) -> Iterator[Job]:
    """Every job that the facts tell of."""
    keys = {*facts.sights, *facts.records}
    by_id = {
        key: attempts.attempts(*key, facts.sights.get(key, ()), facts.records.get(key, ()), now) for key in keys
    }
    found = attempts.chains(
        (attempt for those in by_id.values() for attempt in those),
        (record for those in facts.records.values() for record in those),
    )
    for name, chain in attempts.named(found):
        yield _Reader(facts, by_id, chain, now).job(name)


class _Reader:
    """Puts one job together out of the facts about its attempts."""

    def __init__(
        self, facts: Facts, by_id: Mapping[tuple[str, str], Sequence[Attempt]], chain: Chain, now: float
    ) -> None:
        self._facts = facts
        self._by_id = by_id
        self._chain = chain
        self._now = now
        self._lines = {id(attempt): self._lines_of(attempt) for attempt in chain.attempts}

    def job(self, name: str) -> Job:
        """The job under its name."""
        chain, lines = self._chain, [line for those in self._lines.values() for line in those]
        by_device = _by_device(lines)
        entries = list(self._entries())
        began, ended = self._registered()
        state = self._state(lines)
        by_time = chain.runs()
        runs = tuple(self._run(parts) for parts in by_time)
        record = chain.attempts[-1].record
        last_seen = ended.time if ended and state == "ended" else max(each.last_seen for each in chain.attempts)
        life = Life(chain.started, last_seen if state == "ended" else None)
        job_ids = frozenset(attempt.job_id for attempt in chain.attempts)
        return Job(
            scope=Scope("job", name),
            cluster=chain.cluster,
            job_id=chain.whole,
            started=chain.started,
            last_seen=last_seen,
            state=state,
            nodes=self._nodes(lines),
            devices=tuple(by_device),
            models=tuple(sorted({line.model for line in lines} - {""})),
            usage=_usage(lines),
            by_device=by_device,
            name=began.name if began else (record.facts.name or None) if record else None,
            uid=began.uid if began else _uid(entries),
            exit_code=ended.exit_code if ended else record.facts.exit_code if record else None,
            campaign=scopes.campaign_of(entries),
            progress=runs[-1].progress,
            revisions=_own_revisions(job_ids, name, entries, life),
            runs=runs,
            allocated_seconds=_sum_known(run.allocated_seconds for run in runs),
            record=record,
            job_ids=job_ids,
            parts=tuple(Part(attempt, tuple(self._lines[id(attempt)])) for attempt in chain.attempts),
            tags=scopes.tags_of(entries) if entries else EMPTY,
        )

    def _lines_of(self, attempt: Attempt) -> list[Line]:
        lines = self._facts.lines.get((attempt.cluster, attempt.job_id), ())
        return [line for line in lines if line.started in attempt.starts]

    def _run(self, parts: Sequence[Attempt]) -> Run:
        lines = [line for attempt in parts for line in self._lines[id(attempt)]]
        allocated = [self._allocated(attempt) for attempt in parts]
        besides = [
            line
            for attempt, seconds in zip(parts, allocated, strict=True)
            if seconds is None
            for line in self._lines[id(attempt)]
        ]
        last_seen = max(attempt.last_seen for attempt in parts)
        outcome = parts[-1].record.facts.state if parts[-1].record else ""
        return Run(
            parts[0].started, last_seen, _usage(lines), _sum_known(allocated), outcome,
            _usage(besides).held_seconds, tuple(map(self._told, lines)), self._progress(parts),
        )  # fmt: skip

    def _told(self, line: Line) -> Line:
        return replace(line, open=False) if line.open and not self._is_open(line) else line

    def _allocated(self, attempt: Attempt) -> float | None:
        return None if attempt.record is None else allocated_seconds(attempt.record, self._now)

    def _nodes(self, lines: Iterable[Line]) -> tuple[str, ...]:
        found = {line.node for line in lines}
        for attempt in self._chain.attempts:
            if attempt.record is not None:
                found.update(attempt.record.facts.nodes)
        return tuple(sorted(found))

    def _entries(self) -> Iterator[tuple[JournalId, JournalEntry]]:
        """What was said about these attempts: at the nodes' sockets, over the API, and in comments.

        A comment that all parts and attempts of a job carry was made once, with the first of them; the journal has
        those that were changed (`comments.py`).
        """
        comments: set[tuple[str, str]] = set()
        for attempt in self._chain.attempts:
            key = attempt.cluster, attempt.job_id
            for journal, entry in self._facts.journal.get(key, ()):
                its = attempts.attempt_at(self._by_id[key], entry.started, entry.time) is attempt
                if its and not (journal.node == NO_NODE and self._is_of_another(attempt, entry)):
                    comments.add((entry.channel, entry.text))
                    yield journal, entry
            for said in comments_of(attempt.record) if attempt.record is not None else ():
                if attempt.record is not None and said not in comments:
                    comments.add(said)
                    yield commented(attempt.record, *said, float(attempt.record.key.submitted))

    def _is_of_another(self, attempt: Attempt, entry: JournalEntry) -> bool:
        """Whether it was said for another job, which was given the id later, and has not started."""
        if entry.started != NOT_STARTED:
            return False
        records = self._facts.records.get((attempt.cluster, attempt.job_id), ())
        return any(
            record.facts.started is None
            and attempt.last_seen < record.key.submitted <= entry.time
            and not attempts.continues(attempt.record, record)
            for record in records
        )

    def _registered(self) -> tuple[RunEvent | None, RunEvent | None]:
        """The begin and the end of a `gpuwatch run`."""
        events = self._facts.runs.get((self._chain.cluster, self._chain.whole), EMPTY)
        return events.get("run_started"), events.get("run_ended")

    def _state(self, lines: Iterable[Line]) -> State:
        """What the batch system says last decides; nodes decide where there is none."""
        if self._chain.waiting is not None:
            return "waiting"
        recorded = [attempt for attempt in self._chain.attempts if attempt.record is not None]
        if recorded:
            open_ = [each.last_seen for each in recorded if each.record and each.record.facts.ended is None]
        else:
            open_ = [line.last_seen for line in lines if self._is_open(line)]
        if not open_ or max(open_) < self._now - LOST_SECONDS:
            return "ended"
        return "running" if max(open_) >= self._now - UNSEEN_SECONDS else "unseen"

    def _is_open(self, line: Line) -> bool:
        """A line of an epoch that its node has left will never be closed, so it counts as closed."""
        epoch = self._facts.epochs.get((self._chain.cluster, line.node), line.epoch)
        return line.open and epoch == line.epoch

    def _progress(self, parts: Sequence[Attempt]) -> Progress | None:
        """On each node the latest report of the latest run; over the nodes the one that is farthest."""
        by_node: dict[str, Progress] = {}
        for attempt in parts:
            key = attempt.cluster, attempt.job_id
            for node, started, report in self._facts.progress.get(key, ()):
                if attempts.attempt_at(self._by_id[key], started, report.time) is attempt:
                    by_node[node] = merge_progress(by_node[node], report) if node in by_node else report
        return max(by_node.values(), key=lambda each: (each.ratio, each.time), default=None)


def _usage(lines: Sequence[Line]) -> Usage:
    return sum((line.usage for line in lines[1:]), lines[0].usage) if lines else _NOTHING


def _by_device(lines: Iterable[Line]) -> dict[str, Usage]:
    found: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        if line.uuid:
            found[line.uuid].append(line)
    return {uuid: _usage(found[uuid]) for uuid in sorted(found)}


def _sum_known(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _uid(entries: Iterable[tuple[JournalId, JournalEntry]]) -> int | None:
    """Whose job it is, by who declared in it, where all declarations are one user's."""
    own = (entry.uid for _, entry in entries if entry.channel not in scopes.PROVEN)
    uids = {uid for uid in own if uid is not None}
    return uids.pop() if len(uids) == 1 else None


def _own_revisions(
    job_ids: frozenset[str], name: str, entries: Iterable[tuple[JournalId, JournalEntry]], life: Life
) -> tuple[Revision, ...]:
    own = [
        (key, replace(estimate, scope=Scope("job", name)))
        for key, entry in entries
        for estimate in scopes.estimates_of(entry)
        if estimate.scope.kind == "job" and estimate.scope.name in job_ids
    ]
    return scopes.revisions(own, life)
