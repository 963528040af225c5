"""Runs cut into chains of jobs."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.forecast.chains_cut import MOST_LOST, cut
from tests.forecast.histories import HOUR, history, run

RUN = run("7", started=100.0, hours=40.0, progress=400)


def test_one_job_is_the_run_itself() -> None:
    """Nothing is lost."""
    assert (RUN,) == cut([RUN], 1)


@given(st.integers(2, 12), st.text(max_size=5))
def test_work_adds_up(jobs: int, job_id: str) -> None:
    """All of the run and what was done twice: at most a quarter of a job between each two."""
    whole = run(job_id, 100.0, 40.0, progress=4)

    (found,) = cut([whole], jobs)

    lost = (found.ended - found.started) - 40 * HOUR
    assert 0.0 <= lost <= (jobs - 1) * MOST_LOST * 40 * HOUR / jobs
    assert (found.started, found.declared, found.devices) == (whole.started, whole.declared, whole.devices)


def test_progress_falls_back_at_each_end_of_a_job() -> None:
    """Three times in a chain of four, and is complete at its end; time never does."""
    (found,) = cut([RUN], 4)

    times = [time for time, _ in found.progress]
    assert 3 == sum(later < earlier for (_, earlier), (_, later) in pairwise(found.progress))
    assert (sorted(times), 1.0) == (times, found.progress[-1][1])
    assert pytest.approx(found.ended) == times[-1]


def test_what_is_done_again_is_what_was_lost() -> None:
    """Reports that come twice are as many as the lost time has."""
    (found,) = cut([RUN], 4)

    lost = (found.ended - found.started) - 40 * HOUR
    assert pytest.approx(lost / (40 * HOUR / 400), abs=3) == len(found.progress) - 400


def test_a_first_job_is_as_it_was() -> None:
    """Up to a quarter of the run nothing is different."""
    (found,) = cut([RUN], 4)

    assert RUN.progress[:100] == tuple((pytest.approx(time), ratio) for time, ratio in found.progress[:100])


def test_the_same_runs_are_cut_the_same_way() -> None:
    """What is lost is drawn by the job's id: another loses something else."""
    runs = history(50, 1)

    assert cut(runs, 4) == cut(runs, 4)
    assert cut(runs[::-1], 4) == cut(runs, 4)[::-1]
    assert cut([RUN], 4)[0].ended != cut([run("8", 100.0, 40.0)], 4)[0].ended


def test_a_chain_has_no_limit_of_its_own() -> None:
    """The limit was that of one job."""
    assert None is cut([replace(RUN, limit_seconds=5.0)], 2)[0].limit_seconds


def test_runs_without_progress_are_cut_too() -> None:
    """They come to more all the same."""
    (found,) = cut([run(hours=40.0)], 4)

    assert ((), True) == (found.progress, found.final > 40 * HOUR)
