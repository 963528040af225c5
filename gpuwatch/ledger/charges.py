"""What each attempt of a job comes to on each day: device-hours, CPU-hours, energy, and of which model. Pure.

What was allocated is charged, and what was held where nobody says what was allocated. Allocated time runs evenly
from start to end. What was held and used is divided at midnight by what was charged before, and evenly over the
time since then; the days of an attempt add up to the attempt.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import NamedTuple

from gpuwatch.ledger.facts import Line
from gpuwatch.ledger.jobs import Part
from gpuwatch.ledger.periods import midnight
from gpuwatch.ledger.records import devices_of, held_until
from gpuwatch.model import Usage

_DAY = 86_400.0
_EPOCH = date(1970, 1, 1)
_USER = "user:"
LONGEST_SECONDS = 3660 * _DAY
"""What seems to last longer began, or ended, by a clock that was wrong; it is charged over ten years alone."""


class Point(NamedTuple):
    """What an attempt had held when it was seen, device-seconds."""

    seen: float
    held_seconds: float


Curves = Mapping[int, Sequence[Point]]
"""What is known of each attempt of a job id over time, by when it began; the oldest point first."""


@dataclass(frozen=True, slots=True)
class Charge:
    """One attempt of a job id on one day and one model: a row of `tables.charges` but for money and carbon."""

    job_id: str
    cluster: str
    attempt: int
    day: int
    model: str
    final: bool
    previous_day: int | None
    counts: int
    begins: float
    ends: float
    user: str
    account: str
    partition: str
    charged_seconds: float | None
    allocated_seconds: float | None
    held_seconds: float | None
    cpu_seconds: float | None
    energy_joules: float | None
    host_joules: float | None
    covered_seconds: float | None
    seen: float


class _Day(NamedTuple):
    number: int
    begins: float
    ends: float


def days_between(begins: float, ends: float, zone: tzinfo) -> list[_Day]:
    """The days from `begins` to `ends` in a time zone, the first and the last one cut; numbered since 1970."""
    found: list[_Day] = []
    day = _day_at(begins, zone)
    while True:
        following = _begin_of(day + 1, zone)
        found.append(_Day(day, begins, min(ends, following)))
        if ends <= following:
            return found
        begins, day = following, day + 1


def day_of(moment: date) -> int:
    """The number of a day since 1970."""
    return (moment - _EPOCH).days


def date_of(day: int) -> date:
    """The day of that number."""
    return _EPOCH + timedelta(days=day)


def _day_at(time: float, zone: tzinfo) -> int:
    if zone is UTC:
        return int(time // _DAY)
    day = day_of(datetime.fromtimestamp(time, zone).date())
    return day - 1 if _begin_of(day, zone) > time else day


def _begin_of(day: int, zone: tzinfo) -> float:
    return day * _DAY if zone is UTC else midnight(date_of(day), zone)


def charges_of(parts: Iterable[tuple[Part, str]], curves: Curves, zone: tzinfo, now: float) -> list[Charge]:
    """All charges of one job id: `parts` are its attempts with whose they are, `curves` what was there before."""
    found: list[Charge] = []
    days: list[int] = []
    taken: set[int] = set()
    for part, user in sorted(parts, key=_by_begin):
        span = _span(part, now)
        if span is None:
            continue
        part = _with_a_number_of_its_own(part, taken)
        for day, charge in _by_day(part, user, span, curves.get(part.attempt.started, ()), zone):
            stands = day not in days
            previous = next((each for each in reversed(days) if each < day), None)
            found.append(charge(previous, _counts(day, previous) if stands else 0))
            if stands:
                days.append(day)
                days.sort()
    return found


def _by_begin(part: tuple[Part, str]) -> tuple[int, int]:
    attempt = part[0].attempt
    return attempt.started, attempt.record.key.submitted if attempt.record is not None else -1


def _with_a_number_of_its_own(part: Part, taken: set[int]) -> Part:
    """Submissions that began in one second, as two files may tell of them, must not stand for each other."""
    number = part.attempt.started
    while number in taken:
        number += 1
    taken.add(number)
    return part if number == part.attempt.started else replace(part, attempt=replace(part.attempt, started=number))


def _counts(day: int, previous: int | None) -> int:
    if previous is None:
        return 3
    here, there = date_of(day), date_of(previous)
    return 1 if (here.year, here.month) == (there.year, there.month) else 2


class _Span(NamedTuple):
    """From when to when an attempt is charged; `brief` ended within the second of the clock that counts it."""

    begins: float
    ends: float
    brief: bool


def _span(part: Part, now: float) -> _Span | None:
    """The time of an attempt; None where it had none."""
    record, lines = part.attempt.record, part.lines
    began, ends = record.facts.started if record is not None else None, None
    if record is not None and began is not None:
        ends = held_until(record, now)
        if ends is None or (ends <= began and not lines):
            return None
    elif not lines:
        return None
    begins = float(min(line.started for line in lines)) if began is None else began
    brief = ends is None or ends <= begins
    if ends is None or ends <= begins:
        seen = max(line.last_seen for line in lines)
        ends = seen if seen > begins else begins + max(1.0, *(line.usage.held_seconds for line in lines))
    return _Span(max(begins, ends - LONGEST_SECONDS), ends, brief)


_Made = Callable[[int | None, int], Charge]


def _by_day(
    part: Part, user: str, span: _Span, curve: Sequence[Point], zone: tzinfo
) -> Iterator[tuple[int, _Made]]:
    models = _models(part.lines)
    days = days_between(span.begins, span.ends, zone)
    last = len(days) - 1
    divided = _Divided(part, curve) if last else None
    for number, day in enumerate(days):
        share = 1.0 if divided is None else divided.share(day, first=number == 0, last=number == last)
        for place, (model, usage, of_all) in enumerate(models):
            yield day.number, _maker(part, user, span, day, model, usage, of_all, share, place == 0)


def _maker(
    part: Part, user: str, span: _Span, day: _Day, model: str, usage: Usage | None, of_all: float, share: float,
    with_cpus: bool,
) -> _Made:  # fmt: skip
    attempt, record = part.attempt, part.attempt.record
    facts = record.facts if record is not None else None
    # By the batch system's word a brief attempt had no time; what agents saw of it is held all the same.
    seconds = 0.0 if span.brief else day.ends - day.begins
    devices = devices_of(record) if record is not None else None
    allocated = None if devices is None else devices * seconds * of_all
    held = None if usage is None else usage.held_seconds * share
    joules = usage.joules * share if usage is not None and usage.energy_joules else None
    host = None if usage is None or usage.host_energy_joules is None else usage.host_energy_joules * share
    covered = None if usage is None else max(0.0, usage.held_seconds - usage.energy_unmeasured_seconds) * share
    cpus = facts.cpus * seconds if with_cpus and facts is not None and facts.cpus is not None else None
    charged = held if allocated is None else allocated
    final = facts.ended is not None if facts is not None else not any(line.open for line in part.lines)
    return lambda previous, counts: Charge(
        attempt.job_id, attempt.cluster, attempt.started, day.number, model, final, previous, counts,
        day.begins, day.ends, user, facts.account if facts else "", facts.partition if facts else "",
        charged, allocated, held, cpus, joules, host, covered,
        min(day.ends, max((line.last_seen for line in part.lines), default=day.ends)),
    )  # fmt: skip


def _models(lines: Sequence[Line]) -> list[tuple[str, Usage | None, float]]:
    """The models that were seen, with what was used on each and its part of the shares; else one of no name."""
    if not lines:
        return [("", None, 1.0)]
    by_model: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        by_model[line.model].append(line)
    shares = {model: sum(line.share for line in those) for model, those in by_model.items()}
    every = sum(shares.values())
    if every <= 0:
        shares, every = dict.fromkeys(by_model, 1.0), float(len(by_model))
    return [
        (model, sum((line.usage for line in those[1:]), those[0].usage), shares[model] / every)
        for model, those in sorted(by_model.items())
    ]


class _Divided:
    """How what an attempt held and used is divided by time: along its curve, else evenly while it was seen."""

    def __init__(self, part: Part, curve: Sequence[Point]) -> None:
        lines = part.lines
        begins = float(min((line.started for line in lines), default=part.attempt.started))
        ends = max((line.last_seen for line in lines), default=part.attempt.last_seen)
        held = sum(line.usage.held_seconds for line in lines)
        inside = [point for point in curve if begins < point.seen < ends]
        self._times = [begins, *(point.seen for point in inside), max(ends, begins)]
        done = [min(1.0, point.held_seconds / held) if held > 0 else 0.0 for point in inside]
        self._done = [0.0, *_rising(done), 1.0]

    def share(self, day: _Day, first: bool, last: bool) -> float:
        """The part of the whole that belongs to a day; what lies before the first or after the last is theirs."""
        upto = 1.0 if last else self._at(day.ends)
        return upto - (0.0 if first else self._at(day.begins))

    def _at(self, time: float) -> float:
        place = bisect_right(self._times, time)
        if place == 0:
            return 0.0
        if place == len(self._times):
            return 1.0
        left, right = self._times[place - 1], self._times[place]
        low, high = self._done[place - 1], self._done[place]
        return low + (high - low) * (time - left) / (right - left)


def _rising(values: Iterable[float]) -> Iterator[float]:
    highest = 0.0
    for value in values:
        highest = max(highest, value)
        yield highest


def user_of(part: Part, uid: int | None) -> str:
    """Whose an attempt is: by the batch system, else by what the job is called or who began it."""
    record = part.attempt.record
    if record is not None and record.facts.user:
        return record.facts.user
    job_id = part.attempt.job_id
    if job_id.startswith(_USER):
        return job_id.removeprefix(_USER)
    return f"uid:{uid}" if uid is not None else ""


def by_job_id(parts: Iterable[tuple[Part, str]]) -> Mapping[tuple[str, str], list[tuple[Part, str]]]:
    """Attempts by cluster and job id, as an id may have been several jobs'."""
    found: dict[tuple[str, str], list[tuple[Part, str]]] = defaultdict(list)
    for part, user in parts:
        found[part.attempt.cluster, part.attempt.job_id].append((part, user))
    return found
