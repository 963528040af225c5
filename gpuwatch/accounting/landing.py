"""The table of the landing page: current scopes and their figures; nobody's name, and no job's. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from gpuwatch.accounting.accountant import Report
from gpuwatch.accounting.amounts import amount, digits
from gpuwatch.accounting.shown import foremost
from gpuwatch.forecast.projection import MEDIAN
from gpuwatch.hygiene import html
from gpuwatch.ledger.queries import Campaign, Job, used
from gpuwatch.model import Scope

_HEAD = ("Scope", "State", "Device-hours", "Projected", "Declared", "Energy", "Alert")
_HOUR = 3600.0


def body(report: Report | None) -> str:
    """The HTML table; a sentence where there is nothing to show."""
    if report is None:
        return "<p>No pass yet.</p>"
    shown = foremost(report.current)
    if not shown:
        return "<p>No job runs, and none ended in the last 15 minutes.</p>"
    head = "".join(f"<th>{name}</th>" for name in _HEAD)
    rows = "".join(f"<tr>{_cells(_row(report, each))}</tr>" for each in shown)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _cells(texts: Iterable[str]) -> str:
    return "".join(f"<td>{html(text)}</td>" for text in texts)


def _row(report: Report, each: Job | Campaign) -> tuple[str, ...]:
    hours = each.estimates.get("device-hours")
    energy = used(each, "energy")
    return (
        str(each.scope),
        each.state,
        digits(each.device_seconds / _HOUR),
        _projected(report, each.scope),
        digits(hours.likely / _HOUR) if hours else "",
        amount("energy", energy) if energy is not None else "",
        ", ".join(f"{alert.kind} {alert.quantity}" for alert in report.alerts if alert.scope == each.scope),
    )


def _projected(report: Report, scope: Scope) -> str:
    for forecast in report.forecasts:
        if forecast.scope == scope and forecast.quantity == "device-hours" and forecast.quantiles:
            return digits(forecast.quantiles[MEDIAN] / _HOUR)
    return ""
