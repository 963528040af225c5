"""From what the ledger has on the current scopes to their forecasts. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from gpuwatch.forecast.projection import MEDIAN, QUANTITIES, Evidence, project, project_span, project_sum
from gpuwatch.ledger.queries import Campaign, Current, Job, used
from gpuwatch.model import Forecast


def forecasts_of(current: Current, now: float) -> tuple[Forecast, ...]:
    """The forecasts of every current scope that declares something or says how far it is."""
    told = (job for job in current.jobs if job.progress is not None or job.revisions)
    jobs = [forecast for job in told for forecast in job_forecasts(job, now)]
    campaigns = [forecast for campaign in current.campaigns for forecast in campaign_forecasts(campaign, now)]
    return (*jobs, *campaigns)


def job_forecasts(job: Job, now: float) -> tuple[Forecast, ...]:
    """The forecasts of one attempt of a job."""
    return tuple(project(evidence, now) for evidence in _evidence(job))


def campaign_forecasts(campaign: Campaign, now: float) -> tuple[Forecast, ...]:
    """The forecasts of a campaign, out of those of its jobs."""
    by_job = {job.scope: (job, job_forecasts(job, now)) for job in campaign.jobs}
    parts = [forecast for _, forecasts in by_job.values() for forecast in forecasts]
    ends = [by_job[part.scope][0].started + part.quantiles[MEDIAN] for part in parts if _is_wall(part)]
    return tuple(
        project_span(evidence, ends, now)
        if evidence.quantity == "wall"
        else project_sum(evidence, [part for part in parts if part.quantity == evidence.quantity], now)
        for evidence in _evidence(campaign)
    )


def _is_wall(forecast: Forecast) -> bool:
    return forecast.quantity == "wall" and MEDIAN in forecast.quantiles


def _evidence(scope: Job | Campaign) -> Iterable[Evidence]:
    estimates = scope.estimates
    for quantity in QUANTITIES:
        amount = used(scope, quantity)
        if amount is not None:
            yield Evidence(
                scope.scope, quantity, amount, _began(scope), scope.last_seen, scope.state,
                declared=estimates.get(quantity),
                progress=scope.progress if isinstance(scope, Job) else None,
                gaps=_gaps(scope) if quantity == "energy" else 0.0,
                before=_before(scope, quantity) if isinstance(scope, Job) else 0.0,
            )  # fmt: skip


def _began(scope: Job | Campaign) -> float:
    """When what the progress is of began: of a job its latest run."""
    return scope.runs[-1].started if isinstance(scope, Job) and scope.runs else scope.started


def _before(job: Job, quantity: str) -> float:
    """What a job's earlier attempts used."""
    earlier = job.runs[:-1]
    if quantity == "wall":
        return float(job.runs[-1].started - job.started) if earlier else 0.0
    if quantity == "energy":
        return sum(run.usage.joules for run in earlier)
    return sum(run.device_seconds for run in earlier)


def _gaps(scope: Job | Campaign) -> float:
    usage = scope.usage
    return usage.energy_unmeasured_seconds / usage.held_seconds if usage.held_seconds > 0 else 0.0
