"""Comments of batch jobs that declare, and change while their jobs wait or run: every revision is journalled.

A record has the comments that were seen last. What was said before is kept as a change is seen, by accounting's
time; a comment that never changes was made as its job was submitted, as far as is known, and needs no journal,
unless it is for a campaign, of which declarations are looked for there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf

from sqlalchemy import Connection, func, select

from gpuwatch.ledger import tables
from gpuwatch.ledger.ledger import NOT_STARTED, JournalEntry, JournalId
from gpuwatch.ledger.records import comments_of, said_in
from gpuwatch.ledger.sql import among
from gpuwatch.schedulers.base import Record, RecordId

NO_NODE = "-"
"""The node of what did not come by one."""

_AT_ONCE = 5000
_CHANNELS = ("comment", "admin-comment")
_SEQ_BITS = 53
_CAMPAIGN = "for=campaign:"

_Said = tuple[tuple[str, str], ...]
_Before = tuple[float, _Said]
_Kept = tuple[str, str, str]


def commented(record: Record, channel: str, text: str, time: float) -> tuple[JournalId, JournalEntry]:
    """A declaration in a comment as an entry of the journal: the job's user made it, or an administrator."""
    key = record.key
    # The same change, seen again, is the same entry.
    said = "\0".join((key.job_id, str(key.submitted), text, repr(time)))
    seq = int.from_bytes(hashlib.sha256(said.encode("utf-8", "replace")).digest()[:8]) >> (64 - _SEQ_BITS)
    who = (record.facts.user or None) if channel == "comment" else None
    entry = JournalEntry(time, key.job_id, NOT_STARTED, channel, None, None, text, who)
    return JournalId(key.cluster, NO_NODE, channel, seq), entry


def changes(connection: Connection, records: Iterable[Record]) -> Iterator[tuple[JournalId, JournalEntry]]:
    """What records that are about to be merged declare in comments and did not before, and what before."""
    telling = [
        each for each in records if each.live is not None and (each.live.comment or each.live.admin_comment)
    ]
    for first in range(0, len(telling), _AT_ONCE):
        some = telling[first : first + _AT_ONCE]
        before = _before(connection, some)
        changed = [each for each in some if _is_new(each, before.get(each.key))]
        kept = _kept(connection, changed) if changed else {}
        for record in changed:
            yield from _changes_of(record, before.get(record.key), kept)


def _is_new(record: Record, before: _Before | None) -> bool:
    if before is None:
        return any(_CAMPAIGN in text for _, text in comments_of(record))
    return record.live is not None and record.live.seen > before[0] and comments_of(record) != before[1]


def _changes_of(
    record: Record, before: _Before | None, kept: Mapping[_Kept, float]
) -> Iterator[tuple[JournalId, JournalEntry]]:
    said, now = dict(before[1]) if before else {}, dict(comments_of(record))
    submitted = float(record.key.submitted)
    for channel in _CHANNELS:
        old, new = said.get(channel), now.get(channel)
        if old == new:
            continue
        # What is kept from before it was submitted is of a job that had its id, or of an attempt that is over.
        if old is not None and kept.get((record.key.cluster, record.key.job_id, channel), -inf) < submitted:
            yield commented(record, channel, old, submitted)
        if new is not None and record.live is not None:
            yield commented(record, channel, new, record.live.seen if before else submitted)


def _before(connection: Connection, records: Sequence[Record]) -> dict[RecordId, _Before]:
    """When the comments of records were seen last, and what they declared."""
    there = tables.records.c
    columns = (there.cluster, there.job_id, there.submitted, there.live_seen, there.comment, there.admin_comment)
    named = among(there.job_id, sorted({record.key.job_id for record in records}))
    return {
        RecordId(*row[:3]): (row[3], said_in(row[4] or "", row[5] or ""))
        for row in connection.execute(select(*columns).where(named, there.live_seen.is_not(None)))
    }


def _kept(connection: Connection, records: Sequence[Record]) -> dict[_Kept, float]:
    """The comments of which the journal has something already, and when the latest of it was said."""
    there = tables.journal.c
    named = among(there.job_id, sorted({record.key.job_id for record in records}))
    comment = there.cluster, there.job_id, there.channel
    query = select(*comment, func.max(there.time)).where(named, there.channel.in_(_CHANNELS)).group_by(*comment)
    return {(row[0], row[1], row[2]): row[3] for row in connection.execute(query)}
