"""From what may become of jobs to the forecasts of jobs and campaigns. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from gpuwatch.accounting import cases
from gpuwatch.accounting.cases import EVEN, Pace
from gpuwatch.forecast import projection
from gpuwatch.forecast.projection import (
    HOURS,
    Against,
    Foretold,
    Going,
    Together,
    forecast_of,
    together,
)
from gpuwatch.forecast.trials import LEVELS
from gpuwatch.ledger.chain_document import words_of
from gpuwatch.ledger.chains import Chain, chains_of
from gpuwatch.ledger.charging import Cost
from gpuwatch.ledger.jobs import Job
from gpuwatch.ledger.queries import Campaign, used
from gpuwatch.model import Forecast

NOTHING = "too little to go by: neither its progress nor what jobs like it came to says enough"
OPEN_ENDED = "goes on for as long as it likes: it has no end to be forecast"


@dataclass(frozen=True, slots=True)
class Told:
    """What may become of a job or a chain: `against` is what its device-seconds are held against.

    `n` is of how many runs the weightiest class of runs is that says so; 0: none does.
    """

    foretold: Foretold
    basis: str
    against: Against | None = None
    stage: str = ""
    record: str = ""
    n: int = 0
    paces: tuple[Pace, Pace] = (EVEN, EVEN)


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a campaign of which it is known how they go on."""

    chains: Sequence[tuple[Chain, Told]] = ()
    jobs: Sequence[tuple[Job, Told]] = ()
    coming: Sequence[Told] = ()
    unknown: int = 0

    @property
    def all(self) -> list[Told]:
        """All of them."""
        return [*(told for _, told in (*self.chains, *self.jobs)), *self.coming]


def job_forecasts(job: Job, told: Told | None, cost: Cost, tolerance: float, now: float) -> Iterator[Forecast]:
    """The forecasts of one job by quantity: `told` is None where nothing can be said about it."""
    estimates = job.estimates
    if job.state == "ended" or told is None:
        for quantity in cases.ALWAYS:
            amount = used(job, quantity)
            if amount is None:
                continue
            if job.state == "ended":
                yield projection.ended(job.scope, quantity, amount, estimates.get(quantity), now)
            else:
                yield projection.unknown(job.scope, quantity, amount, estimates.get(quantity), NOTHING, now)
        return
    for going in cases.goings_of(job, cost, told.paces):
        if going.quantity != HOURS and not is_told(job):
            continue
        estimate = estimates.get(going.quantity)
        against = Against(estimate.high, "declared", estimate) if estimate is not None else None
        if against is None and going.quantity == HOURS:
            against = told.against
        found = forecast_of(job.scope, told.foretold, going, against, tolerance, told.basis, now)
        yield _labelled(found, told.stage, told.record, told.n)


def open_ended_forecasts(job: Job, cost: Cost, now: float) -> Iterator[Forecast]:
    """What a job used that has no end to be forecast: device-hours, and what is declared, which is a budget."""
    for going in cases.goings_of(job, cost):
        estimate = job.estimates.get(going.quantity)
        if job.state == "ended" and job.estimates:
            yield projection.ended(job.scope, going.quantity, going.used, estimate, now)
        elif job.state != "ended" and (estimate is not None or going.quantity == HOURS):
            yield projection.unknown(job.scope, going.quantity, going.used, estimate, OPEN_ENDED, now)


def _labelled(forecast: Forecast, stage: str, record: str, n: int) -> Forecast:
    # Made by hand, as `replace` takes three times as long.
    return Forecast(
        forecast.scope, forecast.quantity, forecast.used, forecast.quantiles, forecast.declared, forecast.basis,
        forecast.time, forecast.p_over, forecast.crosses_at, forecast.crosses_between, forecast.against,
        forecast.reference, forecast.p_limit, stage, record, n,
    )  # fmt: skip


def is_told(job: Job) -> bool:
    """Whether somebody said something of it: then all of its quantities are forecast."""
    return bool(job.revisions) or job.progress is not None


def goes_on(campaign: Campaign, now: float) -> tuple[tuple[Chain, ...], tuple[Job, ...]]:
    """The chains of a campaign that have more to come, and the jobs beside them that run."""
    chains = [chain for chain in chains_of(campaign.jobs) if chain.runs > 1]
    linked = {id(job) for chain in chains for job in chain.jobs}
    beside = (job for job in campaign.jobs if id(job) not in linked and job.state != "ended")
    return tuple(chain for chain in chains if chain.goes_on(now)), tuple(beside)


def campaign_forecasts(
    campaign: Campaign, parts: Parts, cost: Cost, tolerance: float, now: float
) -> Iterator[Forecast]:
    """The forecasts of a campaign, out of those of its chains, of the jobs beside them, and of those that wait."""
    known = parts.all
    estimates = campaign.estimates
    spent = sum(told.foretold.used for told in known)
    for quantity in (*cases.ALWAYS, *sorted(set(estimates) - set(cases.ALWAYS))):
        estimate = estimates.get(quantity)
        amount = used(campaign, quantity) if quantity in cases.ALWAYS else None
        if amount is None and estimate is not None and quantity not in cases.ALWAYS:
            amount = cases.charged(cost, quantity, estimate)
        if amount is None:
            continue
        if not known:
            yield _without_parts(campaign, parts, quantity, amount, now)
            continue
        against = Against(estimate.high, "declared", estimate) if estimate is not None else None
        if quantity == "wall":
            whole = _ends(campaign, known, now)
            going = Going("wall", amount, 1.0)
        else:
            whole = together([told.foretold for told in known], max(0.0, campaign.device_seconds - spent))
            per = 1.0 if quantity == HOURS else amount / max(campaign.device_seconds, 1e-9)
            going = Going(quantity, amount, per, cases.gaps_of(campaign, quantity))
        found = forecast_of(campaign.scope, whole, going, against, tolerance, _basis(parts), now)
        yield _labelled(found, "", known[0].record, _largest(known).n)


def _without_parts(campaign: Campaign, parts: Parts, quantity: str, amount: float, now: float) -> Forecast:
    estimate = campaign.estimates.get(quantity)
    if parts.unknown:
        return projection.unknown(campaign.scope, quantity, amount, estimate, NOTHING, now)
    return projection.ended(campaign.scope, quantity, amount, estimate, now)


def _ends(campaign: Campaign, parts: Iterable[Told], now: float) -> Together:
    """How long it takes: from its first start to the end of what ends last."""
    so_far = now - campaign.started
    left = [_seconds_left(told.foretold) for told in parts]
    amounts = tuple(so_far + max((each[place] for each in left), default=0.0) for place in range(len(LEVELS)))
    return Together(amounts, campaign.wall_seconds, 1.0)


def _seconds_left(foretold: Foretold) -> list[float]:
    if foretold.rate <= 0:
        return [0.0] * len(LEVELS)
    return [max(0.0, each - foretold.used) / foretold.rate for each in foretold.quantiles]


def _basis(parts: Parts) -> str:
    """What it is made of, in words, and why the largest part of it is forecast as it is."""
    said = [words_of(chain) for chain, _ in parts.chains]
    words = ["; ".join(said) if len(said) <= 2 else f"{len(said)} chains"] if said else []
    if parts.jobs:
        words.append(_counted(len(parts.jobs), "running", bool(said)))
    if parts.coming:
        words.append(_counted(len(parts.coming), "waiting", bool(said or parts.jobs)))
    if parts.unknown:
        words.append(f"{parts.unknown} more of which nothing can be said")
    largest = "" if len(parts.all) == 1 else "the one that may need most yet by "
    return f"{', '.join(words)}: {largest}{_largest(parts.all).basis}"


def _largest(parts: Iterable[Told]) -> Told:
    """The part that may need most yet."""
    return max(parts, key=lambda told: told.foretold.quantiles[-1] - told.foretold.used)


def _counted(count: int, how: str, more: bool) -> str:
    noun = "job" if count == 1 else "jobs"
    return f"{count} {noun} {how}{' beside' if more else ''}"
