"""What running jobs are forecast to use yet, for the budgets of their accounts."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, select

from gpuwatch.ledger import forecast_tables as tables

FRESH_SECONDS = 3600.0
"""A forecast that is older says nothing of now: accounting does not run."""

Remaining = tuple[float, ...]
"""What a job will use yet, at the quantiles of every forecast, in rising order."""

RemainingOf = Mapping[tuple[str, str], Remaining]
"""The same in device-seconds, by cluster and job id."""


def remaining(connection: Connection, now: float) -> RemainingOf:
    """What was last forecast of running jobs, less what they had used by then."""
    there = tables.forecasts.c
    levels = [there[name] for name in tables.QUANTILES]
    query = select(there.cluster, there.scope, there.used, *levels).where(
        there.scope_kind == "job", there.quantity == "device-hours", there.time >= now - FRESH_SECONDS,
        *(level.is_not(None) for level in levels),
    )  # fmt: skip
    # A job that is called ID@STARTED is another one of that id, and one of them runs.
    return {
        (cluster, scope.partition("@")[0]): tuple(max(0.0, amount - used) for amount in amounts)
        for cluster, scope, used, *amounts in connection.execute(query)
    }
