"""What is expected of which jobs of a ledger, in both databases."""

from __future__ import annotations

from datetime import UTC

from gpuwatch.accounting.expected import expectations_of
from gpuwatch.ledger import queries, writing
from gpuwatch.ledger.charging import Tariffs, catch_up
from gpuwatch.ledger.posting import read
from gpuwatch.ledger.rate_file import load_rates
from gpuwatch.ledger.record_store import post_records
from gpuwatch.ledger.store import Store
from gpuwatch.model import Expectation
from gpuwatch.schedulers.base import Live, Record
from tests.ledger.batch import HOUR, T0, record, running
from tests.ledger.deliveries import delivery, row, run_ended, run_started

NOW = T0 + HOUR


def before(count: int, cluster: str = "default") -> list[Record]:
    """Jobs of ada's that took four device-hours each, a day earlier and every two hours before that."""
    return [
        record(
            f"{cluster}{n}", cluster=cluster, name=f"train-{n}", submitted=int(T0 - (24 + 2 * n) * HOUR),
            started=T0 - (24 + 2 * n) * HOUR, ended=T0 - (22 + 2 * n) * HOUR, seen=T0 - 22 * HOUR,
        )
        for n in range(count)
    ]  # fmt: skip


def expected(store: Store, *records: Record) -> dict[tuple[str, str], Expectation]:
    """What is expected of all jobs, an hour after `T0`."""
    with store.writing() as connection:
        post_records(connection, records)
    with store.reading() as connection:
        return expectations_of(connection, queries.jobs_since(connection, 0.0, NOW), NOW)


def test_jobs_that_run_and_declare_no_device_hours_are_expected_something(store: Store) -> None:
    """One that declares energy is, one that declares device-hours is not, nor is one that ended."""
    energy = running("2", live=Live(float(T0), "gpuwatch: energy=3kWh"), name="train-2")
    hours = running("3", live=Live(float(T0), "gpuwatch: device-hours=3"), name="train-3")

    found = expected(store, *before(9), running("1", name="train-1", limit_seconds=None), energy, hours)
    assert {("default", "1"), ("default", "2")} == found.keys()
    assert (9, "jobs like it (ada, train-#)") == (found["default", "1"].n, found["default", "1"].basis)
    assert 4 * HOUR == found["default", "1"].quantiles[0.5]


def test_a_time_limit_is_an_end_to_what_is_expected(store: Store) -> None:
    """An hour on two devices are two device-hours, though its like took four."""
    found = expected(store, *before(9), running("1", name="train-1", limit_seconds=HOUR))

    assert 2 * HOUR == found["default", "1"].quantiles[0.9]


def test_what_comes_later_is_not_known_before(store: Store) -> None:
    """Jobs that end after now say nothing yet."""
    later = [
        record(str(n), name="train-5", submitted=T0 - n, started=T0 - 60.0, ended=NOW + 60.0, seen=NOW + 60.0)
        for n in range(100, 109)
    ]

    assert {} == {key: each for key, each in expected(store, *later, running("1")).items() if key[1] == "1"}


def test_another_cluster_s_jobs_say_nothing(store: Store) -> None:
    """Its ada may be somebody else."""
    assert {} == expected(store, *before(9, cluster="other"), running("1"))


def test_runs_outside_of_a_batch_system_have_their_like_too(store: Store) -> None:
    """By the number of their user and the name they were given."""
    rows = [
        row(f"run-{n}", uuid=f"GPU-{n}", started=T0 - 7200 * n, last_seen=T0 - 7200 * n + 100.0 * n, open=False,
            held_seconds=100.0 * n)
        for n in range(1, 8)
    ]  # fmt: skip
    rows.append(row("run-9", uuid="GPU-9", started=T0, last_seen=NOW, open=True, held_seconds=10.0))
    begun = [run_started(f"run-{n}", f"fit-{n}", uid=1000, time=T0 - 7200.0 * n) for n in range(1, 8)]
    ends = [run_ended(f"run-{n}", 0, time=T0 - 7200.0 * n + 100.0 * n) for n in range(1, 8)]
    told = delivery(rows, [], [*begun, *ends, run_started("run-9", "fit-9", uid=1000, time=float(T0))], now=NOW)
    with store.writing() as connection:
        writing.post_all(connection, [writing.Posted(read(told), told.origin)])
    catch_up(store, "default", Tariffs(load_rates(None, UTC), UTC), NOW)

    found = expected(store)
    assert (7, "jobs like it (uid:1000, fit-#)") == (found["default", "run-9"].n, found["default", "run-9"].basis)
