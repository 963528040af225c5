"""Charging: what was told since the last time becomes rows by day, priced, and the sums of their days.

Charges follow from the facts and the rates, so that charging again changes nothing. A job that has ended keeps the
rates it was charged by; others wait for `restating.py`, which puts its figures beside the old ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, bindparam, case, delete, func, insert, not_, select

from gpuwatch.ledger import charges, history, tables
from gpuwatch.ledger.charges import Charge, Point
from gpuwatch.ledger.jobs import Job, Part
from gpuwatch.ledger.marking import mark
from gpuwatch.ledger.queries import jobs_of
from gpuwatch.ledger.rates import Rates
from gpuwatch.ledger.sql import Insert, among, run_many
from gpuwatch.ledger.store import Store
from gpuwatch.ledger.store_postgres import key_of
from gpuwatch.model import EMPTY

AT_ONCE = 5000
"""So many job ids are charged in one transaction."""

KEY = ("job_id", "cluster", "attempt", "day", "model", "edition")
SUMS = (
    "charged_seconds", "allocated_seconds", "held_seconds", "cpu_seconds", "energy_joules", "host_joules",
    "facility_joules", "cost", "carbon_grams", "covered_seconds",
)  # fmt: skip
_COLUMNS = tuple(tables.charges.c.keys())


class Tariffs:
    """The rates in force, and those of earlier figures by their version."""

    def __init__(self, rates: Rates, zone: tzinfo = UTC) -> None:
        self.rates = rates
        self.zone = zone
        self._known = {rates.version: rates}

    def version(self, connection: Connection, version: str) -> Rates:
        """The rates of that version; the ones in force where the ledger never had it."""
        if version not in self._known:
            there = tables.rate_sets.c
            text = connection.scalar(select(there.text).where(there.version == version))
            self._known[version] = self.rates if text is None else Rates.from_text(text)
        return self._known[version]

    def keep(self, connection: Connection, now: float) -> None:
        """Write down the rates in force, so that a figure can be reckoned again."""
        row = (self.rates.version, now, self.rates.text)
        run_many(connection, _keep_rates, [row])


def _keep_rates(insert: Insert) -> Any:
    return insert(tables.rate_sets).on_conflict_do_nothing()


JobId = tuple[str, str]
"""A cluster and a job id."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What something came to: money by currency, joules of the facility and grams, None where not known.

    `rates` are the versions of the rates that were used.
    """

    cost: Mapping[str, float] = EMPTY
    facility_joules: float | None = None
    carbon_grams: float | None = None
    rates: frozenset[str] = frozenset()

    def __add__(self, other: Cost) -> Cost:
        money = dict(self.cost)
        for currency, value in other.cost.items():
            money[currency] = money.get(currency, 0.0) + value
        return Cost(
            money,
            _plus(self.facility_joules, other.facility_joules),
            _plus(self.carbon_grams, other.carbon_grams),
            self.rates | other.rates,
        )


def _plus(left: float | None, right: float | None) -> float | None:
    return right if left is None else left if right is None else left + right


@dataclass(frozen=True, slots=True)
class Charged:
    """What charging came to: the jobs, in how many rows something changed, job ids that must be charged again."""

    jobs: tuple[Job, ...] = ()
    rows: int = 0
    ahead: frozenset[str] = frozenset()


class _Edition(NamedTuple):
    """How one edition of a charge was reckoned."""

    edition: int
    current: bool
    final: bool
    rates: str


@dataclass(slots=True)
class _There:
    """The charges of some job ids that are there already."""

    rows: dict[tuple[Any, ...], tuple[Any, ...]] = field(default_factory=dict)
    editions: dict[tuple[Any, ...], list[_Edition]] = field(default_factory=lambda: defaultdict(list))
    curves: dict[tuple[str, str], dict[int, list[Point]]] = field(default_factory=dict)
    ended_by: dict[tuple[Any, ...], str] = field(default_factory=dict)
    """The rates by which attempts that have ended were charged."""

    def add(self, row: Any) -> None:
        """One row; those of an attempt come by day."""
        self.rows[tuple(row[: len(KEY)])] = tuple(row)
        edition = _Edition(row.edition, row.current, row.final, row.rates)
        self.editions[tuple(row[: len(KEY) - 1])].append(edition)
        if row.final and row.edition == 0:
            self.ended_by[row.job_id, row.cluster, row.attempt] = row.rates
        if row.current and row.held_seconds is not None:
            curve = self.curves.setdefault((row.cluster, row.job_id), {}).setdefault(row.attempt, [])
            before = curve[-1].held_seconds if curve else 0.0
            curve.append(Point(row.seen, before + row.held_seconds))


def catch_up(store: Store, cluster: str, tariffs: Tariffs, now: float, portions: int | None = None) -> Charged:
    """Charge everything that was told since the last time, some thousand jobs after the other.

    With `portions` no more of them: after an upgrade, or an import of years, the rest comes the next time.
    """
    jobs: dict[tuple[str, str], Job] = {}
    rows = done = 0
    ahead: frozenset[str] = frozenset()
    while portions is None or done < portions:
        with store.writing() as connection:
            told = _taken(connection, cluster, ahead)
            if not told:
                break
            charged = charge(connection, cluster, told, tariffs, now)
            mark(connection, ((cluster, job_id) for job_id in charged.ahead))
        done += 1
        rows += charged.rows
        ahead |= charged.ahead
        # The parts of a job may be in several portions, and each finds all of it.
        jobs |= {(job.cluster, job.scope.name): job for job in charged.jobs if job.state != "ended"}
    return Charged(tuple(jobs.values()), rows, ahead)


def _taken(connection: Connection, cluster: str, ahead: frozenset[str]) -> list[str]:
    """Take jobs off the list; first of all, so that what is told meanwhile is on it again."""
    there = tables.changed.c
    some = select(there.job_id).where(there.cluster == cluster).limit(AT_ONCE)
    if ahead:
        some = some.where(not_(among(there.job_id, ahead)))
    query = delete(tables.changed).where(there.cluster == cluster, there.job_id.in_(some))
    return list(connection.scalars(query.returning(there.job_id)))


def charge(
    connection: Connection, cluster: str, job_ids: Collection[str], tariffs: Tariffs, now: float
) -> Charged:
    """Charge these job ids of a cluster, and the others that are one job with them, in the caller's transaction.

    Another cluster's jobs of the same ids are its own accounting's, with other rates perhaps.
    """
    have_charges_alone(connection, cluster)
    tariffs.keep(connection, now)
    jobs = tuple(job for job in jobs_of(connection, job_ids, now, by_device=False) if job.cluster == cluster)
    parts = charges.by_job_id((part, charges.user_of(part, job.uid)) for job in jobs for part in job.parts)
    history.add_points(connection, {key: [part for part, _ in those] for key, those in parts.items()})
    # Also of those that have no attempt any more: a job that is said to wait again never ran.
    there = _there(connection, parts.keys() | {(cluster, job_id) for job_id in job_ids})
    found = [
        each
        for key, those in parts.items()
        for each in charges.charges_of(those, there.curves.get(key, EMPTY), tariffs.zone, now)
    ]
    ahead = frozenset(
        job_id for (_, job_id), those in parts.items() if any(_ahead(part, now) for part, _ in those)
    )
    return Charged(jobs, _write(connection, found, there, tariffs), ahead)


def _ahead(part: Part, now: float) -> bool:
    """Whether an attempt is charged up to `now` alone, though it went on; nobody may tell of it again."""
    record = part.attempt.record
    if record is None or record.facts.started is None:
        return False
    return max(record.facts.started, record.facts.ended or record.facts.seen) > now


def have_charges_alone(connection: Connection, cluster: str) -> None:
    """Until the transaction ends nobody else charges or restates the cluster: there is one current figure of each.

    A file has one writer anyway.
    """
    if connection.dialect.name == "postgresql":
        where = str(connection.scalar(select(func.current_schema())))
        connection.execute(select(func.pg_advisory_xact_lock(key_of("charges", where, cluster))))


def _write(connection: Connection, found: Sequence[Charge], there: _There, tariffs: Tariffs) -> int:
    rows = {row[: len(KEY)]: row for each in found for row in _rows(connection, each, there, tariffs)}
    new = [row for key, row in rows.items() if there.rows.get(key) != row]
    gone = [key for key in there.rows if key not in rows]
    run_many(connection, _upsert, new)
    run_many(connection, _remove, [dict(zip(_ITS, key, strict=True)) for key in gone])
    days = {(row[1], row[3]) for row in new} | {(key[1], key[3]) for key in gone}
    for cluster in sorted({cluster for cluster, _ in days}):
        add_up(connection, cluster, sorted(day for its, day in days if its == cluster))
    return len(new) + len(gone)


def _there(connection: Connection, keys: Collection[tuple[str, str]]) -> _There:
    found = _There()
    wanted = sorted({job_id for _, job_id in keys})
    there = tables.charges.c
    for first in range(0, len(wanted), AT_ONCE):
        query = select(tables.charges).where(among(there.job_id, wanted[first : first + AT_ONCE]))
        for row in connection.execute(query.order_by(there.job_id, there.day)):
            if (row.cluster, row.job_id) in keys:
                found.add(row)
    return found


def _rows(connection: Connection, each: Charge, there: _There, tariffs: Tariffs) -> Iterable[tuple[Any, ...]]:
    """A row for each edition of a charge; what has ended is reckoned as it was then."""
    key = (each.job_id, each.cluster, each.attempt, each.day, each.model)
    ended_by = there.ended_by.get(key[:3])
    new = _Edition(0, True, ended_by is not None, ended_by or tariffs.rates.version)
    for edition in there.editions.get(key) or [new]:
        kept = edition.final or not edition.current
        rates = tariffs.version(connection, edition.rates) if kept else tariffs.rates
        yield row_of(each, edition.edition, edition.current, rates)


def row_of(each: Charge, edition: int, current: bool, rates: Rates) -> tuple[Any, ...]:
    """A row of `tables.charges`: a charge with its money and carbon by these rates."""
    figures = rates.figures(
        each.begins, each.ends, each.charged_seconds, each.energy_joules, each.host_joules, each.model,
        each.partition,
    )  # fmt: skip
    return (
        each.job_id, each.cluster, each.attempt, each.day, each.model, edition, current, each.final,
        each.previous_day, each.counts, each.begins, each.ends, each.user, each.account, each.partition,
        each.charged_seconds, each.allocated_seconds, each.held_seconds, each.cpu_seconds, each.energy_joules,
        each.host_joules, figures.facility_joules, figures.cost,
        figures.currency if figures.cost is not None else "", figures.carbon_grams,
        each.covered_seconds, each.seen, rates.version,
    )  # fmt: skip


def costs_of(connection: Connection, jobs: Collection[JobId]) -> dict[JobId, Cost]:
    """What each of some job ids, by (cluster, job id), came to as far as it is charged."""
    there = tables.charges.c
    wanted = sorted({job_id for _, job_id in jobs})
    found: dict[JobId, Cost] = {}
    group = (there.cluster, there.job_id, there.currency, there.rates)
    sums = [func.sum(there[name]) for name in ("cost", "facility_joules", "carbon_grams")]
    for first in range(0, len(wanted), AT_ONCE):
        chosen = among(there.job_id, wanted[first : first + AT_ONCE])
        query = select(*group, *sums).where(chosen, there.current).group_by(*group)
        for cluster, job_id, currency, rates, cost, facility, carbon in connection.execute(query):
            money = {currency: cost} if cost is not None else EMPTY
            one = Cost(money, facility, carbon, frozenset({rates}))
            key = cluster, job_id
            found[key] = found[key] + one if key in found else one
    return found


def rates_in(connection: Connection, versions: Collection[str]) -> dict[str, Rates]:
    """Rates that figures were reckoned by, by their version."""
    there = tables.rate_sets.c
    query = select(there.version, there.text).where(there.version.in_(sorted(versions)))
    return {version: Rates.from_text(text) for version, text in connection.execute(query)}


def cost_of(jobs: Iterable[Job], costs: Mapping[JobId, Cost]) -> Cost:
    """What jobs came to together."""
    found = Cost()
    for job in jobs:
        for job_id in sorted(job.job_ids):
            found = found + costs.get((job.cluster, job_id), _NOTHING)
    return found


_NOTHING = Cost()


def add_up(connection: Connection, cluster: str, days: Sequence[int]) -> None:
    """Make the sums of these days anew."""
    there = tables.charges.c
    for first in range(0, len(days), 500):
        some = list(days[first : first + 500])
        connection.execute(
            delete(tables.daily).where(tables.daily.c.cluster == cluster, tables.daily.c.day.in_(some))
        )
        group = (there.cluster, there.day, there.user, there.account, there.partition, there.currency)
        unknown = and_(there.counts > 0, there.charged_seconds.is_(None))
        counted = [func.sum(case((there.counts >= least, 1), else_=0)) for least in (1, 2, 3)]
        query = (
            select(
                *group, *(func.sum(there[name]) for name in SUMS), *counted,
                func.sum(case((unknown, 1), else_=0)),
            )
            .where(there.cluster == cluster, there.day.in_(some), there.current)
            .group_by(*group)
        )  # fmt: skip
        connection.execute(insert(tables.daily).from_select(list(tables.daily.c.keys()), query))


_ITS = tuple(f"its_{name}" for name in KEY)


def _upsert(insert: Insert) -> Any:
    new = insert(tables.charges)
    return new.on_conflict_do_update(
        index_elements=list(tables.charges.primary_key),
        set_={name: new.excluded[name] for name in _COLUMNS if name not in KEY},
    )


def _remove(_insert: Insert) -> Any:
    there = tables.charges.c
    return delete(tables.charges).where(*(there[name] == bindparam(f"its_{name}") for name in KEY))
