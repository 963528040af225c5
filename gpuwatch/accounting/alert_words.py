"""The sentences of alerts: numbers first, then why, then how often such forecasts were right. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from gpuwatch.accounting.amounts import alike, amount
from gpuwatch.accounting.forecast_words import moment, over_texts, percent
from gpuwatch.forecast.projection import MEDIAN
from gpuwatch.model import Estimate, Forecast

_LOW, _HIGH, _HIGHEST = 0.1, 0.9, 0.95


def projected(forecast: Forecast, declared: Estimate) -> str:
    """An overrun that is to come: how much, against what, how likely, and when."""
    quantity, median = forecast.quantity, forecast.quantiles[MEDIAN]
    low, high = forecast.quantiles.get(_LOW), forecast.quantiles.get(_HIGH)
    interval = ""
    if low is not None and high is not None:
        interval = f" (80 % between {alike(quantity, low, median)} and {alike(quantity, high, median)})"
    need = f"is projected to need {amount(quantity, median)}{_of(quantity)}{interval}"
    limit = alike(quantity, declared.high, median)
    more = f"{_percent(median, declared.high)} more than the {limit} declared{_by(declared)}"
    if median <= declared.high:
        more = f"where {limit} were declared{_by(declared)}"
    parts = [f"{need}, {more}", *over_texts(forecast), f"{alike(quantity, forecast.used, median)} used"]
    return "; ".join((f"{_named(forecast)} {parts[0]}", *parts[1:], *_because(forecast)))


def exceeded(forecast: Forecast, declared: Estimate) -> str:
    """An overrun that has happened, and what more is to come."""
    quantity, used = forecast.quantity, forecast.used
    more = f"{_percent(used, declared.high)} more than the {alike(quantity, declared.high, used)} declared"
    text = f"{_named(forecast)} used {amount(quantity, used)}{_of(quantity)}, {more}{_by(declared)}"
    median = forecast.quantiles.get(MEDIAN)
    to_come = [] if median is None else [f"projected to need {amount(quantity, median)}"]
    return "; ".join((text, *to_come, *_because(forecast)))


def killed(forecast: Forecast, probability: float) -> str:
    """A time limit that ends it before it is done; `forecast` is that of its device-hours."""
    text = f"{_named(forecast)} will be killed by its time limit with probability {percent(probability)}"
    room = forecast.quantiles.get(_HIGHEST)
    if room is None:
        return "; ".join((text, f"{amount(forecast.quantity, forecast.used)} used", *_because(forecast)))
    # What it comes to ends at the limit, so that this far out it is the limit itself.
    used = f"{alike(forecast.quantity, forecast.used, room)} used"
    left = f"{used} of the {amount(forecast.quantity, room)} that the limit leaves room for"
    return "; ".join((text, left, *_because(forecast)))


def _because(forecast: Forecast) -> Iterator[str]:
    if forecast.basis:
        yield f"because: {forecast.basis}"
    if forecast.record:
        yield f"record: {forecast.record}"


def _named(forecast: Forecast) -> str:
    return f"{forecast.scope.kind} {forecast.scope.name}"


def _by(declared: Estimate) -> str:
    by = f" by {declared.declared_by}" if declared.declared_by else ""
    return f"{by} at {moment(declared.declared_at)}" if declared.declared_at else by


def _of(quantity: str) -> str:
    return {"energy": " of energy", "wall": " of wall time"}.get(quantity, "")


def _percent(value: float, declared: float) -> str:
    ratio = 100 * (value / declared - 1) if declared > 0 else 0.0
    return f"{ratio:.0f} %" if ratio >= 1 else "less than 1 %"
