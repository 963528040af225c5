"""From jobs with attempts to the evidence of their forecasts."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.accounting.forecasts import campaign_forecasts, job_forecasts
from gpuwatch.forecast.projection import MEDIAN
from gpuwatch.ledger.chains import chains_of
from gpuwatch.ledger.jobs import Campaign, Job, Run
from gpuwatch.model import Forecast, Progress, Scope, Usage

T0 = 1_800_000_000
HOUR = 3600.0


def test_a_requeued_job_is_projected_from_its_latest_run() -> None:
    """Two hours of two devices were lost or led to step 400; the second run did 300 of 600 steps in an hour."""
    usage = Usage(held_seconds=7000.0, energy_joules={"counter": 1e6})
    runs = (
        Run(T0, T0 + 7200.0, usage, 14_400.0, "NODE_FAIL"),
        Run(T0 + 10_000, T0 + 13_600.0, usage, 7200.0, "RUNNING"),
    )
    progress = Progress(700.0, 1000.0, 400.0, T0 + 13_600.0)
    job = Job(
        Scope("job", "7"), "c", "7", T0, T0 + 13_600.0, "running", (), (), (), usage + usage,
        progress=progress, runs=runs, allocated_seconds=21_600.0,
    )  # fmt: skip

    medians = {each.quantity: each.quantiles[MEDIAN] for each in job_forecasts(job, T0 + 13_600.0)}

    assert {
        "device-hours": pytest.approx(14_400.0 + 14_400.0),
        "energy": pytest.approx(1e6 + 2e6),
        "wall": pytest.approx(10_000.0 + 7200.0),
    } == medians


def link(number: int, start: float, step: float, state: str = "ended", **changed: Any) -> Job:
    """Job `number` of a chain: two devices for an hour, every other hour, from one step to another of 1000."""
    began = T0 + 2 * HOUR * number
    usage = Usage(held_seconds=2 * HOUR, energy_joules={"counter": 1e6})
    progress = Progress(step, changed.pop("total", 1000.0), start, began + HOUR)
    outcome = "RUNNING" if state == "running" else changed.pop("outcome", "TIMEOUT")
    one = Run(int(began), began + HOUR, usage, 2 * HOUR, outcome, progress=progress)
    values: dict[str, Any] = {
        "scope": Scope("job", f"{number}"), "cluster": "c", "job_id": f"{number}", "started": int(began),
        "last_seen": began + HOUR, "state": state, "nodes": (), "devices": (), "models": (), "usage": usage,
        "progress": progress, "runs": (one,), "allocated_seconds": 2 * HOUR, **changed,
    }  # fmt: skip
    return Job(**values)


def projected(*jobs: Job, later: float = 0.0) -> dict[str, Forecast]:
    """The forecasts of the campaign that some jobs are, as its last one is seen or `later` seconds after."""
    campaign = Campaign(Scope("campaign", "llama"), jobs)
    return {each.quantity: each for each in campaign_forecasts(campaign, campaign.last_seen + later)}


def test_a_campaign_of_a_chain_is_projected_by_the_chain() -> None:
    """Three jobs did 600 of 1000 steps, 100 of them twice: what all of them used, by 60 %."""
    found = projected(link(2, 400, 600, "running"), link(1, 250, 500), link(0, 0, 250))

    assert {
        "device-hours": pytest.approx(6 * HOUR / 0.6),
        "energy": pytest.approx(3e6 / 0.6),
        "wall": pytest.approx(5 * HOUR / 0.6),
    } == {quantity: each.quantiles[MEDIAN] for quantity, each in found.items()}
    assert "chain of 3 jobs, 60 % of 1000 steps, 14 % of the work lost" == found["device-hours"].basis
    assert "first start to last projected end" == found["wall"].basis


def test_a_chain_between_two_of_its_jobs_is_projected_all_the_same() -> None:
    """The next one waits in the queue; once it has been gone for long, what was used is what it came to."""
    jobs = link(0, 0, 250), link(1, 250, 500)

    soon, late = projected(*jobs, later=HOUR), projected(*jobs, later=30 * 24 * HOUR)

    assert (pytest.approx(8 * HOUR), 4 * HOUR) == (
        soon["device-hours"].quantiles[MEDIAN], late["device-hours"].quantiles[MEDIAN],
    )  # fmt: skip
    assert late["device-hours"].basis.endswith("ended")


def test_jobs_beside_a_chain_count_with_what_they_need() -> None:
    """An evaluation that ended, and a job that says nothing of where it is."""
    said: dict[str, Any] = {"progress": None, "runs": ()}
    beside = [link(5, 0, 0, name="eval", **said), link(6, 0, 0, "running", name="x", **said)]

    found = projected(link(0, 0, 250, name="train"), link(1, 250, 500, "running", name="train"), *beside)

    assert pytest.approx(8 * HOUR + 4 * HOUR) == found["device-hours"].quantiles[MEDIAN]
    assert "chain of 2 jobs, 50 % of 1000 steps; 2 jobs beside; 1 without a projection" == (
        found["device-hours"].basis
    )


def test_a_chain_that_begins_before_its_campaign_needs_its_own_part_alone() -> None:
    """It did 20 % of the whole with four device-hours, and 40 % are to come."""
    found = projected(link(0, 400, 500), link(1, 500, 600, "running"))

    assert pytest.approx(4 * HOUR * 3) == found["device-hours"].quantiles[MEDIAN]


def test_what_a_chain_has_not_told_of_yet_is_added_as_it_is() -> None:
    """The second run of its last job has not reported: it used an hour, and nothing is made of it yet."""
    job = link(1, 250, 500)
    again = Run(int(T0 + 4 * HOUR), T0 + 5 * HOUR, job.usage, 2 * HOUR, "RUNNING")
    requeued = replace(
        job, runs=(*job.runs, again), last_seen=T0 + 5 * HOUR, state="running", progress=None,
        allocated_seconds=4 * HOUR,
    )  # fmt: skip

    found = projected(link(0, 0, 250), requeued)

    assert pytest.approx(8 * HOUR + 2 * HOUR) == found["device-hours"].quantiles[MEDIAN]


def test_what_failed_before_the_first_report_is_spent_once() -> None:
    """Ten hours of devices came to nothing; the run after them did 10 % in one, which says nothing of the ten."""
    job = link(1, 0, 100, "running")
    vain = Run(int(T0), T0 + HOUR, job.usage, 10 * HOUR, "PREEMPTED")
    requeued = replace(job, runs=(vain, *job.runs), started=int(T0), allocated_seconds=12 * HOUR)

    found = projected(requeued)

    assert pytest.approx(10 * HOUR + 20 * HOUR) == found["device-hours"].quantiles[MEDIAN]
    assert pytest.approx(2 * HOUR + 10 * HOUR) == found["wall"].quantiles[MEDIAN]


def test_a_campaign_without_chains_is_the_sum_of_its_jobs() -> None:
    """Two runs that ended well, however far they were, and one that is half done."""
    jobs = (link(each, 0, 300, outcome="COMPLETED") for each in range(2))

    found = projected(*jobs, link(2, 0, 500, "running"))

    assert pytest.approx(4 * HOUR + 4 * HOUR) == found["device-hours"].quantiles[MEDIAN]
    assert "sum of 3 jobs, 1 of them projected" == found["device-hours"].basis


def test_chains_side_by_side_are_added_up() -> None:
    """Each by its own progress."""
    first = link(0, 0, 250), link(1, 250, 500, "running")
    second = link(0, 0, 100), link(1, 100, 200, "running")
    renamed = [replace(job, scope=Scope("job", f"b{job.job_id}"), job_id=f"b{job.job_id}") for job in second]

    found = projected(*first, *renamed)

    assert pytest.approx(8 * HOUR + 20 * HOUR) == found["device-hours"].quantiles[MEDIAN]
    assert "2 chains of 4 jobs" == found["device-hours"].basis


@given(
    st.floats(0.1, 100.0),
    st.lists(st.tuples(st.integers(50, 200), st.floats(0.0, 0.9)), min_size=2, max_size=12),
)
def test_lost_work_is_projected_at_the_rate_at_which_it_was_lost(
    rate: float, parts: list[tuple[int, float]]
) -> None:
    """A chain that did K steps and lost L needs (1 + L / K) of what the run without losses needs.

    Where it lost more than it kept, half of what is to be done is taken to be lost, and no more.
    """
    total, step, jobs, lost = 4000.0, 0.0, [], 0.0
    for number, (steps, share) in enumerate(parts):
        again = jobs[-1].progress.step - step if jobs and jobs[-1].progress else 0.0
        lost += again
        began = T0 + 1_000_000 * number
        progress = Progress(step + steps, total, step, began + steps)
        one = Run(began, began + float(steps), Usage(), rate * steps, "TIMEOUT", progress=progress)
        jobs.append(link(number, 0, 0, progress=progress, runs=(one,), started=began, last_seen=one.last_seen,
                         allocated_seconds=rate * steps, usage=Usage()))  # fmt: skip
        # The next one takes up what was saved: at most what this one did is lost.
        step += steps - float(int(share * steps))
    kept = parts[0][0] + sum(
        after.progress.step - before.progress.step
        for before, after in pairwise(jobs)
        if before.progress and after.progress
    )
    (chain,) = chains_of(jobs)

    found = projected(*jobs)["device-hours"]

    assert (pytest.approx(lost), pytest.approx(kept)) == (chain.lost_steps, chain.made_steps)
    if lost <= kept:
        assert pytest.approx(rate * total * (1 + lost / kept)) == found.quantiles[MEDIAN]
    else:
        assert pytest.approx(rate * (kept + lost + 2 * (total - kept))) == found.quantiles[MEDIAN]
