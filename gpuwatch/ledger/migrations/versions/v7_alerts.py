"""Schema 7: whose alerts are and how they are told, what each came to, mutes, and letters to people."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Float, inspect, text

from gpuwatch.ledger import tables
from gpuwatch.ledger.sql import TEXT, WHOLE, WORDS

revision = "0007"
down_revision = "0006"

_NEW_TABLES = ("alert_episodes", "alert_mutes", "alert_told", "alert_letters")
_NEW_COLUMNS = (
    ("details", TEXT, "[]"), ("level", WHOLE, "0"), ("user", WORDS, ""), ("account", WORDS, ""),
    ("partition", WORDS, ""), ("name", TEXT, ""), ("mode", WORDS, "told"),
)  # fmt: skip


def upgrade() -> None:
    """Add columns and tables; schema 3 as this gpuwatch makes it may have them already."""
    there = inspect(op.get_bind())
    columns = {
        table: {column["name"] for column in there.get_columns(table)} for table in ("alerts", "alert_changes")
    }
    for table, known in columns.items():
        for name, kind, default in _NEW_COLUMNS:
            if name not in known:
                op.add_column(table, Column(name, kind, nullable=False, server_default=default))
    if "found" not in columns["alerts"]:
        op.add_column("alerts", Column("found", Float))
    for name in _NEW_TABLES:
        if not there.has_table(name):
            tables.metadata.tables[name].create(op.get_bind())
    _open_episodes()


def _open_episodes() -> None:
    """What is active began when it was raised."""
    op.execute(
        text(
            """
            INSERT INTO alert_episodes (cluster, kind, scope_kind, scope, quantity, raised, severity, level, mode,
                "user", account, "partition", name, value, declared, text, last_text, reopened, how, verdict,
                acted, acked_by)
            SELECT cluster, kind, scope_kind, scope, quantity, since, severity, 0, 'told', '', '', '', '', value,
                declared, text, text, 0, '', '', '', '' FROM alerts
            """
        )
    )
