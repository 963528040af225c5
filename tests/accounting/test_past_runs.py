"""What ended in a ledger, as a backtest is given it."""

from __future__ import annotations

from gpuwatch.accounting.past_runs import past_runs
from gpuwatch.forecast.history import BacktestRun
from gpuwatch.forecast.trials import CUT_STATES
from gpuwatch.ledger import clusters
from gpuwatch.ledger.burnup_store import save_burnups
from gpuwatch.ledger.store import Store
from gpuwatch.model import BurnUp, BurnUpPoint
from gpuwatch.schedulers.base import Live
from tests.ledger.batch import HOUR, T0, record, running
from tests.ledger.deliveries import row, run_ended, run_started
from tests.ledger.test_past import NOW, post


def runs(store: Store, now: float = NOW) -> list[BacktestRun]:
    """All of them."""
    with store.reading() as connection:
        return past_runs(connection, now)


def keep(store: Store, *names: str) -> None:
    """Say which clusters the ledger keeps."""
    with store.writing() as connection:
        for name in names:
            clusters.add(connection, name, NOW)


def test_a_run_is_what_is_known_of_it(store: Store) -> None:
    """With what was declared, and how far it was when; its name is without numbers."""
    keep(store, "default")
    burnup = BurnUp(
        float(T0), tuple(BurnUpPoint(T0 + at, 2.0 * at, None, at / 36, 100.0) for at in (900.0, 1800.0))
    )
    post(store, record("7", Live(float(T0), "gpuwatch: device-hours=3"), name="train-12"))
    with store.writing() as connection:
        save_burnups(connection, "default", {("7", T0): burnup}, NOW)

    (run,) = runs(store)
    assert ("7", "ada", "ml", "train-#", "COMPLETED") == (run.job_id, run.user, run.account, run.name, run.state)
    assert (T0, T0 + HOUR, 2.0, 3 * HOUR, 2 * HOUR) == (
        run.started, run.ended, run.devices, run.declared, run.limit_seconds,
    )  # fmt: skip
    assert (2 * HOUR, ((T0 + 900.0, 0.25), (T0 + 1800.0, 0.5))) == (run.final, run.progress)


def test_all_clusters_that_are_kept_are_replayed(store: Store) -> None:
    """One after the other, each in the order in which its jobs ended; what runs, or ended later, is not."""
    keep(store, "default", "another")
    post(
        store, record("1", ended=T0 + 2 * HOUR), record("2"), record("3", cluster="another"), running("4"),
        record("5", cluster="unknown"), record("6", ended=NOW + 1),
    )  # fmt: skip

    assert ["3", "2", "1"] == [run.job_id for run in runs(store)]


def test_a_run_is_of_its_cluster(store: Store) -> None:
    """As each cluster is forecast by itself, and both may number their jobs alike."""
    keep(store, "default", "another")
    post(store, record("1"), record("1", cluster="another"))

    assert {"default", "another"} == {run.cluster for run in runs(store)}


def test_a_run_of_which_nobody_heard_how_it_ended_may_have_been_cut(store: Store) -> None:
    """It says no more than that it came to so much, as it does where jobs are forecast."""
    keep(store, "default")
    rows = [row("run-1", started=T0, last_seen=T0 + 100, open=False, held_seconds=100.0)]
    post(
        store, rows=rows, events=[run_started("run-1", time=float(T0)), run_ended("run-1", None, time=T0 + 100.0)]
    )

    assert [True] == [run.state in CUT_STATES for run in runs(store)]


def test_a_ledger_of_nobody_has_none(store: Store) -> None:
    """As it is when it is new."""
    assert [] == runs(store)
