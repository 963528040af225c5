"""From a job of the ledger to what its forecast needs to know of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import pairwise
from math import inf
from typing import NamedTuple

from gpuwatch.forecast.evidence import Case
from gpuwatch.forecast.projection import HOURS, Going
from gpuwatch.ledger.charging import Cost
from gpuwatch.ledger.jobs import Job, Run
from gpuwatch.ledger.past import batch_of, normalised
from gpuwatch.ledger.queries import Campaign, used
from gpuwatch.ledger.records import devices_of
from gpuwatch.model import BurnUp, BurnUpPoint, Estimate, Progress, grown

OPEN_KINDS = ("user:", "container:")
"""What plain processes and containers are called that nobody submitted: they go on for as long as they like."""


class Reports(NamedTuple):
    """What had been used (device-seconds) when what part of the whole was done; it began with the part `begun`."""

    used_at: tuple[float, ...]
    ratios: tuple[float, ...]
    begun: float


class Pace(NamedTuple):
    """How much slower and faster than on average something went, in 8 of 10 stretches of time."""

    slow: float = 1.0
    fast: float = 1.0


EVEN = Pace()

PACED, FEWEST_PACED = 33, 5
"""The latest points that say how evenly a job went, and from how many on they say something."""

SLOWEST = 0.05

ALWAYS = (HOURS, "energy", "wall")
"""The quantities that are forecast whatever is declared; the others where they are declared."""

BELIEVED_RATIO = 2.0
"""What is so much farther than planned counts its steps and the whole in different units: it is not believed."""

SKEW_SECONDS = 600.0
"""So far clocks of nodes may be ahead of accounting's."""

OF_FACILITY = ("facility-energy", "carbon")
CHARGED = frozenset({"cost", *OF_FACILITY})
"""The quantities that jobs are charged by the rates in force."""


def owner_of(job: Job) -> str:
    """Whose runs it is compared with: by the batch system's word, else by user id; empty where nobody knows."""
    user = job.record.facts.user if job.record is not None else ""
    return user or (f"uid:{job.uid}" if job.uid is not None else "")


def account_of(job: Job) -> str:
    """The account it is charged to; empty without a batch system."""
    return job.record.facts.account if job.record is not None else ""


def batch(job: Job) -> str:
    """What was submitted together with it."""
    facts, submitted = (
        (job.record.facts, job.record.key.submitted) if job.record is not None else (None, job.started)
    )
    return batch_of(facts.display if facts is not None else "", owner_of(job), int(submitted))


def is_open_ended(job: Job, patterns: Sequence[str]) -> bool:
    """Whether it has no end to be forecast: plain processes, and what is called like a notebook or a service."""
    if job.job_id.startswith(OPEN_KINDS):
        return True
    return any(fnmatchcase((job.name or "").lower(), pattern.lower()) for pattern in patterns)


def devices(job: Job) -> float | None:
    """How many devices it has; None: not known."""
    known = devices_of(job.record) if job.record is not None else None
    return known if known is not None else (float(len(job.devices)) or None)


def rate_of(job: Job) -> float:
    """Device-seconds that it uses in a second now; 0 while it does not run."""
    if job.state != "running":
        return 0.0
    known = devices(job)
    if known:
        return known
    run = job.runs[-1] if job.runs else None
    spent = run.device_seconds if run is not None else job.device_seconds
    wall = run.last_seen - run.started if run is not None else job.wall_seconds
    return spent / wall if wall > 0 else 0.0


def limit_of(job: Job) -> float | None:
    """Device-seconds that its time limit leaves room for, with those of earlier attempts; None: it has none."""
    count = devices_of(job.record) if job.record is not None else None
    seconds = job.record.facts.limit_seconds if job.record is not None else None
    if count is None or seconds is None:
        return None
    return count * seconds + sum(run.device_seconds for run in job.runs[:-1])


def declared_hours(job: Job) -> tuple[float | None, str | None]:
    """Device-seconds that are declared, or follow from wall time or energy, and the declaration's basis."""
    estimates = job.estimates
    if HOURS in estimates:
        return estimates[HOURS].likely, estimates[HOURS].basis
    count, joules = devices(job), used(job, "energy")
    if "wall" in estimates and count:
        return estimates["wall"].likely * count, estimates["wall"].basis
    if "energy" in estimates and joules and job.device_seconds > 0:
        return estimates["energy"].likely * job.device_seconds / joules, estimates["energy"].basis
    return None, None


def grown_by(job: Job, before: BurnUp | None, now: float = inf) -> BurnUp:
    """How the job came to where it is, with how it is now.

    What it will tell after `now`, by a clock that was set back, says nothing of what it has used by now.
    """
    burnup = before if before is not None else BurnUp(float(job.started))
    if before is None:
        for point in _told_unseen(job):
            if point.time < min(job.last_seen, now):
                burnup = grown(burnup, point)
    progress = job.progress if job.progress is not None and job.progress.time <= now + SKEW_SECONDS else None
    step, total = (progress.step, progress.total) if progress is not None else (None, None)
    return grown(burnup, BurnUpPoint(job.last_seen, job.device_seconds, used(job, "energy"), step, total))


def _told_unseen(job: Job) -> Iterator[BurnUpPoint]:
    """What each run last told while nobody looked: at an even rate it had used so much by then."""
    before = 0.0
    for run in job.runs or (
        Run(job.started, job.last_seen, job.usage, job.device_seconds, progress=job.progress),
    ):
        told, wall = run.progress, run.last_seen - run.started
        if told is not None and wall > 0 and run.started < told.time:
            share = min(1.0, (told.time - run.started) / wall)
            yield BurnUpPoint(told.time, before + share * run.device_seconds, None, told.step, told.total)
        before += run.device_seconds


def reports(points: Sequence[BurnUpPoint], total: float | None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """What was used when a job was first seen at each step, and what part of `total` it had done."""
    told = [each for each in points if each.step is not None]
    news = told[:1] + [after for before, after in pairwise(told) if after.step != before.step]
    if total is None or total <= 0:
        return (), ()
    return tuple(each.used for each in news), tuple((each.step or 0.0) / total for each in news)


def progress_of(job: Job) -> Progress | None:
    """How far it is: what was begun again is as far as before until it says how far it is."""
    return next((run.progress for run in reversed(job.runs) if run.progress is not None), job.progress)


def told_by(job: Job, points: Sequence[BurnUpPoint], total: float | None) -> Reports:
    """What was used when it was how far, of a job, or of a chain that it is the first of."""
    used_at, ratios = reports(points, total)
    if ratios and ratios[-1] > BELIEVED_RATIO:
        return Reports((), (), 0.0)
    number, first = next(
        ((number, run.progress) for number, run in enumerate(job.runs) if run.progress is not None),
        (0, job.progress),
    )
    begun = first.start_step / total if first is not None and total else 0.0
    in_vain = sum(run.device_seconds for run in job.runs[:number])
    if used_at and 0.0 < in_vain <= used_at[0]:
        # Runs that failed before they said anything brought it nowhere.
        return Reports((in_vain, *used_at), (begun, *ratios), begun)
    return Reports(used_at, ratios, begun)


def case_of(job: Job, burnup: BurnUp) -> Case:
    """What is known of a job that goes on."""
    declared, method = declared_hours(job)
    progress = progress_of(job)
    told = told_by(job, burnup.points, progress.total if progress is not None else None)
    return Case(
        owner_of(job), account_of(job), normalised(job.name or ""), job.device_seconds, declared, method, *told,
        limit_of(job), batch(job),
    )  # fmt: skip


def paces_of(points: Sequence[BurnUpPoint], rate: float) -> tuple[Pace, Pace]:
    """How evenly device-seconds were used lately, and energy: beside `rate`, and beside the mean of energy."""
    last = points[-PACED:]
    if rate <= 0 or len(last) < FEWEST_PACED:
        return EVEN, EVEN
    stretches = [(after.time - before.time, before, after) for before, after in pairwise(last)]
    used_up = [(after.used - before.used) / seconds for seconds, before, after in stretches if seconds > 0]
    powers = [
        (after.joules - before.joules) / seconds
        for seconds, before, after in stretches
        if seconds > 0 and before.joules is not None and after.joules is not None
    ]
    mean = sum(powers) / len(powers) if powers else 0.0
    return _pace(used_up, rate), _pace(powers, mean)


def _pace(rates: Sequence[float], mean: float) -> Pace:
    """Between which rates 8 of 10 stretches were."""
    if mean <= 0 or len(rates) < FEWEST_PACED - 1:
        return EVEN
    rising = sorted(rates)
    low, high = rising[(len(rising) - 1) // 10], rising[-1 - (len(rising) - 1) // 10]
    return Pace(min(1.0, max(SLOWEST, low / mean)), max(1.0, high / mean))


def goings_of(job: Job, cost: Cost, paces: tuple[Pace, Pace] = (Pace(), Pace())) -> Iterator[Going]:
    """How each quantity goes on that is forecast: always those that everybody asks for, others where declared.

    `paces` are those of device-hours and of energy, which money and carbon go with.
    """
    spent = job.device_seconds
    for quantity in (*ALWAYS, *sorted(set(job.estimates) - set(ALWAYS))):
        amount = used(job, quantity) if quantity in ALWAYS else charged(cost, quantity, job.estimates[quantity])
        if amount is None:
            continue
        per = {HOURS: 1.0, "wall": 1.0 / max(rate_of(job) or devices(job) or 1.0, 1e-9)}.get(quantity)
        if per is None and spent <= 0:
            continue
        pace = EVEN if quantity == "wall" else paces[quantity != HOURS]
        yield Going(quantity, amount, amount / spent if per is None else per, gaps_of(job, quantity), *pace)


def charged(cost: Cost, quantity: str, estimate: Estimate) -> float | None:
    """What a scope was charged of money or carbon, as far as it is known."""
    if quantity == "cost":
        return cost.cost.get(estimate.unit)
    return {"facility-energy": cost.facility_joules, "carbon": cost.carbon_grams}.get(quantity)


def gaps_of(scope: Job | Campaign, quantity: str) -> float:
    """The part of the held time in which a quantity was not measured; 0 for what is not measured but counted."""
    usage = scope.usage
    if quantity != "energy" and quantity not in OF_FACILITY:
        return 0.0
    return usage.energy_unmeasured_seconds / usage.held_seconds if usage.held_seconds > 0 else 0.0


def chained(burnups: Sequence[tuple[Job, BurnUp]]) -> tuple[BurnUpPoint, ...]:
    """The burn-ups of a chain's jobs, one after the other, as one: what was used adds up."""
    points: list[BurnUpPoint] = []
    before = 0.0
    for job, burnup in burnups:
        points += [point._replace(used=before + point.used, joules=None) for point in burnup.points]
        before += job.device_seconds
    return tuple(points)
