"""What is declared for a figure's scope, and which of several declarations counts. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gpuwatch import declaration
from gpuwatch.errors import DeclarationError
from gpuwatch.ledger.ledger import JournalEntry, JournalId
from gpuwatch.ledger.posting import parsed
from gpuwatch.model import Alert, Estimate, Scope

CHANNEL_RANKS: Mapping[str, int] = {
    "api": 5, "cli": 5,
    "socket": 4,
    "annotation": 3, "comment": 3,
    "environment": 2,
    "file": 1,
}  # fmt: skip
"""Which way of declaring outranks which (CONTRACT 3); a way that is not here ranks lowest."""


class AlertKey(NamedTuple):
    """What makes two alerts the same one."""

    kind: str
    scope: Scope
    quantity: str


@dataclass(frozen=True, slots=True)
class Revision:
    """One estimate as it was declared; `in_force` is false where another has taken its place."""

    estimate: Estimate
    in_force: bool


def key_of(alert: Alert) -> AlertKey:
    """The identity of an alert."""
    return AlertKey(alert.kind, alert.scope, alert.quantity)


def channel_rank(channel: str) -> int:
    """The rank of a way of declaring; a higher rank wins whatever the time."""
    return CHANNEL_RANKS.get(channel, 0)


def estimates_of(entry: JournalEntry) -> tuple[Estimate, ...]:
    """What a journal entry estimates; nothing where it does not follow the grammar or speaks for another job.

    Who may speak for a job is decided by the kernel, at the agent's socket: the entry's own job, whatever the
    text claims. Campaigns, arrays and accounts anybody may estimate; all revisions are kept.
    """
    declared_by = "" if entry.uid is None else f"uid:{entry.uid}"
    read = parsed(entry.text)
    if read is None:
        return ()
    try:
        found = declaration.estimates(read, entry.job_id, declared_by, entry.time, entry.channel)
    except DeclarationError:
        return ()
    if channel_rank(entry.channel) >= CHANNEL_RANKS["api"]:
        return found
    return tuple(each for each in found if each.scope.kind != "job" or each.scope.name == entry.job_id)


def revisions(declared: Collection[tuple[JournalId, Estimate]]) -> tuple[Revision, ...]:
    """Everything declared for one scope, newest first, with what is in force marked."""
    if not declared:
        return ()
    ordered = sorted(declared, key=lambda each: (each[1].declared_at, each[0]), reverse=True)
    winners = {id(estimate) for estimate in _in_force(ordered).values()}
    return tuple(Revision(estimate, id(estimate) in winners) for _, estimate in ordered)


def in_force(declared: Collection[tuple[JournalId, Estimate]]) -> dict[str, Estimate]:
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


def tags_of(entries: Collection[tuple[JournalId, JournalEntry]]) -> dict[str, str]:
    """The tags that a job gives itself: of each key the value of the highest channel rank, of those the latest."""
    said = sorted(
        ((channel_rank(entry.channel), entry.time, key), read.tags)
        for key, entry in entries
        if (read := _membership(entry)) is not None and read.tags
    )
    return {key: value for _, tags in said for key, value in tags}


def _membership(entry: JournalEntry) -> declaration.Declaration | None:
    read = parsed(entry.text)
    return read if read is not None and read.scope in (None, Scope("job", entry.job_id or "")) else None
