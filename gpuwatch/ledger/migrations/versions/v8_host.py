"""Schema 8: the energy of the nodes themselves, of jobs and by the day."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Float, inspect

revision = "0008"
down_revision = "0007"

_NEW = (
    ("usage", "host_energy_joules"), ("usage", "host_energy_measured_seconds"), ("charges", "host_joules"),
    ("daily", "host_joules"),
)  # fmt: skip


def upgrade() -> None:
    """Add columns; earlier schemas as this gpuwatch makes them have them already."""
    there = inspect(op.get_bind())
    for table, name in _NEW:
        if name not in {column["name"] for column in there.get_columns(table)}:
            op.add_column(table, Column(name, Float))
