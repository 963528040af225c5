"""The ledger's tables. Keys begin with the job, because every question does; a change here is a migration."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    func,
    select,
)

SCHEMA_VERSION = 2

metadata = MetaData()

schema_version = Table("schema_version", metadata, Column("version", Integer, primary_key=True))


def among(column: ColumnElement[Any], values: Iterable[str]) -> ColumnElement[bool]:
    """Whether a column has one of many values: one parameter, where `IN (?, ?, …)` has one for each.

    A statement with thousands of them takes longer to write than to run, and SQLite before 3.32 takes 999.
    """
    listed = func.json_each(json.dumps(list(values))).table_valued("value")
    return column.in_(select(listed.c.value))


def _table(name: str, *columns: Column[Any]) -> Table:
    return Table(name, metadata, *columns, sqlite_with_rowid=False)


def _key(name: str, kind: type[String] | type[Integer] | type[Float[float]] = String) -> Column[Any]:
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

records = _table(
    "records",
    _key("job_id"),
    _key("submitted", Integer),
    _key("cluster"),
    # The facts seen last.
    Column("seen", Float, nullable=False),
    Column("state", String, nullable=False),
    Column("started", Float),
    Column("ended", Float),
    Column("devices", Float),
    Column("rule", String, nullable=False),
    Column("doubt", String, nullable=False),
    Column("cpus", Float),
    Column("nodes", Text, nullable=False),
    Column("whole", String, nullable=False),
    Column("display", String, nullable=False),
    Column("name", String, nullable=False),
    Column("user", String, nullable=False),
    Column("account", String, nullable=False),
    Column("partition", String, nullable=False),
    Column("qos", String, nullable=False),
    Column("limit_seconds", Float),
    Column("billing", Float),
    Column("restarts", Integer),
    Column("exit_code", Integer),
    Column("tasks", Integer, nullable=False),
    # What only its lifetime shows, as it was seen last; without `live_seen` nobody saw it alive.
    Column("live_seen", Float),
    Column("comment", Text),
    Column("admin_comment", Text),
    # Found by it; what counts is the comments' text.
    Column("campaign", String),
    Column("live_devices", Float),
    Column("indices", Text),
)
"""One row for each submission that a batch system told of (`schedulers.base.Record`); times are Unix seconds,
`nodes` and `indices` JSON."""
Index("records_ended", records.c.ended)
Index("records_started", records.c.started)
Index("records_whole", records.c.whole)
Index("records_account", records.c.account)
Index("records_campaign", records.c.campaign)
Index("records_display", records.c.display)

grants = _table(
    "grants",
    _key("cluster"),
    _key("account"),
    _key("user"),
    _key("resource"),
    _key("source"),
    _key("starts", Float),
    Column("seen", Float, nullable=False),
    Column("limit_seconds", Float),
    Column("used_seconds", Float),
    Column("parent", String, nullable=False),
    Column("coordinators", Text, nullable=False),
    Column("ends", Float),
)
"""What accounts may use (`schedulers.base.Grant`); one without a period has 0 for `starts`."""

polls = _table("polls", _key("scheduler"), _key("cluster"), Column("until", Float, nullable=False))
"""How far the history of each scheduler has been read."""


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
