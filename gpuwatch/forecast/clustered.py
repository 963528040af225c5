"""Ratios of sums over runs, with what they would be had other users been there. Pure.

Runs of one user are alike, so that many runs of few users say less than their number promises. Users are drawn
with replacement, each with all of its runs, and the ratio is taken again: the middle 95 % of that is its interval.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]
Path = tuple[str, ...]

DRAWS = 1000
LEVEL = 0.95
MOST_GROUPS = 5000
_CELLS = 2_000_000
"""How many numbers a block of draws may have, so that many users need no more memory than few."""


class Ratio(NamedTuple):
    """Sums by user: the ratio is that of their totals."""

    above: Floats
    below: Floats

    @property
    def value(self) -> float | None:
        """None where nothing is below the line."""
        below = float(self.below.sum())
        return _finite(float(self.above.sum()) / below) if below > 0 else None


def ratio(users: Numbers, count: int, above: Floats, below: Floats) -> Ratio:
    """The ratio of two sums over runs, of which `users` says whose each is, from 0 to `count` - 1."""
    sums = (np.bincount(users, each, count).astype(np.float64) for each in (above, below))
    return Ratio(*sums)


def intervals(ratios: Mapping[Path, Ratio], seed: int) -> dict[Path, list[float] | None]:
    """The lower and upper end of each; None where fewer than two users say anything about it."""
    if not ratios:
        return {}
    if not len(next(iter(ratios.values())).above):
        return dict.fromkeys(ratios)
    above = np.column_stack([each.above for each in ratios.values()])
    below = np.column_stack([each.below for each in ratios.values()])
    blocks = [(weights @ above, weights @ below) for weights in _draws(len(above), seed)]
    drawn_above, drawn_below = (np.concatenate(each) for each in zip(*blocks, strict=True))
    told = (below > 0).sum(axis=0)
    return {
        path: _interval(drawn_above[:, column], drawn_below[:, column]) if told[column] > 1 else None
        for column, path in enumerate(ratios)
    }


def _draws(users: int, seed: int) -> Iterable[Floats]:
    """How often each user was drawn, a row for each draw, in blocks of draws."""
    random = np.random.default_rng(seed)
    size = max(1, min(DRAWS, _CELLS // users))
    for first in range(0, DRAWS, size):
        rows = min(size, DRAWS - first)
        drawn = random.integers(users, size=(rows, users)) + users * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * users).reshape(rows, users).astype(np.float64)


def _interval(above: Floats, below: Floats) -> list[float] | None:
    """Draws of users who all say nothing about it do not count."""
    known = below > 0
    low, high = np.quantile(above[known] / below[known], [(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0])
    return [float(low), float(high)] if np.isfinite(low) and np.isfinite(high) else None


def weighted_median(amounts: Floats, weights: Floats) -> float | None:
    """The amount at which half of the weight lies at or below; between the two middle ones if it is just half.

    None where there is none, or none that is finite.
    """
    order = np.argsort(amounts, kind="stable")
    upto = np.cumsum(weights[order])
    if not len(upto) or upto[-1] <= 0:
        return None
    half = upto[-1] / 2.0
    first = int(np.searchsorted(upto, half * (1.0 - 1e-12)))
    last = min(int(np.searchsorted(upto, half * (1.0 + 1e-12), side="right")), len(amounts) - 1)
    return _finite(float(amounts[order[first]] + amounts[order[last]]) / 2.0)


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def grouped(users: Sequence[str]) -> tuple[Numbers, int]:
    """Whose each run is, as a number from 0 on, and how many numbers there are.

    Of more than `MOST_GROUPS` users some share a number, and are drawn together: that changes no interval to speak
    of, and bounds the work.
    """
    numbers: dict[str, int] = {}
    found = [numbers.setdefault(user, len(numbers)) for user in users]
    return np.array(found, dtype=np.int64) % MOST_GROUPS, min(len(numbers), MOST_GROUPS)
