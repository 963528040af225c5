"""Groups out of the daily sums, with what lies before the first whole day and after the last out of charges.

A job counts once in a group and once in the whole. Days say how many jobs they have and how many of these are new,
so that a job is counted where it first comes, and the few that come back after days without are looked up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, case, cast, func, or_, select, true

from gpuwatch.ledger import tables
from gpuwatch.ledger.charges import date_of, days_between
from gpuwatch.ledger.groups import group_of
from gpuwatch.ledger.periods import Grouped, Row, Span, in_order
from gpuwatch.ledger.questions import Question
from gpuwatch.ledger.spans import spans
from gpuwatch.ledger.sql import WHOLE, among

AMOUNTS = ("held_seconds", "allocated_seconds", "energy_joules", "host_joules", "facility_joules", "carbon_grams")
_SUMS = ("charged_seconds", "cpu_seconds", *AMOUNTS)
# By cluster and day the sums lie in order, which spares sorting them.
_NAMED_BY = {"day": ("cluster", "day"), "month": ("cluster", "day"), "group": ("cluster", "account")}
_FIRST, _LAST = 86_400.0, 253_370_764_800.0
_AT_ONCE = 5000

JobId = tuple[str, str]
_Read = Iterator[Mapping[str, Any]]


class Days(NamedTuple):
    """Whole days from `first` to before `last`, None: without bound; and the times beside them."""

    first: int | None
    last: int | None
    edges: tuple[tuple[float, float], ...] = ()


def days_of(question: Question, zone: tzinfo) -> Days | None:
    """The whole days of the time asked for, as days are in `zone`; None where there is none."""
    first, last = None, None
    edges: list[tuple[float, float]] = []
    if question.begins > _FIRST:
        day = _day_at(question.begins, zone)
        first = day.number if day.begins == question.begins else day.number + 1
        if first != day.number:
            edges.append((question.begins, day.ends))
    if question.ends < question.now:
        day = _day_at(question.ends, zone)
        last = day.number
        if day.begins != question.ends:
            edges.append((day.begins, question.ends))
    if first is not None and last is not None and first >= last:
        return None
    return Days(first, last, tuple(edges))


class _Day(NamedTuple):
    number: int
    begins: float
    ends: float


def _day_at(time: float, zone: tzinfo) -> _Day:
    """The whole day with that time in it."""
    moment = min(max(time, _FIRST), _LAST)
    around = days_between(moment - 2 * 86_400.0, moment + 2 * 86_400.0, zone)
    return next(_Day(*each) for each in around if each.begins <= moment < each.ends)


@dataclass(slots=True)
class _Sum:
    """Adds up one group; `beside` are the jobs at the edges, `known` those of which the devices are known."""

    sums: dict[str, float] = field(default_factory=dict)
    jobs: int = 0
    unknown: int = 0
    beside: set[JobId] = field(default_factory=set)
    known: set[JobId] = field(default_factory=set)
    inside: set[JobId] = field(default_factory=set)

    def add(self, amounts: Mapping[str, float | None]) -> None:
        for name, value in amounts.items():
            if value is not None:
                self.sums[name] = self.sums.get(name, 0.0) + value

    def row(self, name: str | None) -> Row:
        new = self.beside - self.inside
        amounts = {key: value for key, value in self.sums.items() if key in AMOUNTS or key.startswith("cost:")}
        charged, cpus = self.sums.get("charged_seconds"), self.sums.get("cpu_seconds")
        return Row(name, charged, cpus, self.jobs + len(new), self.unknown + len(new - self.known), amounts)


def _counted(count: ColumnElement[int], name: str) -> ColumnElement[int]:
    """The sum of whole numbers as one: PostgreSQL's would be a decimal."""
    return cast(func.sum(count), WHOLE).label(name)


class DaySums:
    """Answers one question whose days are the ledger's."""

    def __init__(self, connection: Connection, question: Question, days: Days, zone: tzinfo) -> None:
        self._connection = connection
        self._question = question
        self._days = days
        self._zone = zone
        self._calendar = question.by in ("day", "month")
        self._groups: dict[str | None, _Sum] = defaultdict(_Sum)
        self._total = _Sum()
        there = tables.daily.c.currency
        self._currencies = sorted(connection.scalars(select(there.distinct()).where(there != "")))

    def grouped(self) -> Grouped:
        """All groups, and everything together."""
        names = [*_SUMS, *(f"cost:{currency}" for currency in self._currencies)]
        for row in self._sums():
            amounts = {name: row[name] for name in names}
            for each in (self._groups[self._name(row)], self._total):
                each.add(amounts)
            self._count(row)
        for row in (*self._from_before(), *self._again()):
            self._count(row)
        self._count_unknown()
        self._add_edges()
        rows = (each.row(name) for name, each in self._groups.items())
        return Grouped(in_order(self._question.by, rows), self._total.row(None))

    def _count(self, row: Mapping[str, Any]) -> None:
        self._total.jobs += row["jobs"]
        if row["jobs_in_group"]:
            self._groups[self._name(row)].jobs += row["jobs_in_group"]

    def _sums(self) -> _Read:
        """Amounts, and jobs that the days have for the first time: ever, in their month, or on the day."""
        there = tables.daily.c
        keys = self._keys(there)
        sums = [func.sum(there[name]).label(name) for name in _SUMS]
        for currency in self._currencies:
            cost = case((there.currency == currency, there.cost))
            sums.append(func.sum(cost).label(f"cost:{currency}"))
        jobs = _counted(there.jobs_new, "jobs"), _counted(self._jobs_in_group(), "jobs_in_group")
        return self._seen(select(*keys, *sums, *jobs).where(self._within(there.day)).group_by(*keys))

    def _keys(self, there: Any) -> list[Any]:
        """The columns that name a group and say whose it is, and no more: grouping by many takes its time."""
        names = list(_NAMED_BY.get(self._question.by, (self._question.by,)))
        if self._question.visible:
            names += [name for name in ("cluster", "user", "account") if name not in names]
        return [there[name] for name in names]

    def _jobs_in_group(self) -> Any:
        there = tables.daily.c
        return {"day": there.jobs, "month": there.jobs_new_in_month}.get(self._question.by, there.jobs_new)

    def _from_before(self) -> _Read:
        """Jobs of the first day that were there before it; each day counts all of its own."""
        there, first = tables.daily.c, self._days.first
        if first is None:
            return iter(())
        keys = self._keys(there)
        jobs = _counted(there.jobs - there.jobs_new, "jobs")
        in_group = _counted(there.jobs - self._jobs_in_group(), "jobs_in_group")
        return self._seen(select(*keys, jobs, in_group).where(there.day == first).group_by(*keys))

    def _again(self) -> _Read:
        """Jobs from before the first day that come back after a day without."""
        there, first = tables.charges.c, self._days.first
        if first is None:
            return
        keys = (there.cluster, there.user, there.account, there.partition, there.day, there.counts)
        condition = and_(tables.COMES_BACK, there.current, there.counts > 0, there.previous_day < first)
        for row in self._seen(select(*keys).where(condition, there.day > first, self._within(there.day))):
            month = self._question.by == "month"
            counts = row["counts"] == 1 if month else not self._calendar
            yield {**row, "jobs": 1, "jobs_in_group": int(counts)}

    def _count_unknown(self) -> None:
        there, first = tables.charges.c, self._days.first
        keys = (there.cluster, there.user, there.account, there.partition)
        before = there.previous_day.is_(None)
        new = before if first is None else or_(before, there.previous_day < first)
        condition = and_(there.charged_seconds.is_(None), there.current, there.counts > 0, new)
        query = select(*keys, func.count().label("jobs")).where(condition, self._within(there.day))
        for row in self._seen(query.group_by(*keys)):
            self._total.unknown += row["jobs"]
            if not self._calendar:
                self._groups[self._name(row)].unknown += row["jobs"]

    def _add_edges(self) -> None:
        jobs: set[JobId] = set()
        for begins, ends in self._days.edges:
            day = _day_at(begins, self._zone).number
            for span in spans(self._connection, begins, ends):
                row = {
                    "cluster": span.job[0], "user": span.user or "", "account": span.account or "",
                    "partition": span.partition or "", "day": day,
                }  # fmt: skip
                seconds = min(ends, span.ends) - max(begins, span.begins)
                if seconds > 0 and self._may(row):
                    jobs.add(span.job)
                    self._add_edge(span, seconds, self._groups[self._name(row)])
                    self._add_edge(span, seconds, self._total)
        self._find_inside(sorted({job_id for _, job_id in jobs}))

    @staticmethod
    def _add_edge(span: Span, seconds: float, into: _Sum) -> None:
        into.beside.add(span.job)
        if span.devices is not None:
            into.known.add(span.job)
        rates = {"charged_seconds": span.devices, "cpu_seconds": span.cpus}
        into.add({name: None if rate is None else rate * seconds for name, rate in rates.items()})
        into.add({name: value * seconds / (span.ends - span.begins) for name, value in span.amounts.items()})

    def _find_inside(self, job_ids: list[str]) -> None:
        """Which jobs at the edges are counted within the whole days already."""
        there = tables.charges.c
        keys = [there.cluster, there.job_id, there.user, there.account, there.partition]
        keys += [there.day] if self._question.by == "month" else []
        for first in range(0, len(job_ids), _AT_ONCE):
            some = among(there.job_id, job_ids[first : first + _AT_ONCE])
            query = select(*keys).where(some, there.current, there.counts > 0, self._within(there.day)).distinct()
            for row in self._seen(query):
                job = row["cluster"], row["job_id"]
                self._total.inside.add(job)
                if self._question.by != "day":
                    self._groups[self._name(row)].inside.add(job)

    def _within(self, day: Any) -> Any:
        first, last, _ = self._days
        bounds = [day >= first] if first is not None else []
        return and_(true(), *bounds, *([day < last] if last is not None else []))

    def _may(self, row: Mapping[str, Any]) -> bool:
        may = self._question.visible
        return may is None or may(row["cluster"], row["user"], row["account"])

    def _seen(self, query: Any) -> _Read:
        for found in self._connection.execute(query).mappings():
            row: Mapping[str, Any] = dict(found)
            if self._may(row):
                yield row

    def _name(self, row: Mapping[str, Any]) -> str | None:
        by = self._question.by
        if by in ("day", "month"):
            return str(date_of(row["day"]))[: 10 if by == "day" else 7]
        if by == "group":
            return group_of(self._question.groups, row["cluster"], row["account"])
        return row[by] or None
