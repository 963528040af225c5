"""Schema 3: usage in one wide row, several clusters in one ledger, and what jobs cost.

Unreleased: it makes whatever the tables of this gpuwatch have. Once released, what it makes is to be written out.
"""

from __future__ import annotations

from typing import Any

from alembic import context, op
from sqlalchemy import (
    Connection,
    Float,
    MetaData,
    Table,
    and_,
    case,
    cast,
    func,
    inspect,
    literal,
    null,
    select,
    union,
    union_all,
)

from gpuwatch.ledger import alert_tables, tables
from gpuwatch.ledger.measures import LABELLED, MEASURES, NEEDED

revision = "0003"
down_revision = "0002"

_CHANGED = ("watermarks", "alerts", "alert_changes", "outbox")
_THROTTLED = "throttled_seconds:"


def upgrade() -> None:
    """Set aside what changes, make all that is missing, and fill it."""
    connection = op.get_bind()
    op.drop_index("held_last_seen", "held")
    op.drop_index("alert_changes_scope", "alert_changes")
    for name in _CHANGED:
        op.rename_table(name, f"old_{name}")
    tables.metadata.create_all(connection)
    op.create_index("records_user", "records", ["user", "started"])
    old = MetaData()
    old.reflect(connection, only=[*(f"old_{name}" for name in _CHANGED), "held", "counters"])
    _widen(connection, old.tables["held"], old.tables["counters"])
    cluster = _cluster(connection)
    for name in _CHANGED:
        _copy(connection, old.tables[f"old_{name}"], tables.metadata.tables[name], cluster)
    _count_on(connection)
    _clusters(connection)
    _mark(connection)
    for name in (*(f"old_{name}" for name in reversed(_CHANGED)), "held", "counters"):
        op.drop_table(name)


def _widen(connection: Connection, held: Table, counters: Table) -> None:
    """Usage by columns. Why devices slow down was not a closed list; whatever is not in it is `other`."""
    key = [held.c[name] for name in tables.KEY]
    facts = ("last_seen", "share", "basis", "model", "open")
    same = and_(*(held.c[name] == counters.c[name] for name in tables.KEY))
    wide = (
        select(*key, *(held.c[name] for name in facts), *(_value(name, counters) for name in MEASURES))
        .select_from(held.outerjoin(counters, same))
        .group_by(*key, *(held.c[name] for name in facts))
    )
    connection.execute(tables.usage.insert().from_select([*tables.KEY, *facts, *MEASURES], wide))


_NAMES = {f"{counter}_{label}": f"{counter}:{label}" for counter, labels in LABELLED.items() for label in labels}


def _value(name: str, counters: Table) -> Any:
    counter = _NAMES.get(name, name)
    if counter == f"{_THROTTLED}other":
        known = [each for each in _NAMES.values() if each.startswith(_THROTTLED) and each != counter]
        other = and_(counters.c.counter.startswith(_THROTTLED), counters.c.counter.not_in(known))
        return func.sum(case((other, counters.c.value))).label(name)
    value = func.max(case((counters.c.counter == counter, counters.c.value)))
    return (func.coalesce(value, 0.0) if name in NEEDED else value).label(name)


def _cluster(connection: Connection) -> str:
    """Whose all of it was: that of the nodes if it is one, else the configured one."""
    found = connection.scalars(select(tables.nodes.c.cluster).distinct().limit(2)).all()
    return str(found[0] if len(found) == 1 else context.config.attributes["cluster"])


def _copy(connection: Connection, old: Table, new: Table, cluster: str) -> None:
    there = [column.name for column in new.c if column.name in old.c]
    fillers: dict[str, Any] = {"cluster": literal(cluster), "state": null()}
    # What later schemas added has defaults.
    added = [name for name in fillers if name in new.c and name not in old.c]
    rows = select(*(old.c[name] for name in there), *(fillers[name] for name in added))
    connection.execute(new.insert().from_select([*there, *added], rows))


def _count_on(connection: Connection) -> None:
    """PostgreSQL numbers the copied changes by a sequence of its own, which starts again."""
    if inspect(connection).dialect.name == "postgresql":
        last = select(func.max(alert_tables.alert_changes.c.id)).scalar_subquery()
        sequence = func.pg_get_serial_sequence("alert_changes", "id")
        connection.execute(select(func.setval(sequence, func.coalesce(last, 1), last.is_not(None))))


def _clusters(connection: Connection) -> None:
    """Each cluster that anything is known of, since when it was first heard of as far as that is known."""
    nothing = cast(null(), Float)
    sources: list[Any] = [
        select(table.c.cluster.label("cluster"), time.label("time"))
        for table, time in (
            (tables.nodes, nothing), (tables.records, tables.records.c.started),
            (tables.grants, tables.grants.c.seen), (tables.usage, tables.usage.c.last_seen),
            (tables.journal, tables.journal.c.time),
        )
    ]  # fmt: skip
    known = union_all(*sources).subquery()
    first = func.coalesce(func.min(known.c.time), 0.0)
    rows = select(known.c.cluster, first).group_by(known.c.cluster)
    connection.execute(tables.clusters.insert().from_select(["cluster", "made"], rows))


def _mark(connection: Connection) -> None:
    """Everything is to be charged: no job has money or days yet."""
    told = (select(table.c.cluster, table.c.job_id) for table in (tables.usage, tables.records))
    connection.execute(tables.changed.insert().from_select(["cluster", "job_id"], union(*told)))
