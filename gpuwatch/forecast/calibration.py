"""Whether forecasts keep their promise at this site, and what is done where they do not. Pure.

Adaptive conformal correction: for each stage and each quantile it is followed which raw quantile had the share of
outcomes below it that it should have, step by step with every run that ends (Gibbs and Candès 2021). What is
promised is thereby kept in the long run, whatever the evidence does.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from math import exp
from typing import NamedTuple

from gpuwatch.forecast.trials import LEVELS

FEWEST = 100
"""So many runs must have ended before they say something."""

KINDS = ("with progress", "without progress", "expected, with progress", "expected, without progress")

_STEP, _FIRST_STEPS = 0.015, (3.0, 60.0)
_LEAST_PLACE = 0.002
_LEVELS = (0.0, *LEVELS, 1.0)


class Places(NamedTuple):
    """Which raw quantile stands for each of `LEVELS`, after `n` runs."""

    places: tuple[float, ...] = LEVELS
    n: int = 0

    @property
    def in_force(self) -> tuple[float, ...]:
        """The places to be used: the raw ones while too few runs have ended."""
        if self.n < FEWEST:
            return LEVELS
        return _rising(self.places)

    def learned(self, place: float, weight: float = 1.0) -> Places:
        """A run came to what was forecast as the raw quantile `place`; one of many together weighs less."""
        above, below = _FIRST_STEPS
        step = weight * max(_STEP, above / (self.n + below))
        moved = (_moved(at, level, step, place <= at) for at, level in zip(self.places, LEVELS, strict=True))
        return Places(tuple(moved), self.n + 1)

    def corrected(self, probability_below: float) -> float:
        """What the raw probability of coming to less than something is in truth."""
        if self.n < FEWEST:
            return probability_below
        raw = (0.0, *self.in_force, 1.0)
        below = min(bisect_right(raw, probability_below), len(raw) - 1) - 1
        inside = (_LEVELS[below + 1] - _LEVELS[below]) / (raw[below + 1] - raw[below])
        return inside * (probability_below - raw[below]) + _LEVELS[below]


@lru_cache(maxsize=512)
def _rising(places: tuple[float, ...]) -> tuple[float, ...]:
    inside = (min(1.0 - _LEAST_PLACE, max(_LEAST_PLACE, place)) for place in places)
    return tuple(accumulate(inside, max))


def _moved(at: float, level: float, step: float, below: bool) -> float:
    """One step, in log odds: as long as `step` near the level itself, and shorter the nearer to an end."""
    at = min(1.0 - _LEAST_PLACE, max(_LEAST_PLACE, at))
    odds = at / (1.0 - at) * exp(step / (level * (1.0 - level)) * (level - below))
    return min(1.0 - _LEAST_PLACE, max(_LEAST_PLACE, odds / (1.0 + odds)))


@dataclass(slots=True)
class Calibration:
    """What is known of each stage, by its name.

    Runs that say how far they are are another kind than others, and so are those that are held against what is
    expected of their like. Where too few of a kind have ended all that reached the stage speak for it.
    """

    stages: dict[str, Places] = field(default_factory=dict)

    def at(self, stage: str, kind: str) -> Places:
        """What is known of a stage, for one of `KINDS`."""
        own = self.stages.get(f"{stage} {kind}", _UNKNOWN)
        return own if own.n >= FEWEST else self.stages.get(stage, _UNKNOWN)

    def learn(self, stage: str, kind: str, place: float, weight: float = 1.0) -> None:
        """A run that was forecast at that stage came to the raw quantile `place`."""
        for name in (stage, f"{stage} {kind}"):
            self.stages[name] = self.stages.get(name, _UNKNOWN).learned(place, weight)


def kind_of(has_progress: bool, is_declared: bool = True) -> str:
    """Which of `KINDS` a run is of."""
    return KINDS[2 * (not is_declared) + (not has_progress)]


_UNKNOWN = Places()
