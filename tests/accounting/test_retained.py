"""What is kept of a pass until the next one."""

from __future__ import annotations

from dataclasses import replace

from gpuwatch.accounting import landing, metrics
from gpuwatch.accounting.retained import retained, running_in
from gpuwatch.accounting.shown import MAX_SCOPES
from gpuwatch.ledger.queries import Current
from gpuwatch.model import Scope
from tests.accounting.test_metrics import job, report


def test_nobody_sees_the_difference() -> None:
    """The page and /metrics are those of the whole report, also where it has more than is shown."""
    jobs = tuple(
        replace(job(f"run-{number}"), started=1000 + number % 77, last_seen=1100.0 - number)
        for number in range(MAX_SCOPES + 300)
    )
    whole = replace(report(job()), current=Current(jobs))

    kept = retained(whole)

    health = metrics.after(metrics.at_start(), whole)
    assert landing.body(whole) == landing.body(kept)
    assert metrics.render(whole, health) == metrics.render(kept, health)
    assert MAX_SCOPES <= len(kept.current.jobs) < len(jobs)


def test_a_forecast_stays_with_its_scope() -> None:
    """That of a scope which is not shown goes."""
    whole = replace(report(job()), current=Current((job("other"),)))

    assert {Scope("job", "run-1"): 1} == {each.scope: 1 for each in whole.forecasts}
    assert () == retained(whole).forecasts


def test_running_jobs_are_counted_in_the_whole() -> None:
    """Those that ended are not."""
    assert 1 == running_in(report(job(), replace(job("over"), state="ended")))
