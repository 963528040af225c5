"""Which jobs of a campaign go on with one another's work, how far they came, and what was lost."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.ledger.chains import PAUSE_SECONDS, Chain, chains_of
from gpuwatch.ledger.jobs import Job
from gpuwatch.model import Progress
from tests.ledger.batch import HOUR, T0
from tests.ledger.made import job, run

TOTAL = 9000.0


def told(name: str, start: float, step: float, begins: float, outcome: str = "TIMEOUT", **changed: Any) -> Job:
    """A job of two devices and an hour from `begins` hours after `T0` on; its report was its last moment."""
    total = changed.pop("total", TOTAL)
    best, lost, called = (changed.pop(each, None) for each in ("best", "lost", "called"))
    began = int(T0 + begins * HOUR)
    ended = began + changed.pop("hours", 1.0) * HOUR
    said = Progress(step, total, start, changed.pop("at", ended), best, lost)
    one = run(
        started=began, last_seen=ended, outcome=outcome, progress=said, allocated_seconds=2 * (ended - began)
    )
    values = {"state": "running" if outcome == "RUNNING" else "ended", "progress": said, **changed}
    return replace(job(one, name=name, **values), name=called or "train")


def silent(name: str, begins: float, **changed: Any) -> Job:
    """A job of an hour that never said how far it is."""
    began = int(T0 + begins * HOUR)
    one = run(started=began, last_seen=began + HOUR, outcome="FAILED")
    return replace(job(one, name=name, state="ended", **changed), name="train")


def names(*jobs: Job) -> list[list[str]]:
    """The jobs of each chain."""
    return [[each.scope.name for each in chain.jobs] for chain in chains_of(jobs)]


def only(*jobs: Job) -> Chain:
    """The one chain that some jobs are."""
    (found,) = chains_of(jobs)
    return found


def test_jobs_that_take_up_what_was_done_are_a_chain() -> None:
    """The second goes on at the checkpoint, the third went back 500 steps; in any order."""
    jobs = told("1", 0, 3000, 0), told("2", 3000, 5500, 2), told("3", 5000, 6000, 3, "RUNNING")

    chain = only(*reversed(jobs))

    assert ["1", "2", "3"] == [each.scope.name for each in chain.jobs]
    assert (6000.0, TOTAL, 3, 500.0, 6000.0) == (
        chain.progress.step, chain.progress.total, chain.runs, chain.lost_steps, chain.made_steps,
    )  # fmt: skip
    assert pytest.approx(500 / 6500) == chain.lost_work_ratio
    assert (HOUR, 6 * HOUR, "running", False) == (
        chain.gap_seconds, chain.device_seconds, chain.state, chain.finished,
    )  # fmt: skip


def test_what_was_lost_is_lost_at_the_rate_of_the_run_that_lost_it() -> None:
    """2500 steps in two device-hours; 500 of them are done again."""
    chain = only(told("1", 0, 3000, 0), told("2", 3000, 5500, 2), told("3", 5000, 6000, 3, "RUNNING"))

    assert pytest.approx(2 * HOUR * 500 / 2500) == chain.lost_device_seconds


def test_what_followed_the_last_report_of_a_failed_run_is_lost_too() -> None:
    """It reported after half an hour and failed after one; the next went on where it had reported."""
    first = told("1", 0, 1000, 0, "NODE_FAIL", at=T0 + HOUR / 2)

    chain = only(first, told("2", 1000, 3000, 2, "RUNNING"))

    assert (0.0, pytest.approx(HOUR)) == (chain.lost_steps, chain.lost_device_seconds)


def test_a_run_that_went_back_itself_lost_that_work() -> None:
    """By its own count, or at least from the farthest step to where it is."""
    counted = only(told("1", 0, 2000, 0, "RUNNING", best=2000, lost=1000))
    seen = only(told("1", 0, 2000, 0, "RUNNING", best=3000))

    assert (1000.0, 1000.0) == (counted.lost_steps, seen.lost_steps)
    assert [pytest.approx(2 * HOUR / 3)] * 2 == [counted.lost_device_seconds, seen.lost_device_seconds]
    assert pytest.approx(1 / 3) == seen.lost_work_ratio


def test_runs_side_by_side_are_different_chains() -> None:
    """A sweep: each goes on with its own work, which its progress tells apart where the names do not."""
    first = told("1", 0, 2000, 0), told("2", 0, 3000, 0), told("3", 0, 4000, 0)
    second = told("4", 3900, 6000, 2), told("5", 1900, 5000, 2), told("6", 2900, 5500, 2)

    assert [["1", "5"], ["2", "6"], ["3", "4"]] == names(*first, *second)


def test_names_tell_chains_apart_before_progress_does() -> None:
    """Which of two is nearer says less than what its user called it."""
    jobs = (
        told("1", 0, 2000, 0, called="a"), told("2", 0, 2010, 0, called="b"), told("3", 2000, 4000, 2, called="b")
    )  # fmt: skip

    assert [["1"], ["2", "3"]] == names(*jobs)


@pytest.mark.parametrize("outcome", ["FAILED", "TIMEOUT", "NODE_FAIL", "CANCELLED by 7", ""])
def test_a_restart_from_the_beginning_lost_everything(outcome: str) -> None:
    """It failed before it saved anything, and the same job was submitted again."""
    chain = only(told("1", 0, 3000, 0, outcome), told("2", 0, 1000, 2, "RUNNING"))

    assert (3000.0, 1000.0) == (chain.lost_steps, chain.made_steps)


@pytest.mark.parametrize(
    "first",
    [
        told("1", 0, TOTAL, 0, "FAILED"),
        told("1", 0, 8800, 0, "COMPLETED"),
        told("1", 0, 3000, 0, "COMPLETED"),
        told("1", 0, 3000, 0, "FAILED", total=4000),
        told("1", 0, 3000, 0, "FAILED", called="other"),
        told("1", 0, 3000, 0, "FAILED", hours=2.5),
    ],
    ids=["at its end", "near its end", "ended well", "another total", "another name", "overlaps"],
)
def test_a_new_begin_is_a_new_run(first: Job) -> None:
    """After what reached its end or ended well, of another length or name, or beside it."""
    assert [["1"], ["2"]] == names(first, told("2", 0, 1000, 2, "RUNNING"))


def test_the_jobs_of_a_very_long_chain_are_short_against_it() -> None:
    """Each does 2 % and ends well: the second begins near the beginning, but where the first came to."""
    jobs = [told(f"{each}", 180 * each, 180 * (each + 1), 2 * each, "COMPLETED") for each in range(5)]

    assert [["0", "1", "2", "3", "4"]] == names(*jobs)


def test_a_total_that_changes_is_kept_beside_the_one_in_force() -> None:
    """Training was extended after it had ended, and shortened later."""
    jobs = (
        told("1", 0, TOTAL, 0, "COMPLETED"), told("2", TOTAL, 10_000, 2, total=12_000),
        told("3", 9900, 10_500, 4, "RUNNING", total=11_000),
    )  # fmt: skip

    chain = only(*jobs)

    assert ((TOTAL, 12_000.0, 11_000.0), 11_000.0, 100.0) == (chain.totals, chain.progress.total, chain.lost_steps)


def test_a_chain_may_begin_before_the_campaign() -> None:
    """Its first job is not in it: what that did is not counted as work of these."""
    chain = only(told("2", 3000, 5000, 0), told("3", 5000, 6000, 2, "RUNNING"))

    assert (3000.0, 3000.0) == (chain.start_step, chain.made_steps)


def test_a_job_that_says_nothing_between_two_others_did_what_lies_between() -> None:
    """Its work and its hours are the chain's; one that ran before or beside is none of it."""
    jobs = told("1", 0, 2000, 0), silent("2", 2), told("3", 5000, 6000, 4, "RUNNING")

    chain = only(*jobs, silent("early", -2), silent("beside", 4.5))

    assert (["1", "2", "3"], 1) == ([each.scope.name for each in chain.jobs], chain.silent)
    assert (6000.0, 0.0, 3) == (chain.made_steps, chain.skipped_steps, chain.runs)


def test_a_job_of_a_chain_that_is_not_known_did_its_part() -> None:
    """Nobody in the campaign did steps 2000 to 5000."""
    chain = only(told("1", 0, 2000, 0), told("3", 5000, 6000, 4, "RUNNING"))

    assert (3000.0, 3000.0) == (chain.made_steps, chain.skipped_steps)


def test_the_runs_of_a_requeued_job_are_a_chain() -> None:
    """One of them failed before its first report."""
    runs = [
        run(started=T0 + 2000 * each, last_seen=T0 + 2000.0 * each + 1000, outcome="PREEMPTED", progress=said,
            allocated_seconds=1000.0)
        for each, said in enumerate((Progress(400, 1000, 0, T0 + 1000), None, Progress(700, 1000, 300, T0 + 5000)))
    ]  # fmt: skip

    chain = only(job(*runs))

    assert (3, 100.0, 700.0, 2000.0) == (chain.runs, chain.lost_steps, chain.made_steps, chain.gap_seconds)


def test_clocks_that_differ_a_little_do_not_part_a_chain() -> None:
    """The next node's clock is 40 s behind: the jobs seem to overlap."""
    first = told("1", 0, 3000, 0)
    second = told("2", 3000, 5000, 1 - 40 / HOUR, "RUNNING")

    chain = only(first, second)

    assert (2, 0.0) == (len(chain.jobs), chain.gap_seconds)


def test_a_job_that_reports_once_made_nothing_known() -> None:
    """Nor did it lose anything that is known."""
    chain = only(told("1", 500, 500, 0, "RUNNING"))

    assert (0.0, 0.0, None, 0.0) == (
        chain.made_steps, chain.lost_steps, chain.lost_work_ratio, chain.lost_device_seconds,
    )  # fmt: skip


def test_progress_beyond_the_end_is_the_end() -> None:
    """A chain that ran on is finished."""
    chain = only(told("1", 0, 5000, 0), told("2", 5000, 9500, 2))

    assert (True, False) == (chain.finished, chain.goes_on(chain.last_seen))


def test_a_chain_pauses_for_a_week_at_most() -> None:
    """Its next job may wait that long in the queue."""
    chain = only(told("1", 0, 3000, 0), told("2", 3000, 5000, 2))
    ended = chain.last_seen

    assert [True, False] == [chain.goes_on(ended + each * PAUSE_SECONDS) for each in (0.9, 1.1)]


def test_a_chain_that_was_begun_anew_does_not_go_on() -> None:
    """It ended well, and another of its name began at the beginning."""
    jobs = told("1", 0, 3000, 0), told("2", 3000, 5000, 2, "COMPLETED"), told("3", 0, 900, 4, "RUNNING")

    first, second = chains_of(jobs)

    assert (False, True) == (first.goes_on(second.last_seen), second.goes_on(second.last_seen))


def test_jobs_without_progress_are_no_chain() -> None:
    """And no jobs are none."""
    assert [] == names(silent("1", 0), silent("2", 2))
    assert [] == names()


def test_many_runs_side_by_side_are_told_apart() -> None:
    """Each of the later ones goes on with the nearest."""
    first = [told(f"a{each}", 0, 3000 + each, 0) for each in range(100)]
    second = [told(f"b{each}", 3000 + each, 6000, 2) for each in range(100)]

    assert [[f"a{each}", f"b{each}"] for each in range(100)] == sorted(
        names(*first, *second), key=lambda pair: int(pair[0][1:])
    )


_steps = st.integers(0, 12_000).map(float)
_jobs = st.lists(
    st.builds(
        told, st.integers(0, 99).map(str), _steps, _steps, st.integers(0, 20).map(lambda each: each / 2),
        st.sampled_from(("TIMEOUT", "FAILED", "COMPLETED", "RUNNING", "")),
        total=st.sampled_from((TOTAL, 12_000.0, 1.0)), best=st.none() | _steps, lost=st.none() | _steps,
    ),
    max_size=12, unique_by=lambda each: each.scope.name,
)  # fmt: skip


@given(_jobs, st.randoms(use_true_random=False))
def test_whatever_jobs_say_each_is_in_one_chain(jobs: list[Job], random: Any) -> None:
    """In the same one in whatever order they are given; figures stay in their bounds."""
    found = chains_of(jobs)
    mixed = list(jobs)
    random.shuffle(mixed)

    assert sorted(each.scope.name for each in jobs) == sorted(
        each.scope.name for chain in found for each in chain.jobs
    )
    assert found == chains_of(mixed)
    for chain in found:
        assert 0 <= chain.lost_device_seconds <= chain.device_seconds * (1 + 1e-9)
        assert min(chain.lost_steps, chain.made_steps, chain.gap_seconds, chain.skipped_steps) >= 0
        assert 0 <= (chain.lost_work_ratio or 0.0) <= 1
        assert all(b.started >= a.last_seen - 60 for a, b in pairwise(chain.jobs))
