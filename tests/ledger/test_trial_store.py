"""Trials and what was learned of them, on disk, in both databases."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import update

from gpuwatch.ledger.forecast_tables import trials
from gpuwatch.ledger.store import Store
from gpuwatch.ledger.trial_store import (
    KeptTrial,
    Outcome,
    TrialKey,
    drop,
    drop_beyond,
    finish,
    finished,
    load_calibration,
    open_trials,
    save_calibration,
    save_trials,
)
from gpuwatch.model import Scope

STARTED = 1_800_000_000
TRIAL = KeptTrial(
    "ada", "declared", 36_000.0,
    {"submit": (0.0, 0.25, 1.0, 2.0, 3.0, 4.5, 5.0, 6.0, 7.0), "0.1": (3600.5, None)},
    {0.5: (7200.0, 0.55), 0.95: (9000.0, None)},
)  # fmt: skip


def key(name: str, quantity: str = "device-hours") -> TrialKey:
    """The trial of a job."""
    return TrialKey(Scope("job", name), quantity, STARTED)


def save(store: Store, *names: str, trial: KeptTrial = TRIAL, cluster: str = "default") -> None:
    """Save the same trial for jobs."""
    with store.writing() as connection:
        save_trials(connection, cluster, {key(name): trial for name in names})


def end(store: Store, *names: str, cluster: str = "default") -> int:
    """Finish the trials of jobs, one second after another."""
    outcomes = {key(name): Outcome(4e4, STARTED + 1e4 + place) for place, name in enumerate(names)}
    with store.writing() as connection:
        return finish(connection, cluster, outcomes)


def over(store: Store, most: int = 5000, cluster: str = "default") -> list[str]:
    """The jobs whose trials are over."""
    with store.reading() as connection:
        return [each.scope.name for each, _ in finished(connection, cluster, "device-hours", most)]


def running(store: Store) -> dict[TrialKey, KeptTrial]:
    """The trials that are open."""
    with store.reading() as connection:
        return open_trials(connection, "default")


@pytest.mark.parametrize("number", [1, 300])
def test_open_trials_are_what_was_saved(store: Store, number: int) -> None:
    """Numbers that were not known included; of this cluster alone."""
    names = [str(each) for each in range(number)]
    save(store, *names)
    save(store, *names)
    save(store, "elsewhere", cluster="other")

    assert {key(name): TRIAL for name in names} == running(store)


def test_what_changed_takes_the_place_of_what_was(store: Store) -> None:
    """More stages are reached, and more is called."""
    save(store, "7", trial=replace(TRIAL, marks={}, calls={}))
    save(store, "7")

    assert {key("7"): TRIAL} == running(store)


def test_what_is_finished_is_no_longer_open(store: Store) -> None:
    """And says what it came to; an outcome of what is not on trial is nobody's."""
    save(store, "7", "8")
    with store.writing() as connection:
        number = finish(connection, "default", {key(name): Outcome(5e4, 1.9e9, True) for name in ("7", "9")})

    with store.reading() as connection:
        found = finished(connection, "default", "device-hours")
    assert (1, {key("8"): TRIAL}) == (number, running(store))
    assert [(key("7"), replace(TRIAL, outcome=Outcome(5e4, 1.9e9, True)))] == found


def test_an_outcome_may_be_restated(store: Store) -> None:
    """A batch system says later what a job really had."""
    save(store, "7")
    for final in (5e4, 4e4, 4e4):
        with store.writing() as connection:
            finish(connection, "default", {key("7"): Outcome(final, 1.9e9)})

    with store.reading() as connection:
        ((_, trial),) = finished(connection, "default", "device-hours")
    assert Outcome(4e4, 1.9e9) == trial.outcome


def test_what_goes_on_after_all_is_open_again(store: Store) -> None:
    """A job that was taken for ended while its node was away."""
    save(store, "7")
    end(store, "7")
    save(store, "7")

    assert ([], {key("7"): TRIAL}) == (over(store), running(store))


def test_the_latest_finished_come_in_the_order_they_ended(store: Store) -> None:
    """At most so many, of one quantity and one cluster."""
    save(store, "c", "a", "b", "d")
    end(store, "b", "c", "a")
    save(store, "x", cluster="other")
    end(store, "x", cluster="other")
    with store.writing() as connection:
        save_trials(connection, "default", {key("a", "energy"): replace(TRIAL, outcome=Outcome(1.0, 2e9))})

    assert (["b", "c", "a"], ["c", "a"]) == (over(store), over(store, 2))


def test_nobody_knows_what_a_dropped_one_came_to(store: Store) -> None:
    """Only those that are named."""
    save(store, "7", "8")
    with store.writing() as connection:
        assert 1 == drop(connection, "default", [key("7"), key("9")])

    assert {key("8"): TRIAL} == running(store)


def test_of_those_that_are_over_the_latest_stay(store: Store) -> None:
    """The oldest go first, so many at once; open ones and other clusters' stay."""
    save(store, *"abcdef")
    end(store, *"abcde")
    save(store, *"abc", cluster="other")
    end(store, *"abc", cluster="other")

    for left in ("bcde", "cde", "cde"):
        with store.writing() as connection:
            drop_beyond(connection, "default", 3, 1)
        assert [*left] == over(store)
    assert ([*"abc"], [key("f")]) == (over(store, cluster="other"), [*running(store)])


def test_of_those_that_ended_together_as_many_stay(store: Store) -> None:
    """An array that ends within a second is not forgotten as a whole."""
    save(store, *"abcde", trial=replace(TRIAL, outcome=Outcome(4e4, 1.9e9)))

    with store.writing() as connection:
        assert 2 == drop_beyond(connection, "default", 3, 100)
    assert 3 == len(over(store))


def test_calibration_is_what_was_saved_last(store: Store) -> None:
    """A level that is not told of stays; of each cluster its own."""
    first = {("device-hours", stage, 0.9): (0.93, 7) for stage in ("submit", "0.5")}
    second = {("device-hours", "0.5", 0.9): (0.95, 8), ("energy", "0.5", 0.1): (0.0, 0)}
    for learned in (first, second, second):
        with store.writing() as connection:
            save_calibration(connection, "default", learned)

    with store.reading() as connection:
        assert first | second == load_calibration(connection, "default")
        assert {} == load_calibration(connection, "other")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '{"0.5":7}', '{"0.5":["x"]}', '{"0.5":[NaN,1]}', '{"0.5":["1",2]}']
)
@pytest.mark.parametrize("column", ["marks", "calls"])
def test_what_cannot_be_read_is_passed_over(store: Store, column: str, text: str) -> None:
    """Others are read; the same run may be on trial again."""
    save(store, "1", "2", "3", "4")
    end(store, "3", "4")
    with store.writing() as connection:
        connection.execute(update(trials).where(trials.c.scope.in_(["1", "3"])).values({column: text}))

    with store.reading() as connection:
        assert [key("2")] == list(open_trials(connection, "default"))
        assert ["4"] == [each.scope.name for each, _ in finished(connection, "default", "device-hours")]
    save(store, "1")
    with store.reading() as connection:
        assert {key("1"), key("2")} == open_trials(connection, "default").keys()
