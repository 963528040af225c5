"""Where the ticks of an axis are, and what stands at them. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from gpuwatch.accounting.amounts import digits, unit_of

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86_400.0
_TIMES = (
    (1.0, "s", (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)),
    (_MINUTE, "min", (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)),
    (_HOUR, "h", (1.0, 2.0, 3.0, 6.0, 12.0)),
)
MOST_LABEL = 8


class Tick(NamedTuple):
    """A place on an axis, in the base units of the axis, and its label."""

    value: float
    label: str


def amount_ticks(quantity: str, low: float, high: float, most: int, unit: str = "") -> tuple[list[Tick], str]:
    """Round amounts from `low` to `high`, at most so many, and the unit that all of them are in."""
    factor, name = unit_of(quantity, high, unit)
    return [Tick(value * factor, short(value)) for value in _round(low / factor, high / factor, most)], name


def time_ticks(span_seconds: float, most: int) -> list[Tick]:
    """Round times from 0 to the span, at most so many; 0 has no unit, all others have the same."""
    step, unit, name = _time_step(span_seconds, most)
    count = int(span_seconds / step)
    later = (Tick(number * step, f"{short(number * step / unit)} {name}") for number in range(1, count + 1))
    return [Tick(0.0, "0"), *later]


def short(number: float, most: int = MOST_LABEL) -> str:
    """The number, with an exponent where it would have more than so many characters."""
    text = digits(number)
    return text if len(text) <= most else f"{number:.2g}"


def _round(low: float, high: float, most: int) -> Iterator[float]:
    step = _step((high - low) / max(1, most - 1))
    if step <= 0 or not math.isfinite(step):
        return
    first = math.ceil(low / step - 1e-9)
    for number in range(most + 1):
        value = (first + number) * step
        if value <= high + step * 1e-9:
            yield value


def _step(least: float) -> float:
    """The next of 1, 2, 5, 10 and so on that is not less."""
    if not least > 1e-300:
        return 0.0
    power = 10.0 ** math.floor(math.log10(least))
    return next((each * power for each in (1.0, 2.0, 5.0) if each * power >= least * (1 - 1e-9)), 10.0 * power)


def _time_step(span: float, most: int) -> tuple[float, float, str]:
    least = span / max(1, most - 1)
    for unit, name, steps in _TIMES:
        for each in steps:
            if each * unit >= least:
                return each * unit, unit, name
    return _DAY * max(1.0, _step(least / _DAY)), _DAY, "d"
