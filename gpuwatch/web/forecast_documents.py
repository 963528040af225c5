"""How a job came to where it is and what was forecast of it on the way, as the API answers it (docs/api.md)."""

from __future__ import annotations

from typing import Any

from gpuwatch.accounting.series import BurnUpSeries
from gpuwatch.ledger.forecast_store import KeptForecast
from gpuwatch.ledger.jobs import Job

Document = dict[str, Any]


def series_document(job: Job, series: BurnUpSeries) -> Document:
    """What it had used by when, and its forecasts of the past by quantity."""
    return {
        "job": job.scope.name,
        "cluster": job.cluster,
        "burnup": [list(point) for point in series.points],
        "points": {name: [_point_document(each) for each in points] for name, points in series.foretold.items()},
    }


def _point_document(kept: KeptForecast) -> Document:
    return {
        "started": kept.started, "time": kept.time, "used": kept.used, "declared": kept.declared,
        "p_over": kept.p_over, "crosses_at": kept.crosses_at,
        "quantiles": {f"{level:g}": value for level, value in kept.quantiles.items()},
    }  # fmt: skip
