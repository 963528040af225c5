"""Posting in SQL: every statement is the merge of `ledger.py`, so that order and repetition do not matter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, String, Table, and_, case, func, literal_column, or_, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import Insert, insert

from gpuwatch.ledger import tables
from gpuwatch.ledger.ledger import LOWEST, Held, JournalEntry, JournalId, Posting, RunEvent
from gpuwatch.ledger.posting import parsed
from gpuwatch.model import Progress

Row = Mapping[str, Any]


class Watermark(NamedTuple):
    """How far an origin has been read."""

    epoch: str
    seq: int


def watermarks(connection: Connection) -> dict[str, tuple[str, int]]:
    """How far each origin has been read: origin → epoch, sequence number."""
    return {row.origin: Watermark(row.epoch, row.seq) for row in connection.execute(select(tables.watermarks))}


def post(connection: Connection, posting: Posting, origin: str) -> None:
    """Take a posting and move its origin's watermark, in the caller's transaction."""
    node = {"cluster": posting.cluster, "node": posting.node, "epoch": posting.epoch, "seen": posting.now}
    mark = {"origin": origin, "epoch": posting.epoch, "seq": posting.seq}
    for statement, rows in (
        (_counters, _counter_rows(posting)),
        (_held, [{**key._asdict(), **_facts(held)} for key, held in posting.held.items()]),
        (_journal, list(_journal_rows(posting.journal.items()))),
        (_progress, [{**key._asdict(), **_facts(each)} for key, each in posting.progress.items()]),
        (_runs, [{**key._asdict(), **_facts(each)} for key, each in posting.runs.items()]),
        (_nodes, [node]),
        (_watermark, [mark]),
    ):
        if rows:
            connection.exec_driver_sql(_sql(statement), rows)


@cache
def _sql(statement: Callable[[], Insert]) -> str:
    """The statement's text: SQLAlchemy would compile an upsert anew each time, which takes longer than it runs."""
    return str(statement().compile(dialect=sqlite.dialect(paramstyle="named")))


def _counter_rows(posting: Posting) -> list[Row]:
    return [
        {**key.row._asdict(), "counter": key.counter, "value": value} for key, value in posting.counters.items()
    ]


def _facts(fact: Held | Progress | RunEvent) -> Row:
    return {each.name: getattr(fact, each.name) for each in fields(fact)}


def _journal_rows(entries: Iterable[tuple[JournalId, JournalEntry]]) -> Iterator[Row]:
    for key, entry in entries:
        read = parsed(entry.text)
        scope = read.scope if read else None
        yield {
            **key._asdict(),
            "time": entry.time,
            "job_id": entry.job_id,
            "started": entry.started,
            "channel": entry.channel,
            "uid": entry.uid,
            "pid": entry.pid,
            "text": entry.text,
            "campaign": read.campaign if read else None,
            "scope_kind": scope.kind if scope else None,
            "scope": scope.name if scope else None,
        }


def _journal() -> Insert:
    return insert(tables.journal).on_conflict_do_nothing()


def _runs() -> Insert:
    return _latest(tables.runs, "time", "name", "uid", "exit_code")


def _nodes() -> Insert:
    return _latest(tables.nodes, "seen", "epoch")


def _counters() -> Insert:
    new = insert(tables.counters)
    return new.on_conflict_do_update(
        set_={"value": new.excluded.value}, where=new.excluded.value > tables.counters.c.value
    )


def _held() -> Insert:
    new = insert(tables.held)
    facts = ("last_seen", "share", "basis", "model")
    later = _later(tables.held, new, facts)
    newest = {name: _chosen(tables.held, new, later, name) for name in facts}
    is_open = and_(tables.held.c.open, new.excluded.open)
    return new.on_conflict_do_update(set_={**newest, "open": is_open})


def _progress() -> Insert:
    new = insert(tables.progress)
    facts = ("time", "step", "total")
    later = _later(tables.progress, new, facts)
    newest = {name: _chosen(tables.progress, new, later, name) for name in facts}
    first = func.min(tables.progress.c.start_step, new.excluded.start_step)
    return new.on_conflict_do_update(set_={**newest, "start_step": first})


def _latest(table: Table, *facts: str) -> Insert:
    """Replace the row where what is new is later in the order of `facts`."""
    new = insert(table)
    return new.on_conflict_do_update(
        set_={name: new.excluded[name] for name in facts}, where=_later(table, new, facts)
    )


def _watermark() -> Insert:
    """Forward within an epoch; a new epoch begins where it begins."""
    new, there = insert(tables.watermarks), tables.watermarks.c
    moved = or_(new.excluded.epoch != there.epoch, new.excluded.seq > there.seq)
    return new.on_conflict_do_update(set_={"epoch": new.excluded.epoch, "seq": new.excluded.seq}, where=moved)


def _later(table: Table, new: Insert, facts: Sequence[str]) -> ColumnElement[bool]:
    """Whether the new row comes after the one there, fact by fact."""
    first, *rest = facts
    there, excluded = _comparable(table, table.c[first]), _comparable(table, new.excluded[first])
    if not rest:
        return excluded > there
    return or_(excluded > there, and_(excluded == there, _later(table, new, rest)))


def _comparable(table: Table, column: Any) -> ColumnElement[Any]:
    if not table.c[column.name].nullable:
        return column  # type: ignore[no-any-return]
    unknown = "''" if isinstance(column.type, String) else f"{LOWEST!r}"
    return func.coalesce(column, literal_column(unknown))


def _chosen(table: Table, new: Insert, later: ColumnElement[bool], name: str) -> ColumnElement[Any]:
    return case((later, new.excluded[name]), else_=table.c[name])
