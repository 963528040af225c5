"""Records and grants on disk: posting as `records.py` merges, in the caller's transaction, and reading."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Float,
    String,
    Table,
    and_,
    bindparam,
    cast,
    func,
    literal_column,
    or_,
    select,
    tuple_,
    union,
    update,
)

from gpuwatch.errors import Rejected
from gpuwatch.ledger import tables
from gpuwatch.ledger.comments import changes
from gpuwatch.ledger.ledger import LOWEST
from gpuwatch.ledger.marking import mark
from gpuwatch.ledger.records import (
    accepted,
    accepted_grant,
    allocated_on,
    declared,
    facts_values,
    indices_text,
)
from gpuwatch.ledger.sql import Insert, among, chosen, inserting, run_many
from gpuwatch.ledger.writing import post_entries
from gpuwatch.model import EMPTY
from gpuwatch.schedulers.base import RUNNING, WAITING, Facts, Grant, Live, Record, RecordId
from gpuwatch.usage.base import Allocated

_AT_ONCE = 5000
_KEY = ("job_id", "submitted", "cluster")
_FACTS = (
    "seen", "state", "started", "ended", "devices", "rule", "doubt", "cpus", "nodes", "whole", "display", "name",
    "user", "account", "partition", "qos", "limit_seconds", "billing", "restarts", "exit_code", "tasks",
)  # fmt: skip
_COMMENTS = ("live_seen", "comment", "admin_comment", "campaign")
_DEVICES = ("live_devices", "indices")
_COLUMNS = (*_KEY, *_FACTS, *_COMMENTS, *_DEVICES)
_WHAT_IS_SAID = attrgetter(*(name for name in _FACTS if name != "seen"))
_SAID_ALIVE = attrgetter("comment", "admin_comment", "devices", "indices")
_GRANT = ("seen", "limit_seconds", "used_seconds", "parent", "coordinators", "ends")


@dataclass(frozen=True, slots=True)
class Posted:
    """What became of some records or grants: `refused` counts those that cannot be right, by reason."""

    taken: int
    changed: int
    refused: Mapping[str, int] = EMPTY


def post_records(
    connection: Connection, records: Sequence[Record], posted: Mapping[RecordId, Record] = EMPTY
) -> Posted:
    """Merge records into the ledger; `changed` are the rows that are new or say something else than before.

    `posted` has what the caller posted before. A record that says the same again is only seen again, which takes
    a fifth of the time; should a row not say it any more, all are merged in full.
    """
    again = [record for record in records if _says_the_same(record, posted.get(record.key))]
    if again and run_many(connection, _see_again, [_sight(record) for record in again]) < len(again):
        again = []
    told = {id(record) for record in again}
    read = accepted(record for record in records if id(record) not in told)
    post_entries(connection, changes(connection, read.records))
    changed = run_many(connection, _upsert_records, [_row(record) for record in read.records])
    mark(connection, ((each.key.cluster, each.key.job_id) for each in (*again, *read.records)))
    return Posted(len(read.records) + len(again), changed + len(again), read.refused)


def remembered(records: Iterable[Record]) -> dict[RecordId, Record]:
    """For the next `post_records` as `posted`: what was told of, but for what was told of twice."""
    found: dict[RecordId, Record] = {}
    twice = set()
    for record in records:
        if record.key in found:
            twice.add(record.key)
        found[record.key] = record
    for key in twice:
        del found[key]
    return found


def _says_the_same(record: Record, before: Record | None) -> bool:
    return (
        before is not None
        and _WHAT_IS_SAID(record.facts) == _WHAT_IS_SAID(before.facts)
        and (
            record.live is None
            or (before.live is not None and _SAID_ALIVE(record.live) == _SAID_ALIVE(before.live))
        )
    )


def _key(record: Record) -> tuple[str, int, str]:
    return record.key.job_id, record.key.submitted, record.key.cluster


def post_grants(connection: Connection, grants: Iterable[Grant]) -> Posted:
    """Take grants: of each cluster, account, user, resource, source and period's start the ones seen last."""
    rows: list[tuple[object, ...]] = []
    refused: Counter[str] = Counter()
    for grant in grants:
        try:
            rows.append(_grant_row(accepted_grant(grant)))
        except Rejected as exc:
            refused[str(exc)] += 1
    return Posted(len(rows), run_many(connection, _upsert_grants, rows), dict(refused))


def until_of(connection: Connection, scheduler: str, cluster: str) -> float | None:
    """How far the history of a scheduler has been read, Unix seconds; None: never."""
    there = tables.polls.c
    return connection.scalar(select(there.until).where(there.scheduler == scheduler, there.cluster == cluster))


def set_until(connection: Connection, scheduler: str, cluster: str, until: float) -> None:
    """The history of a scheduler has been read up to `until`; it never moves back."""
    new = inserting(connection, tables.polls).values(scheduler=scheduler, cluster=cluster, until=until)
    there = tables.polls.c.until
    connection.execute(
        new.on_conflict_do_update(
            index_elements=_keys(tables.polls),
            set_={"until": new.excluded.until},
            where=new.excluded.until > there,
        )
    )


def open_since(connection: Connection, cluster: str) -> float | None:
    """When the ledger first lost sight of a job that waits or runs as far as it knows; None: of none.

    Whatever became of these jobs is to be asked for from then on. A job that the batch system forgot keeps it.
    """
    there = tables.records.c
    is_open = and_(there.cluster == cluster, there.ended.is_(None), there.state.in_(sorted(WAITING | RUNNING)))
    since: float | None = connection.scalar(select(func.min(there.seen)).where(is_open))
    return since


def located(connection: Connection) -> frozenset[str]:
    """Jobs that run, of which it is known which devices they have: by an agent, or by indices polled before."""
    there = tables.records.c
    polled = select(there.job_id).where(there.ended.is_(None), there.indices.is_not(None), there.indices != "{}")
    held = select(tables.usage.c.job_id).where(tables.usage.c.open)
    return frozenset(connection.scalars(union(polled, held)))


def allocated(connection: Connection, cluster: str, since: float, until: float) -> list[Allocated]:
    """What batch systems allocated of which node in a time, Unix seconds."""
    there = tables.records.c
    # Nothing added, and one by one: else a database may go through all that ever began.
    began = and_(there.cluster == cluster, there.started + 0.0 < until)
    open_ones = records_where(connection, and_(began, there.ended.is_(None)))
    ended = records_where(connection, and_(began, there.ended > since))
    found = (each for record in (*open_ones, *ended) for each in allocated_on(record, until))
    return [each for each in found if each.until > since or each.open]


def records_where(connection: Connection, condition: ColumnElement[bool]) -> Iterator[Record]:
    """The records that a condition on the table selects."""
    there = tables.records.c
    query = select(*(there[name] for name in _COLUMNS)).where(condition)
    for row in connection.execute(query):
        yield _record(row)


def records_of(connection: Connection, job_ids: Sequence[str]) -> dict[tuple[str, str], list[Record]]:
    """All submissions of the given job ids by (cluster, job id), the oldest first."""
    found: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for first in range(0, len(job_ids), _AT_ONCE):
        named = among(tables.records.c.job_id, job_ids[first : first + _AT_ONCE])
        for record in records_where(connection, named):
            found[record.key.cluster, record.key.job_id].append(record)
    for records in found.values():
        records.sort(key=lambda record: record.key.submitted)
    return dict(found)


def grants_where(connection: Connection, condition: ColumnElement[bool]) -> Iterator[Grant]:
    """The grants that a condition on the table selects."""
    there = tables.grants.c
    order = (there.cluster, there.account, there.user, there.resource, there.source, there.starts)
    for row in connection.execute(select(tables.grants).where(condition).order_by(*order)):
        yield Grant(
            row.cluster, row.account, row.user, row.resource, row.limit_seconds, row.used_seconds, row.seen,
            row.parent, tuple(json.loads(row.coordinators)), row.starts or None, row.ends, row.source,
        )  # fmt: skip


def _row(record: Record) -> tuple[object, ...]:
    live = record.live
    lively = (None,) * 6 if live is None else (
        live.seen, live.comment, live.admin_comment, _campaign(live), live.devices, indices_text(live.indices)
    )  # fmt: skip
    return (*_key(record), *facts_values(record.facts), *lively)


def _campaign(live: Live) -> str | None:
    """The campaign that the comments name: found by it; what counts is their text."""
    read = declared(live.comment, live.admin_comment)
    return read.campaign if read is not None else None


def _record(row: Any) -> Record:
    job_id, submitted, cluster, *rest = row
    facts, (seen, comment, admin_comment, _, devices, indices) = rest[: len(_FACTS)], rest[len(_FACTS) :]
    nodes = facts[8]
    facts[8] = () if nodes == "[]" else tuple(json.loads(nodes))
    live = None if seen is None else Live(seen, comment, admin_comment, devices, _indices(indices))
    return Record(RecordId(cluster, job_id, submitted), Facts(*facts), live)


def _indices(text: str) -> Mapping[str, tuple[int, ...]]:
    return EMPTY if text == "{}" else {node: tuple(each) for node, each in json.loads(text).items()}


def _grant_row(grant: Grant) -> tuple[object, ...]:
    coordinators = json.dumps(grant.coordinators, ensure_ascii=False)
    return (
        grant.cluster, grant.account, grant.user, grant.resource, grant.source, grant.starts or 0.0, grant.seen,
        grant.limit_seconds, grant.used_seconds, grant.parent, coordinators, grant.ends,
    )  # fmt: skip


def _upsert_records(insert: Insert) -> Any:
    new = insert(tables.records)
    ended = (_ended(tables.records.c), _ended(new.excluded))
    said = (_said(tables.records.c), _said(new.excluded))
    parts = (
        (_FACTS, _later(new, _FACTS, ended)), (_COMMENTS, _later(new, _COMMENTS, said)),
        (_DEVICES, _later(new, _DEVICES)),
    )  # fmt: skip
    there = tables.records.c
    newest = {name: chosen(later, new.excluded[name], there[name]) for names, later in parts for name in names}
    return new.on_conflict_do_update(
        index_elements=_keys(tables.records), set_=newest, where=or_(*(later for _, later in parts))
    )


def _see_again(_insert: Insert) -> Any:
    """Moves the time of the facts, and of the comments where there are any, if the row says what is told."""
    there = tables.records.c
    # PostgreSQL asks of what kind a parameter is that may be null.
    alive = cast(bindparam("alive"), Float)
    said = [there[name].is_not_distinct_from(bindparam(f"its_{name}")) for name in ("comment", "admin_comment")]
    return (
        update(tables.records)
        .values(seen=bindparam("its_seen", type_=Float), live_seen=func.coalesce(alive, there.live_seen))
        .where(
            *(there[name] == bindparam(f"its_{name}") for name in _KEY),
            there.seen <= bindparam("its_seen", type_=Float),
            there.state == bindparam("its_state"),
            there.ended.is_not_distinct_from(bindparam("its_end", type_=Float)),
            or_(alive.is_(None), and_(there.live_seen <= alive, *said)),
        )
    )


def _sight(record: Record) -> dict[str, object]:
    live = record.live
    said = (None, None, None) if live is None else (live.seen, live.comment, live.admin_comment)
    return {
        "its_job_id": record.key.job_id, "its_submitted": record.key.submitted, "its_cluster": record.key.cluster,
        "its_seen": record.facts.seen, "its_state": record.facts.state, "its_end": record.facts.ended,
        "alive": said[0], "its_comment": said[1], "its_admin_comment": said[2],
    }  # fmt: skip


def _upsert_grants(insert: Insert) -> Any:
    new, there = insert(tables.grants), tables.grants.c
    later = _later(new, _GRANT, table=there)
    newest = {name: new.excluded[name] for name in _GRANT}
    return new.on_conflict_do_update(index_elements=_keys(tables.grants), set_=newest, where=later)


def _keys(table: Table) -> list[str]:
    return [column.name for column in table.primary_key]


def _later(
    new: Any,
    names: Sequence[str],
    first: tuple[ColumnElement[Any], ColumnElement[Any]] | None = None,
    table: Any = tables.records.c,
) -> ColumnElement[bool]:
    """Whether the new row comes after the one there, column by column; `first` (there, new) goes before all."""
    there = [_comparable(table[name], table[name]) for name in names]
    excluded = [_comparable(table[name], new.excluded[name]) for name in names]
    if first is not None:
        there, excluded = [first[0], *there], [first[1], *excluded]
    return tuple_(*excluded) > tuple_(*there)


def _comparable(column: Any, value: Any) -> Any:
    if not column.nullable:
        return value
    return func.coalesce(value, literal_column("''" if isinstance(column.type, String) else f"{LOWEST!r}"))


def _ended(row: Any) -> ColumnElement[Any]:
    return row.ended.is_not(None)  # type: ignore[no-any-return]


def _said(row: Any) -> ColumnElement[Any]:
    return func.coalesce(row.comment, literal_column("''")).concat(
        func.coalesce(row.admin_comment, literal_column("''"))
    ) != literal_column("''")
