"""Which alerts are active, decided once and here. Pure: what was, what is forecast, and the policy give what is.

`exceeded`: used more than declared. `projected`: will use more than declared and the tolerance above it, with at
least the probability of the threshold; it stays until that has become much less likely, and gives way to
`exceeded`. `limit`: will be ended by its time limit before it is done, with such a probability. A scope that has
no forecast any more has ended, and its alerts with it. Where nothing can be said for a while an alert stays.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from gpuwatch.accounting import alert_words
from gpuwatch.forecast.projection import HOURS, MEDIAN
from gpuwatch.ledger.scopes import AlertKey, key_of
from gpuwatch.model import Alert, Estimate, Forecast, Scope
from gpuwatch.notifiers.base import Change

EXCEEDED = "exceeded"
PROJECTED = "projected"
LIMIT = "limit"
KINDS = (EXCEEDED, PROJECTED, LIMIT)

HYSTERESIS = 0.15
"""An alert stays until its probability is so much below the threshold at which it was raised."""

SURE = 0.95
MANY_FLOORS = 10.0
"""Critical is an overrun that is as good as sure, of so many times the floor, which counts as an hour at least."""

FLOOR_HOURS = 1.0

_HIGH = 0.9
_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Policy:
    """How far above the declared amount is let pass, and which jobs are too small to speak of."""

    tolerance_ratio: float = 0.10
    floor_device_hours: float = FLOOR_HOURS
    threshold: float = 0.8
    """The probability from which on an overrun is told; one that was told stays until it is much less likely."""


Alerts = dict[AlertKey, Alert]
Severity = Literal["warning", "critical"]


def evaluate(
    forecasts: Sequence[Forecast],
    active: Mapping[AlertKey, Alert],
    policy: Policy,
    now: float,
    taken_up: Collection[Scope] = (),
) -> tuple[Alerts, tuple[Change, ...]]:
    """The alerts that are active now, and what changed. `forecasts` are those of scopes that still run.

    `taken_up` are jobs whose work others go on with: a limit that ends them costs nothing.
    """
    hours = {each.scope: each for each in forecasts if each.quantity == HOURS}
    small = {scope for scope, each in hours.items() if _largest(each) < policy.floor_device_hours * _HOUR}
    found: Alerts = {}
    for forecast in forecasts:
        if forecast.scope in small:
            continue
        for alert in _alerts(forecast, hours.get(forecast.scope), active, policy, now):
            if alert.kind != LIMIT or alert.scope not in taken_up:
                found[key_of(alert)] = alert
    return found, _changes(active, found, forecasts, small)


def _largest(forecast: Forecast) -> float:
    declared = forecast.declared.high if forecast.declared else 0.0
    return max(forecast.used, declared, forecast.quantiles.get(_HIGH, 0.0))


def _alerts(
    forecast: Forecast, hours: Forecast | None, active: Mapping[AlertKey, Alert], policy: Policy, now: float
) -> Iterator[Alert]:
    if forecast.declared is not None:
        alert = _overrun(forecast, forecast.declared, hours, active, policy, now)
        if alert is not None:
            yield alert
    if forecast is hours:
        alert = _killed(forecast, active, policy, now)
        if alert is not None:
            yield alert


def _overrun(
    forecast: Forecast,
    declared: Estimate,
    hours: Forecast | None,
    active: Mapping[AlertKey, Alert],
    policy: Policy,
    now: float,
) -> Alert | None:
    is_over = forecast.used > declared.high
    key = AlertKey(EXCEEDED if is_over else PROJECTED, forecast.scope, forecast.quantity)
    standing = active.get(key)
    since = standing.since if standing is not None else now
    severity = _severity(forecast, declared, hours, standing, policy)
    if is_over:
        text = alert_words.exceeded(forecast, declared)
        return Alert(*key, severity, since, forecast.used, declared.high, text)
    median = forecast.quantiles.get(MEDIAN)
    if median is None or forecast.p_over is None:
        return standing
    if not _is_told(forecast.p_over, standing, policy):
        return None
    return Alert(*key, severity, since, median, declared.high, alert_words.projected(forecast, declared))


def _is_told(probability: float, standing: Alert | None, policy: Policy) -> bool:
    return probability >= policy.threshold - (HYSTERESIS if standing is not None else 0.0)


def _severity(
    forecast: Forecast, declared: Estimate, hours: Forecast | None, standing: Alert | None, policy: Policy
) -> Severity:
    """Critical where it is as good as sure that many device-hours come on top, also where they are no quantity.

    What became critical stays so as an alert does that was raised.
    """
    expected = max(forecast.used, forecast.quantiles.get(MEDIAN, 0.0))
    if hours is None or forecast.p_over is None or expected <= declared.high:
        return "warning"
    whole = max(hours.used, hours.quantiles.get(MEDIAN, 0.0))
    excess = whole * (1.0 - declared.high / expected)
    floor = max(policy.floor_device_hours, FLOOR_HOURS) * _HOUR
    was = standing is not None and standing.severity == "critical"
    sure = forecast.p_over >= SURE - (HYSTERESIS if was else 0.0)
    return "critical" if sure and excess >= MANY_FLOORS * floor else "warning"


def _killed(forecast: Forecast, active: Mapping[AlertKey, Alert], policy: Policy, now: float) -> Alert | None:
    """Its value is the probability, beside the threshold, as nobody declared anything."""
    key = AlertKey(LIMIT, forecast.scope, "wall")
    standing = active.get(key)
    if not forecast.quantiles:
        return standing
    if forecast.p_limit is None or not _is_told(forecast.p_limit, standing, policy):
        return None
    since = standing.since if standing is not None else now
    text = alert_words.killed(forecast, forecast.p_limit)
    return Alert(*key, "warning", since, forecast.p_limit, policy.threshold, text)


def _changes(
    active: Mapping[AlertKey, Alert], found: Alerts, forecasts: Iterable[Forecast], small: set[Scope]
) -> tuple[Change, ...]:
    running = {forecast.scope for forecast in forecasts}
    raised = [Change("raised", alert) for key, alert in found.items() if key not in active]
    resolved = [
        Change("resolved", replace(alert, text=f"{_why(key, found, running, small)}: {alert.text}"))
        for key, alert in active.items()
        if key not in found
    ]
    return (*resolved, *raised)


def _why(key: AlertKey, found: Alerts, running: set[Scope], small: set[Scope]) -> str:
    if key._replace(kind=EXCEEDED) in found:
        return "no longer a projection, the declared amount is exceeded"
    if key.scope not in running:
        return f"the {key.scope.kind} ended"
    if key.scope in small:
        return "below what alerts are for"
    return "no longer likely" if key.kind != EXCEEDED else "back within what is declared"
