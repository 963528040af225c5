"""Alerts on disk: what is active, what changed and when, and what each channel has still to be told.

A change and its place in the outbox are written in one transaction and removed only once the channel took it:
it is told at least once, whatever stops between. Who of the people was told what is in `told_store`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select

from gpuwatch.ledger import alert_tables as tables
from gpuwatch.ledger.scopes import AlertKey, key_of
from gpuwatch.ledger.sql import Insert, numbered, run_many
from gpuwatch.model import Alert, Concern, Scope
from gpuwatch.notifiers.base import Change

Mode = Literal["told", "observed", "muted"]


@dataclass(frozen=True, slots=True)
class Standing:
    """An active alert: how it is told, and when it was last found to be so (Unix seconds)."""

    alert: Alert
    mode: Mode = "told"
    found: float | None = None


@dataclass(frozen=True, slots=True)
class PastChange:
    """When an alert was raised, rose or was resolved, and how that was told."""

    time: float
    change: Change
    mode: Mode = "told"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A change that a channel has yet to take."""

    id: int
    change: Change


@dataclass(frozen=True, slots=True)
class Noted:
    """A change to be kept, with the channels that are to be told of it."""

    change: Change
    mode: Mode
    channels: tuple[str, ...] = ()


def active(connection: Connection, cluster: str) -> dict[AlertKey, Alert]:
    """The alerts of a cluster that are raised, not resolved, and told: who looks at a job is told of these."""
    return {key: each.alert for key, each in standing(connection, cluster).items() if each.mode == "told"}


def standing(connection: Connection, cluster: str) -> dict[AlertKey, Standing]:
    """All that are raised and not resolved, with how they are told."""
    query = select(tables.alerts).where(tables.alerts.c.cluster == cluster)
    found = [Standing(_alert(row), row.mode, row.found) for row in connection.execute(query)]
    return {key_of(each.alert): each for each in found}


def save(
    connection: Connection, cluster: str, alerts: Collection[Standing], changes: Sequence[Noted], now: float
) -> None:
    """Make `alerts` a cluster's active ones; put `changes` into the history and into their channels' outboxes."""
    connection.execute(delete(tables.alerts).where(tables.alerts.c.cluster == cluster))
    if alerts:
        rows = [
            {"cluster": cluster, "mode": each.mode, "found": each.found, **columns(each.alert)} for each in alerts
        ]
        run_many(connection, _insert_alert, rows)
    if changes:
        _note(connection, cluster, changes, now)


def _insert_alert(insert: Insert) -> Any:
    return insert(tables.alerts).values({each.name: bindparam(each.name) for each in tables.alerts.c})


def _insert_change(insert: Insert) -> Any:
    return numbered(tables.alert_changes, insert)


def _note(connection: Connection, cluster: str, changes: Sequence[Noted], now: float) -> None:
    """All at once, as thousands may come together; their numbers rise in their order."""
    there = tables.alert_changes.c
    last = connection.scalar(select(func.max(there.id))) or 0
    rows = [
        {
            "cluster": cluster, "time": now, "what": each.change.what, "mode": each.mode,
            **columns(each.change.alert),
        }
        for each in changes
    ]  # fmt: skip
    run_many(connection, _insert_change, rows)
    mine = select(there.id).where(there.id > last, there.cluster == cluster).order_by(there.id)
    numbered = zip(connection.scalars(mine), changes, strict=True)
    waiting = [
        {"change_id": number, "notifier": name, "time": now}
        for number, each in numbered
        for name in sorted(each.channels)
    ]
    if waiting:
        connection.execute(insert(tables.outbox), waiting)


def waiting(connection: Connection, cluster: str, notifier: str) -> list[Waiting]:
    """What a channel of a cluster has yet to take, oldest first."""
    query = (
        select(tables.alert_changes)
        .join(tables.outbox, tables.outbox.c.change_id == tables.alert_changes.c.id)
        .where(tables.outbox.c.notifier == notifier, tables.alert_changes.c.cluster == cluster)
        .order_by(tables.alert_changes.c.id)
    )
    return [Waiting(row.id, Change(row.what, _alert(row))) for row in connection.execute(query)]


def taken(connection: Connection, notifier: str, changes: Collection[Waiting]) -> None:
    """Forget what a channel took, or never will."""
    ids = [{"id": each.id} for each in changes]
    there = tables.outbox.c
    if ids:
        mine = (there.notifier == notifier, there.change_id == bindparam("id"))
        connection.execute(delete(tables.outbox).where(*mine), ids)


def forget_before(connection: Connection, cluster: str, time: float) -> int:
    """Give up what has waited in an outbox of a cluster since before `time`; how many notifications that were."""
    there, changes = tables.outbox.c, tables.alert_changes.c
    its = select(changes.id).where(changes.cluster == cluster)
    return connection.execute(delete(tables.outbox).where(there.time < time, there.change_id.in_(its))).rowcount


def history(connection: Connection, cluster: str, scope: Scope) -> list[PastChange]:
    """What was raised and resolved for a scope of a cluster, oldest first."""
    there = tables.alert_changes.c
    query = (
        select(tables.alert_changes)
        .where(there.cluster == cluster, there.scope_kind == scope.kind, there.scope == scope.name)
        .order_by(there.id)
    )
    return [PastChange(row.time, Change(row.what, _alert(row)), row.mode) for row in connection.execute(query)]


def thin(connection: Connection, cluster: str, before: float) -> int:
    """Drop the history of changes that are older than that and told; how many."""
    there = tables.alert_changes.c
    waits = select(tables.outbox.c.change_id)
    old = delete(tables.alert_changes).where(there.cluster == cluster, there.time < before, there.id.not_in(waits))
    return connection.execute(old).rowcount


def concern_in(row: Row[Any]) -> Concern:
    """Whose it is, from a row that has the columns."""
    return Concern(row.user, row.account, row.partition, row.name)


def concern_columns(concern: Concern) -> dict[str, str]:
    """The columns of whose it is."""
    return {
        "user": concern.user, "account": concern.account, "partition": concern.partition, "name": concern.name,
    }  # fmt: skip


def identity(key: AlertKey) -> dict[str, str]:
    """The columns of an alert's identity."""
    return {
        "kind": key.kind, "scope_kind": key.scope.kind, "scope": key.scope.name, "quantity": key.quantity,
    }  # fmt: skip


def _alert(row: Row[Any]) -> Alert:
    return Alert(
        row.kind, Scope(row.scope_kind, row.scope), row.quantity, row.severity,
        row.since, row.value, row.declared, row.text, tuple(json.loads(row.details)), row.level, concern_in(row),
    )  # fmt: skip


def columns(alert: Alert) -> dict[str, object]:
    """An alert as columns."""
    return {
        **identity(key_of(alert)),
        "severity": alert.severity,
        "since": alert.since,
        "value": alert.value,
        "declared": alert.declared,
        "text": alert.text,
        "details": json.dumps(alert.details),
        "level": alert.level,
        **concern_columns(alert.concern),
    }
