"""Posting in SQL: every statement is the merge of `ledger.py`, so that order and repetition do not matter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import chain
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    String,
    Table,
    and_,
    bindparam,
    false,
    func,
    literal_column,
    or_,
    select,
    update,
)

from gpuwatch.ledger import tables
from gpuwatch.ledger.comments import NO_NODE
from gpuwatch.ledger.ledger import (
    LOWEST,
    Held,
    JournalEntry,
    JournalId,
    Posting,
    RowId,
    RunEvent,
    merge_held,
    merge_into,
)
from gpuwatch.ledger.marking import mark
from gpuwatch.ledger.measures import FIRST, MEASURES, Measures, merged
from gpuwatch.ledger.posting import parsed
from gpuwatch.ledger.sql import Insert, chosen, greatest, least, run_many
from gpuwatch.model import Progress
from gpuwatch.usage.base import Mark, Reached

Row = Mapping[str, Any]


_KEY = ("job_id", "started", "cluster", "node", "epoch", "uuid")
_ITS = tuple(f"its_{name}" for name in _KEY)
_OPEN = 10

BY_API = "api"
"""The epoch of what accounting itself was told."""


class Posted(NamedTuple):
    """A posting and where it came from."""

    posting: Posting
    origin: str


def watermarks(connection: Connection, cluster: str) -> dict[str, Mark]:
    """How far each origin of a cluster has been read."""
    there = tables.watermarks.c
    query = select(there.origin, there.epoch, there.seq, there.state).where(there.cluster == cluster)
    return {row.origin: Mark(row.epoch, row.seq, row.state) for row in connection.execute(query)}


def reach(connection: Connection, cluster: str, reached: Reached) -> None:
    """Move the watermark of an origin whose deliveries are all posted, in the caller's transaction."""
    mark = {"cluster": cluster, "origin": reached.origin, **reached.mark._asdict()}
    run_many(connection, _watermark, [mark])


def post(connection: Connection, posting: Posting, origin: str) -> None:
    """Take a posting and move its origin's watermark, in the caller's transaction."""
    post_all(connection, [Posted(posting, origin)])


def post_all(connection: Connection, posted: Sequence[Posted]) -> None:
    """Take postings and move their origins' watermarks, in the caller's transaction."""
    postings = [each.posting for each in posted]
    usage = list(_usage_rows(postings))
    run_many(connection, _usage, usage)
    run_many(connection, _closed, [dict(zip(_ITS, row, strict=False)) for row in usage if not row[_OPEN]])
    for statement, rows in (
        (_journal, list(chain.from_iterable(_journal_rows(each.journal.items()) for each in postings))),
        (_progress, [_with_facts(*item) for each in postings for item in each.progress.items()]),
        (_runs, [_with_facts(*item) for each in postings for item in each.runs.items()]),
        (_nodes, [_node(each) for each in postings]),
        (_watermark, [_mark(each) for each in posted if each.posting.seq is not None]),
    ):
        run_many(connection, statement, rows)
    mark(connection, _touched(postings))


def post_entries(connection: Connection, entries: Iterable[tuple[JournalId, JournalEntry]]) -> None:
    """Keep entries of the journal that no delivery brought, in the caller's transaction."""
    run_many(connection, _journal, list(_journal_rows(entries)))


def post_declaration(connection: Connection, cluster: str, entry: JournalEntry) -> JournalId:
    """Keep a declaration that no agent took, in the caller's transaction, under a number of its own."""
    there = tables.journal.c
    mine = (there.cluster == cluster, there.node == NO_NODE, there.epoch == BY_API)
    while True:
        last = connection.scalar(select(func.max(there.seq)).where(*mine))
        key = JournalId(cluster, NO_NODE, BY_API, (last or 0) + 1)
        # Another accounting may have taken the number meanwhile; then it is not stored, and the next one is tried.
        if run_many(connection, _journal, list(_journal_rows([(key, entry)]))):
            return key


def _usage_rows(postings: Sequence[Posting]) -> Iterator[tuple[object, ...]]:
    held: dict[RowId, Held] = {}
    measures: dict[RowId, Measures] = {}
    for posting in postings:
        merge_into(held, posting.held, merge_held)
        merge_into(measures, posting.measures, merged)
    for key, facts in held.items():
        cluster, node, epoch, job_id, started, uuid = key
        yield (
            job_id, started, cluster, node, epoch, uuid, facts.last_seen, facts.share, facts.basis, facts.model,
            facts.open, *measures[key],
        )  # fmt: skip


def _with_facts(key: Any, fact: Progress | RunEvent) -> Row:
    return {**key._asdict(), **{each.name: getattr(fact, each.name) for each in fields(fact)}}


def _node(posting: Posting) -> Row:
    return {"cluster": posting.cluster, "node": posting.node, "epoch": posting.epoch, "seen": posting.now}


def _mark(posted: Posted) -> Row:
    posting = posted.posting
    return {
        "cluster": posting.cluster, "origin": posted.origin, "epoch": posting.epoch, "seq": posting.seq,
        "state": None,
    }  # fmt: skip


def _touched(postings: Iterable[Posting]) -> Iterator[tuple[str, str]]:
    """The jobs that postings tell something of."""
    for posting in postings:
        keys: Iterable[Any] = chain(posting.held, posting.progress, posting.runs)
        yield from ((key.cluster, key.job_id) for key in keys)
        yield from ((key.cluster, entry.job_id) for key, entry in posting.journal.items() if entry.job_id)


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
            "who": entry.who,
            "campaign": read.campaign if read else None,
            "scope_kind": scope.kind if scope else None,
            "scope": scope.name if scope else None,
        }


def _usage(insert: Insert) -> Any:
    new, there = insert(tables.usage), tables.usage.c
    facts = ("last_seen", "share", "basis", "model")
    later = _later(tables.usage, new, facts)
    newest = {name: chosen(later, new.excluded[name], there[name]) for name in facts}
    measures = {name: (least if name in FIRST else greatest)(there[name], new.excluded[name]) for name in MEASURES}
    return new.on_conflict_do_update(index_elements=list(tables.usage.primary_key), set_={**newest, **measures})


def _closed(_insert: Insert) -> Any:
    """Apart from the rest, as an index moves with it: nearly all rows grow, and few close."""
    there = tables.usage.c
    its = (there[name] == bindparam(parameter) for name, parameter in zip(_KEY, _ITS, strict=True))
    return update(tables.usage).values(open=false()).where(*its, there.open)


def _journal(insert: Insert) -> Any:
    return insert(tables.journal).on_conflict_do_nothing()


def _runs(insert: Insert) -> Any:
    return _latest(insert, tables.runs, "time", "name", "uid", "exit_code")


def _nodes(insert: Insert) -> Any:
    return _latest(insert, tables.nodes, "seen", "epoch")


def _progress(insert: Insert) -> Any:
    new, there = insert(tables.progress), tables.progress.c
    facts = ("time", "step", "total")
    later = _later(tables.progress, new, facts)
    newest = {name: chosen(later, new.excluded[name], there[name]) for name in facts}
    lowest = {name: least(there[name], new.excluded[name]) for name in ("start_step", "least_total")}
    most = {name: greatest(there[name], new.excluded[name]) for name in ("best", "lost", "most_total")}
    return new.on_conflict_do_update(
        index_elements=list(tables.progress.primary_key), set_={**newest, **lowest, **most}
    )


def _latest(insert: Insert, table: Table, *facts: str) -> Any:
    """Replace the row where what is new is later in the order of `facts`."""
    new = insert(table)
    return new.on_conflict_do_update(
        index_elements=list(table.primary_key),
        set_={name: new.excluded[name] for name in facts},
        where=_later(table, new, facts),
    )


def _watermark(insert: Insert) -> Any:
    """Forward within an epoch; a new epoch begins where it begins."""
    new, there = insert(tables.watermarks), tables.watermarks.c
    moved = or_(new.excluded.epoch != there.epoch, new.excluded.seq > there.seq)
    return new.on_conflict_do_update(
        index_elements=list(tables.watermarks.primary_key),
        set_={name: new.excluded[name] for name in ("epoch", "seq", "state")},
        where=moved,
    )


def _later(table: Table, new: Any, facts: Sequence[str]) -> ColumnElement[bool]:
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
