"""From what the ledger has on the current scopes to their forecasts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from gpuwatch.forecast.projection import (
    MEDIAN,
    QUANTITIES,
    Evidence,
    project,
    project_chain,
    project_chains,
    project_span,
    project_sum,
)
from gpuwatch.ledger.chain_document import words_of
from gpuwatch.ledger.chains import Chain, chains_of
from gpuwatch.ledger.jobs import Run
from gpuwatch.ledger.queries import Campaign, Current, Job, used
from gpuwatch.model import Forecast, Scope


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
    """The forecasts of a campaign, out of those of its chains and of the jobs beside them.

    A chain is projected as a whole, by its own progress; a chain of one run is a job.
    """
    chains = [chain for chain in chains_of(campaign.jobs) if chain.runs > 1]
    linked = {id(job) for chain in chains for job in chain.jobs}
    beside = [job for job in campaign.jobs if id(job) not in linked]
    by_job = [(job, job_forecasts(job, now)) for job in beside]
    parts = [forecast for _, forecasts in by_job for forecast in forecasts]
    by_chain = [(chain, chain_forecasts(chain, campaign.scope, now)) for chain in chains]
    whole = [forecast for _, forecasts in by_chain for forecast in forecasts]
    begun = [(job.started, forecasts) for job, forecasts in by_job]
    begun += [(chain.started, forecasts) for chain, forecasts in by_chain]
    ends = [start + part.quantiles[MEDIAN] for start, those in begun for part in those if _is_wall(part)]
    words = f"{len(chains)} chains of {sum(len(chain.jobs) for chain in chains)} jobs"
    return tuple(
        _composed(evidence, _of(whole, evidence), _of(parts, evidence), ends, words, now)
        for evidence in _evidence(campaign)
    )


def chain_forecasts(chain: Chain, scope: Scope, now: float) -> tuple[Forecast, ...]:
    """The forecasts of a chain, as a part of the campaign `scope`.

    Not more than half of what is to be done is taken to be lost again: one restart from the beginning says little.
    """
    last = chain.links[-1].run
    made = max(chain.made_steps, (chain.made_steps + chain.lost_steps) / 2)
    progress = replace(chain.progress, start_step=chain.progress.step - made)
    found = []
    for quantity in QUANTITIES:
        used_by = _used_by(chain, quantity)
        if used_by is not None:
            evidence = Evidence(
                scope, quantity, sum(used_by), last.started, last.last_seen,
                "running" if chain.goes_on(now) else "ended", None, progress, before=used_by[0], after=used_by[2],
            )  # fmt: skip
            found.append(project_chain(evidence, words_of(chain), now))
    return tuple(found)


def _used_by(chain: Chain, quantity: str) -> tuple[float, float, float] | None:
    """What a chain used before its last run that reported, in that run, and beside those that its progress is of.

    Beside are runs before the first report and after the last run with one. Of wall time pauses are part of what
    is before. None where it is unknown.
    """
    first, last = chain.links[0].run, chain.links[-1].run
    if quantity == "wall":
        beside = first.started - chain.started + chain.last_seen - last.last_seen
        return float(last.started - first.started), last.last_seen - last.started, beside
    known = [amount for job in chain.jobs if (amount := used(job, quantity)) is not None]
    if not known:
        return None
    runs = [run for job in chain.jobs for run in job.runs]
    beside = sum(_amount(run, quantity) for run in runs if not first.started <= run.started <= last.started)
    own = _amount(last, quantity)
    return max(0.0, sum(known) - own - beside), own, beside


def _amount(run: Run, quantity: str) -> float:
    return run.device_seconds if quantity == "device-hours" else run.usage.joules


def _of(forecasts: Iterable[Forecast], evidence: Evidence) -> list[Forecast]:
    return [each for each in forecasts if each.quantity == evidence.quantity]


def _composed(
    evidence: Evidence,
    chains: Sequence[Forecast],
    others: Sequence[Forecast],
    ends: Sequence[float],
    words: str,
    now: float,
) -> Forecast:
    if evidence.quantity == "wall":
        return project_span(evidence, ends, now)
    if not chains:
        return project_sum(evidence, others, now)
    return project_chains(evidence, chains, others, chains[0].basis if len(chains) == 1 else words, now)


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
