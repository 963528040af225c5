"""What a run may come to that declares nothing: by its user's runs of that name, his others, his account's, all.

Each class counts by how many runs it has, the nearest first, and what it leaves is the next one's. What a run has
used already is known, so that only runs which came to more than that say what it may come to; classes that it has
outlived lose their say by themselves. Its time limit is an end to all of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gpuwatch.estimates.distribution import Distribution, distribution, mixed
from gpuwatch.estimates.history import APART, FEWEST, samples
from gpuwatch.ledger.past import PastJob, normalised
from gpuwatch.model import Expectation, Scope

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
"""What is given of an expectation: its median and the ends of intervals of 50 and 80 %."""

SHRINK = 20.0
"""So many runs count for as much as all that is less alike."""

OF_NAME, OF_USER, OF_ACCOUNT, OF_CLUSTER = 100, 100, 200, 1000
"""So many of the latest runs of each class are looked at."""

PEOPLE = 3
"""The runs of an account or a cluster say something from so many people on: fewer could be told by it."""

_POINTS = 200
_HOURS = "device-hours"


@dataclass(frozen=True, slots=True)
class Run:
    """A run of which something is to be expected: what it used, and what its time limit leaves room for, both in
    device-seconds; None: no limit."""

    scope: Scope
    user: str
    account: str
    name: str
    used: float
    limit: float | None = None


class Experience:
    """What runs of one cluster came to: `by_user` each user's, `together` all of them, both with the latest first.

    Distributions are made once for each class.
    """

    def __init__(self, by_user: Mapping[str, Sequence[PastJob]], together: Sequence[PastJob]) -> None:
        self._by_user = {user: _counted(jobs) for user, jobs in by_user.items()}
        self._together = _counted(together)
        self._by_account: dict[str, list[PastJob]] = defaultdict(list)
        for job in self._together:
            self._by_account[job.account].append(job)
        self._classes: dict[tuple[str, ...], Distribution] = {}
        self._mixtures: dict[tuple[str, str, str], tuple[Distribution, int, str]] = {}

    def expectation(self, run: Run) -> Expectation | None:
        """What the run may come to, in device-seconds; None where too little is known.

        Without quantiles where it came to more than all that is known.
        """
        found, n, words = self._mixture(run)
        if not found.amounts:
            return None
        quantiles: dict[float, float] = {}
        for q in QUANTILES:
            amount = found.quantile(q, run.used)
            if amount is None and found.upto(run.used) < found.mass[-1] and run.limit is not None:
                amount = run.limit
            if amount is not None:
                quantiles[q] = max(run.used, amount if run.limit is None else min(amount, run.limit))
        return Expectation(run.scope, _HOURS, quantiles, n, words)

    def _mixture(self, run: Run) -> tuple[Distribution, int, str]:
        key = (run.user, run.account, normalised(run.name))
        if key not in self._mixtures:
            self._mixtures[key] = self._mixed(*key)
        return self._mixtures[key]

    def _mixed(self, user: str, account: str, name: str) -> tuple[Distribution, int, str]:
        parts: list[tuple[float, Distribution]] = []
        nearest: tuple[int, str] = (0, "")
        rest = 1.0
        for words, found in self._parts(user, account, name):
            if found.n < FEWEST or not found.amounts:
                continue
            share = rest * found.effective / (found.effective + SHRINK)
            rest -= share
            parts.append((share, found))
            nearest = nearest if nearest[0] else (found.n, words)
        return mixed(parts), *nearest

    def _parts(self, user: str, account: str, name: str) -> Iterator[tuple[str, Distribution]]:
        """The classes that a run belongs to, the nearest first, with what they are called."""
        own = self._by_user.get(user, ())
        named = [job for job in own if normalised(job.name) == name][:OF_NAME]
        yield f"jobs like it ({user}, {name})", self._class(("name", user, name), named)
        yield f"jobs of {user}", self._class(("user", user), own[:OF_USER])
        if speaks_for_himself(own):
            return
        if account:
            theirs = _of_several(self._by_account.get(account, ())[:OF_ACCOUNT])
            yield f"jobs of account {account}", self._class(("account", account), theirs)
        yield "jobs of the cluster", self._class(("cluster",), _of_several(self._together[:OF_CLUSTER]))

    def _class(self, key: tuple[str, ...], jobs: Sequence[PastJob]) -> Distribution:
        if key not in self._classes:
            self._classes[key] = thinned(distribution(samples(jobs, lambda job: job.device_seconds)), _POINTS)
        return self._classes[key]


def thinned(found: Distribution, points: int) -> Distribution:
    """The same with no more than so many amounts, evenly chosen, the first and the last among them."""
    if len(found.amounts) <= points:
        return found
    last = len(found.amounts) - 1
    kept = sorted({round(last * place / (points - 1)) for place in range(points)})
    return Distribution(
        tuple(found.amounts[place] for place in kept),
        tuple(found.mass[place] for place in kept),
        found.n,
        found.cut,
        found.effective,
    )


def speaks_for_himself(jobs: Sequence[PastJob]) -> bool:
    """Whether a user has as many runs as are looked at, so that others' need not be read."""
    return len(_counted(jobs)) >= OF_USER


def _counted(jobs: Sequence[PastJob]) -> list[PastJob]:
    return [job for job in jobs if job.ending not in APART and job.ended is not None and job.device_seconds > 0]


def _of_several(jobs: Sequence[PastJob]) -> Sequence[PastJob]:
    return jobs if len({job.user for job in jobs}) >= PEOPLE else ()
