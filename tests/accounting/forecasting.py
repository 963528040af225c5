"""What a pass forecasts of a ledger and keeps there, without the rest of a pass."""

from __future__ import annotations

from gpuwatch.accounting.forecaster import Forecaster, Policy
from gpuwatch.ledger import charging, queries
from gpuwatch.ledger.store import Store
from gpuwatch.model import Forecast


def forecast(
    store: Store, now: float, cluster: str = "default", forecaster: Forecaster | None = None
) -> tuple[Forecast, ...]:
    """Forecast everything that runs at a time, by what the ledger has, and keep it."""
    made = forecaster or Forecaster(cluster, Policy())
    with store.reading() as connection:
        current = queries.current(connection, now, cluster=cluster)
        jobs = {(job.cluster, each) for job in current.jobs for each in job.job_ids}
        found = made.forecasts(connection, current, charging.costs_of(connection, jobs), now)
    with store.writing() as connection:
        made.keep(connection, found, now)
    made.kept()
    return found
