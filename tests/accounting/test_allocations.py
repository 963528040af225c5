"""Asking batch systems in a pass: what is asked for, what becomes of the answers, what a failure leaves."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import pytest

from gpuwatch.accounting.allocations import Allocations
from gpuwatch.errors import Unavailable
from gpuwatch.ledger import queries, tables
from gpuwatch.ledger.record_store import grants_where
from gpuwatch.ledger.store import Store
from gpuwatch.schedulers.base import Grant, Live, Poll, Record
from tests.ledger.batch import HOUR, T0, record, running


@dataclass
class Batch:
    """A batch system with the given answers; an error is raised. Remembers what it was asked for."""

    answers: list[Poll | Unavailable]
    asked: list[tuple[float | None, Collection[str]]] = field(default_factory=list)

    def poll(self, since: float | None, known: Collection[str], now: float) -> Poll:
        self.asked.append((since, known))
        answer = self.answers.pop(0)
        if isinstance(answer, Unavailable):
            raise answer
        return answer


def answer(*records: Record, until: float | None = None, failures: Sequence[str] = ()) -> Poll:
    """An answer with records, read up to `until`."""
    return Poll(records, until, None, failures)


def collect(store: Store, batch: Batch, *times: float) -> list[tuple[dict[str, bool], int]]:
    """Passes at the given times: which schedulers were up, and how many records came."""
    allocations = Allocations(store, {"slurm": batch}, "default")
    return [(dict(asked.up), asked.records) for asked in map(allocations.collect, times)]


def test_history_is_asked_for_from_where_it_was_read(store: Store) -> None:
    """Never asked before at first; then from the time up to which the answer was complete."""
    batch = Batch([answer(record(), until=T0 + 3600.0), answer(until=T0 + 3700.0), answer()])

    collect(store, batch, T0 + 3600.0, T0 + 3700.0, T0 + 3760.0)

    assert [None, T0 + 3600.0, T0 + 3700.0] == [since for since, _ in batch.asked]


def test_an_hour_without_the_batch_system_loses_nothing(store: Store) -> None:
    """What ended meanwhile is asked for from the last time it answered, and told once."""
    down = Unavailable("slurm: sacct: connection refused")
    batch = Batch([answer(running(), until=T0 + 1800.0), *[down] * 60, answer(record(), until=T0 + 5460.0)])

    told = collect(store, batch, *(T0 + 1800.0 + 60 * each for each in range(62)))

    assert [({"slurm": True}, 1), ({"slurm": False}, 0), ({"slurm": True}, 1)] == [told[0], told[1], told[-1]]
    assert {T0 + 1800.0} == {since for since, _ in batch.asked[1:]}
    with store.reading() as connection:
        assert [2 * HOUR] == [job.allocated_seconds for job in queries.jobs_since(connection, 0.0, T0 + 5500.0)]


def test_a_job_that_was_lost_sight_of_is_asked_for_again(store: Store) -> None:
    """The database did not hear of its end, the controller does not list it any more: back to when it was seen."""
    batch = Batch([answer(running(seen=T0 + 60.0), until=T0 + 60.0), answer(until=T0 + 4000.0), answer()])

    collect(store, batch, T0 + 60.0, T0 + 4000.0, T0 + 4060.0)

    assert [None, T0 + 60.0, T0 + 60.0] == [since for since, _ in batch.asked]


def test_a_job_that_is_lost_for_good_is_not_asked_for_forever(store: Store) -> None:
    """After a day only the last day is looked through for it."""
    late = T0 + 90_000.0
    batch = Batch([answer(running(seen=T0 + 60.0), until=T0 + 60.0), answer(until=late), answer()])

    collect(store, batch, T0 + 60.0, late, late + 60.0)

    assert late + 60.0 - 86_400.0 == batch.asked[-1][0]


def test_indices_are_not_asked_for_twice(store: Store) -> None:
    """A job whose devices are known is `known` from then on."""
    located = running(live=Live(T0 + 9.0, devices=1.0, indices={"gw0": (2,)}))
    batch = Batch([answer(located, running("8")), answer()])

    collect(store, batch, T0 + 1800.0, T0 + 1860.0)

    assert [frozenset(), frozenset({"7"})] == [known for _, known in batch.asked]


def test_half_an_answer_is_taken_and_counts_as_a_failure(store: Store) -> None:
    """The queue answered, the history did not: it is read from where it was later."""
    batch = Batch([answer(running(), failures=["sacct: timed out after 60 s"]), answer(until=T0 + 1860.0)])

    told = collect(store, batch, T0 + 1800.0, T0 + 1860.0)

    assert [({"slurm": False}, 1), ({"slurm": True}, 0)] == told
    assert [None, None] == [since for since, _ in batch.asked]


def test_grants_are_posted(store: Store) -> None:
    """Limits and use of accounts, beside the records."""
    grant = Grant("default", "ml", "", "gres/gpu", 3600.0, 60.0, float(T0), source="slurm")

    collect(store, Batch([Poll(grants=[grant])]), T0 + 1.0)

    with store.reading() as connection:
        assert [grant] == list(grants_where(connection, tables.grants.c.account == "ml"))


def test_rows_that_cannot_be_read_are_counted_and_hide_no_others(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """The first is logged once while it lasts; the scheduler is up."""
    wrong = Poll([running()], T0 + 1800.0, unreadable=["squeue: row '1|2': 2 fields", "squeue: row 'x': no state"])
    allocations = Allocations(store, {"slurm": Batch([wrong, wrong])}, "default")

    first, second = allocations.collect(T0 + 1800.0), allocations.collect(T0 + 1860.0)

    assert [(True, 1, 2), (True, 1, 2)] == [
        (each.up["slurm"], each.records, each.rejected["unreadable"]) for each in (first, second)
    ]
    assert ["rows cannot be read scheduler=slurm count=2 first=squeue: row '1|2': 2 fields"] == caplog.messages
