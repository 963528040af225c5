"""The ledger's rows about some jobs, read in one go and laid out by job; what they mean is `jobs.py`'s."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, Table, and_, case, func, literal, or_, select, true

from gpuwatch.ledger import tables
from gpuwatch.ledger.attempts import Sight
from gpuwatch.ledger.ledger import JournalEntry, JournalId, RunEvent
from gpuwatch.ledger.measures import COUNTERS, FIRST, LATEST, usage_of
from gpuwatch.ledger.record_store import records_where
from gpuwatch.ledger.scopes import estimates_of
from gpuwatch.ledger.sql import among
from gpuwatch.model import Progress, Usage
from gpuwatch.schedulers.base import Record, RecordId

JobId = tuple[str, str]
"""A cluster and a job id."""

_AT_ONCE = 5000


@dataclass(frozen=True, slots=True)
class Line:
    """What an agent, in one epoch, saw a job use on one device; `uuid` is empty where it is on all of a node's.

    `share` is the latest share of the device, or the sum of those of all `devices`.
    """

    started: int
    node: str
    epoch: str
    uuid: str
    devices: int
    last_seen: float
    share: float
    open: bool
    model: str
    usage: Usage


@dataclass(slots=True)
class Facts:
    """What the ledger has on some jobs."""

    lines: dict[JobId, list[Line]] = field(default_factory=lambda: defaultdict(list))
    sights: dict[JobId, list[Sight]] = field(default_factory=lambda: defaultdict(list))
    journal: dict[JobId, list[tuple[JournalId, JournalEntry]]] = field(default_factory=lambda: defaultdict(list))
    progress: dict[JobId, list[tuple[str, int, Progress]]] = field(default_factory=lambda: defaultdict(list))
    runs: dict[JobId, dict[str, RunEvent]] = field(default_factory=lambda: defaultdict(dict))
    records: dict[JobId, list[Record]] = field(default_factory=lambda: defaultdict(list))
    epochs: dict[tuple[str, str], str] = field(default_factory=dict)


def facts_of(connection: Connection, job_ids: Sequence[str], by_device: bool = True) -> Facts:
    """Everything about the given job ids, and about the other parts of what they are parts of.

    Where it need not be known device by device the database adds up, which takes a small part of the memory.
    """
    facts = Facts()
    for row in connection.execute(select(tables.nodes)):
        facts.epochs[row.cluster, row.node] = row.epoch
    wanted = sorted({*job_ids, *_read_records(connection, job_ids, facts)})
    for some in _portions(wanted):
        _read_lines(connection, some, facts, by_device)
        _read_said(connection, some, facts)
    return facts


def _portions(job_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(job_ids), _AT_ONCE):
        yield job_ids[first : first + _AT_ONCE]


def _read_records(connection: Connection, job_ids: Sequence[str], facts: Facts) -> set[str]:
    """The records of the jobs that the ids are or belong to; gives the job ids of those that were found."""
    there = tables.records.c
    found: dict[RecordId, Record] = {}
    known: set[str] = set()
    wanted = set(job_ids)
    asked: set[str] = set()
    # Of an id that is found, as a part of another, all records are read: it may have been other jobs' too.
    while wanted:
        known |= wanted
        found |= (by_id := _records(connection, there.job_id, sorted(wanted)))
        wholes = {record.facts.whole for record in by_id.values()}
        new = (wholes | wanted) - asked
        asked |= new
        found |= _records(connection, there.whole, sorted(new), there.whole != there.job_id)
        wanted = ({key.job_id for key in found} | wholes) - known
    for key, record in found.items():
        facts.records[key.cluster, key.job_id].append(record)
    return {key.job_id for key in found}


def _records(
    connection: Connection, column: Any, names: Sequence[str], condition: Any = true()
) -> dict[RecordId, Record]:
    found: dict[RecordId, Record] = {}
    for some in _portions(names):
        told = records_where(connection, and_(among(column, some), condition))
        found |= {record.key: record for record in told}
    return found


def journal_where(connection: Connection, condition: Any) -> Iterator[tuple[JournalId, JournalEntry]]:
    """The declarations that a condition on the journal selects."""
    for row in connection.execute(select(tables.journal).where(condition)):
        entry = JournalEntry(row.time, row.job_id, row.started, row.channel, row.uid, row.pid, row.text, row.who)
        yield JournalId(row.cluster, row.node, row.epoch, row.seq), entry


_WHERE = ("cluster", "job_id", "started", "node", "epoch")


def _read_lines(connection: Connection, job_ids: Sequence[str], facts: Facts, by_device: bool) -> None:
    query = _each() if by_device else _together()
    for row in connection.execute(query.where(among(tables.usage.c.job_id, job_ids))):
        cluster, job_id, started, node, epoch, uuid, devices, last_seen, share, is_open, model = row[:11]
        usage = usage_of(row[11:])
        line = Line(started, node, epoch, uuid, devices, last_seen, share, bool(is_open), model, usage)
        facts.lines[cluster, job_id].append(line)
        facts.sights[cluster, job_id].append(Sight(started, last_seen))


@cache
def _each() -> Select[Any]:
    there = tables.usage.c
    return select(
        *(there[name] for name in _WHERE), there.uuid, literal(1), there.last_seen, there.share, there.open,
        there.model, *(there[name] for name in (*COUNTERS, *LATEST, *FIRST)),
    )  # fmt: skip


@cache
def _together() -> Select[Any]:
    there = tables.usage.c
    keys = [there[name] for name in _WHERE]
    return select(
        *keys, literal(""), func.count(), func.max(there.last_seen), func.sum(there.share),
        func.max(case((there.open, 1), else_=0)), there.model,
        *(func.sum(there[name]) for name in COUNTERS),
        *(func.max(there[name]) for name in LATEST),
        *(func.min(there[name]) for name in FIRST),
    ).group_by(*keys, there.model)  # fmt: skip


def _read_said(connection: Connection, job_ids: Sequence[str], facts: Facts) -> None:
    there = tables.journal.c
    by_scope = (there.scope_kind == "job") & among(there.scope, job_ids)
    for key, entry in journal_where(connection, or_(among(there.job_id, job_ids), by_scope)):
        for job_id in {entry.job_id, _named_job(entry)} - {None}:
            facts.journal[key.cluster, str(job_id)].append((key, entry))
    for row in connection.execute(_about(tables.progress, job_ids)):
        report = Progress(
            row.step, row.total, row.start_step, row.time, row.best, row.lost, row.least_total, row.most_total
        )
        facts.progress[row.cluster, row.job_id].append((row.node, row.started, report))
    for row in connection.execute(_about(tables.runs, job_ids)):
        event = RunEvent(row.time, row.name, row.uid, row.exit_code)
        facts.runs[row.cluster, row.job_id][row.kind] = event


def _named_job(entry: JournalEntry) -> str | None:
    return next((each.scope.name for each in estimates_of(entry) if each.scope.kind == "job"), None)


def _about(table: Table, job_ids: Sequence[str]) -> Select[Any]:
    return select(table).where(among(table.c.job_id, job_ids))
