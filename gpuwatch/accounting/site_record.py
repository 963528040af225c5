"""How right forecasts were at this site: intervals that held, overruns that were called, and from when on.

Pure. Nothing that is shipped is in it, and nothing is said before `FEWEST` forecasts are over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from gpuwatch.forecast import scoring
from gpuwatch.forecast.calibration import FEWEST
from gpuwatch.forecast.scoring import Tree
from gpuwatch.forecast.trials import INTERVALS, LEVELS, Trial
from gpuwatch.forecast.words import record_of

THRESHOLD = 0.8
"""The probability from which on an overrun is called until the site's own record says better."""

MOST = 5000

_STALE = 0.02


@dataclass(frozen=True, slots=True)
class Standing:
    """The record as it is at a time: of `n` forecasts, the threshold in force, and the figures (`scoring`)."""

    n: int = 0
    threshold: float = THRESHOLD
    figures: Tree = field(default_factory=dict)


@dataclass(slots=True)
class SiteRecord:
    """The latest trials that are over, and what they come to."""

    tolerance: float
    trials: deque[Trial] = field(default_factory=lambda: deque(maxlen=MOST))
    words: str = record_of(0, 0.0)
    threshold: float = THRESHOLD
    figures: Tree = field(default_factory=dict)
    n: int = 0
    _new: int = 0

    @property
    def standing(self) -> Standing:
        """As it is now."""
        return Standing(self.n, self.threshold, self.figures)

    def add(self, trials: Iterable[Trial]) -> None:
        """More of them are over."""
        for trial in trials:
            self.trials.append(trial)
            self._new += 1

    def refresh(self) -> None:
        """Reckon anew where there is news: at once while there are few, and after two percent more later."""
        if self._new > _STALE * len(self.trials):
            self._new = 0
            self._reckon()

    def _reckon(self) -> None:
        judged = [trial for trial in self.trials if not trial.cut and _is_forecast(trial)]
        self.n = len(judged)
        self.words = record_of(len(judged), _held(judged))
        if len(judged) < FEWEST:
            self.threshold, self.figures = THRESHOLD, {}
            return
        self.figures = scoring.figures(list(self.trials), self.tolerance, seed=None).values
        supported = scoring.supported(self.figures)
        self.threshold = THRESHOLD if supported is None else supported


def _is_forecast(trial: Trial) -> bool:
    return any(mark.quantiles for mark in trial.marks.values())


def _held(trials: Iterable[Trial]) -> float:
    """How many of the forecasts at all stages had an 80 % interval that held."""
    low, high = (LEVELS.index(level) for level in INTERVALS[80])
    found = [
        mark.quantiles[low] <= trial.final <= mark.quantiles[high]
        for trial in trials
        for mark in trial.marks.values()
        if mark.quantiles
    ]
    return sum(found) / len(found) if found else 0.0
