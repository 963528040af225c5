"""Whose declarations come true, and by what factor they are missed, out of what jobs came to. Pure.

Judged is the first declaration that was made early in a job, by jobs that came to their end: one that failed or
was cancelled would have come to more. One that hit its time limit came to so much at least.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Literal

from gpuwatch.ledger.past import PastJob

By = Literal["user", "account", "partition", "name"]

LEAST_JOBS = 5
"""Of fewer jobs nobody is said to be always wrong."""

FAR = 1.25
"""A declaration came true where it was missed by a smaller factor."""

MOSTLY = 0.8
_ENDED = frozenset({"completed", "timed out"})


@dataclass(frozen=True, slots=True)
class Declaring:
    """The declarations of somebody: `factor` is the median of used by declared, `low` and `high` are the ends of
    the middle 80 %, None of fewer than five jobs. Device-seconds.

    `true`, `over` and `under` count jobs that came to about what was declared, to more, and to less; `silent`
    those that declared nothing.
    """

    name: str
    jobs: int
    silent: int
    factor: float | None
    low: float | None
    high: float | None
    true: int
    over: int
    under: int
    declared_seconds: float
    used_seconds: float

    @property
    def always(self) -> Literal["too little", "too much", ""]:
        """Which way it is nearly always wrong, where it is."""
        if self.jobs < LEAST_JOBS:
            return ""
        if self.over >= MOSTLY * self.jobs:
            return "too little"
        return "too much" if self.under >= MOSTLY * self.jobs else ""


def declaring_record(jobs: Iterable[PastJob], by: By) -> tuple[Declaring, ...]:
    """The declarations of each, those that are missed by most first; who declares nothing comes last."""
    groups: dict[str, list[PastJob]] = defaultdict(list)
    for job in jobs:
        if job.ending in _ENDED and job.device_seconds > 0:
            groups[_NAMES[by](job)].append(job)
    return tuple(sorted((_record(name, those) for name, those in groups.items()), key=_most_wrong_first))


_NAMES: Mapping[By, Callable[[PastJob], str]] = {
    "user": lambda job: job.user, "account": lambda job: job.account, "partition": lambda job: job.partition,
    "name": lambda job: job.name,
}  # fmt: skip


def _record(name: str, jobs: list[PastJob]) -> Declaring:
    judged = [(job.device_seconds, job.declared_seconds) for job in jobs if job.declared_seconds]
    factors = sorted(used / declared for used, declared in judged)
    tenths = quantiles(factors, n=10, method="inclusive") if len(factors) >= LEAST_JOBS else None
    over, under = sum(each > FAR for each in factors), sum(each < 1 / FAR for each in factors)
    return Declaring(
        name, len(judged), len(jobs) - len(judged), median(factors) if factors else None,
        tenths[0] if tenths else None, tenths[-1] if tenths else None, len(judged) - over - under, over, under,
        sum(declared for _, declared in judged), sum(used for used, _ in judged),
    )  # fmt: skip


def _most_wrong_first(each: Declaring) -> tuple[bool, bool, float, str]:
    far = max(each.factor, 1 / each.factor) if each.factor else 0.0
    return not each.jobs, each.jobs < LEAST_JOBS, -far, each.name
