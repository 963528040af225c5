"""Alerts on disk: what is active, what changed and when, and what each notifier has still to be told.

A change and its place in the outbox are written in one transaction and removed only once the notifier took it:
a notification is sent at least once, whatever stops between.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select

from gpuwatch.ledger import tables
from gpuwatch.ledger.scopes import AlertKey, key_of
from gpuwatch.model import Alert, Scope
from gpuwatch.notifiers.base import Change


@dataclass(frozen=True, slots=True)
class PastChange:
    """When an alert was raised or resolved."""

    time: float
    change: Change


@dataclass(frozen=True, slots=True)
class Waiting:
    """A change that a notifier has yet to take."""

    id: int
    change: Change


def active(connection: Connection, cluster: str) -> dict[AlertKey, Alert]:
    """The alerts of a cluster that are raised and not resolved."""
    query = select(tables.alerts).where(tables.alerts.c.cluster == cluster)
    found = [_alert(row) for row in connection.execute(query)]
    return {key_of(alert): alert for alert in found}


def save(
    connection: Connection,
    cluster: str,
    alerts: Mapping[AlertKey, Alert],
    changes: Sequence[Change],
    notifiers: Collection[str],
    now: float,
) -> None:
    """Make `alerts` a cluster's active ones; put `changes` into the history and into each notifier's outbox."""
    connection.execute(delete(tables.alerts).where(tables.alerts.c.cluster == cluster))
    if alerts:
        rows = [{"cluster": cluster, **_columns(alert)} for alert in alerts.values()]
        connection.execute(insert(tables.alerts), rows)
    for change in changes:
        row = {"cluster": cluster, "time": now, "what": change.what, **_columns(change.alert)}
        key = connection.execute(insert(tables.alert_changes).values(row)).inserted_primary_key
        if key is not None and notifiers:
            waiting = [{"change_id": key[0], "notifier": name, "time": now} for name in sorted(notifiers)]
            connection.execute(insert(tables.outbox), waiting)


def waiting(connection: Connection, cluster: str, notifier: str) -> list[Waiting]:
    """What a notifier of a cluster has yet to take, oldest first."""
    query = (
        select(tables.alert_changes)
        .join(tables.outbox, tables.outbox.c.change_id == tables.alert_changes.c.id)
        .where(tables.outbox.c.notifier == notifier, tables.alert_changes.c.cluster == cluster)
        .order_by(tables.alert_changes.c.id)
    )
    return [Waiting(row.id, Change(row.what, _alert(row))) for row in connection.execute(query)]


def taken(connection: Connection, notifier: str, changes: Collection[Waiting]) -> None:
    """Forget what a notifier took, or never will."""
    ids = [each.id for each in changes]
    connection.execute(
        delete(tables.outbox).where(tables.outbox.c.notifier == notifier, tables.outbox.c.change_id.in_(ids))
    )


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
    return [PastChange(row.time, Change(row.what, _alert(row))) for row in connection.execute(query)]


def _alert(row: Row[Any]) -> Alert:
    return Alert(
        row.kind, Scope(row.scope_kind, row.scope), row.quantity, row.severity,
        row.since, row.value, row.declared, row.text,
    )  # fmt: skip


def _columns(alert: Alert) -> dict[str, object]:
    return {
        "kind": alert.kind,
        "scope_kind": alert.scope.kind,
        "scope": alert.scope.name,
        "quantity": alert.quantity,
        "severity": alert.severity,
        "since": alert.since,
        "value": alert.value,
        "declared": alert.declared,
        "text": alert.text,
    }
