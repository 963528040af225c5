"""What an alert about a forecast says line by line: declared, used, to come, why, and what to do. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gpuwatch.accounting.alert_record import Record
from gpuwatch.accounting.amounts import amount, money
from gpuwatch.accounting.forecast_words import amount_text, moment, over_texts
from gpuwatch.accounting.reasons import reasons
from gpuwatch.forecast.projection import HOURS, MEDIAN
from gpuwatch.ledger.charging import Cost
from gpuwatch.ledger.jobs import Campaign, Job
from gpuwatch.model import EMPTY, Alert, BurnUp, Estimate, Forecast

_CAUSES = 3


@dataclass(frozen=True, slots=True)
class Case:
    """What is known of the scope of an alert: its forecasts by quantity, its cost, how it came there."""

    scope: Job | Campaign
    forecasts: Mapping[str, Forecast] = EMPTY
    cost: Cost = Cost()
    burnup: BurnUp | None = None


def details(alert: Alert, case: Case, record: Record) -> tuple[str, ...]:
    """The lines; what is not known is left out."""
    quantity = HOURS if alert.quantity == "wall" and alert.quantity not in case.forecasts else alert.quantity
    forecast = case.forecasts.get(quantity)
    lines: list[str] = []
    if forecast is not None:
        lines += [*_declared(forecast), *_used(forecast, case.scope), *_to_come(forecast)]
    hours = case.forecasts.get(HOURS)
    planned = hours.declared.high if hours is not None and hours.declared is not None else None
    lines += [f"likely reason: {each}" for each in reasons(case.scope, case.burnup, planned)[:_CAUSES]]
    lines += _costs(case, hours)
    if forecast is not None and forecast.record:
        lines.append(f"forecasts here: {forecast.record}")
    return (*lines, f"such alerts here: {record.words(alert.kind)}", *commands(alert))


def commands(alert: Alert) -> Iterator[str]:
    """What to type to look closer."""
    kind, name = alert.scope.kind, shlex.quote(alert.scope.name)
    scope = shlex.quote(str(alert.scope))
    show = {"job": f"gpuwatch show {name}", "campaign": f"gpuwatch campaign show {name}"}.get(
        kind, f"gpuwatch alerts why {scope}"
    )
    yield f"look closer: {show}"
    if alert.kind in ("projected", "exceeded"):
        yield f"declare anew: gpuwatch declare --for {scope} …"


def _declared(forecast: Forecast) -> Iterator[str]:
    declared = forecast.declared
    if declared is not None:
        yield f"declared: {_bounds(declared)}{_by(declared)}"
    elif forecast.against == "expected" and forecast.reference is not None:
        yield f"nothing declared; expected at first: at most {amount(forecast.quantity, forecast.reference)}"


def _bounds(declared: Estimate) -> str:
    high = amount(declared.quantity, declared.high, declared.unit)
    if declared.low == declared.high:
        return high
    low, likely = (amount(declared.quantity, each, declared.unit) for each in (declared.low, declared.likely))
    return f"between {low} and {high}, most likely {likely}"


def _by(declared: Estimate) -> str:
    by = f" by {declared.declared_by}" if declared.declared_by else ""
    at = f" at {moment(declared.declared_at)}" if declared.declared_at else ""
    return f"{by}{at}" + (f" (from {declared.basis})" if declared.basis else "")


def _used(forecast: Forecast, scope: Job | Campaign) -> Iterator[str]:
    share = ""
    if forecast.reference:
        what = "declared" if forecast.against == "declared" else "expected"
        share = f", {100 * forecast.used / forecast.reference:.0f} % of what was {what}"
    unit = forecast.declared.unit if forecast.declared is not None else ""
    yield f"used: {amount(forecast.quantity, forecast.used, unit)}{share}, since {moment(scope.started)}"


def _to_come(forecast: Forecast) -> Iterator[str]:
    if MEDIAN in forecast.quantiles:
        yield f"projected: {amount_text(forecast).partition(': ')[2]}"
        yield from over_texts(forecast)
    elif forecast.basis:
        yield f"no projection: {forecast.basis}"


def _costs(case: Case, hours: Forecast | None) -> Iterator[str]:
    """Money so far, and at its end where hours tell of that."""
    spent = {currency: value for currency, value in case.cost.cost.items() if value > 0}
    if not spent:
        return
    text = f"cost so far: {money(spent)}"
    if hours is not None and hours.used > 0 and MEDIAN in hours.quantiles:
        ratio = max(1.0, hours.quantiles[MEDIAN] / hours.used)
        text += f"; about {money({each: value * ratio for each, value in spent.items()})} at its end"
        if hours.declared is not None and hours.quantiles[MEDIAN] > hours.declared.high:
            beyond = (hours.quantiles[MEDIAN] - hours.declared.high) / hours.used
            more = money({each: value * beyond for each, value in spent.items()})
            text += f", {more} more than what is declared comes to"
    yield text
