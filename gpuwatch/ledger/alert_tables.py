"""The tables of alerts: what is active, what changed, what each came to, what is muted, and who was told what."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, Column, Float, ForeignKey, Index, Table

from gpuwatch.ledger.sql import TEXT, WHOLE, WORDS
from gpuwatch.ledger.tables import _key, _table, metadata

IDENTITY = ("kind", "scope_kind", "scope", "quantity")
"""What makes two alerts of a cluster the same one."""


def _alert_columns() -> tuple[Column[Any], ...]:
    return (
        Column("severity", WORDS, nullable=False),
        Column("since", Float, nullable=False),
        Column("value", Float, nullable=False),
        Column("declared", Float, nullable=False),
        Column("text", TEXT, nullable=False),
        Column("details", TEXT, nullable=False, server_default="[]"),
        Column("level", WHOLE, nullable=False, server_default="0"),
        Column("user", WORDS, nullable=False, server_default=""),
        Column("account", WORDS, nullable=False, server_default=""),
        Column("partition", WORDS, nullable=False, server_default=""),
        Column("name", TEXT, nullable=False, server_default=""),
        # Whether it was told, or why not: told, observed, muted.
        Column("mode", WORDS, nullable=False, server_default="told"),
    )


def _identity() -> tuple[Column[Any], ...]:
    return tuple(Column(name, WORDS, nullable=False) for name in IDENTITY)


def _numbered(name: str, *columns: Column[Any]) -> Table:
    return Table(name, metadata, Column("id", WHOLE, primary_key=True, autoincrement=True), *columns)


alerts = _table("alerts", _key("cluster"), *map(_key, IDENTITY), *_alert_columns(), Column("found", Float))
"""What is active; `found` is when it was last found so, as one that is not any more stays for a while."""

alert_changes = _numbered(
    "alert_changes",
    Column("cluster", WORDS, nullable=False),
    Column("time", Float, nullable=False),
    Column("what", WORDS, nullable=False),
    *_identity(),
    *_alert_columns(),
)
Index("alert_changes_scope", alert_changes.c.scope_kind, alert_changes.c.scope)

outbox = _table(
    "outbox",
    Column("change_id", ForeignKey(alert_changes.c.id), primary_key=True),
    _key("notifier"),
    Column("time", Float, nullable=False),
)
"""What each channel has still to be told."""

episodes = _numbered(
    "alert_episodes",
    Column("cluster", WORDS, nullable=False),
    *_identity(),
    Column("raised", Float, nullable=False),
    Column("resolved", Float),
    Column("severity", WORDS, nullable=False),
    Column("level", WHOLE, nullable=False),
    Column("mode", WORDS, nullable=False),
    Column("user", WORDS, nullable=False),
    Column("account", WORDS, nullable=False),
    Column("partition", WORDS, nullable=False),
    Column("name", TEXT, nullable=False),
    # As it was when it was raised, and as it was told last.
    Column("value", Float, nullable=False),
    Column("declared", Float, nullable=False),
    Column("text", TEXT, nullable=False),
    Column("last_text", TEXT, nullable=False),
    Column("reopened", WHOLE, nullable=False),
    # How it ended: ended (its scope), cleared, exceeded (a projection that came true), floor.
    Column("how", WORDS, nullable=False),
    # right, wrong; empty where nobody can tell.
    Column("verdict", WORDS, nullable=False),
    # What its owner did: cancelled, declared, acknowledged, muted; empty: nothing that is known.
    Column("acted", WORDS, nullable=False),
    Column("acked_by", WORDS, nullable=False),
    Column("acked", Float),
)
"""One row for each time that an alert was active, from its beginning to what it came to."""
Index("alert_episodes_open", episodes.c.resolved, episodes.c.cluster)
Index("alert_episodes_scope", episodes.c.scope, episodes.c.scope_kind, episodes.c.resolved)
Index("alert_episodes_raised", episodes.c.raised)

mutes = _numbered(
    "alert_mutes",
    Column("cluster", WORDS, nullable=False),
    # Empty: of every kind, of every quantity.
    *_identity(),
    Column("made", Float, nullable=False),
    Column("until", Float),
    Column("who", WORDS, nullable=False),
    Column("reason", TEXT, nullable=False),
    Column("lifted", Float),
    Column("lifted_by", WORDS, nullable=False),
)
"""Who does not want to hear of what, until when, and why; `scope_kind` may be user, account or partition too."""

told = _table(
    "alert_told",
    _key("cluster"),
    _key("notifier"),
    _key("recipient"),
    *map(_key, IDENTITY),
    Column("time", Float, nullable=False),
    Column("over", Boolean, nullable=False),
    Column("severity", WORDS, nullable=False),
    Column("level", WHOLE, nullable=False),
)
"""What each recipient was told last of each alert: that it is so, or that it is over."""

letters = _numbered(
    "alert_letters",
    Column("cluster", WORDS, nullable=False),
    Column("notifier", WORDS, nullable=False),
    Column("recipient", WORDS, nullable=False),
    Column("key", WORDS, nullable=False),
    Column("made", Float, nullable=False),
    Column("sent", Float),
    Column("refused", Float),
    Column("tries", WHOLE, nullable=False),
    Column("next_try", Float, nullable=False),
    Column("changes", WHOLE, nullable=False),
)
"""Letters that were sent, refused for good, or are tried again; each has the `key` by which a channel knows it."""
Index("alert_letters_made", letters.c.cluster, letters.c.made)
