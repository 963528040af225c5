"""Schema 2: what batch systems tell, and how far it was read."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Float

from gpuwatch.ledger.migrations.columns import key, whole, word, writing

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add three tables."""
    _records()
    op.create_table(
        "grants",
        key("cluster"),
        key("account"),
        key("user"),
        key("resource"),
        key("source"),
        Column("starts", Float, primary_key=True, nullable=False),
        Column("seen", Float, nullable=False),
        Column("limit_seconds", Float),
        Column("used_seconds", Float),
        word("parent"),
        writing("coordinators"),
        Column("ends", Float),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "polls", key("scheduler"), key("cluster"), Column("until", Float, nullable=False), sqlite_with_rowid=False
    )


def _records() -> None:
    op.create_table(
        "records",
        key("job_id"),
        whole("submitted", primary_key=True),
        key("cluster"),
        Column("seen", Float, nullable=False),
        word("state"),
        *(Column(name, Float) for name in ("started", "ended", "devices")),
        word("rule"),
        word("doubt"),
        Column("cpus", Float),
        writing("nodes"),
        *(word(name) for name in ("whole", "display", "name", "user", "account", "partition", "qos")),
        *(Column(name, Float) for name in ("limit_seconds", "billing")),
        *(whole(name, nullable=True) for name in ("restarts", "exit_code")),
        whole("tasks"),
        Column("live_seen", Float),
        *(writing(name, nullable=True) for name in ("comment", "admin_comment")),
        word("campaign", nullable=True),
        Column("live_devices", Float),
        writing("indices", nullable=True),
        sqlite_with_rowid=False,
    )
    for name in ("ended", "started", "whole", "account", "campaign", "display"):
        op.create_index(f"records_{name}", "records", [name])
