"""The ledger's tables. Keys begin with the job, because every question does; a change here is a migration."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, Column, Float, ForeignKey, Index, Integer, MetaData, String, Table, Text

SCHEMA_VERSION = 1

metadata = MetaData()

schema_version = Table("schema_version", metadata, Column("version", Integer, primary_key=True))


def _table(name: str, *columns: Column[Any]) -> Table:
    return Table(name, metadata, *columns, sqlite_with_rowid=False)


def _key(name: str, kind: type[String] | type[Integer] = String) -> Column[Any]:
    return Column(name, kind(), primary_key=True, nullable=False)


def _row_key() -> tuple[Column[Any], ...]:
    return (
        _key("job_id"), _key("started", Integer), _key("cluster"), _key("node"), _key("epoch"), _key("uuid"),
    )  # fmt: skip


counters = _table("counters", *_row_key(), _key("counter"), Column("value", Float, nullable=False))

held = _table(
    "held",
    *_row_key(),
    Column("last_seen", Float, nullable=False),
    Column("share", Float, nullable=False),
    Column("basis", String, nullable=False),
    Column("model", String, nullable=False),
    Column("open", Boolean, nullable=False),
)
Index("held_last_seen", held.c.last_seen)

journal = _table(
    "journal",
    _key("cluster"),
    _key("node"),
    _key("epoch"),
    _key("seq", Integer),
    Column("time", Float, nullable=False),
    Column("job_id", String),
    Column("started", Integer, nullable=False),
    Column("channel", String, nullable=False),
    Column("uid", Integer),
    Column("pid", Integer),
    Column("text", Text, nullable=False),
    # Found by these; what counts is the text.
    Column("campaign", String),
    Column("scope_kind", String),
    Column("scope", String),
)
Index("journal_job", journal.c.job_id)
Index("journal_campaign", journal.c.campaign)
Index("journal_scope", journal.c.scope_kind, journal.c.scope)

progress = _table(
    "progress",
    _key("job_id"),
    _key("started", Integer),
    _key("cluster"),
    _key("node"),
    Column("time", Float, nullable=False),
    Column("step", Float, nullable=False),
    Column("total", Float, nullable=False),
    Column("start_step", Float, nullable=False),
)

runs = _table(
    "runs",
    _key("job_id"),
    _key("cluster"),
    _key("node"),
    _key("kind"),
    Column("time", Float, nullable=False),
    Column("name", String),
    Column("uid", Integer),
    Column("exit_code", Integer),
)

nodes = _table(
    "nodes",
    _key("cluster"),
    _key("node"),
    Column("epoch", String, nullable=False),
    Column("seen", Float, nullable=False),
)

watermarks = _table(
    "watermarks", _key("origin"), Column("epoch", String, nullable=False), Column("seq", Integer, nullable=False)
)


def _alert_columns() -> tuple[Column[Any], ...]:
    return (
        Column("severity", String, nullable=False),
        Column("since", Float, nullable=False),
        Column("value", Float, nullable=False),
        Column("declared", Float, nullable=False),
        Column("text", Text, nullable=False),
    )


alerts = _table("alerts", _key("kind"), _key("scope_kind"), _key("scope"), _key("quantity"), *_alert_columns())

alert_changes = Table(
    "alert_changes",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("time", Float, nullable=False),
    Column("what", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("scope_kind", String, nullable=False),
    Column("scope", String, nullable=False),
    Column("quantity", String, nullable=False),
    *_alert_columns(),
)
Index("alert_changes_scope", alert_changes.c.scope_kind, alert_changes.c.scope)

outbox = _table(
    "outbox",
    Column("change_id", ForeignKey(alert_changes.c.id), primary_key=True),
    _key("notifier"),
    Column("time", Float, nullable=False),
)
