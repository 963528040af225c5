"""Campaigns after the fact on disk: what is said is written as it is said, and read for the jobs it is about.

Everything that is written takes the connection, who says it, and `now`; whoever calls has proved who that is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, distinct, insert, or_, select, update

from gpuwatch import declaration
from gpuwatch.errors import DeclarationError, Forbidden, Rejected
from gpuwatch.ledger import tables
from gpuwatch.ledger.campaign_tables import decisions, patterns
from gpuwatch.ledger.campaigns import (
    Actor,
    Decision,
    JobRef,
    Pattern,
    Person,
    Rules,
    Standing,
    What,
    name_of,
    owner_of,
    ref_of,
    standing_of,
)
from gpuwatch.ledger.coordinators import coordinators
from gpuwatch.ledger.jobs import Job
from gpuwatch.ledger.sql import among

MAX_REASON_LENGTH = 1000
MAX_PATTERNS = 100
"""How many patterns a campaign may have."""

_NO_RULES = Rules()


@dataclass(frozen=True, slots=True)
class Said:
    """What became of a word about a job; without `standing` it waits for its owner, or has no effect."""

    job: Job
    standing: Standing


def checked_name(name: str) -> str:
    """A campaign's name in its one form; `DeclarationError` where it cannot be one."""
    read = declaration.parse(declaration.from_options(campaign=name))
    if read.campaign is None:
        raise DeclarationError(f"campaign: {name[:60]!r} is no name; write for example llama-ft")
    return read.campaign


def add(
    connection: Connection, actor: Actor, campaign: str, jobs: Sequence[Job], now: float, reason: str = ""
) -> tuple[Said, ...]:
    """Make jobs members; of those that the actor has no right to, the owner is asked."""
    return _say(connection, actor, campaign, jobs, now, reason, "add")


def remove(
    connection: Connection, actor: Actor, campaign: str, jobs: Sequence[Job], now: float, reason: str = ""
) -> tuple[Said, ...]:
    """Take jobs out, or take back that their owners were asked; `Forbidden` where neither is the actor's to do."""
    rules = rules_of(connection, jobs)
    for job in jobs:
        asked = [each.by for each in rules.requests(job) if each.campaign == campaign]
        if not standing_of(actor, job) and name_of(actor.person) not in asked:
            raise Forbidden(
                f"campaign {campaign!r}: job {job.scope.name!r} is not yours to remove; its owner, a coordinator"
                " of its account and the cluster's staff may"
            )
    return _say(connection, actor, campaign, jobs, now, reason, "remove")


def agree(
    connection: Connection, actor: Actor, campaign: str, jobs: Sequence[Job], now: float, agrees: bool = True
) -> tuple[Said, ...]:
    """Agree, or disagree, that own jobs belong to a campaign; without jobs: all own ones, those to come too."""
    for job in jobs:
        if standing_of(actor, job) != "owner":
            raise Forbidden(f"campaign {campaign!r}: job {job.scope.name!r} is not yours; its owner agrees")
    what: What = "agree" if agrees else "disagree"
    if jobs:
        return _say(connection, actor, campaign, jobs, now, "", what)
    connection.execute(insert(decisions), _row(actor, checked_name(campaign), what, now, "", "owner", None))
    return ()


def _say(
    connection: Connection, actor: Actor, campaign: str, jobs: Sequence[Job], now: float, reason: str, what: What
) -> tuple[Said, ...]:
    name, why = checked_name(campaign), _reason(reason)
    said = tuple(Said(job, standing_of(actor, job)) for job in jobs)
    rows = [_row(actor, name, what, now, why, each.standing, ref_of(each.job)) for each in said]
    if rows:
        connection.execute(insert(decisions), rows)
    return said


def _reason(text: str) -> str:
    if len(text) > MAX_REASON_LENGTH:
        raise Rejected(f"reason: {len(text)} characters long; at most {MAX_REASON_LENGTH}")
    return storable(text)


def storable(text: str) -> str:
    """A text that every database takes: UTF-8 without NUL."""
    return text.encode(errors="replace").decode().replace("\0", "\ufffd")


def _row(
    actor: Actor, campaign: str, what: What, now: float, reason: str, standing: Standing, ref: JobRef | None
) -> dict[str, Any]:
    cluster, job_id, started = ref if ref is not None else (None, None, None)
    return {
        "time": now, "campaign": campaign, "what": what, "by": storable(actor.person.user),
        "uid": actor.person.uid, "standing": standing, "cluster": cluster, "job_id": job_id, "started": started,
        "reason": reason,
    }  # fmt: skip


def add_pattern(connection: Connection, actor: Actor, pattern: Pattern, now: float) -> int:
    """Take a pattern as the actor's, and give its number; its own `id`, `time`, `by` and `role` are not used."""
    words = (pattern.name, pattern.user or "", pattern.account or "", pattern.partition or "")
    longest = max(map(len, words))
    if not pattern.name or longest > declaration.MAX_NAME_LENGTH:
        raise Rejected(f"pattern: {longest} characters; write 1 to {declaration.MAX_NAME_LENGTH}, as in 'llama-*'")
    name = checked_name(pattern.campaign)
    if len(patterns_of(connection, name)) >= MAX_PATTERNS:
        raise Rejected(f"pattern: campaign {name!r} has {MAX_PATTERNS}; drop one")
    row = {
        "time": now, "campaign": name, "by": storable(actor.person.user), "uid": actor.person.uid,
        "role": actor.role, "begins": pattern.begins, "ends": pattern.ends,
        **{key: None if (word := getattr(pattern, key)) is None else storable(word) for key in _WORDS},
    }  # fmt: skip
    made = connection.execute(insert(patterns).values(row)).inserted_primary_key
    return int(made[0]) if made is not None else 0


_WORDS = ("name", "user", "account", "partition")


def drop_pattern(connection: Connection, actor: Actor, campaign: str, number: int, now: float) -> None:
    """A pattern counts no more; `Forbidden` where another made it, `Rejected` where there is none."""
    found = [each for each in patterns_of(connection, campaign) if each.id == number]
    if not found:
        raise Rejected(f"pattern: campaign {campaign!r} has none of number {number}")
    if actor.role == "self" and not actor.person.is_same(found[0].by):
        raise Forbidden(f"pattern: number {number} is not yours to drop; {found[0].by.user!r} made it")
    there = patterns.c
    connection.execute(
        update(patterns).where(there.id == number).values(dropped=now, dropped_by=storable(actor.person.user))
    )


def patterns_of(connection: Connection, campaign: str | None = None) -> tuple[Pattern, ...]:
    """The patterns in force, of one campaign or of all, the oldest first."""
    there = patterns.c
    query = select(patterns).where(there.dropped.is_(None)).order_by(there.id)
    if campaign is not None:
        query = query.where(there.campaign == campaign)
    return tuple(
        Pattern(
            row.id, row.time, row.campaign, Person(row.by, row.uid), row.role, row.name, row.user, row.account,
            row.partition, row.begins, row.ends,
        )
        for row in connection.execute(query)
    )  # fmt: skip


def actor_of(connection: Connection, person: Person, role: str = "self") -> Actor:
    """Somebody of a role with the accounts that the batch systems say are coordinated by him."""
    return Actor(person, role, coordinators(connection).get(person.user, frozenset()))  # type: ignore[arg-type]


def rules_of(connection: Connection, jobs: Sequence[Job] | None = None) -> Rules:
    """What was said after the fact about some jobs, or about any."""
    if connection.execute(select(decisions.c.id).limit(1)).first() is None:
        said: list[Decision] = []
    else:
        said = list(_decisions(connection, _about(jobs)))
    live = patterns_of(connection)
    if not said and not live:
        return _NO_RULES
    by_job: dict[tuple[str, str], list[Decision]] = defaultdict(list)
    for each in said:
        if each.job is not None:
            by_job[each.job.cluster, each.job.job_id].append(each)
    consents = tuple(each for each in said if each.job is None)
    return Rules(by_job, consents, live, coordinators(connection) if live else {})


def _about(jobs: Sequence[Job] | None) -> ColumnElement[bool] | None:
    if jobs is None:
        return None
    ids = sorted({job.job_id for job in jobs})
    return or_(decisions.c.job_id.is_(None), among(decisions.c.job_id, ids))


def _decisions(connection: Connection, condition: ColumnElement[bool] | None) -> Iterator[Decision]:
    query = select(decisions)
    for row in connection.execute(query if condition is None else query.where(condition)):
        job = None if row.job_id is None else JobRef(row.cluster, row.job_id, row.started)
        by = Person(row.by, row.uid)
        yield Decision(row.id, row.time, row.campaign, row.what, by, row.standing, job, row.reason)


def log_of(connection: Connection, campaign: str) -> tuple[Decision, ...]:
    """Everything that was ever said of a campaign after the fact, the oldest first."""
    found = _decisions(connection, decisions.c.campaign == campaign)
    return tuple(sorted(found, key=lambda each: each.order))


def resolved(connection: Connection, jobs: Sequence[Job], rules: Rules | None = None) -> tuple[Job, ...]:
    """The jobs with the campaign that they belong to, where they only had what they declared."""
    rules = rules_of(connection, jobs) if rules is None else rules
    if rules.are_empty:
        return tuple(jobs)
    return tuple(_resolved(rules, job) for job in jobs)


def _resolved(rules: Rules, job: Job) -> Job:
    membership = rules.membership(job)
    campaign = membership.campaign if membership else None
    return job if campaign == job.campaign else replace(job, campaign=campaign)


def names(connection: Connection) -> set[str]:
    """The campaigns of which anything was said after the fact."""
    return {
        name
        for column in (decisions.c.campaign, patterns.c.campaign)
        for name in connection.scalars(select(distinct(column)))
    }


def candidates(connection: Connection, campaigns: Sequence[str]) -> set[str]:
    """The job ids that decisions or patterns may make members of campaigns; which they do, the rules say."""
    said = select(distinct(decisions.c.job_id)).where(among(decisions.c.campaign, campaigns))
    found = set(connection.scalars(said)) - {None}
    for pattern in patterns_of(connection):
        if pattern.campaign in campaigns:
            found |= _looking_like(connection, pattern)
    return {str(each) for each in found}


def _looking_like(connection: Connection, pattern: Pattern) -> set[str]:
    """A superset of the job ids that a pattern matches."""
    there, runs = tables.records.c, tables.runs.c
    head = pattern.name[: next((at for at, sign in enumerate(pattern.name) if sign in "*?["), None)]
    exact = ((there.user, pattern.user), (there.account, pattern.account), (there.partition, pattern.partition))
    query = select(distinct(there.whole)).where(
        *(column == word for column, word in exact if word is not None),
        *([there.name.startswith(head, autoescape=True)] if head else []),
        *([there.started >= pattern.begins - _DAY] if pattern.begins is not None else []),
    )
    found = set(connection.scalars(query))
    if pattern.account is None and pattern.partition is None:
        named = select(distinct(runs.job_id)).where(runs.name.is_not(None))
        found |= set(
            connection.scalars(named.where(runs.name.startswith(head, autoescape=True)) if head else named)
        )
    return found


_DAY = 86_400.0


def owners(jobs: Iterable[Job]) -> tuple[str, ...]:
    """The names of those whose jobs they are, where they are known."""
    return tuple(sorted({owner_of(job).user for job in jobs} - {""}))
