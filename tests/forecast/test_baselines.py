"""Rules that anybody would try first, each on a history of a few runs."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gpuwatch.forecast.backtest import replayed
from gpuwatch.forecast.baselines import BASELINES, BUDGET, BY_PROGRESS, DECLARED, LAST_TWO, RULE
from gpuwatch.forecast.history import BacktestRun
from gpuwatch.forecast.trials import LEVELS, Call, Stage, Trial
from tests.forecast.histories import DAY, HOUR, run


def said(rule: str, runs: Sequence[BacktestRun]) -> Trial:
    """What a rule said of the last of the runs."""
    return replayed(runs, 0.1).baselines[rule][-1]


def points(rule: str, runs: Sequence[BacktestRun]) -> dict[Stage, float]:
    """What it named at each stage, in hours, where it did not know yet how far it is off."""
    return {stage: mark.quantiles[3] / HOUR for stage, mark in said(rule, runs).marks.items()}


def test_all_rules_judge_the_same_runs() -> None:
    """Each run that declares, and nothing else."""
    runs = [run("a"), run("b", DAY, declared=None), run("c", 2 * DAY)]

    assert dict.fromkeys(BASELINES, 2) == {
        rule: len(trials) for rule, trials in replayed(runs, 0.1).baselines.items()
    }


def test_what_is_declared_is_foretold_and_calls_nothing() -> None:
    """Also of a run that comes to twice as much: the rule never says so."""
    found = said(DECLARED, [run(hours=20.0)])

    assert dict.fromkeys(("submit", "0.1", "0.25", "0.5", "0.75"), 10.0) == points(DECLARED, [run(hours=20.0)])
    assert {} == found.calls


def test_the_mean_of_the_users_last_two_runs_is_foretold() -> None:
    """Of 4, 6 and 8 hours: seven. Those of others do not count, those that declared nothing do."""
    runs = [
        run("a", 0.0, 4.0), run("b", DAY, 6.0, None), run("c", 2 * DAY, 8.0, None),
        run("d", 3 * DAY, 2.0, None, "bob"), run("e", 4 * DAY, 9.5),
    ]  # fmt: skip

    found = points(LAST_TWO, runs)

    # In the one run before it that declared it was off by 4 / 10, at the stages that this one reached.
    assert pytest.approx(7.0 * 4 / 10) == found["submit"]
    assert pytest.approx(7.0) == found["0.5"]


def test_a_user_without_a_run_is_foretold_what_is_declared() -> None:
    """Of others nothing is taken."""
    assert 10.0 == points(LAST_TWO, [run("b", 0.0, 4.0, None, "bob"), run("a", DAY, 9.0)])["submit"]


def test_what_is_used_by_how_far_it_is_is_foretold() -> None:
    """Twenty hours in even steps, declared for 10: called as soon as there is a report."""
    runs = [run(hours=20.0, progress=40)]

    found = points(BY_PROGRESS, runs)

    assert 10.0 == found["submit"]
    assert pytest.approx([20.0] * 4) == [found[stage] for stage in ("0.1", "0.25", "0.5", "0.75")]  # type: ignore[index]
    assert {RULE: Call(pytest.approx(1 * HOUR))} == said(BY_PROGRESS, runs).calls


def test_a_run_without_progress_is_foretold_what_is_declared() -> None:
    """And its overrun is called once it is one."""
    assert 10.0 == points(BY_PROGRESS, [run(hours=20.0)])["0.5"]
    assert {RULE: Call(pytest.approx(11 * HOUR))} == said(BY_PROGRESS, [run(hours=20.0)]).calls


@pytest.mark.parametrize(("hours", "called"), [(20.0, True), (9.0, True), (7.9, False)])
def test_a_budget_calls_when_four_fifths_are_used(hours: float, called: bool) -> None:
    """Of every run that comes so far, whether it overruns or not; it foretells nothing."""
    found = said(BUDGET, [run(hours=hours)])

    assert ({RULE: Call(pytest.approx(8 * HOUR))} if called else {}) == found.calls
    assert {} == found.marks


def test_an_interval_is_what_the_rule_was_off_by() -> None:
    """Twenty runs came to half or to all of what was declared: so wide is its interval, and never below used."""
    runs = [run(f"a{n:02}", n * DAY, 5.0 if n % 2 else 10.0) for n in range(20)]

    found = said(DECLARED, [*runs, run("b", 20 * DAY, 9.0)])

    low, high = found.marks["submit"].quantiles[1], found.marks["submit"].quantiles[5]
    assert pytest.approx([5 * HOUR, 10 * HOUR], rel=0.1) == [low, high]
    assert found.marks["0.75"].quantiles[0] >= 7.5 * HOUR


def test_with_no_run_before_it_an_interval_is_an_amount() -> None:
    """Nothing is known of how far it is off."""
    assert (10 * HOUR,) * len(LEVELS) == said(DECLARED, [run(hours=9.0)]).marks["submit"].quantiles
