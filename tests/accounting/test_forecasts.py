"""What is forecast of jobs with attempts, and of campaigns out of their chains and jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gpuwatch.accounting import cases, telling
from gpuwatch.accounting.burning import run_of
from gpuwatch.accounting.forecasts import NOTHING, Parts, Told, campaign_forecasts, goes_on, job_forecasts
from gpuwatch.accounting.telling import Answer, Known
from gpuwatch.forecast.calibration import Calibration
from gpuwatch.forecast.evidence import Experience
from gpuwatch.forecast.projection import MEDIAN
from gpuwatch.ledger.chains import chains_of
from gpuwatch.ledger.charging import Cost
from gpuwatch.ledger.jobs import Campaign, Job, Run
from gpuwatch.ledger.scopes import Revision
from gpuwatch.model import BurnUp, BurnUpPoint, Estimate, Forecast, Progress, Scope, Usage

T0 = 1_800_000_000
HOUR = 3600.0


def answered(*known: Known) -> list[Answer | None]:
    """What may become of each, where nothing alike has ended."""
    return list(telling.answers(known, Experience(), Calibration(), "no record", 0.0))


def told_of(*known: Known) -> list[Told | None]:
    """The same, without by which evidence."""
    return [answer.told if answer is not None else None for answer in answered(*known)]


def foreseen(job: Job, burnup: BurnUp | None = None, tolerance: float = 0.1) -> dict[str, Forecast]:
    """The forecasts of a job by quantity, as it was last seen."""
    (told,) = told_of(telling.known_of(job, burnup or cases.grown_by(job, None), None))
    return {each.quantity: each for each in job_forecasts(job, told, Cost(), tolerance, job.last_seen)}


def projected(
    *jobs: Job, later: float = 0.0, coming: Sequence[Told] = (), hours: float | None = None
) -> dict[str, Forecast]:
    """The forecasts of the campaign that some jobs are, as its last one is seen or `later` seconds after."""
    campaign = Campaign(Scope("campaign", "llama"), jobs, () if hours is None else (declared(hours),))
    now = campaign.last_seen + later
    chains, beside = goes_on(campaign, now)
    alone = len(chains) == 1 and not beside
    of_chains = told_of(*(telling.chain_of(chain, campaign, {}, alone) for chain in chains))
    of_jobs = told_of(*(telling.known_of(job, cases.grown_by(job, None), None) for job in beside))
    parts = Parts(
        tuple((chain, told) for chain, told in zip(chains, of_chains, strict=True) if told is not None),
        tuple((job, told) for job, told in zip(beside, of_jobs, strict=True) if told is not None),
        coming,
        sum(told is None for told in (*of_chains, *of_jobs)),
    )
    return {each.quantity: each for each in campaign_forecasts(campaign, parts, Cost(), 0.1, now)}


def declared(hours: float, quantity: str = "device-hours", high: float | None = None) -> Revision:
    """So many hours of something, declared by somebody and in force."""
    amounts = hours * HOUR, hours * HOUR, (high or hours) * HOUR
    estimate = Estimate(Scope("job", "7"), quantity, *amounts, "s", None, "ada", float(T0), "socket")
    return Revision(estimate, True)


def holds(expected: float, forecast: Forecast, within: float = 0.05) -> bool:
    """Whether an amount is about the median, and in the interval of 80 percent."""
    return (
        expected == pytest.approx(forecast.quantiles[MEDIAN], rel=within)
        and forecast.quantiles[0.1] <= expected <= forecast.quantiles[0.9]
    )


def requeued(**changed: Any) -> Job:
    """Two hours of two devices led to step 400; the second run did 300 of 600 steps in an hour."""
    usage = Usage(held_seconds=7000.0, energy_joules={"counter": 1e6})
    told = Progress(700.0, 1000.0, 400.0, T0 + 13_600.0)
    runs = (
        Run(T0, T0 + 7200.0, usage, 14_400.0, "NODE_FAIL"),
        Run(T0 + 10_000, T0 + 13_600.0, usage, 7200.0, "RUNNING", progress=told),
    )
    values: dict[str, Any] = {
        "scope": Scope("job", "7"), "cluster": "c", "job_id": "7", "started": T0, "last_seen": T0 + 13_600.0,
        "state": "running", "nodes": (), "devices": (), "models": (), "usage": usage + usage,
        "progress": told, "runs": runs, "allocated_seconds": 21_600.0,
        **changed,
    }  # fmt: skip
    return Job(**values)


def test_a_requeued_job_goes_on_as_its_latest_run_does() -> None:
    """What came before is spent once; energy goes on as in all of it, wall time as fast as now."""
    found = foreseen(requeued())

    whole = 14_400.0 + 14_400.0
    assert holds(whole, found["device-hours"])
    assert holds(2e6 * whole / 21_600.0, found["energy"])
    assert holds(10_000.0 + 7200.0, found["wall"])
    assert "its burn-up at 70 % of 1,000 steps" in found["device-hours"].basis


def test_a_job_that_was_begun_again_is_as_far_as_before_until_it_tells() -> None:
    """Its burn-up does not vanish for as long as the next run says nothing; what it used meanwhile counts."""
    usage = Usage(held_seconds=7200.0)
    before = Progress(500.0, 1000.0, 0.0, T0 + HOUR)
    runs = (
        Run(T0, T0 + HOUR, usage, 2 * HOUR, "NODE_FAIL", progress=before),
        Run(T0 + 4000, T0 + 4300.0, usage, 600.0, "RUNNING"),
    )
    points = [BurnUpPoint(T0 + 60.0 * n, 120.0 * n, None, 500.0 * n / 60, 1000.0) for n in range(1, 61)]
    burnup = BurnUp(float(T0), (*points, BurnUpPoint(T0 + 4300.0, 2 * HOUR + 600.0)))

    found = foreseen(requeued(runs=runs, progress=None, last_seen=T0 + 4300.0), burnup)
    assert "its burn-up at 50 % of 1,000 steps" in found["device-hours"].basis
    assert holds(4 * HOUR + 600.0 - 120.0, found["device-hours"])


def test_a_job_that_hangs_is_forecast_to_use_what_it_used_meanwhile() -> None:
    """A report every minute until one hour, and none for ten: none of that brought the end nearer."""
    points = [BurnUpPoint(T0 + 60.0 * n, 120.0 * n, None, 500.0 * n / 60, 1000.0) for n in range(1, 61)]
    last = Progress(500.0, 1000.0, 0.0, T0 + HOUR)
    run = Run(T0, T0 + 11 * HOUR, Usage(), 22 * HOUR, "RUNNING", progress=last)
    hung = requeued(runs=(run,), progress=last, last_seen=T0 + 11 * HOUR, usage=Usage())
    burnup = BurnUp(float(T0), (*points, BurnUpPoint(T0 + 11 * HOUR, 22 * HOUR, None, 500.0, 1000.0)))

    assert holds(24 * HOUR, foreseen(hung, burnup)["device-hours"])


def test_a_resumed_job_is_forecast_by_its_own_part() -> None:
    """It took up the whole at 80 %, and did half of the rest in an hour of two devices."""
    progress = Progress(900.0, 1000.0, 800.0, T0 + HOUR)
    run = Run(T0, T0 + HOUR, Usage(), 2 * HOUR, "RUNNING", progress=progress)
    resumed = requeued(runs=(run,), progress=progress, last_seen=T0 + HOUR, usage=Usage())

    assert holds(4 * HOUR, foreseen(resumed)["device-hours"])


def test_wall_time_is_forecast_where_it_is_declared_and_held_against_that() -> None:
    """Of two devices that run all the time; device-hours are held against nothing that nobody declared."""
    progress = Progress(500.0, 1000.0, 0.0, T0 + HOUR)
    run = Run(T0, T0 + HOUR, Usage(), 2 * HOUR, "RUNNING", progress=progress)
    job = requeued(runs=(run,), progress=progress, last_seen=T0 + HOUR, revisions=(declared(1.5, "wall"),))

    found = foreseen(job)
    assert holds(2 * HOUR, found["wall"])
    assert ("declared", 1.5 * HOUR) == (found["wall"].against, found["wall"].reference)
    assert found["wall"].p_over is not None and found["wall"].p_over > 0.8
    assert T0 + 1.5 * HOUR == found["wall"].crosses_at


def test_a_forecast_is_held_against_the_upper_end_of_what_is_declared() -> None:
    """And an overrun begins beyond the tolerance above that."""
    progress = Progress(500.0, 1000.0, 0.0, T0 + HOUR)
    run = Run(T0, T0 + HOUR, Usage(), 2 * HOUR, "RUNNING", progress=progress)
    values: dict[str, Any] = {"runs": (run,), "progress": progress, "last_seen": T0 + HOUR}
    near = requeued(**values, revisions=(declared(3.0, high=3.9),))

    strict, lenient = (foreseen(near, tolerance=each)["device-hours"] for each in (0.0, 0.5))
    assert 3.9 * HOUR == strict.reference == lenient.reference
    assert strict.p_over is not None and lenient.p_over is not None
    assert strict.p_over > 0.5 > lenient.p_over
    assert strict.crosses_at == lenient.crosses_at == T0 + 1.95 * HOUR


def test_energy_that_was_not_measured_widens_its_interval() -> None:
    """It was used all the same; nobody knows how much."""
    usage = Usage(held_seconds=14_000.0, energy_joules={"counter": 2e6})
    whole = foreseen(requeued())["energy"]
    gaps = foreseen(requeued(usage=replace(usage, energy_unmeasured_seconds=7000.0)))["energy"]

    assert whole.quantiles[0.05] * 1.2 > gaps.quantiles[0.05]
    assert gaps.quantiles[0.95] > whole.quantiles[0.95] * 1.3
    assert gaps.basis.endswith("not measured for 50 % of the held time")


def test_what_ended_is_what_it_came_to() -> None:
    """No interval is left."""
    found = foreseen(requeued(state="ended", revisions=(declared(5.0),)))["device-hours"]

    assert ({MEDIAN: 21_600.0}, "ended", None, 5 * HOUR) == (
        found.quantiles, found.basis, found.p_over, found.reference,
    )  # fmt: skip


def test_of_what_nothing_is_known_only_what_it_used_is_told() -> None:
    """And why."""
    silent = [replace(run, progress=None) for run in requeued().runs]
    found = foreseen(requeued(progress=None, runs=tuple(silent)))

    assert {"device-hours": ({}, 21_600.0), "energy": ({}, 2e6), "wall": ({}, 13_600.0)} == {
        quantity: (each.quantiles, each.used) for quantity, each in found.items()
    }
    assert {NOTHING} == {each.basis for each in found.values()}


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


def test_a_campaign_of_a_chain_is_projected_by_the_chain() -> None:
    """Three jobs did 600 of 1000 steps, 100 of them twice: what all of them used, by 60 %."""
    found = projected(link(2, 400, 600, "running"), link(1, 250, 500), link(0, 0, 250))

    assert holds(6 * HOUR / 0.6, found["device-hours"], 0.1)
    assert holds(3e6 / 0.6, found["energy"], 0.1)
    assert holds(5 * HOUR + 2 * HOUR, found["wall"], 0.1)
    basis = "chain of 3 jobs, 60 % of 1000 steps, 14 % of the work lost: its burn-up at 60 % of 1,000 steps"
    assert found["device-hours"].basis.startswith(basis)
    assert {"no record"} == {each.record for each in found.values()}


def test_a_chain_between_two_of_its_jobs_is_projected_all_the_same() -> None:
    """The next one waits in the queue; once it has been gone for long, what was used is what it came to."""
    jobs = link(0, 0, 250), link(1, 250, 500)

    soon, late = projected(*jobs, later=HOUR), projected(*jobs, later=30 * 24 * HOUR)

    assert holds(8 * HOUR, soon["device-hours"])
    assert ({MEDIAN: 4 * HOUR}, "ended") == (late["device-hours"].quantiles, late["device-hours"].basis)


def test_jobs_beside_a_chain_count_with_what_they_used() -> None:
    """An evaluation that ended, and a job that says nothing of where it is."""
    said: dict[str, Any] = {"progress": None, "runs": ()}
    beside = [link(5, 0, 0, name="eval", **said), link(6, 0, 0, "running", name="x", **said)]

    found = projected(link(0, 0, 250, name="train"), link(1, 250, 500, "running", name="train"), *beside)

    assert holds(8 * HOUR + 4 * HOUR, found["device-hours"])
    assert found["device-hours"].basis.startswith(
        "chain of 2 jobs, 50 % of 1000 steps, 1 more of which nothing can be said: its burn-up"
    )


def test_a_campaign_of_which_nothing_is_known_says_so() -> None:
    """One job that declares nothing, and tells nothing."""
    found = projected(link(0, 0, 0, "running", progress=None, runs=()))["device-hours"]

    assert ({}, NOTHING) == (found.quantiles, found.basis)


def test_a_chain_that_begins_before_its_campaign_needs_its_own_part_alone() -> None:
    """It did 20 % of the whole with four device-hours, and 40 % are to come."""
    found = projected(link(0, 400, 500), link(1, 500, 600, "running"))

    assert holds(4 * HOUR * 3, found["device-hours"])


def test_what_a_chain_has_not_told_of_yet_brings_its_end_no_nearer() -> None:
    """The second run of its last job has not reported for an hour, which is no longer than others took."""
    job = link(1, 250, 500)
    again = Run(int(T0 + 4 * HOUR), T0 + 5 * HOUR, job.usage, 2 * HOUR, "RUNNING")
    later = replace(
        job, runs=(*job.runs, again), last_seen=T0 + 5 * HOUR, state="running", progress=None,
        allocated_seconds=4 * HOUR,
    )  # fmt: skip

    found = projected(link(0, 0, 250), later)["device-hours"]

    assert 6 * HOUR == found.used
    assert holds(8 * HOUR, found)


def test_what_failed_before_the_first_report_is_spent_once() -> None:
    """Ten hours of devices came to nothing; the run after them did 10 % in one, which says nothing of the ten."""
    job = link(1, 0, 100, "running")
    vain = Run(int(T0), T0 + HOUR, job.usage, 10 * HOUR, "PREEMPTED")
    again = replace(job, runs=(vain, *job.runs), started=int(T0), allocated_seconds=12 * HOUR)

    of_campaign, of_job = projected(again)["device-hours"], foreseen(again)["device-hours"]

    assert holds(10 * HOUR + 20 * HOUR, of_campaign, 0.1)
    assert holds(10 * HOUR + 20 * HOUR, of_job, 0.1)


def test_a_campaign_without_chains_is_the_sum_of_its_jobs() -> None:
    """Two runs that ended well, however far they were, and one that is half done."""
    jobs = (link(each, 0, 300, outcome="COMPLETED") for each in range(2))

    found = projected(*jobs, link(2, 0, 500, "running"))

    assert holds(4 * HOUR + 4 * HOUR, found["device-hours"])
    assert found["device-hours"].basis.startswith("1 job running: its burn-up at 50 % of 1,000 steps")


def renamed(job: Job, prefix: str) -> Job:
    """The same under another name."""
    return replace(job, scope=Scope("job", f"{prefix}{job.job_id}"), job_id=f"{prefix}{job.job_id}")


def test_chains_side_by_side_are_added_up() -> None:
    """Each by its own progress."""
    first = link(0, 0, 250), link(1, 250, 500, "running")
    second = link(0, 0, 100), link(1, 100, 200, "running")

    found = projected(*first, *(renamed(job, "b") for job in second))["device-hours"]

    assert holds(8 * HOUR + 20 * HOUR, found, 0.1)
    words = "chain of 2 jobs, 50 % of 1000 steps; chain of 2 jobs, 20 % of 1000 steps: the one that"
    words += " may need most yet by its burn-up at 20 %"
    assert found.basis.startswith(words)


def test_jobs_side_by_side_are_not_all_late_at_once() -> None:
    """The interval of sixteen is wider than if they had nothing in common, and narrower than if they had all."""
    jobs = [renamed(link(0, 0, 500, "running"), f"{number}-") for number in range(16)]

    one, all_of_them = projected(jobs[0])["device-hours"], projected(*jobs)["device-hours"]

    spread = [each.quantiles[0.9] / each.quantiles[MEDIAN] - 1 for each in (one, all_of_them)]
    assert 16 * 4 * HOUR == pytest.approx(all_of_them.quantiles[MEDIAN], rel=0.1)
    assert spread[0] / 16**0.5 < spread[1] < spread[0]
    assert all_of_them.basis.startswith("16 jobs running: ")


def test_what_waits_comes_on_top_and_is_told_of() -> None:
    """A job that waits and declares as much as another that runs."""
    case = replace(cases.case_of(link(0, 0, 0), BurnUp(T0)), used=0.0, declared=4 * HOUR)
    (told,) = told_of(Known(case, None, 0.0))
    assert told is not None

    found = projected(link(0, 0, 500, "running"), coming=[told, told])["device-hours"]

    assert holds(3 * 4 * HOUR, found, 0.15)
    assert found.basis.startswith("1 job running, 2 jobs waiting beside: ")
    assert 2 * HOUR == found.used


def test_a_campaign_is_held_against_its_own_declaration() -> None:
    """With how likely it comes to more, and when it will have used it at the rate of all that runs."""
    found = projected(link(0, 0, 250), link(1, 250, 500, "running"), hours=6.0)["device-hours"]

    assert ("declared", 6 * HOUR) == (found.against, found.reference)
    assert found.p_over is not None and found.p_over > 0.8
    assert found.crosses_at == found.time + HOUR


@given(
    st.floats(0.1, 100.0),
    st.lists(st.tuples(st.integers(50, 200), st.floats(0.0, 0.9)), min_size=3, max_size=9),
)
def test_lost_work_is_projected_at_the_rate_at_which_it_was_lost(
    rate: float, parts: list[tuple[int, float]]
) -> None:
    """After its first report a chain kept some steps and did more: the rest takes as many times more."""
    total, step, jobs = 4000.0, 0.0, []
    for number, (steps, share) in enumerate(parts):
        began = T0 + 1_000_000 * number
        progress = Progress(step + steps, total, step, began + steps)
        one = Run(began, began + float(steps), Usage(), rate * steps, "TIMEOUT", progress=progress)
        jobs.append(link(number, 0, 0, progress=progress, runs=(one,), started=began, last_seen=one.last_seen,
                         allocated_seconds=rate * steps, usage=Usage()))  # fmt: skip
        # The next one takes up what was saved: at most what this one did is lost.
        step += steps - float(int(share * steps))
    told = [job.progress for job in jobs if job.progress is not None]
    assume(all(before.step != after.step for before, after in pairwise(told)))
    kept = told[-1].step - told[0].step
    assume(kept > 0.02 * total)
    (chain,) = chains_of(jobs)

    (answer,) = answered(telling.chain_of(chain, Campaign(Scope("campaign", "llama"), tuple(jobs)), {}, True))

    done = sum(steps for steps, _ in parts)
    lost = sum(before.step - after.start_step for before, after in pairwise(told))
    assert pytest.approx(lost) == chain.lost_steps
    expected = rate * (done + (total - told[-1].step) * (done - parts[0][0]) / kept)
    assert answer is not None and answer.outlook.burn_up is not None
    assert pytest.approx(expected) == answer.outlook.burn_up.total


def test_the_burn_up_of_a_job_that_runs_is_that_of_its_chain() -> None:
    """What was seen pass by pass is known better than what is left of a job that ended."""
    jobs = link(0, 0, 250), link(1, 250, 500, "running")
    (chain,) = chains_of(jobs)
    points = tuple(
        BurnUpPoint(jobs[1].started + n * 60.0, n * 120.0, None, 250.0 + 5 * n, 1000.0) for n in range(51)
    )
    burnups = {run_of(jobs[1]): BurnUp(float(jobs[1].started), points)}

    known = telling.chain_of(chain, Campaign(Scope("campaign", "llama"), jobs), burnups, True)

    assert [2 * HOUR, *(2 * HOUR + 120.0 * n for n in range(1, 51))] == list(known.case.used_at)
    assert (0.25, 0.5, 2.0) == (known.case.ratios[0], known.case.ratios[-1], known.rate)
