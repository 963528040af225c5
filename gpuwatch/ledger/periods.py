"""What was allocated, by day, month or whose it was: apportioned at local midnight, clipped to the time asked for.

Pure. Device-seconds of any groups add up to those of the whole, whatever the groups.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from math import isclose
from typing import Literal

from gpuwatch.model import EMPTY

By = Literal["day", "month", "user", "account", "partition", "campaign", "group"]
BY: tuple[By, ...] = ("day", "month", "user", "account", "partition", "campaign", "group")


@dataclass(frozen=True, slots=True)
class Span:
    """So many devices and CPUs of one job, held from `begins` to `ends` (Unix seconds); None: not known.

    `amounts` are what it came to in that time, evenly: `held_seconds`, `energy_joules`, `facility_joules`,
    `carbon_grams`, and `cost:EUR` or whatever the currency; what is not known is missing.
    """

    job: tuple[str, str]
    begins: float
    ends: float
    devices: float | None
    cpus: float | None = None
    user: str | None = None
    account: str | None = None
    partition: str | None = None
    campaign: str | None = None
    group: str | None = None
    amounts: Mapping[str, float] = EMPTY


@dataclass(frozen=True, slots=True)
class Row:
    """One group: what is known of it in seconds, None where nothing is, of how many distinct jobs.

    `amounts` are those of `Span`, added up. `unknown_jobs` are those whose devices nobody told: they are in `jobs`
    and not in `device_seconds`.
    """

    name: str | None
    device_seconds: float | None
    cpu_seconds: float | None
    jobs: int
    unknown_jobs: int = 0
    amounts: Mapping[str, float] = EMPTY


@dataclass(frozen=True, slots=True)
class Grouped:
    """All groups, and everything together; a job that is in several groups counts once in `total`.

    `bases` says by what carbon was reckoned, where there is any.
    """

    rows: tuple[Row, ...]
    total: Row
    bases: tuple[str, ...] = ()


@dataclass(slots=True)
class _Sum:
    """Adds up one group."""

    device_seconds: float | None = None
    cpu_seconds: float | None = None
    jobs: set[tuple[str, str]] = field(default_factory=set)
    known: set[tuple[str, str]] = field(default_factory=set)
    amounts: dict[str, float] = field(default_factory=dict)

    def add(self, span: Span, seconds: float) -> None:
        self.jobs.add(span.job)
        if span.devices is not None:
            self.device_seconds = (self.device_seconds or 0.0) + span.devices * seconds
            self.known.add(span.job)
        if span.cpus is not None:
            self.cpu_seconds = (self.cpu_seconds or 0.0) + span.cpus * seconds
        for what, amount in span.amounts.items():
            part = amount * seconds / (span.ends - span.begins)
            self.amounts[what] = self.amounts.get(what, 0.0) + part

    def row(self, name: str | None) -> Row:
        jobs = len(self.jobs)
        return Row(name, self.device_seconds, self.cpu_seconds, jobs, jobs - len(self.known), self.amounts)


class Calendar:
    """Days or months of a time zone. A day has 23 or 25 hours where the clocks are changed."""

    def __init__(self, by: Literal["day", "month"], zone: tzinfo) -> None:
        self._following = _next_day if by == "day" else _next_month
        self._shown = str if by == "day" else _month
        self._whole = _same if by == "day" else _first_of_month
        self._zone = zone
        self._days: list[date] = []
        self._starts: list[float] = []

    def parts(self, begins: float, ends: float) -> Iterator[tuple[str, float]]:
        """The names of the days or months from `begins` to `ends`, each with its seconds of that time."""
        self._cover(begins, ends)
        place = bisect_right(self._starts, begins) - 1
        while begins < ends:
            upto = min(ends, self._starts[place + 1])
            if upto > begins:
                yield self._shown(self._days[place]), upto - begins
            begins, place = upto, place + 1

    def _cover(self, begins: float, ends: float) -> None:
        """Know every start from before `begins` until after `ends`."""
        if not self._starts or begins < self._starts[0]:
            first = self._whole(datetime.fromtimestamp(begins, self._zone).date())
            days, last = [first], self._days[0] if self._days else first
            while days[-1] < last:
                days.append(self._following(days[-1]))
            new = days[:-1] if self._days else days
            self._days = new + self._days
            self._starts = [midnight(day, self._zone) for day in new] + self._starts
        while self._starts[-1] <= ends:
            self._days.append(self._following(self._days[-1]))
            self._starts.append(midnight(self._days[-1], self._zone))


def midnight(day: date, zone: tzinfo) -> float:
    """When a day begins in a time zone, Unix seconds. Some zones skip midnight on a day, or have it twice."""
    either = (datetime(day.year, day.month, day.day, tzinfo=zone, fold=fold) for fold in (0, 1))
    return max(each.timestamp() for each in either)


def grouped(
    spans: Iterable[Span], by: By, zone: tzinfo, begins: float = float("-inf"), ends: float = float("inf")
) -> Grouped:
    """The spans by group, as far as they lie in [begins, ends); days and months in order, others by size."""
    parts = _parts(by, zone)
    sums: dict[str | None, _Sum] = {}
    total = _Sum()
    for span in spans:
        first, last = max(begins, span.begins), min(ends, span.ends)
        if last <= first:
            continue
        total.add(span, last - first)
        for name, seconds in parts(span, first, last):
            sums.setdefault(name, _Sum()).add(span, seconds)
    return Grouped(in_order(by, (each.row(name) for name, each in sums.items())), total.row(None))


def left(whole: Row, part: Row) -> Row:
    """What of a whole is not in a part of it; what floating point leaves of equal sums is nothing."""
    jobs, unknown = whole.jobs - part.jobs, whole.unknown_jobs - part.unknown_jobs
    amounts = {name: _less(value, part.amounts.get(name)) for name, value in whole.amounts.items()}
    devices = None if jobs == unknown else _less(whole.device_seconds, part.device_seconds)
    cpus = None if jobs == 0 else _less(whole.cpu_seconds, part.cpu_seconds)
    return Row(None, devices, cpus, jobs, unknown, {name: each for name, each in amounts.items() if each})


def _less(whole: float | None, part: float | None) -> float | None:
    if whole is None or part is None:
        return whole
    return 0.0 if isclose(whole, part, rel_tol=1e-9) else whole - part


def in_order(by: By, rows: Iterable[Row]) -> tuple[Row, ...]:
    """Days and months in order, others by size."""
    return tuple(sorted(rows, key=_in_time if by in ("day", "month") else _most_first))


def _parts(by: By, zone: tzinfo) -> Callable[[Span, float, float], Iterable[tuple[str | None, float]]]:
    if by == "day" or by == "month":
        calendar = Calendar(by, zone)
        return lambda _span, first, last: calendar.parts(first, last)
    name_of = _NAMES[by]
    return lambda span, first, last: ((name_of(span) or None, last - first),)


_NAMES: Mapping[str, Callable[[Span], str | None]] = {
    "user": lambda span: span.user,
    "account": lambda span: span.account,
    "partition": lambda span: span.partition,
    "campaign": lambda span: span.campaign,
    "group": lambda span: span.group,
}


def _in_time(row: Row) -> str:
    return row.name or ""


def _most_first(row: Row) -> tuple[float, float, str]:
    return -(row.device_seconds or 0.0), -(row.cpu_seconds or 0.0), row.name or ""


def _next_day(day: date) -> date:
    return day + timedelta(days=1)


def _next_month(day: date) -> date:
    return _first_of_month(day.replace(day=28) + timedelta(days=4))


def _first_of_month(day: date) -> date:
    return day.replace(day=1)


def _same(day: date) -> date:
    return day


def _month(day: date) -> str:
    return f"{day:%Y-%m}"
