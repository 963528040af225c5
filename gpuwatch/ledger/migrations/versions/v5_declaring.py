"""Schema 5: who declared, who was refused, and how far jobs had been before they went back."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Float, inspect

from gpuwatch.ledger import tables
from gpuwatch.ledger.migrations.columns import word

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add columns and a table; schema 3 as this gpuwatch makes it may have the table already."""
    op.add_column("journal", word("who", nullable=True))
    op.add_column("progress", Column("best", Float))
    op.add_column("progress", Column("lost", Float))
    op.add_column("progress", Column("least_total", Float))
    op.add_column("progress", Column("most_total", Float))
    if not inspect(op.get_bind()).has_table("refusals"):
        tables.refusals.create(op.get_bind())
