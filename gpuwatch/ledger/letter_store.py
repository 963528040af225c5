"""Who of the people was told what, and the letters to them: sent, refused, or to be tried again.

What a person has to hear is the difference between what is active and what he was told last; so that flapping,
restarts and another leader change nothing. A letter keeps its key until it is sent or refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, delete, func, insert, select, update

from gpuwatch.ledger import alert_tables as tables
from gpuwatch.ledger.alert_store import identity
from gpuwatch.ledger.scopes import AlertKey
from gpuwatch.ledger.sql import Insert, run_many
from gpuwatch.model import Scope


class To(NamedTuple):
    """A recipient and the notifier that tells him."""

    notifier: str
    recipient: str


@dataclass(frozen=True, slots=True)
class Told:
    """What somebody was told of an alert last: that it is so, as bad as that, or that it is over."""

    time: float
    over: bool
    severity: str
    level: int


@dataclass(frozen=True, slots=True)
class Posted:
    """A letter: `sent`, `refused` for good, or neither, and then tried again at `next_try`; Unix seconds."""

    id: int
    to: To
    key: str
    made: float
    sent: float | None = None
    refused: float | None = None
    tries: int = 0
    next_try: float = 0.0
    changes: int = 0

    @property
    def open(self) -> bool:
        """Whether it is tried again."""
        return self.sent is None and self.refused is None


def told(connection: Connection, cluster: str) -> dict[To, dict[AlertKey, Told]]:
    """What everybody was told last, as far as it may matter yet."""
    found: dict[To, dict[AlertKey, Told]] = defaultdict(dict)
    for row in connection.execute(select(tables.told).where(tables.told.c.cluster == cluster)):
        key = AlertKey(row.kind, Scope(row.scope_kind, row.scope), row.quantity)
        found[To(row.notifier, row.recipient)][key] = Told(row.time, row.over, row.severity, row.level)
    return found


def keep_told(connection: Connection, cluster: str, to: To, news: dict[AlertKey, Told]) -> None:
    """Somebody knows more now."""
    rows = [
        (cluster, *to, *identity(key).values(), each.time, each.over, each.severity, each.level)
        for key, each in news.items()
    ]
    run_many(connection, _upsert, rows)


def _upsert(insert: Insert) -> Any:
    new = insert(tables.told)
    changed = ("time", "over", "severity", "level")
    return new.on_conflict_do_update(
        index_elements=list(tables.told.primary_key), set_={name: new.excluded[name] for name in changed}
    )


def forget_told(connection: Connection, cluster: str, to: To, keys: Collection[AlertKey]) -> None:
    """What is over, and was long ago, may be told anew."""
    there = tables.told.c
    for key in keys:
        its = and_(*(there[name] == value for name, value in identity(key).items()))
        mine = and_(there.cluster == cluster, there.notifier == to.notifier, there.recipient == to.recipient)
        connection.execute(delete(tables.told).where(mine, its))


def letters_since(connection: Connection, cluster: str, time: float) -> dict[To, list[Posted]]:
    """The letters made since `time`, and those that are tried again, by recipient, oldest first."""
    there = tables.letters.c
    lively = (there.made >= time) | (there.sent.is_(None) & there.refused.is_(None))
    found: dict[To, list[Posted]] = defaultdict(list)
    query = select(tables.letters).where(there.cluster == cluster, lively).order_by(there.id)
    for row in connection.execute(query):
        to = To(row.notifier, row.recipient)
        found[to].append(
            Posted(row.id, to, row.key, row.made, row.sent, row.refused, row.tries, row.next_try, row.changes)
        )
    return found


def make(connection: Connection, cluster: str, keys: Mapping[To, str], now: float) -> dict[To, Posted]:
    """New letters that are about to be sent, by their keys, which nobody else has."""
    rows = [
        {
            "cluster": cluster, "notifier": to.notifier, "recipient": to.recipient, "key": key, "made": now,
            "sent": None, "refused": None, "tries": 0, "next_try": now, "changes": 0,
        }
        for to, key in keys.items()
    ]  # fmt: skip
    if rows:
        connection.execute(insert(tables.letters), rows)
    there = tables.letters.c
    mine = select(there.key, there.id).where(there.cluster == cluster, there.made == now)
    numbers: dict[str, int] = {row.key: row.id for row in connection.execute(mine)}
    return {to: Posted(numbers[key], to, key, now, next_try=now) for to, key in keys.items()}


def update_letter(connection: Connection, letter: Posted) -> None:
    """Keep what became of it."""
    changed = {
        "sent": letter.sent, "refused": letter.refused, "tries": letter.tries, "next_try": letter.next_try,
        "changes": letter.changes,
    }  # fmt: skip
    connection.execute(update(tables.letters).where(tables.letters.c.id == letter.id).values(changed))


def thin(connection: Connection, cluster: str, before: float) -> int:
    """Drop letters that are older; how many."""
    there = tables.letters.c
    return connection.execute(delete(tables.letters).where(there.cluster == cluster, there.made < before)).rowcount


def sent_by_recipient(connection: Connection, cluster: str, since: float) -> dict[To, int]:
    """How many letters everybody got since then."""
    there = tables.letters.c
    query = (
        select(there.notifier, there.recipient, func.count())
        .where(there.cluster == cluster, there.sent >= since)
        .group_by(there.notifier, there.recipient)
    )
    return {To(notifier, recipient): number for notifier, recipient, number in connection.execute(query)}
