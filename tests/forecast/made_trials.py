"""Trials made for tests: runs whose forecasts are known to be right so often."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from gpuwatch.forecast.trials import LEVELS, STAGES, THRESHOLDS, Call, Mark, Trial

HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Replay:
    """What a replay gives."""

    trials: tuple[Trial, ...]
    baselines: Mapping[str, tuple[Trial, ...]] = field(default_factory=dict)


def trial(
    user: str = "ada",
    final: float = 100.0,
    declared: float = 100.0,
    quantiles: tuple[float, ...] = (60, 70, 85, 100, 120, 150, 180),
    calls: dict[float, Call] | None = None,
    cut: bool = False,
) -> Trial:
    """A run of which one forecast was made, at submit. Amounts are device-hours here."""
    marks = {"submit": Mark(0.0, tuple(HOUR * each for each in quantiles))}
    used = {at: Call(HOUR * each.used, each.stated) for at, each in (calls or {}).items()}
    return Trial(user, HOUR * declared, HOUR * final, marks, used, cut)  # type: ignore[arg-type]


def many(runs: int, users: int, seed: int = 1) -> Iterator[Trial]:
    """Runs that come to a log-normal multiple of what is declared, with the true quantiles of that as forecast."""
    random = np.random.default_rng(seed)
    ratios = np.exp(0.4 * random.standard_normal(runs))
    normal = (-1.645, -1.2816, -0.6745, 0.0, 0.6745, 1.2816, 1.645)
    assert len(LEVELS) == len(normal)
    quantiles = tuple(float(10 * HOUR * np.exp(0.4 * each)) for each in normal)
    for number, each in enumerate(ratios):
        final = 10 * HOUR * float(each)
        marks = {stage: Mark(0.0, quantiles, 0.4) for stage in STAGES}
        calls = {at: Call(9 * HOUR, at) for at in THRESHOLDS if final > 11 * HOUR or number % 10 == 0}
        yield Trial(f"user-{number % users}", 10 * HOUR, final, marks, calls)
