"""Schema 9: bytes of jobs over the links of AMD's devices."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Float, inspect

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add columns; earlier schemas as this gpuwatch makes them have them already."""
    there = {column["name"] for column in inspect(op.get_bind()).get_columns("usage")}
    for name in ("link_bytes_xgmi_receive", "link_bytes_xgmi_transmit"):
        if name not in there:
            op.add_column("usage", Column(name, Float))
