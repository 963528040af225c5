"""How right forecasts were at this site, for /metrics: what they promise, and what became of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from gpuwatch.accounting.site_record import Standing
from gpuwatch.forecast.scoring import Tree, name_of, number_at
from gpuwatch.forecast.trials import INTERVALS, STAGES, THRESHOLDS
from gpuwatch.model import Metric

Series = tuple[Metric, tuple[str, ...], float]

FINISHED = Metric(
    "gpuwatch_forecast_finished", "Forecasts whose jobs have ended, the latest: the record is made of them."
)
THRESHOLD = Metric(
    "gpuwatch_forecast_alert_threshold",
    "Probability of an overrun from which on it is told: as the record supports, 0.8 before there is one.",
)
COVERAGE = Metric(
    "gpuwatch_forecast_coverage_ratio",
    "Part of the intervals of a level that held what jobs came to, by how much was used (stage) and by weight.",
    ("stage", "level", "weight"),
)
_OF_ALERTS = {
    "precision": "Part of the overruns told at a threshold that were some.",
    "recall": "Part of the overruns that were told of at a threshold.",
    "per_job": "Overruns told at a threshold, per job.",
    "early": "Part of those rightly told of at a threshold that were so before the declaration was used up.",
}
ALERTS = {
    name: Metric(f"gpuwatch_forecast_alert_{name}_ratio", text, ("threshold",))
    for name, text in _OF_ALERTS.items()
}
CATALOGUE = (FINISHED, THRESHOLD, COVERAGE, *ALERTS.values())
"""What is exported of the record; ratios are absent before enough forecasts are over."""

_WEIGHTS = ("jobs", "device_hours")


def series(standing: Standing | None) -> Iterator[Series]:
    """The record as series; nothing where no pass has looked at it."""
    if standing is None:
        return
    yield FINISHED, (), float(standing.n)
    yield THRESHOLD, (), standing.threshold
    yield from _coverage(standing.figures)
    for name, described in ALERTS.items():
        for threshold in THRESHOLDS:
            value = number_at(standing.figures, "alert", name_of(threshold), name, "jobs")
            if value is not None:
                yield described, (f"{threshold:g}",), value


def _coverage(figures: Tree) -> Iterator[Series]:
    for stage in STAGES:
        for percent in INTERVALS:
            for weight in _WEIGHTS:
                value = number_at(figures, "coverage", str(percent), weight, stage)
                if value is not None:
                    yield COVERAGE, (stage, f"{percent / 100:g}", weight), value
