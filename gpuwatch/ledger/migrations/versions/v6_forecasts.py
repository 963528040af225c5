"""Schema 6: burn-ups, forecasts as they were, how right they were; indexes of what ended."""

from __future__ import annotations

from alembic import op
from sqlalchemy import inspect

from gpuwatch.ledger import tables

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the tables and the indexes; schema 3 as this gpuwatch makes it may have them already."""
    there = inspect(op.get_bind())
    for name in ("burnups", "forecasts", "forecast_points", "trials", "calibration", "learned"):
        if not there.has_table(name):
            tables.metadata.tables[name].create(op.get_bind())
    for table, name in (("records", "records_user_ended"), ("runs", "runs_time"), ("runs", "runs_uid")):
        if name not in {index["name"] for index in there.get_indexes(table)}:
            made = next(index for index in tables.metadata.tables[table].indexes if index.name == name)
            made.create(op.get_bind())
