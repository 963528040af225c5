"""Burn-ups from pass to pass, in memory and in the ledger."""

from __future__ import annotations

from dataclasses import replace

from gpuwatch.accounting.burning import BurnUps, run_of
from gpuwatch.ledger.burnup_store import MOST_PROJECTED, load_burnups, load_projected
from gpuwatch.ledger.jobs import Job
from gpuwatch.ledger.store import Store
from tests.ledger import made
from tests.ledger.batch import T0

KEY = ("7", T0)


def job(seconds: float, step: float, name: str = "7", start_step: float = 0.0) -> Job:
    """A job of one device so many seconds after its begin."""
    told = made.progress(step, seconds, start_step)
    one = made.run(allocated_seconds=seconds, last_seen=T0 + seconds, progress=told)
    return made.job(one, name=name, progress=told, job_id=name)


def grow(burnups: BurnUps, store: Store, *jobs: Job) -> None:
    """What a pass does as it looks."""
    with store.reading() as connection:
        burnups.grow(connection, "default", jobs, T0 + 1e6)


def keep(burnups: BurnUps, store: Store) -> None:
    """What it does as it writes."""
    with store.writing() as connection:
        burnups.keep(connection, "default", T0 + 1e6)
    burnups.kept()


def test_a_burn_up_goes_on_where_another_process_left_it(store: Store) -> None:
    """Its points are in the ledger; what ran while nobody looked is missing, and no more."""
    first, second = BurnUps(), BurnUps()
    for minutes in (2, 4, 6):
        grow(first, store, job(60.0 * minutes, 10 * minutes))
        keep(first, store)

    grow(second, store, job(600.0, 100))
    assert [120.0, 240.0, 360.0, 600.0] == [point.used for point in second.now[KEY].points]


def test_only_what_is_worth_it_is_written(store: Store) -> None:
    """A job that is seen again within a minute has one more point in memory alone."""
    burnups = BurnUps()
    for seconds in (120.0, 130.0, 140.0):
        grow(burnups, store, job(seconds, seconds / 10))
        keep(burnups, store)

    with store.reading() as connection:
        assert [120.0] == [point.used for point in load_burnups(connection, "default", [KEY])[KEY].points]
    assert [120.0, 140.0] == [point.used for point in burnups.now[KEY].points]


def test_what_is_over_leaves_what_it_projected(store: Store) -> None:
    """As it first came into each bucket of progress; it is held, and written once, with its last point."""
    burnups = BurnUps()
    for minutes in (2, 10, 30, 60, 90):
        grow(burnups, store, job(60.0 * minutes, 10 * minutes))
        keep(burnups, store)
    burnups.end([job(6000.0, 1000)])
    held = dict(burnups.projected)
    keep(burnups, store)

    with store.reading() as connection:
        assert held == load_projected(connection, "default")
        assert 6000.0 == load_burnups(connection, "default", [KEY])[KEY].points[-1].used
    assert [0, 2, 5, 7, 8] == [bucket for bucket, _ in held[KEY] if bucket not in (3, 4)]
    assert all(5500 < total < 6500 for _, total in held[KEY])
    assert ({}, {}, {}) == (burnups.now, burnups._last, burnups._over)


def test_what_a_resumed_job_projected_is_of_its_own_part(store: Store) -> None:
    """It took up the whole at 800 of 1000 steps: 900 of them are half of its part."""
    burnups = BurnUps()
    grow(burnups, store, job(1000.0, 900, start_step=800))
    burnups.end([job(2000.0, 1000, start_step=800)])

    (_, total), *_ = burnups.projected[KEY]
    assert 2000.0 == total


def test_what_could_not_be_written_is_written_later(store: Store) -> None:
    """Nothing is taken for written before it is said to be."""
    burnups = BurnUps()
    grow(burnups, store, job(120.0, 20))
    burnups.end([job(300.0, 50)])
    with store.writing() as connection:
        burnups.keep(connection, "other", T0)
    keep(burnups, store)

    with store.reading() as connection:
        assert (
            {KEY}
            == load_burnups(connection, "default", [KEY]).keys()
            == load_projected(connection, "default").keys()
        )


def test_what_tells_nothing_projects_nothing(store: Store) -> None:
    """Nor does a job that nobody saw run."""
    burnups = BurnUps()
    silent = replace(job(120.0, 1), progress=None, runs=(made.run(allocated_seconds=120.0),))
    grow(burnups, store, silent)
    burnups.end([silent, job(500.0, 50, "8")])

    assert {} == burnups.projected


def test_only_what_runs_is_held(store: Store) -> None:
    """What is lost without an end, or is known by another begin now, goes."""
    burnups = BurnUps()
    jobs = [job(120.0, 20, name) for name in "abc"]
    grow(burnups, store, *jobs)
    keep(burnups, store)
    burnups.forget_others(jobs[:1])

    assert {run_of(jobs[0])} == burnups.now.keys() == burnups._kept.keys()


def test_of_projections_the_latest_are_held() -> None:
    """So many that all of a cluster's classes can be made of them."""
    burnups = BurnUps(projected={(f"{number}", 0): ((0, 1.0),) for number in range(MOST_PROJECTED + 5)})

    burnups.end([])
    assert (MOST_PROJECTED, ("5", 0)) == (len(burnups.projected), next(iter(burnups.projected)))
