"""What is forecast, in words: where it ends, whether that is over what was declared, why, and how sure. Pure.

Numbers come first, and what is the same for several quantities is said once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from gpuwatch.accounting.amounts import alike, split, unit_of
from gpuwatch.forecast.projection import ENDED, MEDIAN
from gpuwatch.model import Forecast

STALE_SECONDS = 900.0
"""A forecast that is older than that is said to be so."""

_LOW, _HIGH = 0.1, 0.9
_HARDLY, _SURE = 0.005, 0.99
"""A probability below the first is not told of, and of none above the second it is said how much above."""


def forecast_lines(forecasts: Iterable[Forecast]) -> Iterator[str]:
    """What is forecast of one scope, line by line, all of its quantities together."""
    told = list(forecasts)
    known = [each for each in told if each.quantiles and each.basis != ENDED]
    for forecast in told:
        if forecast.quantiles:
            yield amount_text(forecast)
            yield from (f"  {each}" for each in over_texts(forecast))
    limit = next((each.p_limit for each in known if each.p_limit is not None and each.p_limit >= _HARDLY), None)
    if limit is not None:
        yield f"will be killed by its time limit with probability {percent(limit)}"
    yield from _grouped("because", [(each.quantity, each.basis) for each in known])
    yield from _grouped("no forecast", [(each.quantity, each.basis) for each in told if not each.quantiles])
    yield from _grouped("record", [(each.quantity, each.record) for each in known if each.record])


def current_lines(forecasts: Mapping[str, Forecast], now: float) -> Iterator[str]:
    """The same of a scope that runs, by the latest pass: also where that has not come yet, or is long ago."""
    if not forecasts:
        yield "no forecast yet: the next pass makes it"
        return
    made = max(each.time for each in forecasts.values())
    if now - made > STALE_SECONDS:
        yield f"as of {moment(made)}: no pass was made since"
    yield from forecast_lines(forecasts.values())


def amount_text(forecast: Forecast) -> str:
    """What it comes to, beside what that is compared with."""
    quantity, low, high = forecast.quantity, forecast.quantiles.get(_LOW), forecast.quantiles.get(_HIGH)
    median = forecast.quantiles[MEDIAN]
    if forecast.basis == ENDED:
        return f"{quantity}: came to {_amount(forecast, median)}{_beside(forecast, median)}"
    if low is None or high is None:
        return f"{quantity}: most likely {_amount(forecast, median)}{_beside(forecast, median)}"
    if alike(quantity, low, high) == alike(quantity, high, high):
        return f"{quantity}: {_amount(forecast, high)}{_beside(forecast, high)}"
    interval = f"80 % between {alike(quantity, low, high)} and {_amount(forecast, high)}"
    return f"{quantity}: {interval}, most likely {alike(quantity, median, high)}{_beside(forecast, high)}"


def over_texts(forecast: Forecast) -> Iterator[str]:
    """Whether it comes to more than what it is compared with, and when."""
    if not forecast.against or forecast.reference is None or forecast.basis == ENDED:
        return
    what = {"declared": "the declaration", "expected": "what was expected at first"}[forecast.against]
    likely = percent(forecast.p_over) if forecast.p_over is not None else None
    if forecast.used > forecast.reference:
        sure = forecast.p_over is None or forecast.p_over > _SURE
        yield f"over {what} already: {_amount(forecast, forecast.used)} used" + (
            "" if sure else f"; by more than the tolerance with probability {likely}"
        )
    elif likely is not None:
        crossed = _crossed(forecast)
        yield f"over {what} by more than the tolerance with probability {likely}" + (
            f"; {crossed}" if crossed else ""
        )


def percent(probability: float) -> str:
    """A probability, of which nobody is surer than 99 %."""
    if probability < 0.01:
        return "below 1 %"
    return "above 99 %" if probability > _SURE else f"{100 * probability:.0f} %"


def _crossed(forecast: Forecast) -> str:
    """When what it is compared with is used up."""
    at, between = forecast.crosses_at, forecast.crosses_between
    if between is None:
        return f"crossed about {moment(at)}" if at is not None else ""
    begin, end = between
    if at is None:
        return f"crossed {moment(begin)} at the earliest, most likely never" if end is None else ""
    if moment(begin) == moment(at) and (end is None or moment(end) == moment(at)):
        return f"crossed about {moment(at)}" + (", if at all" if end is None else "")
    until = _moment_after(begin, end) if end is not None else "never"
    return f"crossed about {moment(at)} (80 %: {_moment_after(at, begin)} to {until})"


def _beside(forecast: Forecast, shown: float) -> str:
    if not forecast.against or forecast.reference is None:
        return ""
    amount, declared = _alike(forecast, forecast.reference, shown), forecast.declared
    if forecast.against == "expected":
        return f" (at first expected at most {amount})"
    most = "at most " if declared is not None and declared.likely < declared.high == forecast.reference else ""
    return f" ({forecast.against} {most}{amount})"


def _alike(forecast: Forecast, value: float, shown: float) -> str:
    """The amount in the unit of what was shown before it, or in its own where it is of another size."""
    ratio = value / unit_of(forecast.quantity, shown)[0]
    return alike(forecast.quantity, value, shown) if 0.1 <= ratio < 1e4 else _amount(forecast, value)


def _amount(forecast: Forecast, value: float) -> str:
    """An amount with its unit, unless that is the name of the quantity, which stands before it."""
    number, name = split(forecast.quantity, value)
    return number if name == forecast.quantity else f"{number} {name}".rstrip()


def _grouped(title: str, texts: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Each text once, with the quantities that it is of where it is not of all."""
    by_text: dict[str, list[str]] = {}
    for quantity, text in texts:
        by_text.setdefault(text, []).append(quantity)
    for text, quantities in by_text.items():
        of = f" ({', '.join(quantities)})" if len(by_text) > 1 else ""
        yield f"{title}{of}: {text}"


def _moment_after(first: float, time: float) -> str:
    """A time after another in a sentence: the day only where it is a different one."""
    text, before = moment(time), moment(first)
    return text.partition(" ")[2] if " " in text and text[:10] == before[:10] else text


def moment(time: float) -> str:
    """A time to the minute, in UTC."""
    try:
        return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M}Z"
    except (ValueError, OverflowError, OSError):
        return f"@{time:.3g}"
