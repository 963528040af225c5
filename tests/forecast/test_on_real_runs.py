"""Real runs replayed in the order of time: forecasts keep what they promise, and are better than simple rules."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from gpuwatch.forecast.backtest import Replay, replayed
from gpuwatch.forecast.chains_cut import cut
from gpuwatch.forecast.history import BacktestRun
from gpuwatch.forecast.run_file import LeftOut, runs, with_progress
from gpuwatch.forecast.scoring import Figures, Tree, at, document, figures, name_of, number_at, supported
from gpuwatch.forecast.trials import STAGES, THRESHOLDS, Stage

DATA = Path(__file__).parents[3] / "shared" / "data" / "mlperf_v2.1"
TOLERANCE = 0.25
ENOUGH = 100

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not DATA.exists(), reason=f"the sample data is not there: {DATA}"),
]


@pytest.fixture(scope="module")
def history() -> tuple[BacktestRun, ...]:
    """The runs of a round of a benchmark; what is declared is what others took."""
    left_out = LeftOut()
    with (DATA / "runs.csv").open(encoding="utf-8", newline="") as lines:
        found = runs(lines, "runs.csv", left_out)
    with gzip.open(DATA / "progress.csv.gz", "rt", encoding="utf-8", newline="") as lines:
        found = with_progress(found, lines, "progress.csv.gz", left_out)
    return tuple(found.values())


@pytest.fixture(scope="module")
def replay(history: tuple[BacktestRun, ...]) -> Replay:
    """What would have been forecast of them."""
    return replayed(history, TOLERANCE)


@pytest.fixture(scope="module")
def single(replay: Replay) -> Figures:
    """How good that was."""
    return figures(replay.trials, TOLERANCE)


@pytest.fixture(scope="module")
def chains(history: tuple[BacktestRun, ...]) -> Figures:
    """How good forecasts of the same runs are, each cut into four jobs with lost work."""
    return figures(replayed(cut(history, 4), TOLERANCE).trials, TOLERANCE)


def number(tree: Tree, *path: str) -> float:
    found = number_at(tree, *path)
    assert found is not None, path
    return found


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("kind", ["single", "chains"])
def test_intervals_hold_what_they_promise(kind: str, stage: Stage, request: pytest.FixtureRequest) -> None:
    """80 % of the time, of runs alike and by device-hours; what users make of it is consistent with that."""
    found: Figures = request.getfixturevalue(kind)
    ends = at(found.intervals, "coverage", "80", "jobs", stage)

    assert number(found.values, "n", stage) >= ENOUGH
    assert 0.75 <= number(found.values, "coverage", "80", "jobs", stage) <= 0.85
    assert 0.70 <= number(found.values, "coverage", "80", "device_hours", stage) <= 0.90
    assert isinstance(ends, list)
    assert ends[0] <= 0.80 <= ends[1]


@pytest.mark.parametrize("stage", STAGES)
def test_forecasts_are_better_than_each_simple_rule(replay: Replay, stage: Stage) -> None:
    """By the Winkler score of the 80 % interval, of those rules that have one."""
    found = document(replay, TOLERANCE)
    simple = at(found, "baselines")
    assert isinstance(simple, dict)

    scores = {rule: number_at(found, "baselines", rule, "winkler", "80", "jobs", stage) for rule in simple}
    known = {rule: score for rule, score in scores.items() if score is not None}

    assert {"declared", "last_two", "used_by_progress"} == set(known)
    assert number(found, "winkler", "80", "jobs", stage) < min(known.values())


@pytest.mark.parametrize("threshold", [each for each in THRESHOLDS if each >= 0.8])
def test_what_is_called_likely_is_right_and_early(single: Figures, threshold: float) -> None:
    """At .8: 88 % of the calls are right, and 65 % of those come before what is declared is used."""
    alert = ("alert", name_of(threshold))

    assert number(single.values, *alert, "precision", "jobs") >= 0.88
    if threshold == 0.8:
        assert number(single.values, *alert, "early", "jobs") >= 0.65


def test_the_lowest_threshold_that_is_right_enough_is_early(single: Figures) -> None:
    """85 % right, and three quarters of those early: `used / progress` has .70 right, and .79 of them early."""
    lowest = supported(single.values)

    assert lowest is not None
    assert number(single.values, "alert", name_of(lowest), "precision", "jobs") >= 0.85
    assert number(single.values, "alert", name_of(lowest), "early", "jobs") >= 0.75


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_as_often_as_it_says_it_is_right(single: Figures, threshold: float) -> None:
    """The probability that is stated with a call, and how many of the calls were right."""
    alert = ("alert", name_of(threshold))

    assert pytest.approx(number(single.values, *alert, "precision", "jobs"), abs=0.05) == number(
        single.values, *alert, "stated", "jobs"
    )
