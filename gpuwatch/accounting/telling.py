"""From what is known of jobs and chains to what may become of them: all of them at once, as that is fast. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gpuwatch.accounting import cases
from gpuwatch.accounting.burning import run_of
from gpuwatch.accounting.cases import EVEN, Pace
from gpuwatch.accounting.forecasts import Told
from gpuwatch.forecast.calibration import Calibration, kind_of
from gpuwatch.forecast.evidence import SHIPPED, Case, Experience, Outlook
from gpuwatch.forecast.mixing import AT_ONCE, Distribution, distributions
from gpuwatch.forecast.projection import HOURS, Against, Foretold
from gpuwatch.forecast.trials import stage_of
from gpuwatch.forecast.words import basis_of
from gpuwatch.ledger.burnup_store import RunKey
from gpuwatch.ledger.chains import Chain
from gpuwatch.ledger.jobs import Job
from gpuwatch.ledger.past import normalised
from gpuwatch.ledger.queries import Campaign
from gpuwatch.model import BurnUp
from gpuwatch.schedulers.base import Facts

EXPECTED_PLACE = 0.9
"""What 9 of 10 of its like do not exceed is what a run is held against that declares nothing."""

_OF_NOTHING = (f"total {SHIPPED}", f"ratio {SHIPPED}")
LEAST_KNOWN = 0.5
"""Where what is shipped says more than that of a run, nothing is said of it, or of its limit if it declares."""

OUTLIVED = "it came to more than all that is known of its like"


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a job or a chain: `steps` are those of the whole, `rate` device-seconds a second.

    `against` is what it is held against; None where nothing is declared or expected yet.
    """

    case: Case
    steps: float | None
    rate: float
    against: Against | None = None
    paces: tuple[Pace, Pace] = (EVEN, EVEN)


@dataclass(frozen=True, slots=True)
class Answer:
    """What may become of it, and by which evidence."""

    told: Told
    outlook: Outlook


def known_of(job: Job, burnup: BurnUp, expected: float | None) -> Known:
    """What is known of a job; `expected` is what it was held against before, where it declares nothing."""
    estimate = job.estimates.get(HOURS)
    against = Against(estimate.high, "declared", estimate) if estimate is not None else None
    if against is None and expected is not None:
        against = Against(expected, "expected")
    progress = cases.progress_of(job)
    steps = progress.total if progress is not None else None
    rate = cases.rate_of(job)
    paces = cases.paces_of(burnup.points, rate) if job.revisions else (EVEN, EVEN)
    return Known(cases.case_of(job, burnup), steps, rate, against, paces)


def chain_of(chain: Chain, campaign: Campaign, burnups: Mapping[RunKey, BurnUp], alone: bool) -> Known:
    """What is known of a chain; what is declared for the campaign is declared for it where it is `alone`."""
    last = chain.jobs[-1]
    points = cases.chained([(job, burnups.get(run_of(job)) or cases.grown_by(job, None)) for job in chain.jobs])
    total = chain.progress.total
    told = cases.told_by(chain.jobs[0], points, total)
    estimate = campaign.estimates.get(HOURS) if alone else None
    case = Case(
        cases.owner_of(last), cases.account_of(last), normalised(campaign.scope.name), chain.device_seconds,
        estimate.likely if estimate is not None else None, estimate.basis if estimate is not None else None,
        *told,
    )  # fmt: skip
    rate = sum(cases.rate_of(job) for job in chain.jobs)
    against = Against(estimate.high, "declared", estimate) if estimate is not None else None
    return Known(case, total, rate, against)


def waiting_one(facts: Facts) -> Known:
    """What is known of a job that waits in the queue: whose it is, its name, and its limit."""
    limit = facts.devices * facts.limit_seconds if facts.devices and facts.limit_seconds else None
    return Known(Case(facts.user, facts.account, normalised(facts.name), 0.0, limit=limit), None, 0.0)


def takes_up(chain: Chain, name: str) -> bool:
    """Whether a job of that name that waits will go on with a chain, as far as its name says."""
    names = {job.name or "" for job in chain.jobs}
    return name in names or (len(names) > 1 and normalised(name) in map(normalised, names))


def answers(
    known: Sequence[Known], experience: Experience, calibration: Calibration, record: str, now: float
) -> Iterator[Answer | None]:
    """What may become of each, in their order; None where next to nothing is known.

    They are made as they are taken, some at once: all evidence about ten thousand takes 20 MB.
    """
    for first in range(0, len(known), AT_ONCE):
        some = known[first : first + AT_ONCE]
        outlooks = [experience.outlook(each.case, now) for each in some]
        for each, outlook, distribution in zip(some, outlooks, distributions(outlooks), strict=True):
            yield _answer(each, outlook, distribution, calibration, record)


def _answer(
    known: Known, outlook: Outlook, distribution: Distribution, calibration: Calibration, record: str
) -> Answer | None:
    case = known.case
    is_known = _shipped(outlook, distribution) <= LEAST_KNOWN
    if case.declared is None and not is_known:
        return None
    against = known.against
    amount = against.amount if against is not None else case.declared
    stage = stage_of(case.used / amount) if amount else "submit"
    kind = kind_of(outlook.burn_up is not None, case.declared is not None)
    places = calibration.at(stage, kind)
    foretold = Foretold(distribution, places, case.used, known.rate, case.limit, kind, is_known)
    if against is None and case.declared is None:
        against = Against(foretold.quantile(EXPECTED_PLACE), "expected")
    has_basis = distribution.weights.any()
    basis = basis_of(outlook, distribution.weights, known.steps) if has_basis else OUTLIVED
    return Answer(
        Told(foretold, basis, against, stage, record, _runs(outlook, distribution), known.paces), outlook
    )


def _shipped(outlook: Outlook, distribution: Distribution) -> float:
    """How much of it is what is shipped about runs of which nothing is known."""
    pairs: Iterable[tuple[str, float]] = zip(
        (piece.kind for piece in outlook.pieces), distribution.weights.tolist(), strict=True
    )
    return sum(weight for kind, weight in pairs if kind in _OF_NOTHING)


def _runs(outlook: Outlook, distribution: Distribution) -> int:
    """Of how many runs the class is that says most of it."""
    weighed = zip(distribution.weights.tolist(), outlook.pieces, strict=True)
    sources = [(weight, piece.source) for weight, piece in weighed if piece.source is not None and weight > 0]
    return len(max(sources, key=lambda each: each[0])[1]) if sources else 0
