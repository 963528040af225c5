"""Scopes that may be declared for, as the ledger knows them: whose they are, and what is declared for them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from sqlalchemy import Connection, or_, select

from gpuwatch.ledger import queries, scopes, tables
from gpuwatch.ledger.audience import Owner, owner_of
from gpuwatch.ledger.comments import commented
from gpuwatch.ledger.facts import journal_where
from gpuwatch.ledger.jobs import Job
from gpuwatch.ledger.ledger import NOT_STARTED, JournalEntry, JournalId
from gpuwatch.ledger.record_store import records_of
from gpuwatch.ledger.records import comments_of
from gpuwatch.ledger.scopes import Revision
from gpuwatch.model import Scope
from gpuwatch.schedulers.base import WAITING, Record


@dataclass(frozen=True, slots=True)
class Found:
    """A scope: `owners` are those of its jobs, `first` is who declared for it first, None where nobody did.

    `started` is that of a job's latest attempt, `NOT_STARTED` where it waits for its first one.
    """

    scope: Scope
    cluster: str
    owners: tuple[Owner, ...] = ()
    revisions: tuple[Revision, ...] = ()
    first: Owner | None = None
    started: int = NOT_STARTED


def found(connection: Connection, scope: Scope, cluster: str, now: float) -> tuple[Found, ...]:
    """What a scope may mean, the likeliest first; of a campaign, an account or an array one, of a job several.

    `cluster` is whose accounts and arrays are meant, and whose jobs come first.
    """
    if scope.kind == "job":
        return _jobs(connection, scope.name, cluster, now)
    if scope.kind == "campaign":
        return (_campaign(connection, scope, cluster, now),)
    if scope.kind == "account":
        owners: tuple[Owner, ...] = (Owner(cluster, account=scope.name),)
    else:
        owners = _owners_of_tasks(connection, scope.name, cluster)
    said = queries.said_for(connection, scope.kind, [scope.name]).get(scope.name, [])
    return (Found(scope, cluster, owners, _revisions(_here(said, cluster))),)


def _jobs(connection: Connection, name: str, cluster: str, now: float) -> tuple[Found, ...]:
    """The jobs of an id, the latest first, with one that waits in the queue before those that are over."""
    ids = {name.partition("@")[0], *_displayed(connection, name)}
    jobs = queries.jobs_of(connection, ids, now, by_device=False)
    names = {name} if "@" in name else {name, *ids}
    known = [(job.last_seen, _of_job(job)) for job in jobs if names & _names_of(job)]
    ran = {
        (job.cluster, each): (job.state == "waiting", job.last_seen)
        for job in sorted(jobs, key=lambda job: job.last_seen)
        for each in (job.job_id, *job.job_ids)
    }
    for (its, job_id), records in records_of(connection, sorted(ids)).items():
        latest = records[-1]
        is_its_next, last_seen = ran.get((its, job_id), (False, 0.0))
        if latest.facts.state in WAITING and latest.key.submitted > last_seen and not is_its_next:
            known.append((float(latest.key.submitted), _waiting(connection, latest)))
    known.sort(key=lambda each: (each[1].cluster != cluster, -each[0]))
    return tuple(each for _, each in known)


def _names_of(job: Job) -> set[str]:
    """Its own name, its id, and the id with its start, which is one even where the id came back."""
    return {job.scope.name, job.job_id, f"{job.job_id}@{job.started}"}


def _displayed(connection: Connection, name: str) -> Iterable[str]:
    said = tables.records.c
    return connection.scalars(select(said.job_id).where(said.display == name))


def _of_job(job: Job) -> Found:
    """The journal names it by an id and the start of its latest attempt, which nothing that comes later moves."""
    attempts = [part.attempt for part in job.parts]
    latest = next((each for each in reversed(attempts) if each.job_id == job.job_id), attempts[-1])
    scope = Scope("job", latest.job_id)
    return Found(scope, job.cluster, (owner_of(job),), job.revisions, None, latest.started)


def _waiting(connection: Connection, record: Record) -> Found:
    facts, key = record.facts, record.key
    scope, there = Scope("job", key.job_id), tables.journal.c
    named = or_(there.job_id == key.job_id, (there.scope_kind == "job") & (there.scope == key.job_id))
    later = [each for each in journal_where(connection, named) if each[1].time >= key.submitted]
    said = _here(later, key.cluster)
    changed = {(entry.channel, entry.text) for _, entry in said}
    # A comment that never changed is not in the journal.
    said += [commented(record, *each, float(key.submitted)) for each in comments_of(record) if each not in changed]
    owner = Owner(key.cluster, facts.user or None, None, facts.account or None)
    return Found(scope, key.cluster, (owner,), _revisions(said))


def _campaign(connection: Connection, scope: Scope, cluster: str, now: float) -> Found:
    jobs = next((each.jobs for each in queries.campaigns_of(connection, (scope.name,), now)), ())
    said = queries.said_for(connection, "campaign", [scope.name]).get(scope.name, [])
    revisions = _revisions(queries.rightful(said, jobs), queries.life_of(jobs))
    first = min(said, key=lambda each: (each[1].time, each[0]), default=None)
    declarer = None if first is None else Owner(first[0].cluster, first[1].who, first[1].uid)
    return Found(scope, cluster, tuple(map(owner_of, jobs)), revisions, declarer)


def _owners_of_tasks(connection: Connection, name: str, cluster: str) -> tuple[Owner, ...]:
    """Whose the tasks of an array are, those too that wait in the queue."""
    records = records_of(connection, [name, *queries.tasks_of(connection, name)])
    owners = [
        Owner(cluster, each.facts.user or None, None, each.facts.account or None)
        for (its, _), told in records.items()
        for each in told
        if its == cluster and (each.facts.display or "").startswith(f"{name}_")
    ]
    return tuple(dict.fromkeys(owners))


def _here(said: Iterable[tuple[JournalId, JournalEntry]], cluster: str) -> list[tuple[JournalId, JournalEntry]]:
    return [each for each in said if each[0].cluster == cluster]


def _revisions(
    said: Iterable[tuple[JournalId, JournalEntry]], life: scopes.Life | None = None
) -> tuple[Revision, ...]:
    return scopes.revisions([(key, each) for key, entry in said for each in scopes.estimates_of(entry)], life)


def only(seen: Found, revisions: Iterable[Revision]) -> Found:
    """The same with some of its revisions."""
    return replace(seen, revisions=tuple(revisions))
