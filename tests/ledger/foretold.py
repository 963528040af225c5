"""Forecasts in the ledger, as the latest pass leaves them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, insert

from gpuwatch.ledger import forecast_tables as tables

HOUR = 3600.0


def post_forecast(
    connection: Connection, scope: str, used: float, hours: Sequence[float | None], time: float
) -> None:
    """The forecast of a job's device-hours: its quantiles in hours, and what it had used by then in seconds."""
    quantiles = [None if each is None else each * HOUR for each in hours]
    row = {
        "scope": scope, "scope_kind": "job", "cluster": "default", "quantity": "device-hours", "time": time,
        "used": used, "against": "", "stage": "", "basis": "", "record": "", "n": 0,
        **dict(zip(tables.QUANTILES, quantiles, strict=True)),
    }  # fmt: skip
    connection.execute(insert(tables.forecasts).values(row))
