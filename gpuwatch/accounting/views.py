"""A job of the ledger with its forecasts and alerts, for everybody who shows jobs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection

from gpuwatch.accounting.expected import expectations_of
from gpuwatch.accounting.forecasts import job_forecasts
from gpuwatch.ledger import alert_store, charging, queries, rate_words, tag_store
from gpuwatch.ledger.campaigns import ref_of
from gpuwatch.ledger.charging import Cost
from gpuwatch.ledger.quality import Quality, quality_of
from gpuwatch.ledger.queries import Job
from gpuwatch.ledger.summaries import zone_called
from gpuwatch.model import Alert, Expectation, Forecast


@dataclass(frozen=True, slots=True)
class JobView:
    """One job, with the tags it was given since, and what follows: `forecasts` by quantity, `alerts` active.

    `expectation` is what its like came to, where it runs and declares no device-hours: nobody's declaration.

    `bases` says, where one job is looked at, by which PUE and grid intensity its carbon was reckoned.
    """

    job: Job
    forecasts: Mapping[str, Forecast]
    alerts: tuple[Alert, ...]
    quality: Quality
    cost: Cost = field(default_factory=Cost)
    bases: tuple[str, ...] = ()
    expectation: Expectation | None = None


def views_since(connection: Connection, time: float, now: float) -> list[JobView]:
    """The jobs seen since `time`, the latest first."""
    return views_of(connection, queries.jobs_since(connection, time, now), now)


def views_named(connection: Connection, name: str, now: float) -> list[JobView]:
    """The jobs that `name` means, the best match first."""
    return views_of(connection, queries.jobs_named(connection, name, now), now)


def views_of(connection: Connection, jobs: Collection[Job], now: float) -> list[JobView]:
    """The jobs as they stand at the time `now`."""
    active = {cluster: alert_store.active(connection, cluster) for cluster in {job.cluster for job in jobs}}
    agents = queries.agents_of(connection)
    costs = charging.costs_of(connection, {(job.cluster, each) for job in jobs for each in job.job_ids})
    expected = expectations_of(connection, jobs, now)
    tags = tag_store.tags_of(connection, list(jobs))
    return [
        JobView(
            replace(job, tags=tags[ref_of(job)]),
            {forecast.quantity: forecast for forecast in job_forecasts(job, now)},
            tuple(alert for alert in active[job.cluster].values() if alert.scope == job.scope),
            quality_of(job, agents),
            charging.cost_of([job], costs),
            expectation=expected.get((job.cluster, job.scope.name)),
        )
        for job in jobs
    ]


def with_bases(connection: Connection, view: JobView) -> JobView:
    """The same, with the words that say by what its carbon was reckoned."""
    time, found = view.job.last_seen, charging.rates_in(connection, view.cost.rates)
    words = {line for rates in found.values() for line in rate_words.bases(rates, time, zone_called(rates.zone))}
    return replace(view, bases=tuple(sorted(words)))
