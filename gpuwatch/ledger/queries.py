"""Everything that is read from the ledger: by accounting's pass, the command line, pages and reports."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from sqlalchemy import Connection, and_, distinct, or_, select

from gpuwatch.ledger import scopes, tables
from gpuwatch.ledger.facts import Facts, facts_of, journal_where
from gpuwatch.ledger.ledger import Held, JournalEntry, JournalId, RowId, RunEvent, merge_progress
from gpuwatch.ledger.scopes import Attempt, Revision
from gpuwatch.model import EMPTY, Estimate, Progress, Scope, Usage

RECENT_SECONDS = 900.0
"""How long a scope that ended is still shown as current (CONTRACT 8)."""

UNSEEN_SECONDS = 900.0
"""After how long without news a job that did not end is called unseen."""

LOST_SECONDS = 86_400.0
"""After how long without news a job that did not end is taken to have ended when it was last seen."""

State = Literal["running", "unseen", "ended"]


@dataclass(frozen=True, slots=True)
class Job:
    """One attempt of a job, over all its nodes and devices. `last_seen` is its end where it has ended."""

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

    @property
    def estimates(self) -> dict[str, Estimate]:
        """What is declared for the job and in force, by quantity."""
        return {each.estimate.quantity: each.estimate for each in self.revisions if each.in_force}

    @property
    def wall_seconds(self) -> float:
        """From its first to its last sight."""
        return max(0.0, self.last_seen - self.started)


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
        states = {job.state for job in self.jobs}
        return "running" if "running" in states else "unseen" if "unseen" in states else "ended"


@dataclass(frozen=True, slots=True)
class Current:
    """The scopes that run or ended a moment ago."""

    jobs: tuple[Job, ...] = ()
    campaigns: tuple[Campaign, ...] = ()

    @property
    def scopes(self) -> tuple[Job | Campaign, ...]:
        """All of them, jobs first."""
        return (*self.jobs, *self.campaigns)


def used(scope: Job | Campaign, quantity: str) -> float | None:
    """What a scope used so far of a quantity, in its base unit; None where that is not known."""
    if quantity == "device-hours":
        return scope.usage.held_seconds
    if quantity == "energy":
        return scope.usage.joules if scope.usage.energy_joules else None
    return scope.wall_seconds if quantity == "wall" else None


def current(connection: Connection, now: float) -> Current:
    """The jobs that run, or ended within 15 minutes, and the campaigns they belong to, whole."""
    there = tables.held.c
    running = and_(there.open, there.last_seen >= now - LOST_SECONDS)
    ended = there.last_seen.between(now - RECENT_SECONDS, now + RECENT_SECONDS)
    seen = jobs_of(connection, _job_ids(connection, or_(running, ended)), now)
    lively = [job for job in seen if is_current(job, now)]
    campaigns = campaigns_of(connection, {job.campaign for job in lively if job.campaign}, now)
    return Current(tuple(lively), campaigns)


def is_current(scope: Job | Campaign, now: float) -> bool:
    """Whether a scope runs, or ended within 15 minutes."""
    return scope.state != "ended" or abs(now - scope.last_seen) <= RECENT_SECONDS


def jobs_since(connection: Connection, time: float, now: float) -> tuple[Job, ...]:
    """The jobs seen since `time`, the latest start first."""
    found = jobs_of(connection, _job_ids(connection, tables.held.c.last_seen >= time), now)
    return tuple(sorted((job for job in found if job.last_seen >= time), key=_latest_first))


def jobs_named(connection: Connection, name: str, now: float) -> tuple[Job, ...]:
    """The attempts that `name` means: the one of that scope name, else all of the job id or of the run's name."""
    known = jobs_of(connection, {name, name.partition("@")[0]}, now)
    exact = tuple(job for job in known if job.scope.name == name)
    if exact:
        return exact
    named = connection.scalars(select(distinct(tables.runs.c.job_id)).where(tables.runs.c.name == name))
    return tuple(sorted(jobs_of(connection, set(named), now), key=_latest_first))


def campaigns_of(connection: Connection, names: Iterable[str], now: float) -> tuple[Campaign, ...]:
    """The named campaigns with every job that ever belonged to them; none for a name without jobs."""
    wanted = sorted(set(names))
    if not wanted:
        return ()
    there = tables.journal.c
    members = connection.scalars(select(distinct(there.job_id)).where(there.campaign.in_(wanted)))
    jobs: dict[str, list[Job]] = defaultdict(list)
    for job in jobs_of(connection, {each for each in members if each is not None}, now):
        if job.campaign in wanted:
            jobs[job.campaign].append(job)
    declared = _declared_for(connection, "campaign", list(jobs))
    return tuple(
        Campaign(Scope("campaign", name), tuple(sorted(jobs[name], key=_latest_first)), declared.get(name, ()))
        for name in wanted
        if name in jobs
    )


def jobs_of(connection: Connection, job_ids: Iterable[str], now: float) -> tuple[Job, ...]:
    """Every attempt of the given job ids."""
    facts = facts_of(connection, sorted(set(job_ids)))
    attempts = {key: scopes.attempts(*key, sights) for key, sights in facts.sights.items()}
    named = scopes.names(attempt for found in attempts.values() for attempt in found)
    return tuple(
        _job(facts, attempt, name, attempts[attempt.cluster, attempt.job_id], now)
        for attempt, name in named.items()
    )


def _job_ids(connection: Connection, condition: object) -> set[str]:
    query = select(distinct(tables.held.c.job_id)).where(condition)  # type: ignore[arg-type]
    return set(connection.scalars(query))


def _latest_first(job: Job) -> tuple[float, str]:
    return -job.started, job.scope.name


def _job(facts: Facts, attempt: Attempt, name: str, siblings: Sequence[Attempt], now: float) -> Job:
    key = attempt.cluster, attempt.job_id
    rows = {row: held for row, held in facts.held[key].items() if row.started in attempt.starts}
    by_device = {
        uuid: sum((facts.usage[row] for row in rows if row.uuid == uuid), Usage())
        for uuid in sorted({row.uuid for row in rows})
    }
    entries = [
        (journal, entry)
        for journal, entry in facts.journal[key]
        if scopes.attempt_at(siblings, entry.started, entry.time) == attempt
    ]
    began, ended = _run(facts, attempt)
    state = _state(facts, rows, now)
    return Job(
        scope=Scope("job", name),
        cluster=attempt.cluster,
        job_id=attempt.job_id,
        started=attempt.started,
        last_seen=ended.time if ended and state == "ended" else attempt.last_seen,
        state=state,
        nodes=tuple(sorted({row.node for row in rows})),
        devices=tuple(by_device),
        models=tuple(sorted({held.model for held in rows.values() if held.model})),
        usage=sum(by_device.values(), Usage()),
        by_device=by_device,
        name=began.name if began else None,
        uid=began.uid if began else _uid(entries),
        exit_code=ended.exit_code if ended else None,
        campaign=scopes.campaign_of(entries),
        progress=_progress(facts, attempt, siblings),
        revisions=_own_revisions(attempt.job_id, Scope("job", name), entries),
    )


def _state(facts: Facts, rows: Mapping[RowId, Held], now: float) -> State:
    """A row of an epoch that its node has left will never be closed, so it counts as closed."""
    living = [
        held.last_seen
        for row, held in rows.items()
        if held.open and facts.epochs.get((row.cluster, row.node), row.epoch) == row.epoch
    ]
    if not living or max(living) < now - LOST_SECONDS:
        return "ended"
    return "running" if max(living) >= now - UNSEEN_SECONDS else "unseen"


def _run(facts: Facts, attempt: Attempt) -> tuple[RunEvent | None, RunEvent | None]:
    events = facts.runs.get((attempt.cluster, attempt.job_id), EMPTY)
    return events.get("run_started"), events.get("run_ended")


def _uid(entries: Iterable[tuple[JournalId, JournalEntry]]) -> int | None:
    """Whose job it is, by who declared for it, where all declarations are one user's."""
    uids = {entry.uid for _, entry in entries if entry.uid is not None}
    return uids.pop() if len(uids) == 1 else None


def _progress(facts: Facts, attempt: Attempt, siblings: Sequence[Attempt]) -> Progress | None:
    """On each node the latest report; over the nodes the one that is farthest."""
    by_node: dict[str, Progress] = {}
    for node, started, report in facts.progress[attempt.cluster, attempt.job_id]:
        if scopes.attempt_at(siblings, started, report.time) == attempt:
            by_node[node] = merge_progress(by_node[node], report) if node in by_node else report
    return max(by_node.values(), key=lambda each: (each.ratio, each.time), default=None)


def _own_revisions(
    job_id: str, scope: Scope, entries: Iterable[tuple[JournalId, JournalEntry]]
) -> tuple[Revision, ...]:
    own = [
        (key, replace(estimate, scope=scope))
        for key, entry in entries
        for estimate in scopes.estimates_of(entry)
        if estimate.scope == Scope("job", job_id)
    ]
    return scopes.revisions(own)


def _declared_for(connection: Connection, kind: str, names: Sequence[str]) -> dict[str, tuple[Revision, ...]]:
    there = tables.journal.c
    declared: dict[str, list[tuple[JournalId, Estimate]]] = defaultdict(list)
    for key, entry in journal_where(connection, and_(there.scope_kind == kind, there.scope.in_(names))):
        for estimate in scopes.estimates_of(entry):
            declared[estimate.scope.name].append((key, estimate))
    return {name: scopes.revisions(found) for name, found in declared.items()}
