"""The ledger's rows about some jobs, read in one go and laid out by job; what they mean is `queries.py`'s."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Select, Table, and_, or_, select, true

from gpuwatch.ledger import tables
from gpuwatch.ledger.attempts import Sight
from gpuwatch.ledger.ledger import Held, JournalEntry, JournalId, RowId, RunEvent
from gpuwatch.ledger.record_store import records_where
from gpuwatch.ledger.scopes import estimates_of
from gpuwatch.ledger.tables import among
from gpuwatch.model import Labels, Progress, Usage
from gpuwatch.schedulers.base import Record, RecordId

JobId = tuple[str, str]
"""A cluster and a job id."""

_AT_ONCE = 5000


@dataclass(slots=True)
class Facts:
    """What the ledger has on some jobs."""

    held: dict[JobId, dict[RowId, Held]] = field(default_factory=lambda: defaultdict(dict))
    sights: dict[JobId, list[Sight]] = field(default_factory=lambda: defaultdict(list))
    usage: dict[RowId, Usage] = field(default_factory=lambda: defaultdict(Usage))
    journal: dict[JobId, list[tuple[JournalId, JournalEntry]]] = field(default_factory=lambda: defaultdict(list))
    progress: dict[JobId, list[tuple[str, int, Progress]]] = field(default_factory=lambda: defaultdict(list))
    runs: dict[JobId, dict[str, RunEvent]] = field(default_factory=lambda: defaultdict(dict))
    records: dict[JobId, list[Record]] = field(default_factory=lambda: defaultdict(list))
    epochs: dict[tuple[str, str], str] = field(default_factory=dict)


def facts_of(connection: Connection, job_ids: Sequence[str]) -> Facts:
    """Everything about the given job ids, and about the other parts of what they are parts of."""
    facts = Facts()
    for row in connection.execute(select(tables.nodes)):
        facts.epochs[row.cluster, row.node] = row.epoch
    wanted = sorted({*job_ids, *_read_records(connection, job_ids, facts)})
    for some in _portions(wanted):
        _read_rows(connection, some, facts)
        _read_said(connection, some, facts)
    return facts


def _portions(job_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(job_ids), _AT_ONCE):
        yield job_ids[first : first + _AT_ONCE]


def _read_records(connection: Connection, job_ids: Sequence[str], facts: Facts) -> set[str]:
    """The records of the jobs that the ids are or belong to; gives the job ids of those that were found."""
    there = tables.records.c
    found = _records(connection, there.job_id, job_ids)
    wholes = {record.facts.whole for record in found.values()}.difference(job_ids)
    found |= _records(connection, there.job_id, sorted(wholes))
    found |= _records(connection, there.whole, sorted(wholes.union(job_ids)), there.whole != there.job_id)
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
        entry = JournalEntry(row.time, row.job_id, row.started, row.channel, row.uid, row.pid, row.text)
        yield JournalId(row.cluster, row.node, row.epoch, row.seq), entry


def _read_rows(connection: Connection, job_ids: Sequence[str], facts: Facts) -> None:
    for row in connection.execute(_about(tables.held, job_ids)):
        key = _row_id(row)
        held = Held(row.last_seen, row.share, row.basis, row.model, row.open)
        facts.held[key.cluster, key.job_id][key] = held
        facts.sights[key.cluster, key.job_id].append(Sight(key.started, held.last_seen))
    counters: dict[RowId, dict[str, float]] = defaultdict(dict)
    for row in connection.execute(_about(tables.counters, job_ids)):
        counters[_row_id(row)][row.counter] = row.value
    for key, values in counters.items():
        facts.usage[key] = usage_of(values)


def _read_said(connection: Connection, job_ids: Sequence[str], facts: Facts) -> None:
    there = tables.journal.c
    by_scope = (there.scope_kind == "job") & among(there.scope, job_ids)
    for key, entry in journal_where(connection, or_(among(there.job_id, job_ids), by_scope)):
        for job_id in {entry.job_id, _named_job(entry)} - {None}:
            facts.journal[key.cluster, str(job_id)].append((key, entry))
    for row in connection.execute(_about(tables.progress, job_ids)):
        report = Progress(row.step, row.total, row.start_step, row.time)
        facts.progress[row.cluster, row.job_id].append((row.node, row.started, report))
    for row in connection.execute(_about(tables.runs, job_ids)):
        event = RunEvent(row.time, row.name, row.uid, row.exit_code)
        facts.runs[row.cluster, row.job_id][row.kind] = event


def _named_job(entry: JournalEntry) -> str | None:
    return next((each.scope.name for each in estimates_of(entry) if each.scope.kind == "job"), None)


def _about(table: Table, job_ids: Sequence[str]) -> Select[Any]:
    return select(table).where(among(table.c.job_id, job_ids))


def _row_id(row: Any) -> RowId:
    return RowId(row.cluster, row.node, row.epoch, row.job_id, row.started, row.uuid)


def usage_of(counters: Mapping[str, float]) -> Usage:
    """The usage that a row's counters are; a counter that was never measured stays unknown."""
    labelled: dict[str, dict[Labels, float]] = defaultdict(dict)
    for counter, value in counters.items():
        name, colon, label = counter.partition(":")
        if colon:
            labelled[name][label] = value
    return Usage(
        held_seconds=counters.get("held_seconds", 0.0),
        busy_seconds=counters.get("busy_seconds"),
        memory_byte_seconds=counters.get("memory_byte_seconds"),
        tensor_seconds=counters.get("tensor_seconds"),
        energy_unmeasured_seconds=counters.get("energy_unmeasured_seconds", 0.0),
        state_seconds=labelled["state_seconds"],
        energy_joules=labelled["energy_joules"],
        throttled_seconds=labelled["throttled_seconds"],
    )
