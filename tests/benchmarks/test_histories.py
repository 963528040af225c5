"""The history that backtests are measured on: the same each time, and what the command reads of it."""

from __future__ import annotations

from pathlib import Path

from gpuwatch.cli.run_files import read
from gpuwatch.forecast.backtest import replayed
from tests.benchmarks.backtest import REPORTS, history, write


def test_a_history_is_the_same_each_time() -> None:
    """Figures of one day can be compared with those of another."""
    first, second = list(history(300)), list(history(300))

    assert first == second


def test_a_third_declares_and_a_tenth_reports() -> None:
    """As on a cluster of which not everybody takes part."""
    runs = list(history(3000))

    assert 900 < sum(run.declared is not None for run in runs) < 1100
    assert 240 < sum(len(run.progress) == REPORTS for run in runs) < 360


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    """No row is left out, so that all of them are measured."""
    runs, left_out = read(*map(str, write(tmp_path, 500)))

    assert not left_out.counts
    assert [run.job_id for run in history(500)] == [run.job_id for run in runs]
    assert [run.final for run in history(500)] == [run.final for run in runs]
    assert [len(run.progress) for run in history(500)] == [len(run.progress) for run in runs]


def test_those_that_declare_are_forecast() -> None:
    """One trial for each, of the forecast and of each simpler rule."""
    runs = list(history(300))

    found = replayed(runs, 0.1)

    declared = sum(run.declared is not None for run in runs)
    assert {declared} == {len(found.trials), *map(len, found.baselines.values())}
