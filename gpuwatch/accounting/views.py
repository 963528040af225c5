"""A job of the ledger with its forecasts and alerts, for everybody who shows jobs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection

from gpuwatch.accounting.forecasts import job_forecasts
from gpuwatch.accounting.series import BurnUpSeries, series_of
from gpuwatch.forecast.projection import HOURS
from gpuwatch.ledger import alert_store, charging, latest_forecasts, queries, rate_words, tag_store
from gpuwatch.ledger.campaigns import ref_of
from gpuwatch.ledger.charging import Cost
from gpuwatch.ledger.latest_forecasts import ScopeOf
from gpuwatch.ledger.quality import Quality, quality_of
from gpuwatch.ledger.queries import Campaign, Job
from gpuwatch.ledger.summaries import zone_called
from gpuwatch.model import EMPTY, Alert, Expectation, Forecast

EXPECTED = (0.1, 0.25, 0.5, 0.75, 0.9)
"""What is given of an expectation: its median and the ends of intervals of 50 and 80 %."""


@dataclass(frozen=True, slots=True)
class JobView:
    """One job, with the tags it was given since, and what follows: `forecasts` by quantity, `alerts` active.

    Of a job that runs, `forecasts` are those of the latest pass: none yet where it began after that. `expectation`
    is what it may come to, where it runs and declares no device-hours: nobody's declaration.

    Where one job is looked at, `bases` says by which PUE and grid intensity its carbon was reckoned, and `burnup`
    is how it came to what it used.
    """

    job: Job
    forecasts: Mapping[str, Forecast]
    alerts: tuple[Alert, ...]
    quality: Quality
    cost: Cost = field(default_factory=Cost)
    bases: tuple[str, ...] = ()
    expectation: Expectation | None = None
    burnup: BurnUpSeries | None = None


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
    wanted = [(job.cluster, job.scope) for job in jobs if job.state != "ended"]
    latest = latest_forecasts.of_scopes(connection, wanted)
    tags = tag_store.tags_of(connection, list(jobs))
    return [
        _view(
            replace(job, tags=tags[ref_of(job)]),
            latest,
            tuple(alert for alert in active[job.cluster].values() if alert.scope == job.scope),
            quality_of(job, agents),
            charging.cost_of([job], costs),
            now,
        )
        for job in jobs
    ]


def _view(
    job: Job,
    latest: Mapping[ScopeOf, Mapping[str, Forecast]],
    alerts: tuple[Alert, ...],
    quality: Quality,
    cost: Cost,
    now: float,
) -> JobView:
    if job.state == "ended":
        found = {each.quantity: each for each in job_forecasts(job, None, cost, 0.0, now)}
    else:
        found = with_declared(latest.get((job.cluster, job.scope), EMPTY), job)
    return JobView(job, found, alerts, quality, cost, expectation=_expectation(job, found))


def with_declared(found: Mapping[str, Forecast], scope: Job | Campaign) -> dict[str, Forecast]:
    """Forecasts with what is declared by now."""
    return {quantity: replace(each, declared=scope.estimates.get(quantity)) for quantity, each in found.items()}


def _expectation(job: Job, forecasts: Mapping[str, Forecast]) -> Expectation | None:
    """What a job may come to that declares no device-hours; None where it declares some, or nothing is known."""
    forecast = forecasts.get(HOURS)
    if forecast is None or forecast.against != "expected" or HOURS in job.estimates:
        return None
    quantiles = {q: forecast.quantiles[q] for q in EXPECTED if q in forecast.quantiles}
    return Expectation(job.scope, HOURS, quantiles, forecast.n, forecast.basis)


def campaigns_forecasts(
    connection: Connection, campaigns: Collection[Campaign]
) -> dict[str, Mapping[str, Forecast]]:
    """What the latest pass forecast of campaigns, by name and quantity; nothing of those that have ended.

    Of one whose jobs are of several clusters, what was said last.
    """
    lively = [campaign for campaign in campaigns if campaign.state != "ended"]
    wanted = {(job.cluster, campaign.scope) for campaign in lively for job in campaign.jobs}
    latest = latest_forecasts.of_scopes(connection, wanted)
    found: dict[str, Mapping[str, Forecast]] = {}
    for campaign in lively:
        said = [latest.get((cluster, campaign.scope), {}) for cluster in {job.cluster for job in campaign.jobs}]
        newest = max(said, key=lambda each: max((one.time for one in each.values()), default=0.0))
        found[campaign.scope.name] = with_declared(newest, campaign)
    return found


def with_bases(connection: Connection, view: JobView) -> JobView:
    """The same, with the words that say by what its carbon was reckoned."""
    time, found = view.job.last_seen, charging.rates_in(connection, view.cost.rates)
    words = {line for rates in found.values() for line in rate_words.bases(rates, time, zone_called(rates.zone))}
    return replace(view, bases=tuple(sorted(words)))


def with_burnup(connection: Connection, view: JobView) -> JobView:
    """The same, with how it came to where it is."""
    return replace(view, burnup=series_of(connection, view.job))
