"""Every job of the ledger that ended, in the order in which they ended, in both databases."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from sqlalchemy import insert

from gpuwatch.ledger.forecast_tables import burnups
from gpuwatch.ledger.replaying import PORTION, EndedRun, ended_runs
from gpuwatch.ledger.store import Store
from gpuwatch.schedulers.base import Live
from tests.ledger.batch import HOUR, T0, record, running
from tests.ledger.deliveries import declared, row, run_ended, run_started
from tests.ledger.test_outcomes import ended
from tests.ledger.test_past import NOW, post


def points_in(text: str, started: float) -> Iterable[Sequence[float | None]]:
    """Points that were stored as a list of them, timed from the start."""
    return [(started + point[0], *point[1:]) for point in json.loads(text)]


def runs(
    store: Store, since: float = 0.0, until: float = NOW, most: int = 100, portion: int = PORTION
) -> list[EndedRun]:
    """All of them."""
    with store.reading() as connection:
        return list(ended_runs(connection, "default", since, until, most, points_in, portion))


def test_a_run_is_all_that_is_known_of_it(store: Store) -> None:
    """Also one that failed."""
    said = Live(float(T0), "gpuwatch: device-hours=3")
    post(store, record("7", said, name="train-12", state="FAILED", nodes=("gw0", "gw1")))

    expected = EndedRun(
        "7", "ada", "ml", "train-12", T0 - 60.0, T0, T0 + HOUR, 2.0, 2.0, 2 * HOUR, 3 * HOUR, "FAILED", ()
    )
    assert [expected] == runs(store)


def test_they_come_in_the_order_in_which_they_ended(store: Store) -> None:
    """From whenever to whenever; of too many those that ended last; none that runs."""
    post(store, *(ended(str(n), n % 7) for n in range(20)), running("30"), record("31", cluster="other"))

    found = runs(store)
    assert [(n % 7, str(n)) for n in sorted(range(20), key=lambda n: (n % 7, str(n)))] == [
        ((run.ended - T0) / HOUR, run.job_id) for run in found
    ]
    assert found[5:12] == runs(store, found[5].ended, found[11].ended)[-7:]
    assert {run.ended for run in found[-4:]} == {run.ended for run in runs(store, most=4)}


def test_requeues_and_parts_are_one_that_came_to_as_much(store: Store) -> None:
    """Two devices for one hour, and for another one two hours later: so many as make that."""
    again = {"submitted": T0 + 7200, "started": T0 + 2 * HOUR, "ended": T0 + 3 * HOUR}
    parts = [ended(f"9{n}", 2.0, whole="90", display=f"90+{n}") for n in range(3)]
    post(store, record("1", state="PREEMPTED"), record("1", **again), *parts)

    assert [("92", 6 * HOUR), ("1", 4 * HOUR)] == [
        (run.job_id, run.devices * (run.ended - run.started)) for run in runs(store)
    ]
    assert [] == runs(store, until=T0 + 1.5 * HOUR)


def test_how_far_it_was_is_told_with_it(store: Store) -> None:
    """Steps of its plan, as far as they are known, none after its end and of no other job that had its number."""
    told = [
        [60.0, 120.0, None, 100.0, 1000.0],
        [120.0, 240.0, 5.0, None, None],
        [HOUR, 7200.0, None, 900.0, 1000.0],
    ]
    old = [[60.0, 120.0, None, 7.0, 10.0]]
    post(store, record("7"))
    with store.writing() as connection:
        rows = [
            {"job_id": "7", "started": started, "cluster": "default", "seen": NOW, "points": json.dumps(points)}
            for started, points in ((T0, told), (T0 - 90_000, old))
        ]
        connection.execute(insert(burnups), rows)

    (run,) = runs(store)
    assert ((T0 + 60.0, 0.1), (T0 + HOUR, 0.9)) == run.progress


def test_runs_outside_of_a_batch_system_are_among_them(store: Store) -> None:
    """Where they ended in between; how one ended may not be known."""
    rows = [
        row(f"run-{n}", uuid=f"GPU-{n}", started=T0, last_seen=T0 + 100 * n, open=n == 5, held_seconds=100.0 * n)
        for n in range(1, 6)
    ]
    events: list[Any] = [run_started(f"run-{n}", f"fit{n}", time=float(T0)) for n in range(1, 6)]
    codes = {1: 0, 2: 3, 3: 143, 4: None}
    events += [run_ended(f"run-{n}", code, time=T0 + 100.0 * n) for n, code in codes.items()]
    said = [declared("device-hours=1", "run-2", time=T0 + 1.0, started=T0)]
    post(store, ended("7", 250 / HOUR), rows=rows, said=said, events=events)

    found = runs(store)
    assert ["run-1", "run-2", "7", "run-3", "run-4"] == [run.job_id for run in found]
    assert ["COMPLETED", "FAILED", "COMPLETED", "CANCELLED", None] == [run.state for run in found]
    assert ("uid:1000", "fit2", HOUR, 1.0) == (found[1].user, found[1].name, found[1].declared, found[1].devices)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_portions_lose_and_repeat_nothing(store: Store, size: int) -> None:
    """Whatever their size: some ended at the same time, some have two attempts or two parts."""
    again = {"submitted": T0 + 7200, "started": T0 + 2 * HOUR, "ended": T0 + 3 * HOUR}
    twice = [record(f"r{n}", state="PREEMPTED") for n in range(3)] + [record(f"r{n}", **again) for n in range(3)]
    parts = [ended(f"p{n}", 1.0 + n, whole="p", display=f"p+{n}") for n in range(3)]
    post(store, *twice, *parts, *(ended(str(n), n % 3) for n in range(6)))
    post(store, events=[each for n in range(4) for each in (run_started(f"run-{n}"), run_ended(f"run-{n}"))],
         rows=[row(f"run-{n}", uuid=f"GPU-{n}", open=False) for n in range(4)])  # fmt: skip

    found = runs(store, until=NOW * 2)
    assert 14 == len(found) == len({run.job_id for run in found})
    assert found == runs(store, until=NOW * 2, portion=size)
