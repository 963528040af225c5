"""What a figure is about: which rows are one attempt, what it is called, what is declared for it. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gpuwatch import declaration
from gpuwatch.errors import DeclarationError
from gpuwatch.ledger.ledger import NOT_STARTED, JournalEntry, JournalId
from gpuwatch.model import Alert, Estimate, Scope

TOLERANCE_SECONDS = 60.0
"""How far apart two nodes' sights of a job may lie and still be one attempt: less than a batch system takes to
start a job again, more than nodes take to start it together and than their clocks differ."""

CHANNEL_RANKS: Mapping[str, int] = {
    "api": 5, "cli": 5,
    "socket": 4,
    "annotation": 3, "comment": 3,
    "environment": 2,
    "file": 1,
}  # fmt: skip
"""Which way of declaring outranks which (CONTRACT 3); a way that is not here ranks lowest."""


class Sight(NamedTuple):
    """One node saw a job hold something from `started` to `last_seen`."""

    started: int
    last_seen: float


class AlertKey(NamedTuple):
    """What makes two alerts the same one."""

    kind: str
    scope: Scope
    quantity: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of a job, over all its nodes."""

    cluster: str
    job_id: str
    starts: frozenset[int]
    started: int
    last_seen: float


@dataclass(frozen=True, slots=True)
class Revision:
    """One estimate as it was declared; `in_force` is false where another has taken its place."""

    estimate: Estimate
    in_force: bool


def key_of(alert: Alert) -> AlertKey:
    """The identity of an alert."""
    return AlertKey(alert.kind, alert.scope, alert.quantity)


def attempts(cluster: str, job_id: str, sights: Iterable[Sight]) -> tuple[Attempt, ...]:
    """The attempts of a job id, oldest first: sights that overlap or touch, over whichever nodes, are one."""
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


def names(all_attempts: Iterable[Attempt]) -> dict[Attempt, str]:
    """What attempts are called: the first of a job id by the job id, later ones `<job_id>@<started>`."""
    by_job: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in all_attempts:
        by_job[attempt.job_id].append(attempt)
    named: dict[Attempt, str] = {}
    for job_id, found in by_job.items():
        taken: set[str] = set()
        for attempt in sorted(found, key=lambda each: (each.started, each.cluster)):
            name = f"{job_id}@{attempt.started}" if taken else job_id
            name = f"{name}@{attempt.cluster}" if name in taken else name
            taken.add(name)
            named[attempt] = name
    return named


def attempt_at(found: Sequence[Attempt], started: int, time: float) -> Attempt | None:
    """The attempt that something said at `time` is about: by `started`, else the one running or next to start."""
    for attempt in found:
        if started != NOT_STARTED and started in attempt.starts:
            return attempt
    for attempt in found:
        if time <= attempt.last_seen + TOLERANCE_SECONDS:
            return attempt
    return found[-1] if found else None


def channel_rank(channel: str) -> int:
    """The rank of a way of declaring; a higher rank wins whatever the time."""
    return CHANNEL_RANKS.get(channel, 0)


def estimates_of(entry: JournalEntry) -> tuple[Estimate, ...]:
    """What a journal entry estimates; nothing where it does not follow the grammar or speaks for another job.

    Who may speak for a job is decided by the kernel, at the agent's socket: the entry's own job, whatever the
    text claims. Campaigns, arrays and accounts anybody may estimate; all revisions are kept.
    """
    declared_by = "" if entry.uid is None else f"uid:{entry.uid}"
    try:
        read = declaration.parse(entry.text)
        found = declaration.estimates(read, entry.job_id, declared_by, entry.time, entry.channel)
    except DeclarationError:
        return ()
    if channel_rank(entry.channel) >= CHANNEL_RANKS["api"]:
        return found
    return tuple(each for each in found if each.scope.kind != "job" or each.scope.name == entry.job_id)


def revisions(declared: Iterable[tuple[JournalId, Estimate]]) -> tuple[Revision, ...]:
    """Everything declared for one scope, newest first, with what is in force marked."""
    ordered = sorted(declared, key=lambda each: (each[1].declared_at, each[0]), reverse=True)
    winners = {id(estimate) for estimate in _in_force(ordered).values()}
    return tuple(Revision(estimate, id(estimate) in winners) for _, estimate in ordered)


def in_force(declared: Iterable[tuple[JournalId, Estimate]]) -> dict[str, Estimate]:
    """The estimate that counts, by quantity: of the highest channel rank the latest."""
    return {each.estimate.quantity: each.estimate for each in revisions(declared) if each.in_force}


def _in_force(newest_first: Sequence[tuple[JournalId, Estimate]]) -> dict[str, Estimate]:
    winning: dict[str, Estimate] = {}
    for _, estimate in newest_first:
        standing = winning.get(estimate.quantity)
        if standing is None or channel_rank(estimate.channel) > channel_rank(standing.channel):
            winning[estimate.quantity] = estimate
    return winning


def campaign_of(entries: Collection[tuple[JournalId, JournalEntry]]) -> str | None:
    """The campaign a job says it belongs to: of the highest channel rank the latest."""
    said = [
        ((channel_rank(entry.channel), entry.time, key), read.campaign)
        for key, entry in entries
        if (read := _membership(entry)) is not None and read.campaign is not None
    ]
    return max(said)[1] if said else None


def _membership(entry: JournalEntry) -> declaration.Declaration | None:
    try:
        read = declaration.parse(entry.text)
    except DeclarationError:
        return None
    return read if read.scope in (None, Scope("job", entry.job_id or "")) else None
