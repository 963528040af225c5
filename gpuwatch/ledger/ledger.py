"""The arithmetic of the ledger: what is posted and how two postings merge. Pure; `store.py` does it in SQL.

The rule: for each (cluster, node, epoch, job_id, started, uuid, counter) the maximum ever seen; totals are sums
over epochs (`measures.py`). Every other fact merges likewise by an operation that is commutative, associative and
idempotent, so that duplicates, replays, late and out-of-order deliveries all end in the same ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar

from gpuwatch.ledger.measures import Measures, merged, summed, usage_of
from gpuwatch.model import EMPTY, Progress, Usage

NOT_STARTED = 0
"""The `started` of a declaration or a progress report made before the job held a device."""

K = TypeVar("K")
V = TypeVar("V")


class RowId(NamedTuple):
    """One row of counters: a job on a device, as one life of a node's state counted it."""

    cluster: str
    node: str
    epoch: str
    job_id: str
    started: int
    uuid: str


class JournalId(NamedTuple):
    """One entry of an agent's journal."""

    cluster: str
    node: str
    epoch: str
    seq: int


class ProgressId(NamedTuple):
    """A job as one node saw it; `started` may be `NOT_STARTED`."""

    cluster: str
    node: str
    job_id: str
    started: int


class RunId(NamedTuple):
    """The begin or the end (`kind`) of a run that was registered on a node."""

    cluster: str
    node: str
    job_id: str
    kind: str


@dataclass(frozen=True, slots=True)
class Held:
    """What is known of a row beside its measures; `model` is empty where the agent did not say."""

    last_seen: float
    share: float
    basis: str
    model: str
    open: bool


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One declaration as it was made. `uid` is the kernel's word, `text` the declarer's, `who` a proven name."""

    time: float
    job_id: str | None
    started: int
    channel: str
    uid: int | None
    pid: int | None
    text: str
    who: str | None = None


@dataclass(frozen=True, slots=True)
class RunEvent:
    """A run's begin (name, uid) or end (exit code)."""

    time: float
    name: str | None
    uid: int | None
    exit_code: int | None


@dataclass(frozen=True, slots=True)
class Posting:
    """A delivery as the ledger takes it; `rejected` counts what was not taken, by reason.

    `seq` is None where it moves no watermark.
    """

    cluster: str
    node: str
    epoch: str
    seq: int | None
    now: float
    rows: int = 0
    measures: Mapping[RowId, Measures] = EMPTY
    held: Mapping[RowId, Held] = EMPTY
    journal: Mapping[JournalId, JournalEntry] = EMPTY
    progress: Mapping[ProgressId, Progress] = EMPTY
    runs: Mapping[RunId, RunEvent] = EMPTY
    rejected: Mapping[str, int] = EMPTY


def merge_held(left: Held, right: Held) -> Held:
    """The facts seen last; a row that was ever seen closed stays closed."""
    return replace(max(left, right, key=_held_order), open=left.open and right.open)


def _held_order(held: Held) -> tuple[float, float, str, str]:
    return held.last_seen, held.share, held.basis, held.model


def merge_progress(left: Progress, right: Progress) -> Progress:
    """The latest report, with the first step, the farthest, all that was lost, and the bounds of the total."""
    latest = max(left, right, key=lambda each: (each.time, each.step, each.total))
    return replace(
        latest,
        start_step=min(left.start_step, right.start_step),
        best=_greater(left.best, right.best),
        lost=_greater(left.lost, right.lost),
        least_total=_lesser(left.least_total, right.least_total),
        most_total=_greater(left.most_total, right.most_total),
    )


def _lesser(left: float | None, right: float | None) -> float | None:
    known = [each for each in (left, right) if each is not None]
    return min(known) if known else None


def _greater(left: float | None, right: float | None) -> float | None:
    known = [each for each in (left, right) if each is not None]
    return max(known) if known else None


def merge_run(left: RunEvent, right: RunEvent) -> RunEvent:
    """The later of two; among equals any fixed order will do."""
    return max(left, right, key=_run_order)


def _run_order(event: RunEvent) -> tuple[float, str, float, float]:
    uid = LOWEST if event.uid is None else event.uid
    exit_code = LOWEST if event.exit_code is None else event.exit_code
    return event.time, event.name or "", uid, exit_code


LOWEST = -1e18
"""What an unknown number counts as where facts are ordered, here and in SQL."""


def merge_entry(left: JournalEntry, right: JournalEntry) -> JournalEntry:
    """A journal entry never changes, so either is right."""
    return min(left, right, key=repr)


def merge_into(book: dict[K, V], posted: Mapping[K, V], merge: Callable[[V, V], V]) -> None:
    """Merge `posted` into `book`, key by key."""
    for key, value in posted.items():
        book[key] = merge(book[key], value) if key in book else value


@dataclass(slots=True)
class Book:
    """A ledger in memory: the model that the store is tested against."""

    measures: dict[RowId, Measures] = field(default_factory=dict)
    held: dict[RowId, Held] = field(default_factory=dict)
    journal: dict[JournalId, JournalEntry] = field(default_factory=dict)
    progress: dict[ProgressId, Progress] = field(default_factory=dict)
    runs: dict[RunId, RunEvent] = field(default_factory=dict)

    def post(self, posting: Posting) -> None:
        """Take a posting; any order and any number of times give the same book."""
        merge_into(self.measures, posting.measures, merged)
        merge_into(self.held, posting.held, merge_held)
        merge_into(self.journal, posting.journal, merge_entry)
        merge_into(self.progress, posting.progress, merge_progress)
        merge_into(self.runs, posting.runs, merge_run)

    def total(self, cluster: str, job_id: str) -> Usage:
        """What a job used over its nodes, epochs and devices."""
        rows = [values for row, values in sorted(self.measures.items()) if row[0] == cluster and row[3] == job_id]
        return usage_of(summed(rows)) if rows else Usage()
