"""Forecasts on trial while a run goes on, and once it is over."""

from __future__ import annotations

from typing import Any

import pytest

from gpuwatch.accounting.trying import LEARNERS, Said, Trying, key_of, outcome_of
from gpuwatch.forecast.calibration import Calibration
from gpuwatch.forecast.evidence import Case, Experience, Outlook
from gpuwatch.forecast.trials import LEVELS, THRESHOLDS, Call
from gpuwatch.ledger.trial_store import Outcome, TrialKey
from gpuwatch.model import Scope
from tests.ledger import made
from tests.ledger.batch import T0, record

KEY = TrialKey(Scope("job", "7"), "device-hours", T0)
QUANTILES = tuple(200.0 * level for level in LEVELS)


def outlook(used: float = 0.0, declared: float | None = 100.0) -> Outlook:
    """What is known where nothing alike has ended."""
    return Experience().outlook(Case("ada", "ml", "train", used, declared), 0.0)


def said(used: float, p_over: float = 0.1, key: TrialKey = KEY, **changed: Any) -> Said:
    """A forecast of a run that declares 100 device-seconds."""
    values: dict[str, Any] = {"kind": "declared", "amount": 100.0, "quantiles": QUANTILES, **changed}
    return Said(
        key,
        "ada",
        used,
        values["kind"],
        values["amount"],
        values["quantiles"],
        LEVELS,
        p_over,
        outlook(used),
        "without progress",
    )


def finish(trying: Trying, final: float, cut: bool = False, calibration: Calibration | None = None) -> Any:
    """A run came to so much."""
    return trying.finish(KEY, Outcome(final, T0 + 1e4, cut), "array 5", Experience(), calibration or Calibration())


def test_the_first_forecast_at_each_stage_is_on_trial() -> None:
    """By how much of the amount is used; beyond it nothing is forecast any more."""
    trying = Trying(0.1)
    for used in (1.0, 5.0, 26.0, 30.0, 80.0, 120.0):
        trying.take(said(used))

    marks = trying.open[KEY].marks
    assert {"submit": 1.0, "0.25": 26.0, "0.75": 80.0} == {stage: mark.used for stage, mark in marks.items()}
    assert {KEY} == trying.changed


def test_what_changes_nothing_is_not_written_again() -> None:
    """A pass in which no stage is reached."""
    trying = Trying(0.1)
    trying.take(said(1.0))
    trying.saved()
    trying.take(said(2.0))

    assert {} == trying.to_save()


def test_an_overrun_is_called_once_in_each_tenth() -> None:
    """However often it is looked at, as a pass is no new evidence."""
    trying = Trying(0.1)
    for used, p_over in ((11.0, 0.1), (12.0, 0.9), (21.0, 0.65), (29.0, 0.99), (31.0, 0.7)):
        trying.take(said(used, p_over))

    called = {0.5: Call(21.0, 0.65), 0.6: Call(21.0, 0.65), 0.7: Call(31.0, 0.7)}
    assert called == trying.open[KEY].calls


def test_calls_are_about_what_was_declared_first() -> None:
    """What is declared anew is another amount; the trial stays that of the first."""
    trying = Trying(0.1)
    trying.take(said(11.0))
    trying.take(said(31.0, 0.99, amount=40.0))

    trial = trying.open[KEY]
    assert (100.0, {}) == (trial.declared, trial.calls)
    assert {"0.1", "0.25"} == trial.marks.keys()


def test_what_is_expected_stays_as_it_was_when_it_was_first_expected() -> None:
    """What is declared is nothing that is expected."""
    trying = Trying(0.1)
    trying.take(said(1.0, kind="expected", amount=70.0))
    other = KEY._replace(started=T0 + 1)
    trying.take(said(1.0, key=other))

    assert (70.0, None, None) == (
        trying.expected(KEY), trying.expected(other), trying.expected(KEY._replace(started=5)),
    )  # fmt: skip


def test_a_run_that_is_over_is_learned_from_and_kept_once() -> None:
    """Until the ledger has it."""
    trying, calibration = Trying(0.1), Calibration()
    trying.take(said(1.0))
    trying.take(said(51.0))

    trial = finish(trying, 100.0, calibration=calibration)
    assert (100.0, False) == (trial.final, trial.cut)
    learned = {stage: places.n for stage, places in calibration.stages.items()}
    assert {"submit": 1, "submit without progress": 1, "0.5": 1, "0.5 without progress": 1} == learned
    assert {KEY: Outcome(100.0, T0 + 1e4)} == {key: each.outcome for key, each in trying.to_save().items()}
    assert (None, {}, {}) == (finish(trying, 100.0), trying.open, trying._outlooks)
    trying.saved()
    assert {} == trying.to_save()


def test_an_overrun_that_nobody_called_is_called_by_itself() -> None:
    """Where it becomes a fact: at each threshold that was not reached before."""
    trying = Trying(0.1)
    trying.take(said(11.0, 0.65))
    trial = finish(trying, 150.0)

    early = {0.5: Call(11.0, 0.65), 0.6: Call(11.0, 0.65)}
    assert {at: early.get(at, Call(pytest.approx(110.0), 1.0)) for at in THRESHOLDS} == trial.calls


def test_what_did_not_end_by_itself_teaches_nothing() -> None:
    """It is kept with its end all the same."""
    trying, calibration = Trying(0.1), Calibration()
    trying.take(said(1.0))

    assert finish(trying, 50.0, cut=True, calibration=calibration).cut
    assert {} == calibration.stages


def test_a_run_that_is_not_there_any_more_is_dropped() -> None:
    """With all that is known of it; the ledger is told once."""
    trying = Trying(0.1)
    trying.take(said(1.0))
    trying.drop([KEY])

    assert ({KEY}, {}, {}) == (trying.dropped, trying.open, trying.to_save())
    assert ({}, {}) == (trying._outlooks, trying._polled)
    trying.saved()
    assert set() == trying.dropped


def test_of_very_many_runs_some_teach_which_evidence_tells() -> None:
    """The others are on trial as well."""
    trying = Trying(0.1)
    for number in range(LEARNERS + 10):
        trying.take(said(1.0, key=KEY._replace(started=number)))
    trying.take(said(30.0, key=KEY._replace(started=0)))

    assert (LEARNERS + 10, LEARNERS) == (len(trying.open), len(trying._outlooks))
    assert 2 == len(trying._outlooks[KEY._replace(started=0)])


@pytest.mark.parametrize(
    ("state", "exit_code", "cut"),
    [
        ("COMPLETED", None, False), ("CANCELLED by 7", None, True), ("TIMEOUT", 0, True), ("FAILED", 1, True),
        ("OUT_OF_MEMORY", None, True), ("RUNNING", None, True), (None, 0, False), (None, 1, True),
        (None, None, True),
    ],
)  # fmt: skip
def test_only_what_is_known_to_have_ended_by_itself_came_to_all_it_would(
    state: str | None, exit_code: int | None, cut: bool
) -> None:
    """What was lost while it ran may have gone on."""
    its = None if state is None else record("7", state=state)
    job = made.job(made.run(allocated_seconds=500.0), record=its, exit_code=exit_code)

    assert Outcome(500.0, T0 + 1000.0, cut) == outcome_of(job)
    assert KEY == key_of(job)


def test_what_was_submitted_together_teaches_less_than_its_number_promises() -> None:
    """The fourth task of an array moves what is learned half as far as the first."""
    trying, moved = Trying(0.1), []
    for _ in range(4):
        calibration = Calibration()
        trying.take(said(1.0))
        finish(trying, 1e4, calibration=calibration)
        moved.append(calibration.stages["submit"].places[3] - 0.5)

    assert moved[0] > moved[1] > moved[2] > moved[3]
    assert 0.5 == pytest.approx(moved[3] / moved[0], rel=0.05)
