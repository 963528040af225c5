"""What ended jobs came to, read for forecasts, in both databases."""

from __future__ import annotations

from typing import Any

import pytest

from gpuwatch.ledger.outcomes import EndedJob, ended_between, latest_of_cluster, latest_of_users
from gpuwatch.ledger.store import Store
from gpuwatch.schedulers.base import Live
from tests.ledger.batch import HOUR, T0, pending, record, running
from tests.ledger.deliveries import declared, row, run_ended, run_started
from tests.ledger.test_past import NOW, post


def of_ada(store: Store, until: float = NOW, most: int = 200) -> list[EndedJob]:
    """What ada's jobs came to."""
    with store.reading() as connection:
        return latest_of_users(connection, "default", {"ada"}, until, most)["ada"]


def ended(job_id: str, hours: float, **changed: Any) -> Any:
    """A job that ended so many hours after `T0`, after an hour."""
    end = T0 + hours * HOUR
    return record(job_id, **{"started": end - HOUR, "ended": end, "submitted": int(end - HOUR) - 60, **changed})


def test_a_job_is_what_it_came_to(store: Store) -> None:
    """Two devices for an hour, called by a name whatever its number is, with what was declared in its comment."""
    post(store, record("7", Live(float(T0), "gpuwatch: device-hours=3"), name="train-12", display="5_1"))

    (job,) = of_ada(store)
    assert (T0 + HOUR, "7", T0 - 60.0, "ada", "ml") == job[:5]
    assert ("train-#", "array 5", 3 * HOUR, 2 * HOUR, False, None, HOUR) == job[5:]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("COMPLETED", [False]), ("TIMEOUT", [True]), ("DEADLINE", [True]), ("CANCELLED", [True]), ("FAILED", []),
        ("OUT_OF_MEMORY", []), ("NODE_FAIL", []),
    ],
)  # fmt: skip
def test_what_would_have_come_to_more_is_cut_and_what_failed_is_left_out(
    store: Store, state: str, expected: list[bool]
) -> None:
    """Ended by its limit or by somebody; one that may be started again is not over."""
    post(store, record("7", state=state))

    assert expected == [job.cut for job in of_ada(store)]


def test_only_what_was_over_is_read(store: Store) -> None:
    """Not what runs or waits, nor what ended later, had no device or is another cluster's."""
    post(
        store, record("1"), running("2"), pending("3"), ended("4", 20.0), record("5", devices=0.0),
        record("6", cluster="other"), record("7", user="bob"),
    )  # fmt: skip

    assert ["1"] == [job.job_id for job in of_ada(store)]


def test_those_that_ended_last_are_read_in_the_order_in_which_they_ended(store: Store) -> None:
    """Whenever they began: a long job that ended is not behind the short ones."""
    post(store, *(ended(str(n), n / 10) for n in range(1, 6)), ended("9", 0.45, started=T0 - 50 * HOUR))

    assert ["4", "9", "5"] == [job.job_id for job in of_ada(store, most=3)]


def test_many_users_are_read_at_once(store: Store) -> None:
    """Each with his own, and one of whom nothing is known."""
    post(store, *(record(str(n), user=f"user{n % 3}") for n in range(9)))

    with store.reading() as connection:
        found = latest_of_users(connection, "default", ["user0", "user2", "eve"], NOW, 2)
    assert {"user0": ["3", "6"], "user2": ["5", "8"], "eve": []} == {
        user: [job.job_id for job in jobs] for user, jobs in found.items()
    }


def test_requeues_are_one_job_once_it_is_over(store: Store) -> None:
    """Also where its first attempt ended before all that is asked for."""
    again = {"submitted": T0 + 7200, "started": T0 + 2 * HOUR}
    first, rerun = record("1", state="PREEMPTED"), record("1", **again, ended=T0 + 3 * HOUR)
    post(store, first, running("1", **again, seen=T0 + 2.5 * HOUR))

    before = of_ada(store)
    post(store, rerun)
    with store.reading() as connection:
        (job,) = ended_between(connection, "default", T0 + 2 * HOUR, NOW, 10) or ()
    assert [] == before
    assert (T0 + 3 * HOUR, "1", 4 * HOUR, 3 * HOUR) == (job.ended, job.job_id, job.final, job.wall)


def test_parts_are_one_job_and_do_not_take_the_place_of_others(store: Store) -> None:
    """Two jobs are asked for, the last of which has four parts."""
    parts = [ended(f"9{n}", 2.0, whole="90", display=f"90+{n}") for n in range(4)]
    post(store, record("1"), *parts)

    assert [("1", 2 * HOUR), ("93", 8 * HOUR)] == [(job.job_id, job.final) for job in of_ada(store, most=2)]


def test_a_job_is_not_over_while_a_part_of_it_runs(store: Store) -> None:
    """It came to nothing yet, though the other part ended last of all that did."""
    post(store, record("1"), running("90", whole="90", display="90+0"), ended("91", 2.0, whole="90"))

    assert ["1"] == [job.job_id for job in of_ada(store)]


def test_what_was_declared_early_counts_wherever_it_was(store: Store) -> None:
    """At a socket in the first minute; what is declared at half of the run knows too much."""
    told = [
        declared("device-hours=5", "2", time=T0 + 60.0, started=T0, seq=1),
        declared("device-hours=9", "3", time=T0 + HOUR / 2, started=T0, seq=2),
    ]
    post(store, record("2"), record("3"), said=told)

    assert [5 * HOUR, None] == [job.declared for job in of_ada(store)]


def test_energy_is_known_where_nearly_all_was_measured(store: Store) -> None:
    """Of two devices both, or one."""
    measured = {"held_seconds": HOUR, "energy_joules": {"counter": 1e6}, "energy_unmeasured_seconds": 0.0}
    rows = [
        row(job, uuid=f"GPU-{job}{n}", started=T0, last_seen=T0 + HOUR, open=False, **measured)
        for job, n in (("1", 0), ("1", 1), ("2", 0))
    ]
    post(store, record("1"), record("2"), rows=rows)

    assert [pytest.approx(2e6), None] == [job.joules for job in of_ada(store)]


def test_runs_outside_of_a_batch_system_are_their_user_s_by_number(store: Store) -> None:
    """One that nobody heard the end of, or somebody stopped, is cut; one that failed or runs is none."""
    rows = [
        row(f"run-{n}", uuid=f"GPU-{n}", started=T0, last_seen=T0 + 100 * n, open=n == 5, held_seconds=100.0 * n)
        for n in range(1, 6)
    ]
    events = [run_started(f"run-{n}", f"fit{n}", time=float(T0)) for n in range(1, 6)]
    codes = {1: 0, 2: 3, 3: 143, 4: None}
    ends = [run_ended(f"run-{n}", code, time=T0 + 100.0 * n) for n, code in codes.items()]
    post(store, rows=rows, events=[*events, *ends])

    with store.reading() as connection:
        found = latest_of_users(connection, "default", {"uid:1000"}, NOW)["uid:1000"]
        of_all = latest_of_cluster(connection, "default", NOW)
        later = ended_between(connection, "default", T0 + 100.0, NOW, 2)
    assert [("run-1", 100.0, False), ("run-3", 300.0, True), ("run-4", 400.0, True)] == [
        (job.job_id, job.final, job.cut) for job in found
    ]
    assert (found, found[1:]) == (of_all, later)


def test_the_latest_of_a_cluster_are_everybody_s(store: Store) -> None:
    """So many at most, those that ended last."""
    post(store, *(ended(str(n), n / 10, user=f"user{n}") for n in range(5)))

    with store.reading() as connection:
        found = latest_of_cluster(connection, "default", NOW, 3)
        between = ended_between(connection, "default", T0 + 0.1 * HOUR, T0 + 0.3 * HOUR, 2)
        too_many = ended_between(connection, "default", T0 + 0.1 * HOUR, T0 + 0.3 * HOUR, 1)
        unknown = ended_between(connection, "default", 0.0, NOW, 9, lambda job_id, _: job_id in "0123")
    assert ["user2", "user3", "user4"] == [job.user for job in found]
    assert ["user2", "user3"] == [job.user for job in between or ()]
    assert too_many is None
    assert ["user4"] == [job.user for job in unknown or ()]
