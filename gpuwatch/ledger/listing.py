"""Jobs and campaigns page by page, as far as a reader may see them. However large the ledger, a page is a page.

Candidates are found by SQL, and whether a job is wanted and may be seen is decided by the job itself: what SQL
leaves out is never seen, what it lets through is looked at again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from sqlalchemy import ColumnElement, Connection, and_, or_, select, true

from gpuwatch.ledger import tables
from gpuwatch.ledger.audience import Audience, owner_of, seen_by
from gpuwatch.ledger.campaign_store import candidates, patterns_of
from gpuwatch.ledger.campaign_tables import decisions
from gpuwatch.ledger.jobs import Campaign, Job
from gpuwatch.ledger.queries import campaigns_of, declared_members, jobs_named, jobs_of
from gpuwatch.ledger.sql import among

Item = TypeVar("Item")

_BATCH = 200
_USER = "user:"


class Position(NamedTuple):
    """Where a page of jobs ended: the start and the name of its last job."""

    started: int
    name: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which jobs are asked for: seen at `since` or later, begun before `until` (Unix seconds); None: whichever."""

    since: float = 0.0
    until: float | None = None
    user: str | None = None
    account: str | None = None
    partition: str | None = None
    campaign: str | None = None
    state: str | None = None

    def takes(self, job: Job) -> bool:
        """Whether it is one of them."""
        owner = owner_of(job)
        partition = job.record.facts.partition if job.record is not None else None
        asked = (
            (self.user, owner.user), (self.account, owner.account), (self.partition, partition),
            (self.campaign, job.campaign), (self.state, job.state),
        )  # fmt: skip
        in_time = job.last_seen >= self.since and (self.until is None or job.started < self.until)
        return in_time and all(wanted in (None, found) for wanted, found in asked)


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Some of what was asked for, and whether there is more after it."""

    items: tuple[Item, ...]
    more: bool


def jobs_page(
    connection: Connection, audience: Audience, wanted: Wanted, after: Position | None, limit: int, now: float
) -> Page[Job]:
    """The jobs that began last, from `after` on, `limit` at most."""
    found: list[Job] = []
    for jobs in _Search(connection, audience, wanted).batches(after, max(limit, _BATCH), now):
        found += (
            job for job in jobs if wanted.takes(job) and audience.admits(owner_of(job)) and _is_after(job, after)
        )
        if len(found) > limit:
            return Page(tuple(found[:limit]), True)
    return Page(tuple(found), False)


def jobs_called(connection: Connection, audience: Audience, name: str, now: float) -> tuple[Job, ...]:
    """The jobs that a name means, the best match first, as far as the reader may see them."""
    return tuple(job for job in jobs_named(connection, name, now) if audience.admits(owner_of(job)))


def campaigns_page(
    connection: Connection, audience: Audience, after: str, limit: int, now: float
) -> Page[tuple[Campaign, bool]]:
    """Campaigns by name, from after that of `after` on, each with whether the reader sees all of it."""
    found: list[tuple[Campaign, bool]] = []
    while len(found) <= limit:
        names = _campaign_names(connection, audience, after, limit + 1)
        for campaign in campaigns_of(connection, names, now):
            seen = seen_by(audience, campaign)
            if seen is not None:
                found.append((seen, seen is campaign))
        if len(names) <= limit:
            return Page(tuple(found[:limit]), len(found) > limit)
        after = names[-1]
    return Page(tuple(found[:limit]), True)


def campaign_called(
    connection: Connection, audience: Audience, name: str, now: float
) -> tuple[Campaign, bool] | None:
    """A campaign as far as the reader may see it, and whether that is all of it; None where he sees none of it."""
    for campaign in campaigns_of(connection, (name,), now):
        seen = seen_by(audience, campaign)
        if seen is not None:
            return seen, seen is campaign
    return None


_Found = tuple[list[tuple[str, float]], float | None]
"""Ids of jobs with when they began, and since when these are all; None: there are no earlier ones."""


class _Search:
    """Looks for jobs from the latest on, some at a time."""

    def __init__(self, connection: Connection, audience: Audience, wanted: Wanted) -> None:
        self._connection = connection
        self._audience = audience
        self._wanted = wanted
        names = [] if wanted.campaign is None else [wanted.campaign]
        members = declared_members(connection, names) | candidates(connection, names) if names else set()
        self._members = sorted(members) if names else None

    def batches(self, after: Position | None, size: int, now: float) -> Iterator[list[Job]]:
        """Jobs in the order of the list; each is in the batch that has the time at which it began."""
        below = float("inf") if after is None else after.started + 1.0
        if self._wanted.until is not None:
            below = min(below, self._wanted.until)
        while True:
            ids, lowest = self._candidates(below, size)
            jobs = (job for job in jobs_of(self._connection, ids, now) if lowest is None or job.started >= lowest)
            yield sorted((job for job in jobs if job.started < below), key=_latest_first)
            if lowest is None:
                return
            below = lowest

    def _candidates(self, below: float, size: int) -> tuple[set[str], float | None]:
        there = tables.usage.c
        # Each kind by itself, as each has an index of its own.
        found = [self._recorded(each, below, size) for each in _records_of(self._audience)]
        found += [self._seen(each, below, size) for each in (there.open, ~there.open)]
        lowest = max((floor for _, floor in found if floor is not None), default=None)
        ids = {job_id for each, _ in found for job_id, began in each if lowest is None or began >= lowest}
        return ids, lowest

    def _recorded(self, kind: ColumnElement[bool], below: float, size: int) -> _Found:
        """Jobs of a batch system that have or had devices."""
        said, wanted = tables.records.c, self._wanted
        ended = or_(said.ended >= wanted.since, and_(said.ended.is_(None), said.seen >= wanted.since))
        with_devices = or_(said.devices > 0, said.live_devices > 0)
        asked = ((said.user, wanted.user), (said.account, wanted.account), (said.partition, wanted.partition))
        exact = (column == value for column, value in asked if value is not None)
        condition = and_(kind, ended, with_devices, self._member(said.job_id), *exact)
        return _limited(self._connection, said.job_id, said.started, condition, below, size)

    def _seen(self, kind: Any, below: float, size: int) -> _Found:
        """Jobs that agents saw hold a device; those of which only they know have neither account nor partition."""
        there, wanted = tables.usage.c, self._wanted
        if wanted.account is not None or wanted.partition is not None:
            return [], None
        his = true() if wanted.user is None else there.job_id == _USER + wanted.user
        recent = and_(kind, there.last_seen >= wanted.since)
        condition = and_(recent, _may_see_usage(self._audience), self._member(there.job_id), his)
        return _limited(self._connection, there.job_id, there.started, condition, below, size)

    def _member(self, job_id: Any) -> ColumnElement[bool]:
        return true() if self._members is None else among(job_id, self._members)


def _limited(connection: Connection, job_id: Any, started: Any, condition: Any, below: float, size: int) -> _Found:
    """The latest `size`, and all that began in the same second as the last of them."""
    query = select(job_id, started).where(condition, started.is_not(None))
    if below < float("inf"):
        query = query.where(started < below)
    # Each job counts once, whatever the number of its devices.
    jobs = query.distinct().subquery()
    begins = select(jobs.c[started.name]).order_by(jobs.c[started.name].desc())
    last = connection.scalars(begins.offset(size).limit(1)).first()
    if last is None:
        return [(row[0], row[1]) for row in connection.execute(query.distinct())], None
    floor = float(int(last))
    return [(row[0], row[1]) for row in connection.execute(query.where(started >= floor).distinct())], floor


def _records_of(audience: Audience) -> list[ColumnElement[bool]]:
    """Conditions of which a record that the reader may see meets one."""
    said = tables.records.c
    if audience.everything:
        return [true()]
    here = said.cluster == audience.cluster
    kinds = [said.user == audience.user, and_(said.user == "", said.job_id.in_(_begun_by(audience)))]
    if audience.accounts:
        kinds.append(said.account.in_(sorted(audience.accounts)))
    return [and_(here, kind) for kind in kinds]


def _may_see_usage(audience: Audience) -> ColumnElement[bool]:
    there = tables.usage.c
    if audience.everything:
        return true()
    named = there.job_id == _USER + audience.user
    return and_(there.cluster == audience.cluster, or_(named, there.job_id.in_(_begun_by(audience))))


def _begun_by(audience: Audience) -> Any:
    """Ids of jobs that nodes heard of from the reader's user id."""
    runs, said = tables.runs.c, tables.journal.c
    uid = -1 if audience.uid is None else audience.uid
    begun = select(runs.job_id).where(runs.uid == uid, runs.cluster == audience.cluster)
    declared = select(said.job_id).where(
        said.uid == uid, said.cluster == audience.cluster, said.job_id.is_not(None)
    )
    return begun.union(declared)


def _campaign_names(connection: Connection, audience: Audience, after: str, limit: int) -> Sequence[str]:
    """The next names of campaigns to which the reader's jobs may belong.

    Of what was said of campaigns after the fact there is so little that all their names are looked at.
    """
    said, records = tables.journal.c, tables.records.c
    own: list[ColumnElement[bool]] = [true(), true()]
    if not audience.everything:
        visible = select(records.job_id).where(or_(*_records_of(audience)))
        named = said.job_id == _USER + audience.user
        own = [
            or_(said.job_id.in_(_begun_by(audience)), said.job_id.in_(visible), named),
            or_(*_records_of(audience)),
        ]
    columns = ((said.campaign, own[0]), (records.campaign, own[1]), (decisions.c.campaign, true()))
    names: set[str] = {name for each in patterns_of(connection) if (name := each.campaign) > after}
    for column, condition in columns:
        query = select(column).where(column > after, condition).distinct().order_by(column).limit(limit)
        names.update(connection.scalars(query))
    return sorted(names)[:limit]


def _is_after(job: Job, after: Position | None) -> bool:
    return after is None or _latest_first(job) > (-after.started, after.name)


def _latest_first(job: Job) -> tuple[float, str]:
    return -job.started, job.scope.name
