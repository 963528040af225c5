"""What of an attempt's work was lost: the one rule of waste and of chains."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gpuwatch.ledger.lost_work import kept_until, lost_ratio, outcome_of
from tests.ledger.batch import T0, record
from tests.ledger.made import job, progress, run


@pytest.mark.parametrize(
    ("outcome", "resumed", "lost"),
    [
        ("NODE_FAIL", None, 0.4),
        ("NODE_FAIL", 500.0, 0.4),
        ("NODE_FAIL", 600.0, 0.4),
        ("NODE_FAIL", 250.0, 0.7),
        ("NODE_FAIL", 0.0, 1.0),
        ("COMPLETED", None, 0.0),
        ("COMPLETED", 500.0, 0.0),
        ("COMPLETED", 250.0, 0.7),
        ("RUNNING", None, 0.0),
    ],
)
def test_what_was_kept_had_been_done_by_then(outcome: str, resumed: float | None, lost: float) -> None:
    """It did 500 steps in 600 s and ended after 1000 s; the next attempt took up a step."""
    after = None if resumed is None else progress(1000, 2000, resumed)
    told = progress(500, 600)

    assert pytest.approx(lost) == lost_ratio(run(outcome=outcome, progress=told), told, after, outcome)


def test_steps_gone_back_while_it_ran_are_lost_of_one_that_runs_too() -> None:
    """It did 600 steps in 600 s, a hundred of them in vain."""
    told = replace(progress(500, 600), best=600.0, lost=100.0)
    one = run(outcome="RUNNING", progress=told)

    assert (T0 + 500.0, pytest.approx(0.1)) == (kept_until(one, told), lost_ratio(one, told, None, "RUNNING"))


@pytest.mark.parametrize("at", [-50.0, 0.0, 5000.0])
def test_a_clock_that_differs_does_not_lose_more_than_all(at: float) -> None:
    """A report from before the run began, or from after it ended."""
    told = progress(500, at)
    one = run(outcome="FAILED", progress=told)

    assert 0.0 <= lost_ratio(one, told, progress(900, 3000, 100), "FAILED") <= 1.0


def test_how_a_run_ended_is_the_batch_systems_word_before_the_exit_code() -> None:
    """Of an earlier run the exit code, which is the last one's, says nothing."""
    one = run()
    ended = {"state": "ended", "exit_code": 1}

    assert ["FAILED", "", "COMPLETED", "", "TIMEOUT"] == [
        outcome_of(job(one, **ended), one),
        outcome_of(job(one, **ended), one, is_last=False),
        outcome_of(job(one, state="ended", exit_code=0), one),
        outcome_of(job(one, **ended, record=record()), one),
        outcome_of(job(one, **ended), run(outcome="TIMEOUT")),
    ]
