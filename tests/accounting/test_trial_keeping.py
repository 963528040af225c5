"""What a trial means survives being kept as numbers."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.accounting.trial_keeping import (
    OpenTrial,
    calibration_of,
    calibration_rows,
    called,
    finished_trial,
    kept,
    marked,
    open_trial,
)
from gpuwatch.forecast.calibration import KINDS, Calibration
from gpuwatch.forecast.trials import LEVELS, STAGES, THRESHOLDS, Call, Mark, Trial
from gpuwatch.ledger.store import Store
from gpuwatch.ledger.trial_store import (
    Outcome,
    TrialKey,
    finished,
    load_calibration,
    open_trials,
    save_calibration,
    save_trials,
)
from gpuwatch.model import Scope

KEY = TrialKey(Scope("job", "7"), "energy", 1_800_000_000)
MARK = Mark(10.0, tuple(100.0 * level for level in LEVELS), 0.25, tuple(level / 2 for level in LEVELS), KINDS[1])
TRIAL = OpenTrial("ada", "expected", 100.0, {"submit": Mark(0.0, ()), "0.1": MARK}, {0.5: Call(30.0, 0.55)})

amounts = st.floats(0, 1e15)
ratios = st.floats(0, 1)
unquantified = st.builds(Mark, amounts, st.just(()), st.none() | ratios, st.just(LEVELS), st.just(""))
quantified = st.builds(
    Mark, amounts, st.tuples(*(amounts for _ in LEVELS)), st.none() | ratios, st.tuples(*(ratios for _ in LEVELS)),
    st.sampled_from(("", *KINDS)),
)  # fmt: skip
trials = st.builds(
    OpenTrial,
    st.text(),
    st.sampled_from(["declared", "expected"]),
    amounts,
    st.dictionaries(st.sampled_from(STAGES), unquantified | quantified),
    st.dictionaries(st.sampled_from((0.0, *THRESHOLDS)), st.builds(Call, amounts, st.none() | ratios)),
)


@given(trials, amounts, st.booleans())
def test_what_is_kept_is_the_same_again(trial: OpenTrial, final: float, cut: bool) -> None:
    """While it goes on and when it is over."""
    over = kept(trial, Outcome(final, 1.9e9, cut))

    assert trial == open_trial(kept(trial))
    assert Trial(trial.user, trial.declared, final, trial.marks, trial.calls, cut) == finished_trial(over)


def test_the_ledger_keeps_it(store: Store) -> None:
    """Through the disk, open and finished."""
    with store.writing() as connection:
        save_trials(connection, "default", {KEY: kept(TRIAL)})
        (going,) = open_trials(connection, "default").values()
        save_trials(connection, "default", {KEY: kept(TRIAL, Outcome(120.0, 1.9e9, True))})
        ((_, over),) = finished(connection, "default", "energy")

    assert TRIAL == open_trial(going)
    assert Trial("ada", 100.0, 120.0, TRIAL.marks, TRIAL.calls, True) == finished_trial(over)


def test_what_goes_on_is_no_finished_trial() -> None:
    """Nobody knows what it will come to."""
    assert finished_trial(kept(TRIAL)) is None


def test_marks_that_are_not_understood_are_left_out() -> None:
    """A stage, or a number of quantiles, of another version."""
    without_places = (10.0, 0.25, *(float(each) for each in range(len(LEVELS))))
    marks = {"0.1": (10.0, 0.25, 1.0, 2.0), "0.25": without_places, "0.33": (33.0, None), "0.5": (50.0, None)}

    assert {"0.5": Mark(50.0, ())} == open_trial(replace(kept(TRIAL), marks=marks)).marks


def test_calls_that_are_not_understood_are_left_out() -> None:
    """As many numbers as another version had, or a correction of which nobody knows."""
    calls = {0.5: (30.0, 0.55), 0.6: (30.0,), 0.7: (30.0, 0.7, 1.0)}
    of_another_kind = (10.0, 0.25, 99.0, *MARK.quantiles, *MARK.places)
    known = open_trial(replace(kept(TRIAL), calls=calls, marks={"0.1": of_another_kind}))

    assert ({0.5: Call(30.0, 0.55)}, "") == (known.calls, known.marks["0.1"].kind)


def test_the_first_mark_of_a_stage_counts() -> None:
    """Usage that was restated does not bring a stage again."""
    again = marked(marked(TRIAL, "0.5", MARK), "0.5", Mark(70.0, ()))

    assert {**TRIAL.marks, "0.5": MARK} == again.marks


def test_an_overrun_is_called_once_at_each_threshold_it_reached() -> None:
    """At all that were passed at once, with what was stated; nothing stated calls nothing."""
    first = called(OpenTrial("ada", "declared", 100.0), 30.0, 0.72)

    assert {at: Call(30.0, 0.72) for at in (0.5, 0.6, 0.7)} == first.calls
    assert {**first.calls, 0.8: Call(40.0, 0.8)} == called(first, 40.0, 0.8).calls
    assert first is called(first, 50.0, 0.3)
    assert first is called(first, 50.0, None)


def learned(seed: int) -> Calibration:
    """What 150 runs taught, of which more came to much than was promised."""
    found = Calibration()
    for number in range(150):
        found.learn("submit", KINDS[0], (number * seed % 150 / 150) ** 0.5)
        found.learn("0.5", KINDS[2], number / 150)
    return found


def test_what_was_learned_is_the_same_again_in_the_ledger(store: Store) -> None:
    """Each stage with its places and of how many runs it knows."""
    with store.writing() as connection:
        save_calibration(connection, "default", calibration_rows(learned(7)))
        save_calibration(connection, "default", calibration_rows(learned(11)))
        save_calibration(connection, "other", calibration_rows(Calibration()))

    with store.reading() as connection:
        assert learned(11) == calibration_of(load_calibration(connection, "default"))
        assert Calibration() == calibration_of(load_calibration(connection, "other"))


def test_a_stage_of_which_a_level_is_missing_is_not_known() -> None:
    """As after a change of the levels, or where it is no place; other quantities are others' business."""
    rows = calibration_rows(learned(7))
    del rows["device-hours", "submit", 0.25]
    rows["energy", "0.1", 0.5] = (0.4, 9)
    rows["device-hours", f"0.5 {KINDS[2]}", 0.25] = (float("nan"), 150)

    assert ["0.5", f"submit {KINDS[0]}"] == sorted(calibration_of(rows).stages)
