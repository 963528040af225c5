"""Alerts about forecasts. Pure: what was, what is forecast, and the bounds give what is.

`exceeded`: used more than declared. `projected`: will use more than declared and the tolerance above it, with at
least the probability of the threshold; it stays until that has become much less likely, and gives way to
`exceeded`. `limit`: will be ended by its time limit before it is done, with such a probability. A scope that has
no forecast any more has ended, and its alerts with it. Where nothing can be said for a while an alert stays.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from gpuwatch.accounting import alert_words
from gpuwatch.forecast.projection import HOURS, MEDIAN
from gpuwatch.ledger.scopes import AlertKey, key_of
from gpuwatch.model import Alert, Estimate, Forecast, Scope

EXCEEDED = "exceeded"
PROJECTED = "projected"
LIMIT = "limit"

HYSTERESIS = 0.15
"""An alert stays until its probability is so much below the threshold at which it was raised."""

SURE = 0.95
MANY_FLOORS = 10.0
"""Critical is an overrun that is as good as sure, of so many times the floor, which counts as an hour at least."""

FLOOR_HOURS = 1.0

MARKS = (100, 150, 200, 300, 500, 1000)
"""Percents of what was declared; each that is passed is news once."""

_HIGH = 0.9
_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far above the declared amount is let pass, and which jobs are too small to speak of."""

    tolerance_ratio: float = 0.10
    floor_device_hours: float = FLOOR_HOURS
    threshold: float = 0.8
    """The probability from which on an overrun is told; one that was told stays until it is much less likely."""


Alerts = dict[AlertKey, Alert]
Severity = Literal["warning", "critical"]


class Overruns(NamedTuple):
    """The alerts that are active now, and the scopes that are too small to speak of."""

    alerts: Alerts
    small: frozenset[Scope]


def overruns(
    forecasts: Sequence[Forecast],
    active: Mapping[AlertKey, Alert],
    bounds: Bounds,
    now: float,
    taken_up: Collection[Scope] = (),
) -> Overruns:
    """What is exceeded or will be. `forecasts` are those of scopes that still run, `active` what was told before.

    `taken_up` are jobs whose work others go on with: a limit that ends them costs nothing.
    """
    hours = {each.scope: each for each in forecasts if each.quantity == HOURS}
    small = {scope for scope, each in hours.items() if _largest(each) < bounds.floor_device_hours * _HOUR}
    found: Alerts = {}
    for forecast in forecasts:
        if forecast.scope in small:
            continue
        for alert in _alerts(forecast, hours.get(forecast.scope), active, bounds, now):
            if alert.kind != LIMIT or alert.scope not in taken_up:
                found[key_of(alert)] = alert
    return Overruns(found, frozenset(small))


def _largest(forecast: Forecast) -> float:
    declared = forecast.declared.high if forecast.declared else 0.0
    return max(forecast.used, declared, forecast.quantiles.get(_HIGH, 0.0))


def _alerts(
    forecast: Forecast, hours: Forecast | None, active: Mapping[AlertKey, Alert], bounds: Bounds, now: float
) -> Iterator[Alert]:
    if forecast.declared is not None:
        alert = _overrun(forecast, forecast.declared, hours, active, bounds, now)
        if alert is not None:
            yield alert
    if forecast is hours:
        alert = _killed(forecast, active, bounds, now)
        if alert is not None:
            yield alert


def _overrun(
    forecast: Forecast,
    declared: Estimate,
    hours: Forecast | None,
    active: Mapping[AlertKey, Alert],
    bounds: Bounds,
    now: float,
) -> Alert | None:
    is_over = forecast.used > declared.high
    key = AlertKey(EXCEEDED if is_over else PROJECTED, forecast.scope, forecast.quantity)
    standing = active.get(key)
    since = standing.since if standing is not None else now
    severity = _severity(forecast, declared, hours, standing, bounds)
    if is_over:
        text = alert_words.exceeded(forecast, declared)
        return Alert(
            *key, severity, since, forecast.used, declared.high, text, level=_mark(forecast.used, declared)
        )
    median = forecast.quantiles.get(MEDIAN)
    if median is None or forecast.p_over is None:
        return standing
    if not _is_told(forecast.p_over, standing, bounds):
        return None
    return Alert(*key, severity, since, median, declared.high, alert_words.projected(forecast, declared))


def _mark(used: float, declared: Estimate) -> int:
    """The last of the marks that was passed; what was declared as nothing is passed by any."""
    percent = 100.0 * used / declared.high if declared.high > 0 else float(MARKS[-1])
    return max(mark for mark in MARKS if mark <= max(percent, MARKS[0]))


def _is_told(probability: float, standing: Alert | None, bounds: Bounds) -> bool:
    return probability >= bounds.threshold - (HYSTERESIS if standing is not None else 0.0)


def _severity(
    forecast: Forecast, declared: Estimate, hours: Forecast | None, standing: Alert | None, bounds: Bounds
) -> Severity:
    """Critical where it is as good as sure that many device-hours come on top, also where they are no quantity.

    What became critical stays so as an alert does that was raised.
    """
    expected = max(forecast.used, forecast.quantiles.get(MEDIAN, 0.0))
    if hours is None or forecast.p_over is None or expected <= declared.high:
        return "warning"
    whole = max(hours.used, hours.quantiles.get(MEDIAN, 0.0))
    excess = whole * (1.0 - declared.high / expected)
    floor = max(bounds.floor_device_hours, FLOOR_HOURS) * _HOUR
    was = standing is not None and standing.severity == "critical"
    sure = forecast.p_over >= SURE - (HYSTERESIS if was else 0.0)
    return "critical" if sure and excess >= MANY_FLOORS * floor else "warning"


def _killed(forecast: Forecast, active: Mapping[AlertKey, Alert], bounds: Bounds, now: float) -> Alert | None:
    """Its value is the probability, beside the threshold, as nobody declared anything."""
    key = AlertKey(LIMIT, forecast.scope, "wall")
    standing = active.get(key)
    if not forecast.quantiles:
        return standing
    if forecast.p_limit is None or not _is_told(forecast.p_limit, standing, bounds):
        return None
    since = standing.since if standing is not None else now
    text = alert_words.killed(forecast, forecast.p_limit)
    return Alert(*key, "warning", since, forecast.p_limit, bounds.threshold, text)
