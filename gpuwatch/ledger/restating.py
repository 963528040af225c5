"""Restating: figures by the rates of today beside those that were reckoned before, which stay.

A restatement has a number, the edition of its rows; who made it, when and why is written down. Hours and joules
are facts and are not touched by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Connection, bindparam, false, func, insert, select, update

from gpuwatch.ledger import tables
from gpuwatch.ledger.charges import Charge
from gpuwatch.ledger.charging import KEY, Tariffs, add_up, have_charges_alone, row_of
from gpuwatch.ledger.sql import Insert, run_many

_AT_ONCE = 10_000
_FACTS = tuple(each.name for each in fields(Charge))
_MONEY = ("facility_joules", "cost", "currency", "carbon_grams")


@dataclass(frozen=True, slots=True)
class Totals:
    """Money by currency and grams, of all charges that were restated."""

    cost: dict[str, float]
    carbon_grams: float | None


@dataclass(frozen=True, slots=True)
class Restatement:
    """What a restatement came to: `edition` is None where no figure changed, and nothing was written then."""

    edition: int | None
    rates: str
    rows: int
    jobs: int
    before: Totals
    after: Totals


@dataclass(frozen=True, slots=True)
class Past:
    """A restatement of the past; days since 1970, `ends` not included."""

    edition: int
    time: float
    begins: int
    ends: int
    rates: str
    by: str
    reason: str
    rows: int


class _Adding:
    """Adds up money and grams."""

    def __init__(self) -> None:
        self._cost: dict[str, float] = {}
        self._carbon: float | None = None

    def add(self, row: dict[str, Any]) -> None:
        """One charge."""
        if row["cost"] is not None:
            self._cost[row["currency"]] = self._cost.get(row["currency"], 0.0) + row["cost"]
        if row["carbon_grams"] is not None:
            self._carbon = (self._carbon or 0.0) + row["carbon_grams"]

    def totals(self) -> Totals:
        """What was added up."""
        return Totals(self._cost, self._carbon)


def restate(
    connection: Connection,
    cluster: str,
    days: tuple[int, int],
    tariffs: Tariffs,
    by: str,
    reason: str,
    now: float,
    told: Callable[[float], None] = lambda _part: None,
) -> Restatement:
    """Reckon the days [first, last) by the rates in force, in the caller's transaction; `told` how far it is."""
    have_charges_alone(connection, cluster)
    edition = _next_edition(connection, cluster)
    before, after = _Adding(), _Adding()
    touched: set[int] = set()
    jobs: set[str] = set()
    rows = 0
    tariffs.keep(connection, now)
    for some in _portions(connection, cluster, days, told):
        changed = []
        for old in some:
            new = _again(old, edition, tariffs)
            before.add(old)
            after.add(new)
            if any(new[name] != old[name] for name in _MONEY):
                changed.append((old, new))
                touched.add(old["day"])
                jobs.add(old["job_id"])
        run_many(connection, _supersede, [{f"its_{name}": old[name] for name in KEY} for old, _ in changed])
        run_many(connection, _insert, [tuple(new.values()) for _, new in changed])
        rows += len(changed)
    if rows:
        row = (cluster, edition, now, *map(float, days), tariffs.rates.version, by, reason, rows)
        connection.execute(insert(tables.restatements).values(row))
        add_up(connection, cluster, sorted(touched))
    return Restatement(
        edition if rows else None, tariffs.rates.version, rows, len(jobs), before.totals(), after.totals()
    )


def past(connection: Connection, cluster: str | None = None) -> list[Past]:
    """The restatements there were, the latest first."""
    there = tables.restatements.c
    query = select(tables.restatements).order_by(there.time.desc(), there.edition.desc())
    if cluster is not None:
        query = query.where(there.cluster == cluster)
    return [
        Past(row.edition, row.time, int(row.begins), int(row.ends), row.rates, row.by, row.reason, row.rows)
        for row in connection.execute(query)
    ]


def _next_edition(connection: Connection, cluster: str) -> int:
    there = tables.restatements.c
    latest = connection.scalar(select(func.max(there.edition)).where(there.cluster == cluster))
    return (latest or 0) + 1


def _portions(
    connection: Connection, cluster: str, days: tuple[int, int], told: Callable[[float], None]
) -> Iterator[list[dict[str, Any]]]:
    """The charges of these days that are not restated yet, day by day: one that is read is not read again."""
    there = tables.charges.c
    first_day, last_day = _between(connection, cluster, days)
    for day in range(first_day, last_day):
        told((day - first_day) / (last_day - first_day))
        query = select(tables.charges).where(there.cluster == cluster, there.day == day, there.current)
        rows = [dict(row._mapping) for row in connection.execute(query)]
        for first in range(0, len(rows), _AT_ONCE):
            yield rows[first : first + _AT_ONCE]


def _between(connection: Connection, cluster: str, days: tuple[int, int]) -> tuple[int, int]:
    there = tables.charges.c
    query = select(func.min(there.day), func.max(there.day)).where(there.cluster == cluster)
    first, last = connection.execute(query).one()
    if first is None:
        return 0, 0
    return max(first, days[0]), min(last + 1, days[1])


def _again(old: dict[str, Any], edition: int, tariffs: Tariffs) -> dict[str, Any]:
    charge = Charge(**{name: old[name] for name in _FACTS})
    row = row_of(charge, edition, True, tariffs.rates)
    return dict(zip(tables.charges.c.keys(), row, strict=True))


def _supersede(_insert_of: Insert) -> Any:
    there = tables.charges.c
    its: Iterable[Any] = (there[name] == bindparam(f"its_{name}") for name in KEY)
    return update(tables.charges).values(current=false()).where(*its)


def _insert(insert_of: Insert) -> Any:
    return insert_of(tables.charges)
