"""How good forecasts were: coverage, width and error by stage, and what became of the overruns called. Pure.

Every figure stands twice: `jobs` counts each run alike, `device_hours` by what it came to, for a few large runs
hold most of a cluster's hours. Figures are found by the words of their path, as coverage, 80, jobs, submit.

Runs that were ended by their limit or by somebody (`Trial.cut`) would have come to more, and nobody knows to how
much: they are in `cut` and not in `n`, coverage, width, Winkler score and error. An overrun that came to more
than it may is one whatever ended it, so they do count for alerts; one that was ended before that is none.

Errors are those of logarithms: amounts below one base unit (a device-second, a joule) count as one, and an
interval without end ends at `MOST`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp
from typing import Protocol, cast

import numpy as np

from gpuwatch.forecast.clustered import (
    Floats,
    Numbers,
    Path,
    Ratio,
    grouped,
    intervals,
    ratio,
    weighted_median,
)
from gpuwatch.forecast.trials import INTERVALS, LEVELS, STAGES, THRESHOLDS, Stage, Trial

RULE = 0.0
"""The threshold of a rule that calls an overrun without a probability."""
SEED = 20_260
MOST = 1e18
LEAST_PRECISION = 0.85
LEAST_CALLS = 20
_MEDIAN = LEVELS.index(0.5)
_ROUNDING = 1e-12

Leaf = float | None | list[float]
Tree = dict[str, "Tree | Leaf"]
Weights = Mapping[str, Floats]


class Replayed(Protocol):
    """What was forecast of the runs of a history, and by simpler rules, each by its name."""

    @property
    def trials(self) -> tuple[Trial, ...]: ...
    @property
    def baselines(self) -> Mapping[str, tuple[Trial, ...]]: ...


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures as a tree, None where nothing is known; `intervals` has the ends of 95 % intervals, paths alike."""

    values: Tree
    intervals: Tree


def figures(
    trials: Sequence[Trial], tolerance: float, thresholds: Sequence[float] = THRESHOLDS, seed: int | None = SEED
) -> Figures:
    """Score the trials of one rule; the same trials and seed give the same figures, without one no intervals.

    `coverage`, `width` (upper by lower end) and `winkler` are by interval, 50, 80 and 90 %, weight and stage; `n`,
    `cut` and `error`, of the median, lack the interval. `alert` is by threshold; `rule` is that of `RULE`.
    The Winkler score is on natural logarithms of amounts, lower is better: width, and 2/α times what lies outside.
    """
    users, count = grouped([each.user for each in trials])
    scored = _Scored({("trials",): len(trials), ("users",): len({each.user for each in trials})}, {})
    finals = np.array([each.final for each in trials], dtype=np.float64)
    for stage in STAGES:
        _score_stage(scored, stage, trials, users, count)
    over = np.array([each.is_over(tolerance) for each in trials], dtype=np.float64)
    for name, weights in _weights(finals).items():
        scored.add(("overrun", name), ratio(users, count, over * weights, weights))
    for threshold in thresholds:
        _score_alert(scored, threshold, trials, over, users, count)
    ends = {} if seed is None else intervals(scored.ratios, seed)
    return Figures(_tree(scored.values), _tree(ends))


def document(replay: Replayed, tolerance: float) -> Tree:
    """What a replay came to, for JSON: figures, their intervals, and the figures of each simpler rule by name."""
    found = figures(replay.trials, tolerance)
    simpler: Tree = {
        name.replace(" ", "_"): _at_each_threshold(figures(trials, tolerance, (RULE,), seed=None).values)
        for name, trials in replay.baselines.items()
    }
    return {"tolerance": tolerance, **found.values, "interval": found.intervals, "baselines": simpler}


def _at_each_threshold(values: Tree) -> Tree:
    """A rule without a probability calls the same, whatever the threshold is: a path has it at each of them."""
    rule = at(values, "alert", name_of(RULE))
    return {**values, "alert": {name_of(each): rule for each in (RULE, *THRESHOLDS)}}


def at(tree: Tree, *path: str) -> Tree | Leaf:
    """What stands at a path; None where nothing does."""
    here: Tree | Leaf = tree
    for word in path:
        if not isinstance(here, dict) or word not in here:
            return None
        here = here[word]
    return here


def number_at(tree: Tree, *path: str) -> float | None:
    """The figure at a path; None where there is none."""
    found = at(tree, *path)
    return found if isinstance(found, int | float) else None


def supported(values: Tree) -> float | None:
    """The lowest threshold whose calls, `LEAST_CALLS` at least, were right `LEAST_PRECISION` of the time."""
    for threshold in THRESHOLDS:
        name = name_of(threshold)
        precision = number_at(values, "alert", name, "precision", "jobs")
        calls = number_at(values, "alert", name, "n")
        if precision is not None and precision >= LEAST_PRECISION and calls is not None and calls >= LEAST_CALLS:
            return threshold
    return None


def name_of(threshold: float) -> str:
    """A threshold as a word of a path."""
    return "rule" if threshold == RULE else f"{threshold:g}"


@dataclass(frozen=True, slots=True)
class _Scored:
    """Figures by path, and those of them that are ratios, of which an interval can be given."""

    values: dict[Path, Leaf]
    ratios: dict[Path, Ratio]

    def add(self, path: Path, found: Ratio) -> None:
        """A ratio, None where nothing is below the line."""
        self.values[path] = found.value
        self.ratios[path] = found


def _score_stage(scored: _Scored, stage: Stage, trials: Sequence[Trial], users: Numbers, count: int) -> None:
    reached = [number for number, each in enumerate(trials) if stage in each.marks and each.marks[stage].quantiles]
    kept = [number for number in reached if not trials[number].cut]
    scored.values["n", stage] = len(kept)
    scored.values["cut", stage] = len(reached) - len(kept)
    whose = users[np.array(kept, dtype=np.int64)]
    finals = np.array([trials[number].final for number in kept], dtype=np.float64)
    actual = _logarithms(finals)
    quantiles = _logarithms(_quantiles([trials[number].marks[stage].quantiles for number in kept]))
    error = np.abs(quantiles[:, _MEDIAN] - actual)
    for name, weights in _weights(finals).items():
        scored.values["error", name, stage] = weighted_median(error, weights)
        for percent, ends in INTERVALS.items():
            lower, upper = (quantiles[:, LEVELS.index(end)] for end in ends)
            path = (str(percent), name, stage)
            # An interval holds its own ends, which rounding must not move.
            inside = (lower - _ROUNDING <= actual) & (actual <= upper + _ROUNDING)
            outside = np.maximum(0.0, np.maximum(lower - actual, actual - upper))
            score = upper - lower + 2.0 / (1.0 - percent / 100) * outside
            scored.add(("coverage", *path), ratio(whose, count, inside * weights, weights))
            scored.add(("winkler", *path), ratio(whose, count, score * weights, weights))
            middle = weighted_median(upper - lower, weights)
            scored.values["width", *path] = None if middle is None else exp(middle)


def _quantiles(found: Sequence[Sequence[float]]) -> Floats:
    """A row for each forecast; a rule that has but one amount has it as each quantile."""
    rows = [each if len(each) == len(LEVELS) else (each[0],) * len(LEVELS) for each in found]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(LEVELS))


def _logarithms(amounts: Floats) -> Floats:
    return np.log(np.clip(amounts, 1.0, MOST))


def _weights(finals: Floats) -> Weights:
    return {"jobs": np.ones(len(finals)), "device_hours": finals}


def _score_alert(
    scored: _Scored, threshold: float, trials: Sequence[Trial], over: Floats, users: Numbers, count: int
) -> None:
    """What became of the runs that were called overruns at a threshold.

    `precision`: of the calls, those that were right; `recall`: of the overruns, those called; `early`: of the
    right calls, those made before all that was declared was used; `early_precision`: of the calls made before
    that, those that were right; `lead`: how much of it was left at right calls, the median, below 0 where they
    were late; `per_job`: calls per run; `stated`: the mean probability stated at the call.
    """
    calls = [each.calls.get(threshold) for each in trials]
    declared = np.maximum(np.array([each.declared for each in trials], dtype=np.float64), 1.0)
    called = np.array([each is not None for each in calls], dtype=np.float64)
    used = np.array([np.nan if each is None else each.used for each in calls], dtype=np.float64)
    said = [None if each is None else each.stated for each in calls]
    stated = np.array([np.nan if each is None else each for each in said], dtype=np.float64)
    right, is_stated = called * over, np.isfinite(stated).astype(np.float64)
    left = (declared - used) / declared
    early = right * (left > 0)
    alert = ("alert", name_of(threshold))
    scored.values[*alert, "n"] = int(called.sum())
    parts: Mapping[str, tuple[Floats, Floats]] = {
        "precision": (right, called),
        "recall": (right, over),
        "early": (early, right),
        "early_precision": (early, called * (left > 0)),
        "per_job": (called, np.ones(len(called))),
        "stated": (np.nan_to_num(stated), is_stated),
    }
    hits = right > 0
    for name, weights in _weights(np.array([each.final for each in trials], dtype=np.float64)).items():
        scored.values[*alert, "lead", name] = weighted_median(left[hits], weights[hits])
        for figure, (above, below) in parts.items():
            scored.add((*alert, figure, name), ratio(users, count, above * weights, below * weights))


def _tree(flat: Mapping[Path, Leaf]) -> Tree:
    """The nested form of figures by path."""
    grown: Tree = {}
    for path, leaf in flat.items():
        here = grown
        for word in path[:-1]:
            here = cast("Tree", here.setdefault(word, {}))
        here[path[-1]] = leaf
    return grown
