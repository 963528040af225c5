"""What an account was granted, used, and has promised to jobs that run and wait; and until when that lasts.

An account's sub-accounts are part of it. What the batch system says was used and what the ledger's records add up
to stand side by side: neither is corrected by the other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Connection, select, true

from gpuwatch.ledger import tables
from gpuwatch.ledger.budget_forecasts import Remaining, RemainingOf, remaining
from gpuwatch.ledger.record_store import grants_where, records_where
from gpuwatch.ledger.records import devices_of, held_until
from gpuwatch.schedulers.base import RUNNING, WAITING, Grant, Record

PACE_SECONDS = 7 * 86_400.0
"""The time over which the present pace is measured."""

_RATES: Mapping[str, Callable[[Record], float | None]] = {
    "gres/gpu": devices_of,
    "cpu": lambda record: record.facts.cpus,
    "billing": lambda record: record.facts.billing,
}
RESOURCES = tuple(_RATES)
"""The resources that records tell of, by their TRES names."""

AccountId = tuple[str, str]
"""A cluster and an account."""


@dataclass(frozen=True, slots=True)
class UserPart:
    """What one user of the account may use, used by the batch system's word, and used by the records; seconds."""

    user: str
    limit_seconds: float | None
    reported_seconds: float | None
    recorded_seconds: float


@dataclass(frozen=True, slots=True)
class Word:
    """What somebody says that an account used, and what the records add up to in the same period; seconds."""

    grant: Grant
    recorded_seconds: float

    @property
    def difference(self) -> float:
        """What is said beyond what the records add up to."""
        return (self.grant.used_seconds or 0.0) - self.recorded_seconds


@dataclass(frozen=True, slots=True)
class Committed:
    """What jobs that run and wait may use until their time limits, seconds; those without one are counted."""

    running_seconds: float = 0.0
    waiting_seconds: float = 0.0
    running_jobs: int = 0
    waiting_jobs: int = 0
    unlimited_jobs: int = 0

    @property
    def seconds(self) -> float:
        """Both together."""
        return self.running_seconds + self.waiting_seconds


@dataclass(frozen=True, slots=True)
class Expected:
    """What `jobs` that run are forecast to use yet, seconds: the median and the ends of an 80 % interval.

    `p_over` is the probability that it is more than is left once waiting jobs have used all they may; None where
    no limit is known.
    """

    low_seconds: float
    seconds: float
    high_seconds: float
    jobs: int
    p_over: float | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """One account and one resource at the time `now`; amounts are seconds of the resource.

    `grant` is the limit in force, `words` what is said to be used, the word of who granted first.
    `recorded_seconds` is what the records in the grant's period add up to, `recorded_since` when the first of
    them began, `unknown_jobs` how many are not in it, as nobody told their share. `within` is the nearest account
    above that has a limit. `remaining` is what each running job will use yet that is forecast, and `expected` what
    that comes to, where somebody reckoned it.
    """

    cluster: str
    account: str
    resource: str
    now: float
    grant: Grant | None
    words: tuple[Word, ...]
    recorded_seconds: float
    recorded_since: float | None
    unknown_jobs: int
    committed: Committed
    pace: float
    parent: str = ""
    within: str = ""
    accounts: tuple[str, ...] = ()
    coordinators: tuple[str, ...] = ()
    users: tuple[UserPart, ...] = ()
    remaining: tuple[Remaining, ...] = ()
    expected: Expected | None = None

    @property
    def reported(self) -> Grant | None:
        """The first of the words."""
        return self.words[0].grant if self.words else None

    @property
    def granted(self) -> float | None:
        """The limit; None where none is known."""
        return self.grant.limit_seconds if self.grant else None

    @property
    def used(self) -> float | None:
        """By the word of whoever granted it, else by the records; None where neither tells of the resource."""
        told = self.grant or self.reported
        if told is not None and told.used_seconds is not None:
            return told.used_seconds
        return self.recorded_seconds if self.resource in RESOURCES else None

    @property
    def left(self) -> float | None:
        """What is granted and not used; negative where more was used."""
        return None if self.granted is None or self.used is None else self.granted - self.used

    @property
    def free(self) -> float | None:
        """What is left when every job that runs or waits has used all it may."""
        return None if self.left is None else self.left - self.committed.seconds

    @property
    def difference(self) -> float | None:
        """What the batch system says was used beyond what the records add up to."""
        return self.words[0].difference if self.words else None

    @property
    def runs_out(self) -> float | None:
        """When nothing is left at the present pace, Unix seconds; None where that is not to be expected."""
        if self.left is None:
            return None
        if self.left <= 0:
            return self.now
        end = self.now + self.left / self.pace if self.pace > 0 else None
        ends = self.grant.ends if self.grant else None
        return None if end is None or (ends is not None and end >= ends) else end


@dataclass(slots=True)
class _Tally:
    """Adds up the records of an account in a period."""

    rate_of: Callable[[Record], float | None]
    now: float
    begins: float = 0.0
    ends: float = float("inf")
    told: tuple[Grant, ...] = ()
    in_told: list[float] = field(default_factory=list)
    recorded: float = 0.0
    week: float = 0.0
    since: float | None = None
    unknown: int = 0
    running: float = 0.0
    waiting: float = 0.0
    forecasts: RemainingOf = field(default_factory=dict)
    remaining: list[Remaining] = field(default_factory=list)
    jobs: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    users: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, record: Record) -> None:
        rate, facts = self.rate_of(record), record.facts
        until = held_until(record, self.now)
        if rate is None:
            self.unknown += until is not None
        if not rate:
            return
        if until is not None and facts.started is not None:
            seconds = rate * overlap(facts.started, until, self.begins, self.ends)
            self.recorded += seconds
            self.week += rate * overlap(facts.started, until, self.now - PACE_SECONDS, self.now)
            self.users[facts.user] += seconds
            for number, each in enumerate(self.told):
                ends = float("inf") if each.ends is None else each.ends
                self.in_told[number] += rate * overlap(facts.started, until, each.starts or 0.0, ends)
            if seconds:
                counted = max(facts.started, self.begins)
                self.since = counted if self.since is None else min(self.since, counted)
        self._commit(record, rate, until)

    def _commit(self, record: Record, rate: float, until: float | None) -> None:
        facts = record.facts
        if facts.ended is not None or facts.state not in RUNNING | WAITING:
            return
        waits = facts.state in WAITING
        number = facts.tasks if waits else 1
        self.jobs["waiting" if waits else "running"] += number
        if not waits:
            self._expect(record, rate)
        if facts.limit_seconds is None:
            self.jobs["unlimited"] += number
        elif waits:
            self.waiting += rate * facts.limit_seconds * number
        elif until is not None and facts.started is not None:
            self.running += rate * overlap(until, facts.started + facts.limit_seconds, self.begins, self.ends)

    def _expect(self, record: Record, rate: float) -> None:
        """What it will use yet before the period ends; CPUs and billing units go on with its devices."""
        found, devices = self.forecasts.get((record.key.cluster, record.key.job_id)), devices_of(record)
        if found is not None and devices:
            most = rate * max(0.0, self.ends - self.now)
            self.remaining.append(tuple(min(most, each * rate / devices) for each in found))

    def words(self) -> tuple[Word, ...]:
        return tuple(map(Word, self.told, self.in_told))

    def committed(self) -> Committed:
        jobs = self.jobs
        return Committed(self.running, self.waiting, jobs["running"], jobs["waiting"], jobs["unlimited"])


def overlap(begins: float, ends: float, first: float, last: float) -> float:
    """How much of [begins, ends) lies in [first, last), seconds."""
    return max(0.0, min(ends, last) - max(begins, first))


def grant_in_force(grants: Iterable[Grant], now: float) -> Grant | None:
    """Of the grants of one account, user and resource the one that counts: with a limit, for today, the latest."""
    limits = [each for each in grants if each.limit_seconds is not None]
    return max(limits, key=lambda each: (_is_current(each, now), each.starts or 0.0, each.seen), default=None)


def _is_current(grant: Grant, now: float) -> bool:
    return (grant.starts or 0.0) <= now and (grant.ends is None or now < grant.ends)


def _told(grants: Iterable[Grant], first: Grant | None) -> tuple[Grant, ...]:
    """Who says what was used: of each source the last, that of the grant in force before the others."""
    latest: dict[str, Grant] = {}
    for each in sorted(grants, key=lambda each: (each.seen, each.starts or 0.0)):
        if each.used_seconds is not None:
            latest[each.source] = each
    source = first.source if first else ""
    return tuple(sorted(latest.values(), key=lambda each: (each.source != source, -each.seen, each.source)))


class Accounts:
    """Which accounts there are, and which is part of which."""

    def __init__(self, parents: Mapping[AccountId, str], more: Iterable[AccountId]) -> None:
        self._parents = parents
        above = {(cluster, parent) for (cluster, _), parent in parents.items() if parent}
        self.all = tuple(sorted({*parents, *more, *above}))
        self._children: dict[AccountId, list[AccountId]] = defaultdict(list)
        for account in self.all:
            for each in self.above(account):
                self._children[each].append(account)

    def parent(self, account: AccountId) -> str:
        """The account that it is part of; empty at the top."""
        return self._parents.get(account, "")

    def above(self, account: AccountId) -> tuple[AccountId, ...]:
        """The accounts that it is part of, the nearest first. A circle, which no batch system has, is left."""
        found: list[AccountId] = []
        while parent := self.parent(account):
            account = (account[0], parent)
            if account in found:
                break
            found.append(account)
        return tuple(found)

    def below(self, account: AccountId) -> tuple[AccountId, ...]:
        """All its sub-accounts."""
        return tuple(each for each in self._children[account] if each != account)


def accounts_in(connection: Connection) -> Accounts:
    """The accounts that grants or records name."""
    there, told = tables.grants.c, tables.records.c
    parents: dict[AccountId, str] = {}
    query = select(there.cluster, there.account, there.parent).where(there.user == "").order_by(there.seen)
    for row in connection.execute(query):
        parents[row.cluster, row.account] = row.parent if row.parent != row.account else ""
    named = select(told.cluster, told.account).where(told.account != "").distinct()
    users = select(there.cluster, there.account).where(there.user != "").distinct()
    more = [(row.cluster, row.account) for each in (named, users) for row in connection.execute(each)]
    return Accounts(parents, more)


def budgets(
    connection: Connection, accounts: Accounts, wanted: Sequence[AccountId], resource: str, now: float
) -> Iterator[Budget]:
    """The budgets of the wanted accounts. Records are read once, whatever the number of accounts."""
    grants: dict[AccountId, dict[str, list[Grant]]] = defaultdict(lambda: defaultdict(list))
    for grant in grants_where(connection, tables.grants.c.resource == resource):
        grants[grant.cluster, grant.account][grant.user].append(grant)
    limits = {each: grant_in_force(users[""], now) for each, users in grants.items() if "" in users}
    forecasts = remaining(connection, now)
    tallies = {
        each: _tally(limits.get(each), grants[each].get("", ()), resource, now, forecasts) for each in wanted
    }
    for record in records_where(connection, _records_of(accounts, wanted)):
        account = (record.key.cluster, record.facts.account)
        for each in (account, *accounts.above(account)):
            if each in tallies:
                tallies[each].add(record)
    for each, tally in tallies.items():
        within = next((name for cluster, name in accounts.above(each) if limits.get((cluster, name))), "")
        yield _budget(each, resource, limits.get(each), grants[each], tally, accounts, within)


def _tally(
    grant: Grant | None, grants: Iterable[Grant], resource: str, now: float, forecasts: RemainingOf
) -> _Tally:
    told = _told(grants, grant)
    begins = grant.starts if grant else None
    ends = grant.ends if grant else None
    rate_of = _RATES.get(resource, lambda _record: None)
    return _Tally(
        rate_of, now, begins or 0.0, float("inf") if ends is None else ends, told, [0.0] * len(told),
        forecasts=forecasts,
    )  # fmt: skip


def _records_of(accounts: Accounts, wanted: Collection[AccountId]) -> ColumnElement[bool]:
    if len(wanted) == len(accounts.all):
        return true()
    names = {name for each in wanted for _, name in (each, *accounts.below(each))}
    return tables.records.c.account.in_(sorted(names))


def _budget(
    account: AccountId,
    resource: str,
    grant: Grant | None,
    grants: Mapping[str, Sequence[Grant]],
    tally: _Tally,
    accounts: Accounts,
    within: str,
) -> Budget:
    own = grants.get("", ())
    coordinators = sorted({name for each in own for name in each.coordinators})
    return Budget(
        *account, resource, tally.now, grant, tally.words(), tally.recorded, tally.since, tally.unknown,
        tally.committed(), tally.week / PACE_SECONDS, accounts.parent(account), within,
        tuple(name for _, name in accounts.below(account)), tuple(coordinators),
        tuple(_users(grants, tally)), tuple(tally.remaining),
    )  # fmt: skip


def _users(grants: Mapping[str, Sequence[Grant]], tally: _Tally) -> Iterator[UserPart]:
    """Users who have a limit or used something, those who used the most first."""
    names = ({*grants} | {*tally.users}) - {""}
    for user in sorted(names, key=lambda name: (-tally.users.get(name, 0.0), name)):
        limit = grant_in_force(grants.get(user, ()), tally.now)
        told = next(iter(_told(grants.get(user, ()), limit)), None)
        yield UserPart(
            user,
            limit.limit_seconds if limit else None,
            told.used_seconds if told else None,
            tally.users.get(user, 0.0),
        )
