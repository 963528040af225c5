"""Who does not want to hear of what: mutes with their reasons, which are kept when they are over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, and_, insert, or_, select, update

from gpuwatch.ledger import alert_tables as tables
from gpuwatch.ledger.queries import tasks_of
from gpuwatch.ledger.scopes import AlertKey, key_of
from gpuwatch.model import Alert, Concern, Scope

PEOPLE = ("user", "account", "partition")
"""Kinds of scopes that are whose an alert is, and not what it is about (an account may be both)."""


@dataclass(frozen=True, slots=True)
class Mute:
    """Nobody is told of what it matches; an empty `kind` or `quantity` is each. Times in Unix seconds.

    `until` is None for good; `lifted` is when it was taken back, by whom.
    """

    scope: Scope
    made: float
    until: float | None
    who: str
    reason: str
    kind: str = ""
    quantity: str = ""
    id: int = 0
    lifted: float | None = None
    lifted_by: str = ""

    def matches(self, alert: Alert) -> bool:
        """Whether the alert is one that nobody is to hear of."""
        return self.covers(key_of(alert), alert.concern)

    def covers(self, key: AlertKey, concern: Concern) -> bool:
        """The same of an alert by what it is, and whose."""
        if self.kind not in ("", key.kind) or self.quantity not in ("", key.quantity):
            return False
        if self.scope == key.scope:
            return True
        return self.scope.kind in PEOPLE and getattr(concern, self.scope.kind) == self.scope.name

    def holds(self, now: float) -> bool:
        """Whether it is in force."""
        return self.lifted is None and (self.until is None or now < self.until)


def keep(connection: Connection, cluster: str, mute: Mute) -> int:
    """Keep a mute; its number."""
    row = {
        "cluster": cluster, "kind": mute.kind, "scope_kind": mute.scope.kind, "scope": mute.scope.name,
        "quantity": mute.quantity, "made": mute.made, "until": mute.until, "who": mute.who,
        "reason": mute.reason, "lifted": mute.lifted, "lifted_by": mute.lifted_by,
    }  # fmt: skip
    key = connection.execute(insert(tables.mutes).values(row)).inserted_primary_key
    return int(key[0]) if key is not None else 0


def lift(connection: Connection, cluster: str, number: int, who: str, now: float) -> bool:
    """Take one back; whether it was in force."""
    there = tables.mutes.c
    changed = (
        update(tables.mutes)
        .where(there.id == number, there.cluster == cluster, there.lifted.is_(None))
        .values(lifted=now, lifted_by=who)
    )
    return connection.execute(changed).rowcount > 0


def in_force(connection: Connection, cluster: str, now: float) -> tuple[Mute, ...]:
    """Those that hold now, oldest first; that of an array also as those of the tasks that it has by now."""
    there = tables.mutes.c
    holds = and_(there.lifted.is_(None), or_(there.until.is_(None), there.until > now), there.cluster == cluster)
    found = map(_mute, connection.execute(select(tables.mutes).where(holds).order_by(there.id)))
    return tuple(with_tasks(connection, cluster, found))


def with_tasks(connection: Connection, cluster: str, mutes: Iterable[Mute]) -> Iterator[Mute]:
    """Mutes of a cluster, and after that of an array those of its tasks: alerts are of jobs."""
    for mute in mutes:
        yield mute
        if mute.scope.kind == "array":
            for task in tasks_of(connection, mute.scope.name, cluster):
                yield replace(mute, scope=Scope("job", task))


def numbered(connection: Connection, cluster: str, number: int) -> Mute | None:
    """The one of a number."""
    there = tables.mutes.c
    query = select(tables.mutes).where(there.id == number, there.cluster == cluster)
    row = connection.execute(query).one_or_none()
    return None if row is None else _mute(row)


def all_of(connection: Connection, cluster: str, limit: int = 1000) -> tuple[Mute, ...]:
    """All that ever were, the latest first."""
    there = tables.mutes.c
    query = select(tables.mutes).where(there.cluster == cluster).order_by(there.id.desc()).limit(limit)
    return tuple(map(_mute, connection.execute(query)))


def _mute(row: Row[Any]) -> Mute:
    return Mute(
        Scope(row.scope_kind, row.scope), row.made, row.until, row.who, row.reason, row.kind, row.quantity,
        row.id, row.lifted, row.lifted_by,
    )  # fmt: skip
