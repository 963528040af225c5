"""Schema 4: what a usage source needs to go on from where it was, beside how far it came."""

from __future__ import annotations

from alembic import op
from sqlalchemy import inspect

from gpuwatch.ledger.migrations.columns import writing

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add a column; schema 3 as this gpuwatch makes it has it already."""
    there = {column["name"] for column in inspect(op.get_bind()).get_columns("watermarks")}
    if "state" not in there:
        op.add_column("watermarks", writing("state", nullable=True))
