"""Which rows and records are one attempt, which attempts are one job, and what it is called. Pure.

A batch system's record is an attempt of its own, and what nodes saw belongs to the record that it overlaps: by
overlap, never by equality of clocks. What no record covers is put together by its times alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gpuwatch.ledger.ledger import NOT_STARTED
from gpuwatch.ledger.records import held_until
from gpuwatch.schedulers.base import REQUEUES, WAITING, Record, RecordId

TOLERANCE_SECONDS = 60.0
"""How far apart two nodes' sights of a job may lie and still be one attempt: less than a batch system takes to
start a job again, more than nodes take to start it together and than their clocks differ."""


class Sight(NamedTuple):
    """One node saw a job hold something from `started` to `last_seen`."""

    started: int
    last_seen: float


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of a job id, over all its nodes; `record` is what the batch system says of it, if there is one."""

    cluster: str
    job_id: str
    starts: frozenset[int]
    started: int
    last_seen: float
    record: Record | None = None


@dataclass(frozen=True, slots=True)
class Chain:
    """The attempts that are one job, oldest first: a requeue continues it, parts of it run side by side.

    `waiting` is the record of the next attempt, where the job waits in the queue for one.
    """

    cluster: str
    whole: str
    attempts: tuple[Attempt, ...]
    waiting: Record | None = None

    @property
    def started(self) -> int:
        """When its first attempt began."""
        return self.attempts[0].started

    def runs(self) -> tuple[tuple[Attempt, ...], ...]:
        """Its attempts by time: those that overlap are parts of one run."""
        if len(self.attempts) == 1:
            return (self.attempts,)
        found: list[list[Attempt]] = []
        end = float("-inf")
        for attempt in self.attempts:
            if found and attempt.started < end:
                found[-1].append(attempt)
            else:
                found.append([attempt])
            end = max(end, attempt.last_seen)
        return tuple(map(tuple, found))


def attempts(
    cluster: str, job_id: str, sights: Sequence[Sight], records: Iterable[Record] = (), now: float = float("inf")
) -> tuple[Attempt, ...]:
    """The attempts of a job id, oldest first: its records, and sights beside them that overlap or touch."""
    # In one order, whichever a database has them in: of records that cover a sight alike the first has it.
    began = sorted((each for each in records if held_until(each, now) is not None), key=lambda each: each.key)
    if not began:
        return _by_time(cluster, job_id, sights)
    if not sights and len(began) == 1:
        return (_recorded(began[0], (), now),)
    seen: dict[RecordId | None, list[Sight]] = defaultdict(list)
    for sight in sights:
        seen[_covering(sight, began, now)].append(sight)
    found = [_recorded(record, seen[record.key], now) for record in began]
    found += _by_time(cluster, job_id, seen[None])
    return tuple(sorted(found, key=lambda each: (each.started, each.last_seen)))


def _by_time(cluster: str, job_id: str, sights: Iterable[Sight]) -> tuple[Attempt, ...]:
    found: list[Attempt] = []
    for sight in sorted(sights):
        end = max(sight.last_seen, float(sight.started))
        if found and sight.started <= found[-1].last_seen + TOLERANCE_SECONDS:
            last = found.pop()
            starts, started, end = last.starts | {sight.started}, last.started, max(end, last.last_seen)
        else:
            starts, started = frozenset({sight.started}), sight.started
        found.append(Attempt(cluster, job_id, starts, started, end))
    return tuple(found)


def _covering(sight: Sight, records: Iterable[Record], now: float) -> RecordId | None:
    """The record that a sight overlaps, within the tolerance; of several the one that it overlaps longest."""
    best: RecordId | None = None
    most = -TOLERANCE_SECONDS
    for record in records:
        begin, end = record.facts.started or 0.0, held_until(record, now) or 0.0
        if record.facts.ended is None:
            end = max(end, sight.last_seen)
        overlap = min(sight.last_seen, end) - max(sight.started, begin)
        if overlap > most:
            best, most = record.key, overlap
    return best


def _recorded(record: Record, sights: Sequence[Sight], now: float) -> Attempt:
    until = held_until(record, now) or 0.0
    if sights and record.facts.ended is None:
        until = max(until, max(sight.last_seen for sight in sights))
    starts = frozenset(sight.started for sight in sights)
    started = int(record.facts.started or 0.0)
    return Attempt(record.key.cluster, record.key.job_id, starts, started, max(until, float(started)), record)


def chains(found: Iterable[Attempt], records: Iterable[Record] = ()) -> tuple[Chain, ...]:
    """Attempts put together to jobs. A job id used again by another job begins a chain of its own."""
    by_whole: dict[tuple[str, str], list[Attempt]] = defaultdict(list)
    made: list[Chain] = []
    for attempt in found:
        if attempt.record is None:
            made.append(Chain(attempt.cluster, attempt.job_id, (attempt,)))
        else:
            by_whole[attempt.cluster, whole_of(attempt.record)].append(attempt)
    waiting = {(each.key.cluster, whole_of(each)): each for each in records if each.facts.state in WAITING}
    for key, those in by_whole.items():
        for links in _links(sorted(those, key=lambda each: (each.started, each.last_seen))):
            made.append(Chain(*key, tuple(links), _next(links, waiting.get(key))))
    return tuple(made)


def whole_of(record: Record) -> str:
    """The job that a record is a part of."""
    return record.facts.whole or record.key.job_id


def _links(ordered: Sequence[Attempt]) -> list[list[Attempt]]:
    found: list[list[Attempt]] = []
    for attempt in ordered:
        linked = reversed(found[-1] if found else [])
        before = next((each for each in linked if each.job_id == attempt.job_id), None)
        if found and (before is None or continues(before.record, attempt.record)):
            found[-1].append(attempt)
        else:
            found.append([attempt])
    return found


def _next(links: Sequence[Attempt], waiting: Record | None) -> Record | None:
    latest = links[-1].record
    return waiting if waiting is not None and continues(latest, waiting) else None


def continues(before: Record | None, after: Record | None) -> bool:
    """Whether a submission is the same job's next attempt, and not another job with a reused id."""
    if before is None or after is None:
        return False
    if (before.facts.user, before.facts.name) != (after.facts.user, after.facts.name):
        return False
    if before.facts.state in REQUEUES or (after.facts.restarts or 0) > 0:
        return True
    ended = before.facts.ended
    return ended is None or 0 <= after.key.submitted - ended + 1 <= TOLERANCE_SECONDS


def named(found: Iterable[Chain]) -> list[tuple[str, Chain]]:
    """Jobs with what they are called: the first of an id by the id, later ones `<job_id>@<started>`."""
    by_job: dict[str, list[Chain]] = defaultdict(list)
    for chain in found:
        by_job[chain.whole].append(chain)
    result: list[tuple[str, Chain]] = []
    for whole, those in by_job.items():
        taken: set[str] = set()
        for chain in sorted(those, key=lambda each: (each.started, each.cluster)):
            name = f"{whole}@{chain.started}" if taken else whole
            name = f"{name}@{chain.cluster}" if name in taken else name
            taken.add(name)
            result.append((name, chain))
    return result


def attempt_at(found: Sequence[Attempt], started: int, time: float) -> Attempt | None:
    """The attempt that something said at `time` is about: by `started`, else the one running or next to start."""
    for attempt in found:
        if started != NOT_STARTED and (started in attempt.starts or started == attempt.started):
            return attempt
    for attempt in found:
        if time <= attempt.last_seen + TOLERANCE_SECONDS:
            return attempt
    return found[-1] if found else None
