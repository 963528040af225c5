"""What jobs came to, out of records and charges, in both databases."""

from __future__ import annotations

from collections import Counter
from datetime import UTC
from typing import Any

import pytest

from gpuwatch.ledger import writing
from gpuwatch.ledger.audience import EVERYTHING, Audience
from gpuwatch.ledger.charging import Tariffs, catch_up
from gpuwatch.ledger.past import (
    Kind,
    PastJob,
    normalised,
    past_jobs,
    with_details,
)
from gpuwatch.ledger.posting import read
from gpuwatch.ledger.rate_file import load_rates
from gpuwatch.ledger.record_store import post_records
from gpuwatch.ledger.store import Store
from gpuwatch.schedulers.base import Live, Record
from tests.ledger.batch import HOUR, T0, record, running
from tests.ledger.deliveries import declared, delivery, row, run_ended, run_started

NOW = T0 + 10 * HOUR


def post(store: Store, *records: Record, rows: Any = (), said: Any = (), events: Any = ()) -> None:
    """Post and charge."""
    with store.writing() as connection:
        post_records(connection, records)
        told = delivery(list(rows), list(said), list(events), now=NOW)
        writing.post_all(connection, [writing.Posted(read(told), told.origin)])
    catch_up(store, "default", Tariffs(load_rates(None, UTC), UTC), NOW)


def found(store: Store, audience: Audience = EVERYTHING, **kind: Any) -> list[PastJob]:
    """The jobs of a kind, with details, in the order of their ids."""
    with store.reading() as connection:
        jobs = with_details(connection, past_jobs(connection, audience, Kind(**kind), NOW))
    return sorted(jobs, key=lambda job: job.job_id)


def ids(jobs: list[PastJob]) -> list[str]:
    """Their ids."""
    return [job.job_id for job in jobs]


@pytest.fixture
def several(store: Store) -> Store:
    """Ada's and bob's jobs, of two accounts and names."""
    post(
        store,
        record("1", name="train-1"), record("2", name="train-22", state="TIMEOUT", partition="long"),
        record("3", name="eval", state="FAILED", exit_code=1),
        record("4", name="train-3", user="bob", account="cv"),
        running("5", name="train-9"), record("6", cluster="other", name="train-1"),
        record("7", name="cpu only", devices=0.0),
    )  # fmt: skip
    return store


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ({"user": "ada"}, ["1", "2", "3", "5", "6"]),
        ({"name": "train-7"}, ["1", "2", "4", "5", "6"]),
        ({"name": "t*-?"}, ["1", "4", "5", "6"]),
        ({"name": "*al"}, ["3"]),
        ({"account": "cv"}, ["4"]),
        ({"partition": "long", "user": "ada"}, ["2"]),
        ({"user": "eve"}, []),
        ({"user": "ada", "since": NOW}, []),
    ],
)
def test_a_kind_is_what_all_of_its_words_say(several: Store, kind: dict[str, Any], expected: list[str]) -> None:
    """A name without a wildcard is taken whatever its digits are; jobs without a device are none."""
    assert expected == ids(found(several, **kind))


def test_an_ending_is_the_batch_system_s_word(several: Store) -> None:
    """A time limit cuts short, and a job that runs is what it came to so far."""
    jobs = found(several, user="ada")

    assert ["completed", "timed out", "failed", "running", "completed"] == [job.ending for job in jobs]
    assert [2 * HOUR, 2 * HOUR, 2 * HOUR, HOUR, 2 * HOUR] == [job.device_seconds for job in jobs]
    assert jobs[3].ended is None


@pytest.mark.parametrize(
    ("audience", "expected"),
    [
        (Audience(cluster="default", user="bob"), ["4"]),
        (Audience(cluster="default", user="grace", accounts=frozenset({"cv"})), ["4"]),
        (Audience(cluster="other", user="ada"), ["6"]),
        (Audience(cluster="default", user=""), []),
    ],
)
def test_a_reader_is_told_of_what_he_may_read(several: Store, audience: Audience, expected: list[str]) -> None:
    """His own, and those of his accounts, on his cluster."""
    assert expected == ids(found(several, audience, name="*"))


def test_a_requeue_is_the_same_job_and_a_reused_id_another(store: Store) -> None:
    """Two hours and one are three; the job of that number a year ago stays by itself."""
    again = {"submitted": T0 + 7200, "started": T0 + 2 * HOUR, "ended": T0 + 3 * HOUR}
    old = {"submitted": T0 - 90_000, "started": T0 - 80_000.0, "ended": T0 - 70_000.0, "seen": T0 - 70_000.0}
    post(store, record("1", state="NODE_FAIL"), record("1", **again), record("2"), record("2", **old))

    jobs = found(store, user="ada")
    assert [("1", 4 * HOUR), ("2", 2 * HOUR), ("2", 20_000.0)] == [(j.job_id, j.device_seconds) for j in jobs]
    assert (float(T0), T0 + 3 * HOUR, 3 * HOUR) == (jobs[0].started, jobs[0].ended, jobs[0].wall_seconds)


def test_parts_of_a_job_are_one(store: Store) -> None:
    """Of a heterogeneous job's two parts the devices add up."""
    post(store, record("1", whole="1", display="1+0"), record("2", whole="1", display="1+1", devices=4.0))

    assert [6 * HOUR] == [job.device_seconds for job in found(store, user="ada")]


def test_parts_whose_ids_are_used_again_are_another_job(store: Store) -> None:
    """Both parts a day ago, and both now: two jobs."""
    old = {"submitted": T0 - 90_000, "started": T0 - 80_000.0, "ended": T0 - 70_000.0, "seen": T0 - 70_000.0}
    parts = [record(number, whole="1", **more) for number in ("1", "2") for more in ({}, old)]
    post(store, *parts)

    assert [4 * HOUR, 40_000.0] == [job.device_seconds for job in found(store, user="ada")]


def test_tasks_of_an_array_were_submitted_together(store: Store) -> None:
    """So were other jobs of one user's within an hour; another day's were not."""
    tasks = [record(str(n), display=f"9_{n}", whole=str(n), submitted=T0 - 60 - 7200 * n) for n in range(3)]
    post(store, *tasks, record("8"), record("9"), record("10", submitted=T0 - 90_000))

    batches = Counter(job.batch for job in found(store, user="ada"))
    assert [3, 2, 1] == [count for _, count in batches.most_common()]


def test_what_was_declared_early_counts(store: Store) -> None:
    """In a comment or at a socket; what is declared when half is done knows too much, and the first counts."""
    said = Live(float(T0), "gpuwatch: device-hours=3")
    rows = [row("2", started=T0, last_seen=T0 + HOUR), row("3", started=T0, last_seen=T0 + HOUR)]
    told = [
        declared("device-hours=5", "2", time=T0 + 60.0, started=T0, seq=1),
        declared("device-hours=7", "2", time=T0 + 120.0, started=T0, seq=2),
        declared("device-hours=9", "3", time=T0 + HOUR / 2, started=T0, seq=3),
    ]
    post(store, record("1", said), record("2"), record("3"), rows=rows, said=told)

    assert [3 * HOUR, 5 * HOUR, None] == [job.declared_seconds for job in found(store, user="ada")]


def test_what_was_declared_for_another_job_of_that_number_does_not_count(store: Store) -> None:
    """Numbers are used again: 10 and 20 hours were declared for others, in a comment and at a socket."""
    old = {"submitted": T0 - 90_000, "started": T0 - 80_000.0, "ended": T0 - 70_000.0, "seen": T0 - 70_000.0}
    said, now = Live(T0 - 80_000.0, "gpuwatch: device-hours=10"), Live(float(T0), "gpuwatch: device-hours=3")
    told = [declared("device-hours=20", "2", time=T0 - 80_000.0, started=T0 - 80_000, seq=1)]
    post(store, record("1", said, **old), record("1", now), record("2", **old), record("2"), said=told)

    declared_for = [(job.job_id, job.declared_seconds) for job in found(store, user="ada")]
    assert [("1", 3 * HOUR), ("1", 10 * HOUR), ("2", None), ("2", 20 * HOUR)] == declared_for


def test_energy_counts_where_nearly_all_was_measured(store: Store) -> None:
    """Two devices measured are the job's energy; one of two is not."""
    measured = {"held_seconds": HOUR, "energy_joules": {"counter": 1e6}, "energy_unmeasured_seconds": 0.0}
    rows = [
        row(job, uuid=f"GPU-{job}{n}", started=T0, last_seen=T0 + HOUR, open=False, **measured)
        for job, n in (("1", 0), ("1", 1), ("2", 0))
    ]
    post(store, record("1"), record("2"), rows=rows)

    assert [pytest.approx(2e6), None] == [job.joules for job in found(store, user="ada")]


def test_runs_outside_of_a_batch_system_are_their_user_s_by_number(store: Store) -> None:
    """With what they held, and how they ended; their reader is the user of that number."""
    rows = [
        row(f"run-{n}", uuid=f"GPU-{n}", started=T0, last_seen=T0 + 100 * n, open=n == 3, held_seconds=100.0 * n)
        for n in (1, 2, 3)
    ]
    events = [run_started(f"run-{n}", f"fit{n}", uid=1000, time=float(T0)) for n in (1, 2, 3)]
    post(store, rows=rows, events=[*events, run_ended("run-1", 0, time=T0 + 100.0), run_ended("run-2", 3)])

    jobs = found(store, user="ada", uid=1000, name="fit8")
    mine = found(store, Audience(cluster="default", user="ada", uid=1000), name="fit*")
    assert ["completed", "failed", "running"] == [job.ending for job in jobs]
    assert [100.0, 200.0, 300.0] == [job.device_seconds for job in jobs]
    assert ids(jobs) == ids(mine)
    assert ids(jobs) == ids(found(store, Audience(cluster="default", user="ada", uid=1000), user="ada"))
    assert ids(jobs) == ids(found(store, user="uid:1000", name="fit8"))
    assert [] == found(store, Audience(cluster="default", user="bob", uid=1001), user="uid:1000")
    assert [] == found(store, user="uid:²") == found(store, user="uid:" + "9" * 30)
    assert [] == found(store, Audience(cluster="default", user="bob", uid=1001), name="fit*")


def test_members_of_a_campaign_are_those_it_has(store: Store) -> None:
    """By what their comments say."""
    said = Live(float(T0), "gpuwatch: campaign=llama")
    post(store, record("1", said), record("2"))

    assert ["1"] == ids(found(store, campaign="llama"))
    assert [] == found(store, campaign="none")


def test_the_latest_are_read_where_there_are_more(store: Store) -> None:
    """So many at most."""
    post(store, *(record(str(n), started=float(T0 + n)) for n in range(9)))
    with store.reading() as connection:
        jobs = past_jobs(connection, EVERYTHING, Kind(user="ada"), NOW, most=4)

    assert ["8", "7", "6", "5"] == [job.job_id for job in jobs]


def test_a_number_in_a_name_is_any_number() -> None:
    """Of any length, at any place."""
    assert "train-#_v#" == normalised("train-0012_v3")
