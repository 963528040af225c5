"""Forecasts from pass to pass: what is learned of those that are over, kept, read again, and forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from gpuwatch.accounting.forecaster import MISSED_AT_ONCE, Forecaster
from gpuwatch.errors import Unavailable
from gpuwatch.forecast.calibration import FEWEST
from gpuwatch.ledger import trial_store
from gpuwatch.ledger.burnup_store import load_projected
from gpuwatch.ledger.store import Store, open_store
from gpuwatch.ledger.trial_store import KeptTrial, TrialKey
from gpuwatch.model import Scope
from gpuwatch.schedulers.base import Record
from tests.accounting.site import (
    BEGAN,
    MINUTE,
    NOW,
    POLICY,
    Site,
    at_step,
    ends,
    history,
    learned_of,
    over,
    points,
    ran,
    runs,
    seen,
    train,
    trials,
)
from tests.ledger.batch import HOUR
from tests.ledger.deliveries import declared, run_ended, run_started


@pytest.fixture
def site(sqlite_store: Store) -> Site:
    """A site of which nothing is known yet."""
    return Site(sqlite_store)


def test_an_ended_job_is_judged_once(site: Site) -> None:
    """And what was declared first is what it is judged by."""
    train(site, NOW, "device-hours=1.8")
    site.run_pass(NOW + 60, ends(runs("1", BEGAN, NOW, "device-hours=1.8"), NOW + 50))
    for later in range(120, 2000, 300):
        site.run_pass(NOW + later)

    ((name, trial),) = over(site)
    assert ("1", "declared", 1.8 * HOUR) == (name, trial.against, trial.declared)
    assert trial.outcome is not None
    assert (2 * (HOUR + 50), NOW + 50, False) == trial.outcome
    assert (1, {}) == (learned_of(site), trials(site))
    assert {"0.1", "0.25", "0.5", "0.75"} == trial.marks.keys()


def test_a_trial_is_judged_by_the_first_declaration(site: Site) -> None:
    """Whatever is declared later, when it is known better."""
    site.run_pass(
        NOW, rows=[seen("r1", BEGAN, NOW)], said=[declared("device-hours=2", "r1", started=int(BEGAN), time=BEGAN)]
    )
    revised = declared("device-hours=50", "r1", started=int(BEGAN), seq=7, time=NOW + 5)
    site.run_pass(NOW + 60, rows=[seen("r1", BEGAN, NOW + 60)], said=[revised])

    assert 50 * HOUR == site.of("r1").reference
    assert [2 * HOUR] == [each.declared for each in trials(site).values()]


def test_an_overrun_is_judged_by_what_it_was_called_against(site: Site) -> None:
    """The upper end of what is declared: what is likely alone is no overrun."""
    site.run_pass(NOW, runs("1", BEGAN, NOW, "device-hours=5..8..20"))

    (trial,) = trials(site).values()
    assert 20 * HOUR == site.of("1").reference == trial.declared
    assert "0.1" == site.of("1").stage


@pytest.mark.parametrize("state", ["FAILED", "CANCELLED by 1000", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"])
def test_what_did_not_end_by_itself_is_not_judged(site: Site, state: str) -> None:
    """Nobody knows where it would have come to."""
    site.run_pass(NOW, runs("1", BEGAN, NOW, "device-hours=10"))
    site.run_pass(NOW + 120, ends(runs("1", BEGAN, NOW, "device-hours=10"), NOW + 100, state))

    ((_, trial),) = over(site)
    assert trial.outcome is not None and trial.outcome.cut
    assert (0, "no record at this site yet (n=0)") == (learned_of(site), site.forecaster.record.words)


@pytest.mark.parametrize(("exit_code", "cut"), [(0, False), (1, True), (None, True)])
def test_a_run_without_a_batch_system_is_judged_where_its_end_was_heard(
    site: Site, exit_code: int | None, cut: bool
) -> None:
    """`gpuwatch run` says how it ended; of what was lost nobody knows."""
    said = [declared("device-hours=3", "r1", started=int(BEGAN), time=BEGAN)]
    site.run_pass(NOW, rows=[seen("r1", BEGAN, NOW)], said=said,
                  events=[run_started("r1", time=BEGAN)])  # fmt: skip
    end = run_ended("r1", exit_code, time=NOW + 60, seq=900)
    site.run_pass(NOW + 90, rows=[seen("r1", BEGAN, NOW + 60, open_=False)], events=[end])

    ((_, trial),) = over(site)
    assert trial.outcome is not None
    assert (HOUR + 60, cut) == (trial.outcome.final, trial.outcome.cut)


def test_a_job_is_judged_once_it_is_known_how_it_ended(site: Site) -> None:
    """For a moment a batch system says that it completes: this one was ended by its limit, as it then says."""
    going = runs("1", BEGAN, NOW, "device-hours=2")
    site.run_pass(NOW, going)
    site.run_pass(NOW + 60, ends(going, NOW + 30, "COMPLETING"))
    before = list(site.forecaster.record.trials)
    site.run_pass(NOW + 120, ends(going, NOW + 30, "TIMEOUT"))

    assert [] == before
    assert [True] == [trial.cut for trial in site.forecaster.record.trials]


def test_a_job_that_never_said_how_it_ended_is_judged_after_a_while(site: Site) -> None:
    """A quarter of an hour."""
    going = runs("1", BEGAN, NOW, "device-hours=2")
    site.run_pass(NOW, going)
    site.run_pass(NOW + 1200, ends(going, NOW + 30, "COMPLETING"))

    assert 1 == len(site.forecaster.record.trials)


def test_the_record_speaks_from_a_hundred_finished_forecasts_on(site: Site) -> None:
    """Before, it says how many there are; what was cancelled is not among them."""
    words = []
    now = NOW
    for turn in range(24):
        ids = [f"{turn}-{n}" for n in range(6)]
        going = [runs(each, now - 600, now, "device-hours=2") for each in ids]
        site.run_pass(now, *going)
        last = now + 3000 + turn % 5 * 60
        site.run_pass(last + 60, *(ends(each, last) for each in going[1:]), ends(going[0], last, "CANCELLED"))
        words.append(site.forecaster.record.words)
        now = last + 600

    assert [f"no record at this site yet (n={5 * turn})" for turn in (1, 10, 19)] == [
        words[0],
        words[9],
        words[18],
    ]
    assert words[-1].startswith("80 % intervals held ") and words[-1].endswith(
        "120 finished forecasts at this site"
    )
    assert "50 % intervals held" in site.of(f"{turn}-0").record or site.of(f"{turn}-0").basis == "ended"
    assert learned_of(site) == 120 > FEWEST


def lives(site: Site, between: Callable[[float], None]) -> dict[tuple[Scope, str], Any]:
    """Ten hours in which jobs come and go, with `between` done after each pass; what is said at the end."""
    now = BEGAN
    site.post(*history(12))
    for turn in range(20):
        now += 30 * MINUTE
        records = [runs("1", BEGAN, now, "device-hours=30"), runs("2", BEGAN, now)]
        if turn % 4 == 0:
            records.append(runs(f"t{turn}", now - 600, now, "device-hours=2"))
        elif turn % 4 == 2:
            began = now - HOUR - 600
            records.append(ends(runs(f"t{turn - 2}", began, now, "device-hours=2"), now - 60))
        step = at_step("1", BEGAN, now, (now - BEGAN) / 50.0)
        site.run_pass(now, *records, rows=[seen("1", BEGAN, now)], events=[step])
        between(now)
    return {(each.scope, each.quantity): each for each in site.found}


def test_a_restart_changes_no_forecast_and_learns_nothing_twice(site: Site, tmp_path: Any) -> None:
    """But for which evidence told best, which only who saw it knows: forecasts of a job differ by little."""
    other = Site(open_store(str(tmp_path / "other.db")))
    went_on = lives(site, lambda _: None)
    restarted = lives(other, lambda _: other.restart())

    assert went_on.keys() == restarted.keys()
    for key, each in went_on.items():
        again = restarted[key]
        assert (each.used, each.reference is None, each.against, each.stage, each.record) == (
            again.used, again.reference is None, again.against, again.stage, again.record,
        )  # fmt: skip
        assert list(each.quantiles.values())[1:-1] == pytest.approx(list(again.quantiles.values())[1:-1], rel=0.1)
    assert [(name, each.outcome) for name, each in over(site)] == [(n, each.outcome) for n, each in over(other)]
    assert (learned_of(site), trials(site).keys()) == (learned_of(other), trials(other).keys())
    other.store.close()


class Broken:
    """A ledger whose transaction fails at its end."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @contextmanager
    def writing(self) -> Iterator[Any]:
        with self._store.writing() as connection:
            yield connection
            raise Unavailable("connection lost")


def test_what_could_not_be_written_is_written_by_the_next_pass(site: Site) -> None:
    """Trials, what was learned of them, burn-ups and points: each once."""
    train(site, NOW, "device-hours=2")
    ended = NOW + 30
    site.post(ends(runs("1", BEGAN, NOW, "device-hours=2"), ended), runs("2", ended, NOW + 60, "device-hours=9"))
    site.look(NOW + 60)
    broken = Broken(site.store)
    with pytest.raises(Unavailable), broken.writing() as connection:
        site.forecaster.keep(connection, site.found, NOW + 60)
    unwritten = over(site), points(site, "2"), learned_of(site)
    site.run_pass(NOW + 90)

    assert ([], [], 0) == unwritten
    assert (["1"], [NOW + 90], 1) == ([name for name, _ in over(site)], points(site, "2"), learned_of(site))
    assert ["2"] == [key.scope.name for key in trials(site)]
    with site.store.reading() as connection:
        assert [("1", int(BEGAN))] == list(load_projected(connection, "default"))


@pytest.mark.parametrize("away", [10 * MINUTE, 20 * HOUR])
def test_what_ends_while_accounting_is_down_is_judged_when_it_is_back(site: Site, away: float) -> None:
    """With what its burn-up projected, however long ago it ended."""
    train(site, NOW, "device-hours=2")
    site.post(ends(runs("1", BEGAN, NOW, "device-hours=2"), NOW + 60))
    site.restart()
    site.run_pass(NOW + away)
    site.run_pass(NOW + away + 60)

    assert [("1", 2 * (HOUR + 60))] == [(name, each.outcome and each.outcome.final) for name, each in over(site)]
    assert (1, {}) == (learned_of(site), trials(site))
    assert ("1", int(BEGAN)) in site.forecaster._burnups.projected


def test_who_takes_over_reads_what_another_wrote(site: Site) -> None:
    """And who stood by forgets what it knew."""
    other = Site(site.store)
    train(site, NOW, "device-hours=2")
    other.forecaster.forget()
    other.run_pass(NOW + 60, ends(runs("1", BEGAN, NOW, "device-hours=2"), NOW + 50))
    site.forecaster.forget()
    site.run_pass(NOW + 120)

    assert ["1"] == [name for name, _ in over(site)]
    assert (1, 1) == (learned_of(site), len(site.forecaster.record.trials))


def test_a_run_that_gets_another_begin_is_not_looked_for_for_ever(site: Site) -> None:
    """A node said it began at one time, the batch system at another: the trial of the first is dropped."""
    site.run_pass(NOW, rows=[seen("1", BEGAN + 5, NOW)],
                  said=[declared("device-hours=10", "1", started=int(BEGAN + 5), time=BEGAN + 5)])  # fmt: skip
    first = list(trials(site))
    site.run_pass(NOW + 60, runs("1", BEGAN, NOW + 60, "device-hours=10"))

    assert [TrialKey(Scope("job", "1"), "device-hours", int(BEGAN + 5))] == first
    assert [TrialKey(Scope("job", "1"), "device-hours", int(BEGAN))] == list(trials(site))
    assert {("1", int(BEGAN))} == site.forecaster._burnups.now.keys()


def test_its_memory_does_not_grow_as_jobs_come_and_go(site: Site) -> None:
    """Of fifty passes with other jobs in each, only what goes on is held."""
    going: list[Record] = []
    for turn in range(50):
        now = NOW + turn * 20 * MINUTE
        ids = [f"{turn}-{n}" for n in range(5)]
        site.post(*(ends(each, now - 30) for each in going))
        going = [runs(each, now - 60, now, "device-hours=1") for each in ids]
        site.run_pass(now, *going)

    forecaster = site.forecaster
    assert 5 == len(forecaster._burnups.now) == len(forecaster._burnups._kept) == len(forecaster._begun)
    assert (
        5 == len(forecaster._trying.open) == len(forecaster._trying._polled) == len(forecaster._trying._outlooks)
    )
    assert {f"{turn}-{n}" for n in range(5)} == {key.scope.name for key in forecaster._points}
    assert ({}, {}) == (forecaster._burnups._last, forecaster._trying.over)
    assert (set(), set()) == (forecaster._trying.changed, forecaster._trying.dropped)


def test_two_clusters_of_one_ledger_learn_apart(site: Site) -> None:
    """A job of the same id and begin that ended elsewhere ends nothing here."""
    site.run_pass(NOW, runs("1", BEGAN, NOW, "device-hours=10"))
    mine = runs("1", BEGAN, NOW, "device-hours=10")
    elsewhere = replace(ends(mine, NOW + 10), key=mine.key._replace(cluster="other"))
    site.run_pass(NOW + 60, elsewhere, runs("1", BEGAN, NOW + 60, "device-hours=10"))

    assert ([], 1) == (over(site), len(trials(site)))


def test_in_both_databases_a_life_is_kept(store: Store) -> None:
    """From submit to the end, with what was learned of it, and again by another process."""
    site = Site(store)
    train(site, NOW, "device-hours=2")
    site.restart()
    site.run_pass(NOW + 60, ends(runs("1", BEGAN, NOW, "device-hours=2"), NOW + 50))
    site.restart()
    site.run_pass(NOW + 500, runs("2", NOW + 400, NOW + 500))

    assert ["1"] == [name for name, _ in over(site)]
    assert (1, 1) == (learned_of(site), len(site.forecaster.record.trials))


def test_more_trials_than_are_looked_for_at_once_are_judged_over_passes(site: Site) -> None:
    """After an outage in which everything ended."""
    count = MISSED_AT_ONCE + 20
    began = int(NOW - 4 * HOUR)
    trial = KeptTrial("ada", "declared", HOUR)
    kept = {TrialKey(Scope("job", f"x{n}"), "device-hours", began): trial for n in range(count)}
    with site.store.writing() as connection:
        trial_store.save_trials(connection, "default", kept)
    site.run_pass(NOW, *(ran(f"x{n}", NOW - 3 * HOUR, 1.0) for n in range(count)))
    site.run_pass(NOW + 60)

    assert ({}, count) == (trials(site), len(over(site)))


def test_forget_is_a_fresh_start() -> None:
    """Nothing of what was known is left."""
    forecaster = Forecaster("default", POLICY)
    forecaster.record.words = "said"

    forecaster.forget()
    assert "no record at this site yet (n=0)" == forecaster.record.words


def test_damaged_rows_stop_no_pass(site: Site) -> None:
    """Who takes over forecasts what runs, with what can be read; the job is on trial anew."""
    train(site, NOW, "device-hours=3")
    damaged = {"burnups": "points", "trials": "marks", "learned": "state"}
    with site.store.writing() as connection:
        for table, column in damaged.items():
            connection.exec_driver_sql(f"UPDATE {table} SET {column} = '[{{'")
    site.restart()
    site.run_pass(NOW + 60, runs("1", BEGAN, NOW + 60, "device-hours=3"), rows=[seen("1", BEGAN, NOW + 60)])

    assert 3 * HOUR == site.of("1").reference
    assert ["0.5"] == [stage for trial in trials(site).values() for stage in trial.marks]
