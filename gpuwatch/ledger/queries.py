"""Everything that is read from the ledger: by accounting's pass, the command line, pages and reports."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, distinct, or_, select

from gpuwatch.ledger import scopes, tables
from gpuwatch.ledger.facts import facts_of, journal_where
from gpuwatch.ledger.jobs import LOST_SECONDS, Campaign, Job, jobs_in, used
from gpuwatch.ledger.ledger import JournalId
from gpuwatch.ledger.scopes import Revision
from gpuwatch.model import Estimate, Scope

RECENT_SECONDS = 900.0
"""How long a scope that ended is still shown as current (CONTRACT 8)."""

__all__ = [
    "RECENT_SECONDS", "Campaign", "Current", "Job", "campaigns_of", "current", "is_current", "jobs_named",
    "jobs_of", "jobs_since", "used",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Current:
    """The scopes that run or ended a moment ago."""

    jobs: tuple[Job, ...] = ()
    campaigns: tuple[Campaign, ...] = ()

    @property
    def scopes(self) -> tuple[Job | Campaign, ...]:
        """All of them, jobs first."""
        return (*self.jobs, *self.campaigns)


def current(connection: Connection, now: float) -> Current:
    """The jobs that run, or ended within 15 minutes, and the campaigns they belong to, whole."""
    there, said = tables.held.c, tables.records.c
    running = and_(there.open, there.last_seen >= now - LOST_SECONDS)
    ended = there.last_seen.between(now - RECENT_SECONDS, now + RECENT_SECONDS)
    allocated = and_(said.ended.is_(None), said.seen >= now - LOST_SECONDS)
    over = said.ended.between(now - RECENT_SECONDS, now + RECENT_SECONDS)
    ids = _holders(connection, or_(running, ended)) | _recorded(connection, or_(allocated, over))
    seen = jobs_of(connection, ids, now)
    lively = [job for job in seen if is_current(job, now)]
    campaigns = campaigns_of(connection, {job.campaign for job in lively if job.campaign}, now, seen)
    return Current(tuple(lively), campaigns)


def is_current(scope: Job | Campaign, now: float) -> bool:
    """Whether a scope runs, or ended within 15 minutes."""
    return scope.state != "ended" or abs(now - scope.last_seen) <= RECENT_SECONDS


def jobs_since(connection: Connection, time: float, now: float) -> tuple[Job, ...]:
    """The jobs seen since `time`, the latest start first."""
    said = tables.records.c
    ids = _holders(connection, tables.held.c.last_seen >= time)
    ids |= _recorded(connection, or_(said.ended >= time, and_(said.ended.is_(None), said.seen >= time)))
    seen = (job for job in jobs_of(connection, ids, now) if job.last_seen >= time)
    return tuple(sorted(seen, key=_latest_first))


def jobs_named(connection: Connection, name: str, now: float) -> tuple[Job, ...]:
    """The jobs that `name` means: the one of that scope name, else all of the job id, its display, or its name."""
    known = jobs_of(connection, {name, name.partition("@")[0]}, now)
    exact = tuple(job for job in known if job.scope.name == name)
    if exact:
        return exact
    said = tables.records.c
    named = set(connection.scalars(select(distinct(tables.runs.c.job_id)).where(tables.runs.c.name == name)))
    named |= set(connection.scalars(select(said.job_id).where(or_(said.display == name, said.name == name))))
    return tuple(sorted(jobs_of(connection, named, now), key=_latest_first))


def campaigns_of(
    connection: Connection, names: Iterable[str], now: float, known: Iterable[Job] = ()
) -> tuple[Campaign, ...]:
    """The named campaigns with every job that ever belonged to them; none for a name without jobs.

    `known` are jobs that need not be read again: all that their ids ever were.
    """
    wanted = sorted(set(names))
    if not wanted:
        return ()
    there, said = tables.journal.c, tables.records.c
    members = set(connection.scalars(select(distinct(there.job_id)).where(there.campaign.in_(wanted))))
    members |= set(connection.scalars(select(distinct(said.job_id)).where(said.campaign.in_(wanted))))
    jobs: dict[str, list[Job]] = defaultdict(list)
    have = [job for job in known if job.campaign in wanted]
    rest = {each for each in members if each is not None} - {each for job in known for each in job.job_ids}
    for job in (*have, *jobs_of(connection, rest, now)):
        if job.campaign in wanted:
            jobs[job.campaign].append(job)
    declared = _declared_for(connection, "campaign", list(jobs))
    return tuple(
        Campaign(Scope("campaign", name), tuple(sorted(jobs[name], key=_latest_first)), declared.get(name, ()))
        for name in wanted
        if name in jobs
    )


def jobs_of(connection: Connection, job_ids: Iterable[str], now: float) -> tuple[Job, ...]:
    """Every job that the given job ids are, or are parts of."""
    return tuple(jobs_in(facts_of(connection, sorted(set(job_ids))), now))


def _holders(connection: Connection, condition: Any) -> set[str]:
    return set(connection.scalars(select(distinct(tables.held.c.job_id)).where(condition)))


def _recorded(connection: Connection, condition: Any) -> set[str]:
    """Jobs of a batch system that have or had devices: a ledger of devices does not list the others."""
    said = tables.records.c
    with_devices = or_(said.devices > 0, said.live_devices > 0)
    query = select(distinct(said.job_id)).where(condition, with_devices, said.started.is_not(None))
    return set(connection.scalars(query))


def _latest_first(job: Job) -> tuple[float, str]:
    return -job.started, job.scope.name


def _declared_for(connection: Connection, kind: str, names: Sequence[str]) -> dict[str, tuple[Revision, ...]]:
    there = tables.journal.c
    declared: dict[str, list[tuple[JournalId, Estimate]]] = defaultdict(list)
    for key, entry in journal_where(connection, and_(there.scope_kind == kind, there.scope.in_(names))):
        for estimate in scopes.estimates_of(entry):
            declared[estimate.scope.name].append((key, estimate))
    return {name: scopes.revisions(found) for name, found in declared.items()}
