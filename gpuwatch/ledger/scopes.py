"""What is declared for a figure's scope, and which of several declarations counts. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gpuwatch import declaration
from gpuwatch.errors import DeclarationError
from gpuwatch.ledger.attempts import TOLERANCE_SECONDS
from gpuwatch.ledger.ledger import JournalEntry, JournalId
from gpuwatch.ledger.posting import parsed
from gpuwatch.model import Alert, Estimate, Scope

CHANNEL_RANKS: Mapping[str, int] = {
    "api": 5, "cli": 5,
    "socket": 4,
    "annotation": 3, "comment": 3, "admin-comment": 3,
    "environment": 2,
    "file": 1,
}  # fmt: skip
"""Which way of declaring outranks which; a way that is not here ranks lowest."""


PROVEN = ("api", "cli")
"""The ways by which who declares was proven, and asked for the right to; the time is accounting's own."""

WHOLE_SECOND = 1.0
"""Batch systems cut the fraction off the time at which a job ended: it ran until some time in that second."""

EARLY_SHARE = 0.1
"""What was declared in this first part of a run is what it is judged by."""


class Life(NamedTuple):
    """When something ran, Unix seconds; `ended` is None while it runs. `resumes`: more of it may come later."""

    started: float
    ended: float | None = None
    resumes: bool = False


class AlertKey(NamedTuple):
    """What makes two alerts the same one."""

    kind: str
    scope: Scope
    quantity: str


@dataclass(frozen=True, slots=True)
class Revision:
    """One estimate as it was declared; `in_force` is false where another has taken its place.

    `original` is the first one of a quantity, made before a tenth of the run; `after_end` one that came too late.
    `cluster` is where it was declared, which names and user ids are of.
    """

    estimate: Estimate
    in_force: bool
    original: bool = False
    after_end: bool = False
    cluster: str = ""


def key_of(alert: Alert) -> AlertKey:
    """The identity of an alert."""
    return AlertKey(alert.kind, alert.scope, alert.quantity)


def channel_rank(channel: str) -> int:
    """The rank of a way of declaring; a higher rank wins whatever the time."""
    return CHANNEL_RANKS.get(channel, 0)


def estimates_of(entry: JournalEntry) -> tuple[Estimate, ...]:
    """What a journal entry estimates; nothing where it does not follow the grammar or speaks for another job.

    Who may speak for a job is decided by the kernel, at the agent's socket: the entry's own job, whatever the
    text claims. For accounts and arrays it is decided by accounting's API alone; for campaigns see `rightful`.
    """
    declared_by = declarer_of(entry)
    read = parsed(entry.text)
    if read is None:
        return ()
    try:
        found = declaration.estimates(read, entry.job_id, declared_by, entry.time, entry.channel)
    except DeclarationError:
        return ()
    if entry.channel in PROVEN:
        return found
    own = Scope("job", entry.job_id or "")
    return tuple(each for each in found if each.scope == own or each.scope.kind == "campaign")


def declarer_of(entry: JournalEntry) -> str:
    """Who declared, in words: by name where one is proven, else by user id; empty where nobody knows."""
    if entry.channel == "admin-comment":
        return "administrator"
    if entry.who:
        return f"user:{entry.who}"
    return "" if entry.uid is None else f"uid:{entry.uid}"


def rightful(
    said: Sequence[tuple[JournalId, JournalEntry]],
    members: Collection[tuple[str, str]],
    owners: Collection[tuple[str, int | str]],
) -> list[tuple[JournalId, JournalEntry]]:
    """What was said for a campaign by who may: from a job in it (`members`), by an owner of one (as cluster and
    user id or name), by who declared for it first, or by somebody whose right accounting's API knew."""
    if not said:
        return []
    first_key, first = min(said, key=lambda each: (each[1].time, each[0]))
    return [
        (key, entry)
        for key, entry in said
        if entry.channel in PROVEN
        or (key.cluster, entry.job_id) in members
        or (key.cluster, entry.uid) in owners
        or (key.cluster, entry.who) in owners
        or (key.cluster == first_key.cluster and _are_one(entry, first))
    ]


def _are_one(entry: JournalEntry, other: JournalEntry) -> bool:
    """Whether one said both, by user id or by name; of what nobody is known to have said nobody can tell."""
    if entry is other or (entry.uid is not None and entry.uid == other.uid):
        return True
    return declarer_of(entry) == declarer_of(other) != ""


def revisions(declared: Collection[tuple[JournalId, Estimate]], life: Life | None = None) -> tuple[Revision, ...]:
    """Everything declared for one scope, newest first, with what is in force and what is original marked.

    `life` is when the scope ran; without it whatever came first is original, and nothing came too late.
    """
    if not declared:
        return ()
    ordered = sorted(declared, key=lambda each: (each[1].declared_at, each[0]), reverse=True)
    in_time = [each for each in ordered if not _is_after_end(each[1], life)]
    winners = {id(estimate) for estimate in _in_force(in_time).values()}
    originals = {id(estimate) for estimate in _originals(in_time, life).values()}
    timely = {id(estimate) for _, estimate in in_time}
    return tuple(
        Revision(each, id(each) in winners, id(each) in originals, id(each) not in timely, key.cluster)
        for key, each in ordered
    )


def _is_after_end(estimate: Estimate, life: Life | None) -> bool:
    """A process of a job that declares ran, whatever the clocks of its node and the batch system say."""
    if life is None or life.ended is None or life.resumes:
        return False
    return estimate.declared_at > life.ended + (WHOLE_SECOND if estimate.channel in PROVEN else TOLERANCE_SECONDS)


def _originals(newest_first: Sequence[tuple[JournalId, Estimate]], life: Life | None) -> dict[str, Estimate]:
    """The first of each quantity, unless more than a tenth of the run was over; how long one is, its end tells."""
    first = {estimate.quantity: estimate for _, estimate in newest_first}
    if life is None or life.ended is None:
        return first
    until = life.started + EARLY_SHARE * (life.ended - life.started)
    return {quantity: each for quantity, each in first.items() if each.declared_at <= until}


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
        if (read := _membership(entry, "campaign=")) is not None and read.campaign is not None
    ]
    return max(said)[1] if said else None


def tags_of(entries: Collection[tuple[JournalId, JournalEntry]]) -> dict[str, str]:
    """The tags that a job gives itself: of each key the value of the highest channel rank, of those the latest."""
    said = sorted(
        ((channel_rank(entry.channel), entry.time, key), read.tags)
        for key, entry in entries
        if (read := _membership(entry, "tag=")) is not None and read.tags
    )
    return {key: value for _, tags in said for key, value in tags}


def _membership(entry: JournalEntry, word: str) -> declaration.Declaration | None:
    """What it says of its own job; texts without the word are not read, as there may be tens of thousands."""
    read = parsed(entry.text) if word in entry.text else None
    return read if read is not None and read.scope in (None, Scope("job", entry.job_id or "")) else None
