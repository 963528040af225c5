"""What runs like this one came to: their spread, those that failed apart, what declarations came to. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from math import log

from gpuwatch.estimates.distribution import Distribution, Sample, distribution
from gpuwatch.ledger.past import Ending, PastJob, normalised

LEVELS = (0.5, 0.8, 0.95)
"""The intervals that are given."""

QUANTILES = (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975)
"""The ends of these intervals, and the median."""

FEWEST = 5
"""Of fewer runs there is a list, and no distribution."""

NEAREST = 5
"""So many of the nearest runs are named."""

APART: tuple[Ending, ...] = ("failed", "cancelled")
CUT: tuple[Ending, ...] = ("timed out", "running", "unknown")
"""Endings of a run that would, or might, have come to more: it is counted as cut short where it was."""


@dataclass(frozen=True, slots=True)
class Spread:
    """What `n` runs came to of something, in base units, `cut` of them cut short; `least` to `most` was seen.

    A quantile that is None needs more runs, or lies beyond what the runs that were cut short came to.
    """

    quantiles: Mapping[float, float | None]
    n: int
    cut: int
    least: float
    most: float


@dataclass(frozen=True, slots=True)
class Apart:
    """Runs that ended in one way."""

    ending: Ending
    jobs: int
    device_seconds: float


@dataclass(frozen=True, slots=True)
class Likeness:
    """What runs of a kind came to: `spreads` by quantity (device-hours, energy, wall), empty for too few.

    `ratio` is what was used by what was declared, of those that declared; `applied` the same times the amount that
    was asked for, device-seconds. `endings` has all of them, `nearest` the most alike.
    """

    n: int
    spreads: Mapping[str, Spread]
    endings: tuple[Apart, ...]
    nearest: tuple[PastJob, ...]
    declared_seconds: float | None = None
    ratio: Spread | None = None
    applied: Spread | None = None

    @property
    def best(self) -> Spread | None:
        """Device-seconds to expect: by what declarations came to where that is known, else by what runs did."""
        return self.applied or self.spreads.get("device-hours")


_AMOUNTS: Mapping[str, Callable[[PastJob], float | None]] = {
    "device-hours": lambda job: job.device_seconds,
    "energy": lambda job: job.joules,
    "wall": lambda job: job.wall_seconds,
}


def likeness(jobs: Sequence[PastJob], name: str | None = None, declared_seconds: float | None = None) -> Likeness:
    """What the jobs came to, as it bears on one called `name` for which so much is to be declared."""
    counted = [job for job in jobs if job.ending not in APART]
    spreads = {
        quantity: spread
        for quantity, amount in _AMOUNTS.items()
        if (spread := _spread(counted, amount)) is not None
    }
    ratio = _spread(counted, _ratio) if declared_seconds is not None else None
    applied = _times(ratio, declared_seconds) if ratio is not None and declared_seconds is not None else None
    # What a run came to that still runs says little of it; where there are few, each is named.
    over = [job for job in counted if job.ended is not None] if len(counted) >= FEWEST else counted
    near = nearest(over, name, declared_seconds, NEAREST)
    return Likeness(len(counted), spreads, _endings(jobs), near, declared_seconds, ratio, applied)


def samples(jobs: Iterable[PastJob], amount: Callable[[PastJob], float | None]) -> list[Sample]:
    """Samples of an amount, where it is known. What was submitted together is not as many runs as it seems."""
    known = [(job, value) for job in jobs if (value := amount(job)) is not None]
    batches = Counter((job.cluster, job.batch) for job, _ in known)
    return [Sample(value, job.ending in CUT, 1.0 / batches[job.cluster, job.batch] ** 0.5) for job, value in known]


def nearest(
    jobs: Sequence[PastJob], name: str | None, declared_seconds: float | None, most: int
) -> tuple[PastJob, ...]:
    """The runs most alike: by what was declared for them, by their name, the latest first."""
    likes: dict[str, float] = {}

    def unlike(job: PastJob) -> float:
        """How far a name is from the one that is asked for, 0 to 1."""
        wanted = normalised(name or "")
        called = normalised(job.name)
        if called not in likes:
            alike = called == wanted or not wanted
            likes[called] = 0.0 if alike else 1.0 - SequenceMatcher(None, called, wanted, False).ratio()
        return likes[called]

    def distance(job: PastJob) -> tuple[float, float, float]:
        if declared_seconds is None:
            return 0.0, unlike(job), -job.started
        declared = job.declared_seconds
        apart = abs(log(declared / declared_seconds)) if declared else float("inf")
        return apart, unlike(job), -job.started

    return tuple(sorted(jobs, key=distance)[:most])


def _ratio(job: PastJob) -> float | None:
    return job.device_seconds / job.declared_seconds if job.declared_seconds else None


def _spread(jobs: Iterable[PastJob], amount: Callable[[PastJob], float | None]) -> Spread | None:
    found = [each for each in samples(jobs, amount) if each.amount > 0]
    if len(found) < FEWEST:
        return None
    return spread_of(distribution(found), found)


def spread_of(found: Distribution, of: Sequence[Sample]) -> Spread:
    """The spread of a distribution and the samples that it is made of."""
    amounts = [each.amount for each in of]
    quantiles = {q: found.foreseen(q) for q in QUANTILES}
    return Spread(quantiles, found.n, found.cut, min(amounts), max(amounts))


def _times(spread: Spread, factor: float) -> Spread:
    quantiles = {q: None if value is None else value * factor for q, value in spread.quantiles.items()}
    return Spread(quantiles, spread.n, spread.cut, spread.least * factor, spread.most * factor)


def _endings(jobs: Iterable[PastJob]) -> tuple[Apart, ...]:
    by_ending: dict[Ending, list[float]] = defaultdict(list)
    for job in jobs:
        by_ending[job.ending].append(job.device_seconds)
    order: tuple[Ending, ...] = ("completed", *CUT, *APART)
    return tuple(Apart(each, len(those), sum(those)) for each in order if (those := by_ending[each]))
