"""Which alerts are active, decided once and here. Pure: what was, what is forecast, and the policy give what is.

`exceeded`: used more than declared. `projected`: will have used more than declared by more than the tolerance;
it resolves only below half the tolerance, and gives way to `exceeded`. A scope that has no forecast any more has
ended, and its alerts with it. Where a projection is missing for a while an alert stays as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from gpuwatch.accounting.amounts import alike, amount
from gpuwatch.ledger.scopes import AlertKey, key_of
from gpuwatch.model import Alert, Estimate, Forecast, Scope
from gpuwatch.notifiers.base import Change

EXCEEDED = "exceeded"
PROJECTED = "projected"
_MEDIAN = 0.5
_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Policy:
    """How far above the declared amount is let pass, and which jobs are too small to speak of."""

    tolerance_ratio: float = 0.10
    floor_device_hours: float = 1.0


Alerts = dict[AlertKey, Alert]


def evaluate(
    forecasts: Sequence[Forecast], active: Mapping[AlertKey, Alert], policy: Policy, now: float
) -> tuple[Alerts, tuple[Change, ...]]:
    """The alerts that are active now, and what changed. `forecasts` are those of scopes that still run."""
    small = _too_small(forecasts, policy)
    found: Alerts = {}
    for forecast in forecasts:
        if forecast.declared is None or forecast.scope in small:
            continue
        alert = _alert(forecast, forecast.declared, active, policy, now)
        if alert is not None:
            found[key_of(alert)] = alert
    return found, _changes(active, found, forecasts, small)


def _too_small(forecasts: Iterable[Forecast], policy: Policy) -> set[Scope]:
    """Scopes whose used, declared and projected device-hours are all below the floor."""
    floor = policy.floor_device_hours * _HOUR
    return {each.scope for each in forecasts if each.quantity == "device-hours" and _largest(each) < floor}


def _largest(forecast: Forecast) -> float:
    declared = forecast.declared.high if forecast.declared else 0.0
    return max(forecast.used, declared, forecast.quantiles.get(_MEDIAN, 0.0))


def _alert(
    forecast: Forecast, declared: Estimate, active: Mapping[AlertKey, Alert], policy: Policy, now: float
) -> Alert | None:
    exceeded = AlertKey(EXCEEDED, forecast.scope, forecast.quantity)
    projected = AlertKey(PROJECTED, forecast.scope, forecast.quantity)
    if forecast.used > declared.high:
        return _made(exceeded, active, forecast.used, declared, exceeded_text(forecast, declared), now)
    median = forecast.quantiles.get(_MEDIAN)
    standing = active.get(projected)
    if median is None:
        return standing
    tolerance = policy.tolerance_ratio / (2 if standing else 1)
    if median > declared.high * (1 + tolerance):
        return _made(projected, active, median, declared, projected_text(forecast, declared, median), now)
    return None


def _made(
    key: AlertKey, active: Mapping[AlertKey, Alert], value: float, declared: Estimate, text: str, now: float
) -> Alert:
    since = active[key].since if key in active else now
    return Alert(key.kind, key.scope, key.quantity, "warning", since, value, declared.high, text)


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
    return "below what alerts are for" if key.scope in small else "back within what is declared"


def projected_text(forecast: Forecast, declared: Estimate, median: float) -> str:
    """The sentence of a projected overrun."""
    quantity = forecast.quantity
    more = f"{_percent(median, declared.high)} more than the {alike(quantity, declared.high, median)} declared"
    used = alike(quantity, forecast.used, median)
    need = f"is projected to need {amount(quantity, median)}{_of(quantity)}"
    return f"{_named(forecast.scope)} {need}, {more}; {used} used ({forecast.basis})"


def exceeded_text(forecast: Forecast, declared: Estimate) -> str:
    """The sentence of an overrun that has happened."""
    quantity = forecast.quantity
    more = (
        f"{_percent(forecast.used, declared.high)} more than the {alike(quantity, declared.high, forecast.used)}"
    )
    text = f"{_named(forecast.scope)} used {amount(quantity, forecast.used)}{_of(quantity)}, {more} declared"
    median = forecast.quantiles.get(_MEDIAN)
    if median is None:
        return f"{text} ({forecast.basis})"
    return f"{text}; projected to need {amount(quantity, median)} ({forecast.basis})"


def _named(scope: Scope) -> str:
    return f"{scope.kind} {scope.name}"


def _of(quantity: str) -> str:
    return {"energy": " of energy", "wall": " of wall time"}.get(quantity, "")


def _percent(value: float, declared: float) -> str:
    ratio = 100 * (value / declared - 1) if declared > 0 else 0.0
    return f"{ratio:.0f} %" if ratio >= 1 else "less than 1 %"
