"""What is kept of a pass until the next one: what is shown of it. All jobs of a large cluster are 100 MB. Pure."""

from __future__ import annotations

from dataclasses import replace

from gpuwatch.accounting.accountant import Report
from gpuwatch.accounting.shown import foremost, shown
from gpuwatch.ledger.queries import Campaign, Current, Job


def retained(report: Report) -> Report:
    """The same report with those scopes alone that are exported or on the landing page."""
    current = report.current
    names = {each.scope for each in (*shown(current)[0], *foremost(current))}
    kept = [each for each in current.scopes if each.scope in names]
    return replace(
        report,
        current=Current(
            tuple(each for each in kept if isinstance(each, Job)),
            tuple(each for each in kept if isinstance(each, Campaign)),
        ),
        forecasts=tuple(each for each in report.forecasts if each.scope in names),
    )


def running_in(report: Report) -> int:
    """How many jobs of a whole report run."""
    return sum(job.state == "running" for job in report.current.jobs)
