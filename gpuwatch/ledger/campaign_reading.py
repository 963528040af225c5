"""A campaign as the ledger has it: its members and why each belongs, who is asked, and what may belong too."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, distinct, or_, select

from gpuwatch.errors import Unavailable
from gpuwatch.ledger import campaign_store, queries, tables, tag_store
from gpuwatch.ledger.campaign_tables import decisions, patterns, snapshots
from gpuwatch.ledger.campaigns import (
    Actor,
    JobRef,
    Membership,
    Pattern,
    Request,
    Rules,
    owner_of,
    ref_of,
    standing_of,
)
from gpuwatch.ledger.jobs import Campaign, Job
from gpuwatch.ledger.scopes import Revision
from gpuwatch.ledger.sql import among
from gpuwatch.model import EMPTY, Scope

AROUND_SECONDS = 7 * 86_400.0
"""How long before its first and after its last job a campaign's possible members are looked for."""
MAX_POSSIBLE = 200
"""How many possible members are listed."""

_WORDS = re.compile(r"[^\W\d_]+")
_NAMES = 2000


@dataclass(frozen=True, slots=True)
class Charge:
    """What a job came to by the rates it was charged by: joules, grams, and money by currency."""

    facility_joules: float | None = None
    carbon_grams: float | None = None
    cost: Mapping[str, float] = EMPTY
    rates: tuple[str, ...] = ()
    editions: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Member:
    """A job of a campaign, why it belongs, its tags, and what it was charged."""

    job: Job
    membership: Membership
    tags: Mapping[str, str] = EMPTY
    charge: Charge = field(default_factory=Charge)


@dataclass(frozen=True, slots=True)
class Asked:
    """A job whose owner has not agreed; nothing of it is known here but its id."""

    job: str
    cluster: str
    request: Request


@dataclass(frozen=True, slots=True)
class CampaignView:
    """Everything known of a campaign at the time `now`; members are in the order in which they began."""

    name: str
    now: float
    members: tuple[Member, ...]
    asked: tuple[Asked, ...] = ()
    revisions: tuple[Revision, ...] = ()
    patterns: tuple[Pattern, ...] = ()

    @property
    def scope(self) -> Campaign | None:
        """Its jobs as one; None while it has none."""
        jobs = tuple(member.job for member in self.members)
        return Campaign(Scope("campaign", self.name), jobs, self.revisions) if jobs else None


def view(connection: Connection, name: str, now: float) -> CampaignView:
    """A campaign, whole; `Unavailable` where nobody ever spoke of it."""
    ids = queries.declared_members(connection, [name]) | campaign_store.candidates(connection, [name])
    jobs = queries.jobs_as_declared(connection, ids, now)
    rules = campaign_store.rules_of(connection, jobs)
    belong = [(job, why) for job in jobs if (why := rules.membership(job)) is not None and why.campaign == name]
    found = tuple(job for job, _ in belong)
    tags, charges = tag_store.tags_of(connection, found), charges_of(connection, found)
    members = [Member(job, why, tags[ref_of(job)], charges.get(ref_of(job), Charge())) for job, why in belong]
    seen = CampaignView(
        name, now,
        tuple(sorted(members, key=lambda each: (each.job.started, each.job.cluster, each.job.scope.name))),
        tuple(_asked(rules, jobs, name)),
        queries.declared_for(connection, "campaign", [name], {name: found}).get(name, ()),
        campaign_store.patterns_of(connection, name),
    )  # fmt: skip
    if not (jobs or seen.revisions or seen.patterns or name in names(connection)):
        raise Unavailable(f"campaign {name!r}: not in the ledger; `gpuwatch campaign list` lists what is")
    return seen


def _asked(rules: Rules, jobs: Iterable[Job], name: str) -> Iterable[Asked]:
    for job in sorted(jobs, key=lambda each: each.scope.name):
        for request in rules.requests(job):
            if request.campaign == name:
                yield Asked(job.scope.name, job.cluster, request)


def names(connection: Connection) -> tuple[str, ...]:
    """Every campaign that anybody ever spoke of, in order."""
    journal, records = tables.journal.c, tables.records.c
    found: set[str] = set()
    for column, *where in (
        (journal.campaign, journal.campaign.is_not(None)),
        (journal.scope, journal.scope_kind == "campaign"),
        (records.campaign, records.campaign.is_not(None)),
        (decisions.c.campaign,),
        (patterns.c.campaign,),
        (snapshots.c.campaign,),
    ):
        found |= set(connection.scalars(select(distinct(column)).where(*where)))
    return tuple(sorted(found))


def charges_of(connection: Connection, jobs: Sequence[Job]) -> dict[JobRef, Charge]:
    """What jobs were charged, by the rates in force; nothing of a job that was not charged yet."""
    there = tables.charges.c
    by_id: dict[tuple[str, str], list[Job]] = defaultdict(list)
    for job in jobs:
        for job_id in job.job_ids or {job.job_id}:
            by_id[job.cluster, job_id].append(job)
    found: dict[JobRef, Charge] = {}
    query = select(tables.charges).where(among(there.job_id, sorted({key[1] for key in by_id})), there.current)
    for row in connection.execute(query.order_by(there.job_id, there.attempt, there.day, there.model)):
        for job in by_id.get((row.cluster, row.job_id), ()):
            if job.started <= row.attempt <= max(job.last_seen, float(job.started)):
                found[ref_of(job)] = _charged(found.get(ref_of(job), Charge()), row)
    return found


def _charged(charge: Charge, row: object) -> Charge:
    cost = dict(charge.cost)
    money, currency = getattr(row, "cost", None), getattr(row, "currency", "")
    if money is not None:
        cost[currency] = cost.get(currency, 0.0) + money
    rates, edition = getattr(row, "rates", ""), getattr(row, "edition", 0)
    return Charge(
        _plus(charge.facility_joules, getattr(row, "facility_joules", None)),
        _plus(charge.carbon_grams, getattr(row, "carbon_grams", None)),
        cost,
        tuple(sorted({*charge.rates, rates} - {""})),
        tuple(sorted({*charge.editions, edition})),
    )


def _plus(left: float | None, right: float | None) -> float | None:
    if left is None or right is None:
        return right if left is None else left
    return left + right


def possible(
    connection: Connection, seen: CampaignView, now: float, actor: Actor | None = None
) -> tuple[Job, ...]:
    """Jobs that may belong too: of its users or accounts, named alike, at its time, and in no other campaign.

    Those that are asked for or were taken out are none of them, nor those that `actor`, where there is one, may
    not decide about. At most `MAX_POSSIBLE`, the latest first.
    """
    scope = seen.scope
    if scope is None:
        return ()
    ids = _alike(connection, scope)
    jobs = queries.jobs_as_declared(connection, ids, now)
    rules = campaign_store.rules_of(connection, jobs)
    members = {ref_of(member.job) for member in seen.members}
    found = [
        job
        for job in jobs
        if ref_of(job) not in members
        and rules.membership(job) is None
        and seen.name not in rules.removed_from(job)
        and not rules.requests(job)
        and (actor is None or standing_of(actor, job))
    ]
    found.sort(key=lambda job: (-job.started, job.scope.name))
    return tuple(found[:MAX_POSSIBLE])


def _alike(connection: Connection, scope: Campaign) -> set[str]:
    """The job ids of records and runs with names like those of the members."""
    stems = {stem(job.name) for job in scope.jobs if job.name} - {""}
    users = {owner_of(job).user for job in scope.jobs} - {""}
    accounts = {job.record.facts.account for job in scope.jobs if job.record is not None} - {""}
    begins, ends = scope.started - AROUND_SECONDS, scope.last_seen + AROUND_SECONDS
    there, runs = tables.records.c, tables.runs.c
    near = there.started.between(begins, ends)
    theirs = or_(among(there.user, sorted(users)), among(there.account, sorted(accounts)))
    named = connection.scalars(select(distinct(there.name)).where(near, theirs).order_by(there.name))
    alike = [name for name in named if stem(name) in stems][:_NAMES]
    query = select(there.whole, there.started).where(near, theirs, among(there.name, alike))
    rows = connection.execute(query.order_by(there.started.desc()).limit(10 * MAX_POSSIBLE))
    found = {row.whole for row in rows}
    uids = {job.uid for job in scope.jobs if job.uid is not None}
    begun = select(runs.job_id, runs.name).where(runs.time.between(begins, ends), runs.uid.in_(sorted(uids)))
    return found | {row.job_id for row in connection.execute(begun) if row.name and stem(row.name) in stems}


def stem(name: str) -> str:
    """What names of one series have in common: their words, without numbers, signs and case."""
    return " ".join(_WORDS.findall(name)).casefold()
