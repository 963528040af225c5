"""Declarations that were refused for want of the right, as staff read them."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sqlalchemy import Connection, delete, func, select, true

from gpuwatch import hygiene
from gpuwatch.ledger import tables
from gpuwatch.ledger.sql import inserting

KEPT = 10_000
"""So many of a cluster's are kept, the newest."""
OF_ONE = 1_000
"""So many of one person are kept, so that nobody can push those of all others out."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What somebody wanted to declare at a time (Unix seconds), `how` he was known, and why he may not."""

    cluster: str
    time: float
    who: str
    uid: int | None
    how: str
    text: str
    reason: str


def keep(connection: Connection, refusal: Refusal, kept: int = KEPT, of_one: int = OF_ONE) -> None:
    """Keep a refusal in the caller's transaction; what is long is cut, and the oldest ones go."""
    there = tables.refusals.c
    mine = there.cluster == refusal.cluster
    words = {"text": hygiene.text(refusal.text), "reason": hygiene.text(refusal.reason)}
    while True:
        number = (connection.scalar(select(func.max(there.id)).where(mine)) or 0) + 1
        row = {**asdict(refusal), **words, "id": number}
        # Another accounting may have taken the number meanwhile.
        if connection.execute(
            inserting(connection, tables.refusals).values(row).on_conflict_do_nothing()
        ).rowcount:
            break
    his = mine & (there.who == refusal.who)
    too_old = connection.scalar(select(there.id).where(his).order_by(there.id.desc()).offset(of_one).limit(1))
    connection.execute(delete(tables.refusals).where(his, there.id <= (too_old or 0)))
    connection.execute(delete(tables.refusals).where(mine, there.id <= number - kept))


def refusals(connection: Connection, cluster: str, limit: int, who: str | None = None) -> tuple[Refusal, ...]:
    """The latest of a cluster, the newest first; `who`: only those of one person."""
    there = tables.refusals.c
    his = true() if who is None else there.who == who
    query = select(tables.refusals).where(there.cluster == cluster, his).order_by(there.id.desc()).limit(limit)
    return tuple(
        Refusal(row.cluster, row.time, row.who, row.uid, row.how, row.text, row.reason)
        for row in connection.execute(query)
    )
