"""Everything that is read from the ledger: by accounting's pass, the command line, pages and reports."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, distinct, or_, select, true

from gpuwatch.ledger import campaign_store, scopes, tables
from gpuwatch.ledger.audience import owner_of
from gpuwatch.ledger.facts import facts_of, journal_where
from gpuwatch.ledger.jobs import LOST_SECONDS, Campaign, Job, jobs_in, used
from gpuwatch.ledger.ledger import JournalEntry, JournalId
from gpuwatch.ledger.scopes import Life, Revision
from gpuwatch.ledger.sql import among
from gpuwatch.model import EMPTY, Scope

RECENT_SECONDS = 900.0
"""How long a scope that ended is still shown as current."""

__all__ = [
    "RECENT_SECONDS", "Campaign", "Current", "Job", "agents_of", "campaigns_of", "current", "is_current",
    "jobs_named", "jobs_of", "jobs_since", "used",
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


def current(connection: Connection, now: float, known: Sequence[Job] = (), cluster: str | None = None) -> Current:
    """The jobs that run, or ended within 15 minutes, and the campaigns they belong to, whole.

    `known` are jobs that were read a moment ago and need not be read again. `cluster` is whose jobs are meant, all
    where it is None; a campaign has those of all clusters.
    """
    there, said = tables.usage.c, tables.records.c
    running = and_(there.open, there.last_seen >= now - LOST_SECONDS)
    ended = and_(~there.open, there.last_seen.between(now - RECENT_SECONDS, now + RECENT_SECONDS))
    allocated = and_(said.ended.is_(None), said.seen >= now - LOST_SECONDS)
    over = said.ended.between(now - RECENT_SECONDS, now + RECENT_SECONDS)
    ids = _holders(connection, running, ended, cluster=cluster)
    ids |= _recorded(connection, or_(allocated, over), cluster)
    rest = ids.difference(*(job.job_ids for job in known))
    seen = (*known, *jobs_of(connection, rest, now, by_device=False))
    lively = [job for job in seen if is_current(job, now) and cluster in (None, job.cluster)]
    campaigns = campaigns_of(connection, {job.campaign for job in lively if job.campaign}, now, seen)
    # In an order of their own: sums of the same numbers differ by it in their last digits.
    return Current(tuple(sorted(lively, key=lambda job: job.scope)), campaigns)


def is_current(scope: Job | Campaign, now: float) -> bool:
    """Whether a scope runs, or ended within 15 minutes."""
    return scope.state != "ended" or abs(now - scope.last_seen) <= RECENT_SECONDS


def jobs_since(connection: Connection, time: float, now: float) -> tuple[Job, ...]:
    """The jobs seen since `time`, the latest start first."""
    said = tables.records.c
    there = tables.usage.c
    seen_since = there.last_seen >= time
    ids = _holders(connection, and_(there.open, seen_since), and_(~there.open, seen_since))
    ids |= _recorded(connection, or_(said.ended >= time, and_(said.ended.is_(None), said.seen >= time)))
    jobs = (job for job in jobs_of(connection, ids, now) if job.last_seen >= time)
    return tuple(sorted(jobs, key=_latest_first))


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


def tasks_of(connection: Connection, array: str, cluster: str | None = None) -> list[str]:
    """The job ids of an array's tasks, as `12_3` displays the third of array 12; of one cluster or of all."""
    said = tables.records.c
    tasks = select(distinct(said.job_id)).where(said.display.startswith(f"{array}_", autoescape=True))
    if cluster is not None:
        tasks = tasks.where(said.cluster == cluster)
    return sorted(connection.scalars(tasks))


def campaigns_of(
    connection: Connection, names: Iterable[str], now: float, known: Iterable[Job] = ()
) -> tuple[Campaign, ...]:
    """The named campaigns with every job that ever belonged to them; none for a name without jobs.

    `known` are jobs that need not be read again: all that their ids ever were.
    """
    wanted = sorted(set(names))
    if not wanted:
        return ()
    members = declared_members(connection, wanted) | campaign_store.candidates(connection, wanted)
    jobs: dict[str, list[Job]] = defaultdict(list)
    have = [job for job in known if job.campaign in wanted]
    rest = members - {each for job in known for each in job.job_ids}
    for job in (*have, *jobs_of(connection, rest, now)):
        if job.campaign in wanted:
            jobs[job.campaign].append(job)
    declared = declared_for(connection, "campaign", list(jobs), jobs)
    return tuple(
        Campaign(Scope("campaign", name), tuple(sorted(jobs[name], key=_latest_first)), declared.get(name, ()))
        for name in wanted
        if name in jobs
    )


def memberships(connection: Connection, now: float) -> dict[tuple[str, str], str | None]:
    """Which campaign each job that is in one belongs to, by (cluster, job id)."""
    there, said = tables.journal.c, tables.records.c
    names = {
        name
        for each in (there.campaign, said.campaign)
        for name in connection.scalars(select(distinct(each)).where(each.is_not(None)))
    } | campaign_store.names(connection)
    ids = declared_members(connection, sorted(names)) | campaign_store.candidates(connection, sorted(names))
    jobs = jobs_of(connection, ids, now, by_device=False)
    return {(job.cluster, each): job.campaign for job in jobs if job.campaign for each in job.job_ids}


def declared_members(connection: Connection, campaigns: Sequence[str]) -> set[str]:
    """The job ids that ever declared one of the campaigns."""
    there, said = tables.journal.c, tables.records.c
    members = set(connection.scalars(select(distinct(there.job_id)).where(among(there.campaign, campaigns))))
    members |= set(connection.scalars(select(distinct(said.job_id)).where(among(said.campaign, campaigns))))
    return {each for each in members if each is not None}


def jobs_of(connection: Connection, job_ids: Iterable[str], now: float, by_device: bool = True) -> tuple[Job, ...]:
    """Every job that the given job ids are, or are parts of, with the campaign that it belongs to."""
    return campaign_store.resolved(connection, jobs_as_declared(connection, job_ids, now, by_device))


def jobs_as_declared(
    connection: Connection, job_ids: Iterable[str], now: float, by_device: bool = True
) -> tuple[Job, ...]:
    """The same, with the campaign that each declared, whatever was decided after the fact."""
    return tuple(jobs_in(facts_of(connection, sorted(set(job_ids)), by_device), now))


def agents_of(connection: Connection) -> frozenset[tuple[str, str]]:
    """The clusters and nodes whose agents ever said anything."""
    return frozenset((row.cluster, row.node) for row in connection.execute(select(tables.nodes)))


def _holders(connection: Connection, *conditions: Any, cluster: str | None = None) -> set[str]:
    """Jobs with rows of any of the conditions; each by itself, as each has an index of its own."""
    there = tables.usage.c
    mine = true() if cluster is None else there.cluster == cluster
    queries = (select(distinct(there.job_id)).where(each, mine) for each in conditions)
    return {job_id for query in queries for job_id in connection.scalars(query)}


def _recorded(connection: Connection, condition: Any, cluster: str | None = None) -> set[str]:
    """Jobs of a batch system that have or had devices: a ledger of devices does not list the others."""
    said = tables.records.c
    with_devices = or_(said.devices > 0, said.live_devices > 0)
    mine = true() if cluster is None else said.cluster == cluster
    query = select(distinct(said.job_id)).where(condition, with_devices, said.started.is_not(None), mine)
    return set(connection.scalars(query))


def _latest_first(job: Job) -> tuple[float, str]:
    return -job.started, job.scope.name


def declared_for(
    connection: Connection, kind: str, names: Sequence[str], jobs: Mapping[str, Sequence[Job]] = EMPTY
) -> dict[str, tuple[Revision, ...]]:
    """Everything declared for scopes of a kind, by name; nothing for one of which nobody declared anything.

    `jobs` are those of campaigns: by them it is known who may declare, and how far each was as somebody did.
    """
    found: dict[str, tuple[Revision, ...]] = {}
    for name, said in said_for(connection, kind, names).items():
        its = jobs.get(name, ())
        heard = rightful(said, its) if kind == "campaign" else said
        declared = [(key, each) for key, entry in heard for each in scopes.estimates_of(entry)]
        found[name] = scopes.revisions(declared, life_of(its))
    return {name: each for name, each in found.items() if each}


def said_for(
    connection: Connection, kind: str, names: Sequence[str]
) -> dict[str, list[tuple[JournalId, JournalEntry]]]:
    """What was said for scopes of a kind, by name, by whomever."""
    there = tables.journal.c
    said: dict[str, list[tuple[JournalId, JournalEntry]]] = defaultdict(list)
    for key, entry in journal_where(connection, and_(there.scope_kind == kind, among(there.scope, names))):
        for name in {estimate.scope.name for estimate in scopes.estimates_of(entry)}:
            said[name].append((key, entry))
    return said


def rightful(
    said: Sequence[tuple[JournalId, JournalEntry]], jobs: Iterable[Job]
) -> list[tuple[JournalId, JournalEntry]]:
    """What was said for a campaign of `jobs` by who may."""
    its = list(jobs)
    members = {(job.cluster, job_id) for job in its for job_id in (job.job_id, *job.job_ids)}
    owners = {(job.cluster, each) for job in its for each in (job.uid, owner_of(job).user) if each is not None}
    return scopes.rightful(said, members, owners)


def life_of(jobs: Sequence[Job]) -> Life | None:
    """When the jobs of a campaign ran; None where it has none yet."""
    if not jobs:
        return None
    ended = max(job.last_seen for job in jobs) if all(job.state == "ended" for job in jobs) else None
    return Life(min(job.started for job in jobs), ended, resumes=True)
