"""Schema 1: counters row by row, who held what, the journal, alerts."""

from __future__ import annotations

from typing import Any

from alembic import op
from sqlalchemy import Boolean, Column, Float, ForeignKey

from gpuwatch.ledger.migrations.columns import key, whole, word, writing
from gpuwatch.ledger.sql import WHOLE

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make every table; `schema_version` is there already."""
    _usage()
    _journal()
    _seen()
    _alerts()


def _row_key() -> tuple[Column[Any], ...]:
    return (
        key("job_id"),
        whole("started", primary_key=True),
        key("cluster"),
        key("node"),
        key("epoch"),
        key("uuid"),
    )


def _usage() -> None:
    value = Column("value", Float, nullable=False)
    op.create_table("counters", *_row_key(), key("counter"), value, sqlite_with_rowid=False)
    op.create_table(
        "held",
        *_row_key(),
        *(Column(name, Float, nullable=False) for name in ("last_seen", "share")),
        *(word(name) for name in ("basis", "model")),
        Column("open", Boolean, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("held_last_seen", "held", ["last_seen"])


def _journal() -> None:
    op.create_table(
        "journal",
        *(key(name) for name in ("cluster", "node", "epoch")),
        whole("seq", primary_key=True),
        Column("time", Float, nullable=False),
        word("job_id", nullable=True),
        whole("started"),
        word("channel"),
        *(whole(name, nullable=True) for name in ("uid", "pid")),
        writing("text"),
        *(word(name, nullable=True) for name in ("campaign", "scope_kind", "scope")),
        sqlite_with_rowid=False,
    )
    op.create_index("journal_job", "journal", ["job_id"])
    op.create_index("journal_campaign", "journal", ["campaign"])
    op.create_index("journal_scope", "journal", ["scope_kind", "scope"])


def _seen() -> None:
    op.create_table(
        "progress",
        key("job_id"),
        whole("started", primary_key=True),
        *(key(name) for name in ("cluster", "node")),
        *(Column(name, Float, nullable=False) for name in ("time", "step", "total", "start_step")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "runs",
        *(key(name) for name in ("job_id", "cluster", "node", "kind")),
        Column("time", Float, nullable=False),
        word("name", nullable=True),
        *(whole(name, nullable=True) for name in ("uid", "exit_code")),
        sqlite_with_rowid=False,
    )
    seen = Column("seen", Float, nullable=False)
    op.create_table("nodes", key("cluster"), key("node"), word("epoch"), seen, sqlite_with_rowid=False)
    op.create_table("watermarks", key("origin"), word("epoch"), whole("seq"), sqlite_with_rowid=False)


def _alert_columns() -> tuple[Column[Any], ...]:
    amounts = (Column(name, Float, nullable=False) for name in ("since", "value", "declared"))
    return word("severity"), *amounts, writing("text")


def _alerts() -> None:
    names = ("kind", "scope_kind", "scope", "quantity")
    op.create_table("alerts", *(key(name) for name in names), *_alert_columns(), sqlite_with_rowid=False)
    op.create_table(
        "alert_changes",
        Column("id", WHOLE, primary_key=True, autoincrement=True),
        Column("time", Float, nullable=False),
        *(word(name) for name in ("what", *names)),
        *_alert_columns(),
    )
    op.create_index("alert_changes_scope", "alert_changes", ["scope_kind", "scope"])
    op.create_table(
        "outbox",
        Column("change_id", WHOLE, ForeignKey("alert_changes.id"), primary_key=True),
        key("notifier"),
        Column("time", Float, nullable=False),
        sqlite_with_rowid=False,
    )
