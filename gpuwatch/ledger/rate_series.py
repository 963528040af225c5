"""A time series of grid intensity: CSV with `time,grams_per_kwh`, each value holding until the next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from statistics import median

from gpuwatch.errors import Rejected
from gpuwatch.ledger.tabular import table

NONE = "none"
"""What stands for a value that is not known."""
YEARS = range(1990, 2101)
"""Of these years a file may speak; others are slips of the pen."""
LONGEST = 200_000
"""At most so many values: 22 years of hours."""

_SHOWN = 20
_GAP = 1.5
_DIGITS = 30
_MOST = Decimal(2000)

Points = tuple[tuple[float, str | None], ...]


@dataclass(frozen=True, slots=True)
class Series:
    """Values in order of time (Unix seconds); the last holds until `ends`, as long as the one before it did."""

    points: Points
    ends: float


def read_series(lines: Iterable[str], name: str, zone: tzinfo) -> Series:
    """The series in a table called `name`; `Rejected` has a line for each mistake.

    Times without an offset from UTC are those of `zone`.
    """
    mistakes: list[str] = []
    rows: list[tuple[int, float, str | None]] = []
    try:
        for number, row in table(lines, ("time", "grams_per_kwh"), ("time", "grams_per_kwh")):
            try:
                rows.append((number, _time(row["time"], zone), _grams(row["grams_per_kwh"])))
            except Rejected as exc:
                mistakes.append(f"line {number}: {exc}")
    except Rejected as exc:
        mistakes.append(str(exc))
    mistakes += _order_mistakes(rows) if not mistakes else []
    if mistakes:
        more = [f"and {len(mistakes) - _SHOWN} more"] if len(mistakes) > _SHOWN else []
        raise Rejected("\n".join(f"{name}: {each}" for each in [*mistakes[:_SHOWN], *more]))
    points = tuple((time, value) for _, time, value in rows)
    return Series(points, points[-1][0] + points[-1][0] - points[-2][0])


def decimal(text: str, low: Decimal, high: Decimal, what: str) -> str | None:
    """A decimal in its shortest form, None for `none`; `Rejected` where it is no number, or an absurd one."""
    if text.lower() == NONE:
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or len(text) > _DIGITS:
        hint = "is empty" if not text else f"{text[:40]!r} is no number"
        raise Rejected(f"{hint}; write for example 1.85, or none for what is not known")
    if not low <= number <= high:
        raise Rejected(f"{text} is not possible for {what}; it is {low} to {high:,}")
    return format(abs(number).normalize(), "f")


def _grams(text: str) -> str | None:
    return decimal(text or NONE, Decimal(0), _MOST, "an intensity in g CO2e per kWh")


def _time(text: str, zone: tzinfo) -> float:
    try:
        moment = datetime.fromisoformat(text)
        if moment.year not in YEARS:
            raise ValueError(moment)
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError) as exc:
        raise Rejected(f"{text[:40]!r} is no time; write for example 2026-11-25T13:00+01:00") from exc


def _order_mistakes(rows: Sequence[tuple[int, float, str | None]]) -> list[str]:
    if not 2 <= len(rows) <= LONGEST:
        return [f"has {len(rows):,} values; it must have 2 to {LONGEST:,}"]
    found = [
        f"lines {earlier} and {later}: the time does not go on; write times in order, with their offset from UTC"
        for (earlier, before, _), (later, after, _) in pairwise(rows)
        if after <= before
    ]
    step = median(after - before for (_, before, _), (_, after, _) in pairwise(rows))
    return found or [
        f"lines {earlier} and {later}: leave a gap of {(after - before) / 3600:,.1f} hours, where a value mostly"
        f" holds {step / 3600:,.1f}; write a line with the value none there"
        for (earlier, before, _), (later, after, _) in pairwise(rows)
        if after - before > _GAP * step
    ]
