"""What a job's burn-up and its forecasts of the past are, for those who draw them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from gpuwatch.accounting import cases
from gpuwatch.accounting.burning import run_of
from gpuwatch.ledger import burnup_store, forecast_store
from gpuwatch.ledger.forecast_store import KeptForecast
from gpuwatch.ledger.jobs import Job
from gpuwatch.model import EMPTY, BurnUpPoint


@dataclass(frozen=True, slots=True)
class BurnUpSeries:
    """How a job came to where it is: `points` from its begin; `foretold` is what was forecast, by quantity."""

    points: Sequence[BurnUpPoint] = ()
    foretold: Mapping[str, Sequence[KeptForecast]] = field(default_factory=lambda: EMPTY)


def series_of(connection: Connection, job: Job) -> BurnUpSeries:
    """How a job of the ledger came to where it is, as far as that is kept."""
    key = run_of(job)
    burnup = burnup_store.load_burnups(connection, job.cluster, [key]).get(key)
    quantities = dict.fromkeys((*cases.ALWAYS, *sorted(job.estimates)))
    found = {
        each: forecast_store.points_of(connection, job.cluster, job.scope, each, job.started)
        for each in quantities
    }
    return BurnUpSeries(
        burnup.points if burnup is not None else (), {name: points for name, points in found.items() if points}
    )
