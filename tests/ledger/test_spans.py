"""What jobs held, out of a ledger with records, agents' counters and declarations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gpuwatch.ledger import queries, writing
from gpuwatch.ledger.charging import Tariffs, catch_up
from gpuwatch.ledger.periods import Span
from gpuwatch.ledger.posting import read
from gpuwatch.ledger.rates import Rates
from gpuwatch.ledger.record_store import post_records
from gpuwatch.ledger.spans import spans
from gpuwatch.ledger.store import Store
from gpuwatch.schedulers.base import Live, Record
from tests.ledger import deliveries
from tests.ledger.batch import HOUR, T0, pending, record, running
from tests.ledger.deliveries import declared, delivery, row, run_started

NOW = T0 + 9 * HOUR
SEEN = float(deliveries.T0)
LATE = 4e9


def spans_in(store: Store, told: Sequence[Record] = (), rows: Sequence[object] = (), said: Sequence[object] = (),
             events: Sequence[object] = ()) -> list[Span]:  # fmt: skip
    with store.writing() as connection:
        post_records(connection, told)
        writing.post(connection, read(delivery(rows, said, events)), "test")
    for cluster in ("default", "other"):
        catch_up(store, cluster, Tariffs(Rates.of(())), NOW)
    with store.reading() as connection:
        campaigns = queries.memberships(connection, NOW)
        found = [replace(each, amounts={}) for each in spans(connection, 0.0, LATE, campaigns)]
    return sorted(found, key=lambda each: (each.begins, each.job))


def test_a_record_is_what_was_allocated(store: Store) -> None:
    """From start to end, or to where it was last seen; what waits holds nothing."""
    found = spans_in(store, [record("7"), running("8", partition="other"), pending("9")])

    ada = {"devices": 2.0, "cpus": 16.0, "user": "ada", "account": "ml"}
    assert [
        Span(("default", "7"), T0, T0 + HOUR, partition="gpu", **ada),
        Span(("default", "8"), T0, T0 + HOUR / 2, partition="other", **ada),
    ] == found


def test_jobs_without_a_record_count_by_what_they_held(store: Store) -> None:
    """Each device of each at an even rate, by user where one is known."""
    rows = [row("run-1", held_seconds=50.0), row("user:bob", uuid="GPU-1"), row("run-3", uuid="GPU-2")]

    found = spans_in(store, rows=rows, events=[run_started("run-1")])

    assert [("run-1", 0.5, "uid:1000"), ("run-3", 1.0, None), ("user:bob", 1.0, "bob")] == sorted(
        (each.job[1], each.devices, each.user) for each in found
    )
    assert {(SEEN, SEEN + 100.0)} == {(each.begins, each.ends) for each in found}


def test_a_job_with_a_record_counts_once(store: Store) -> None:
    """By its record, whatever an agent saw besides; another cluster's job of that id is another job."""
    its = row("7", started=T0 + 1, last_seen=T0 + HOUR)
    seen, elsewhere = delivery([its]), delivery([its], cluster="other")
    with store.writing() as connection:
        for each in (seen, elsewhere):
            writing.post(connection, read(each), "test")

    found = spans_in(store, [record("7")])

    assert [(("default", "7"), 2.0, T0), (("other", "7"), 100 / (HOUR - 1), T0 + 1)] == [
        (each.job, each.devices, each.begins) for each in found
    ]


def test_another_job_that_had_the_id_before_counts_by_what_it_held(store: Store) -> None:
    """Long before the batch system's record of that id: the counter of job ids wrapped."""
    found = spans_in(store, [record("7")], [row("7")])

    assert [(T0, 2.0), (SEEN, 1.0)] == [(each.begins, each.devices) for each in found]


def test_what_agents_saw_counts_where_the_record_knows_no_devices(store: Store) -> None:
    """A cluster that does not account for its devices; the record still says whose job it is."""
    its = row("7", started=T0, last_seen=T0 + 100.0)

    (held,) = spans_in(store, [record("7", devices=None)], [its])

    assert (100.0 / HOUR, 16.0, "ada", "ml") == (held.devices, held.cpus, held.user, held.account)


def test_a_campaign_is_declared_in_a_comment_or_at_the_socket(store: Store) -> None:
    """The socket outranks the comment, as everywhere."""
    told = [
        record("7", live=Live(float(T0), "gpuwatch: campaign=comment")),
        record("8", live=Live(float(T0), "gpuwatch: campaign=comment")),
        record("9"),
    ]

    found = spans_in(
        store, told, [row("run-1")], [declared("campaign=socket", "8"), declared("campaign=r", seq=8)]
    )

    assert {"7": "comment", "8": "socket", "9": None, "run-1": "r"} == {
        each.job[1]: each.campaign for each in found
    }


def test_what_lies_outside_is_not_read(store: Store) -> None:
    """Neither records nor rows."""
    spans_in(store, [record("7")], [row("run-1")])

    with store.reading() as connection:
        assert [] == list(spans(connection, LATE, LATE + 1.0))
