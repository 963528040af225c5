"""What jobs held and when, out of the ledger: by the batch system's word, else by what agents saw."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, and_, exists, or_, select

from gpuwatch.ledger import scopes, tables
from gpuwatch.ledger.attempts import TOLERANCE_SECONDS
from gpuwatch.ledger.facts import journal_where
from gpuwatch.ledger.ledger import NOT_STARTED, JournalEntry, JournalId
from gpuwatch.ledger.periods import Span
from gpuwatch.ledger.record_store import records_where
from gpuwatch.ledger.records import comment_text, devices_of, held_until
from gpuwatch.schedulers.base import Record

_Said = Mapping[tuple[str, str], list[tuple[JournalId, JournalEntry]]]
_USER = "user:"


def spans(connection: Connection, begins: float, ends: float, now: float, campaigns: bool) -> Iterator[Span]:
    """Everything held in [begins, ends); a job whose devices the batch system told counts by its word alone.

    Campaigns are looked up only where they are asked for. A running job's span ends when it was last seen.
    """
    said = _said(connection) if campaigns else {}
    told: dict[tuple[str, str], Span] = {}
    for span in _allocated(connection, begins, ends, now, said, campaigns):
        if span.devices is None:
            told[span.job] = span
        yield span
    yield from _held(connection, begins, ends, said, told)


def _allocated(
    connection: Connection, begins: float, ends: float, now: float, said: _Said, campaigns: bool
) -> Iterator[Span]:
    there = tables.records.c
    overlapping = and_(there.started < ends, or_(there.ended.is_(None), there.ended > begins))
    for record in records_where(connection, overlapping):
        until, facts = held_until(record, now), record.facts
        if until is None or facts.started is None:
            continue
        job = record.key.cluster, record.key.job_id
        campaign = _campaign(record, said.get(job, [])) if campaigns else None
        yield Span(
            job, facts.started, until, devices_of(record), facts.cpus, facts.user, facts.account, facts.partition,
            campaign,
        )  # fmt: skip


def _held(
    connection: Connection, begins: float, ends: float, said: _Said, told: Mapping[tuple[str, str], Span]
) -> Iterator[Span]:
    """What agents counted, at an even rate from first to last sight; whose it is, `told` may know."""
    held, counted, records = tables.held.c, tables.counters.c, tables.records.c
    same = and_(*(held[name] == counted[name] for name in _ROW))
    by_record = exists().where(
        records.job_id == held.job_id,
        records.cluster == held.cluster,
        or_(records.devices.is_not(None), records.live_devices.is_not(None)),
        # By overlap: another job may have had the id before.
        records.started <= held.last_seen + TOLERANCE_SECONDS,
        or_(records.ended.is_(None), records.ended >= held.started - TOLERANCE_SECONDS),
    )
    query = (
        select(held.cluster, held.job_id, held.started, held.last_seen, counted.value)
        .join(tables.counters, and_(same, counted.counter == "held_seconds"))
        .where(held.started < ends, held.last_seen > begins, counted.value > 0, ~by_record)
    )
    users = _users(connection)
    for row in connection.execute(query):
        job = row.cluster, row.job_id
        seconds = row.last_seen - row.started if row.last_seen > row.started else row.value
        seen = Span(job, row.started, row.started + seconds, row.value / seconds)
        owner = told.get(job)
        if owner is None:
            yield replace(seen, user=_user(row, users), campaign=scopes.campaign_of(said.get(job, [])))
        else:
            yield replace(owner, begins=seen.begins, ends=seen.ends, devices=seen.devices, cpus=None)


_ROW = ("job_id", "started", "cluster", "node", "epoch", "uuid")


def _said(connection: Connection) -> _Said:
    """What each job declared that names a campaign."""
    said: dict[tuple[str, str], list[tuple[JournalId, JournalEntry]]] = defaultdict(list)
    for key, entry in journal_where(connection, tables.journal.c.campaign.is_not(None)):
        if entry.job_id is not None:
            said[key.cluster, entry.job_id].append((key, entry))
    return said


def _campaign(record: Record, said: list[tuple[JournalId, JournalEntry]]) -> str | None:
    text = comment_text(record)
    if text is None or record.live is None:
        return scopes.campaign_of(said)
    job_id = record.key.job_id
    comment = JournalEntry(record.live.seen, job_id, NOT_STARTED, "comment", None, None, text)
    return scopes.campaign_of([*said, (JournalId(record.key.cluster, "", "", 0), comment)])


def _users(connection: Connection) -> dict[tuple[str, str], str]:
    there = tables.runs.c
    known = select(there.cluster, there.job_id, there.uid).where(there.uid.is_not(None))
    return {(row.cluster, row.job_id): f"uid:{row.uid}" for row in connection.execute(known)}


def _user(row: Any, users: Mapping[tuple[str, str], str]) -> str | None:
    """Whose it is: jobs outside of a batch system are called by their user, or were begun by one."""
    job_id: str = row.job_id
    return job_id.removeprefix(_USER) if job_id.startswith(_USER) else users.get((row.cluster, job_id))
