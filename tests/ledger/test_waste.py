"""Where a job's device-seconds went."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.ledger.jobs import Job, Run
from gpuwatch.ledger.lost_work import LOSING
from gpuwatch.ledger.waste import Parts, user_of, waste_of, wasted
from gpuwatch.model import STATES, Usage
from tests.ledger.batch import T0, record, running
from tests.ledger.made import job, line, progress, run, used

WORKED = {"working": 600.0, "idle": 300.0, "spinning": 100.0}


def exclusive(parts: Parts) -> dict[str, float]:
    """The parts that are not 0."""
    found = {name: getattr(parts, name) for name in ("working", "spinning", "idle", "lost", "unknown")}
    return {name: pytest.approx(seconds) for name, seconds in found.items() if seconds}


def failed(outcome: str = "FAILED", **changed: object) -> Run:
    """A run of 1000 s that ended badly, at work for 900 s."""
    usage = used({"working": 900.0, "idle": 100.0}, last_in_state={"working": T0 + 1000.0})
    return run([line(usage)], outcome=outcome, **changed)


def test_states_are_the_parts_of_what_was_held() -> None:
    """Nothing failed and no batch system says otherwise."""
    parts = waste_of(job(run([line(used(WORKED))])))

    assert WORKED == exclusive(parts)
    assert (1000.0, 400.0, 0.4) == (parts.total, parts.wasted, parts.wasted_ratio)


def test_charged_time_that_no_agent_saw_is_unknown() -> None:
    """Two devices were allocated, one of which an agent saw."""
    parts = waste_of(job(run([line(used(WORKED))], allocated_seconds=2000.0)))

    assert {**WORKED, "unknown": 1000.0} == exclusive(parts)


def test_no_more_is_wasted_than_was_charged() -> None:
    """A job held twice what it was given: the parts are those of what it is charged."""
    parts = waste_of(job(run([line(used(WORKED))], allocated_seconds=500.0)))

    assert {name: seconds / 2 for name, seconds in WORKED.items()} == exclusive(parts)


def test_a_job_that_no_agent_saw_wasted_nothing_that_is_known() -> None:
    """It has an allocation only."""
    parts = waste_of(job(run(allocated_seconds=3600.0)))

    assert {"unknown": 3600.0} == exclusive(parts)
    assert (0.0, None, None) == (parts.wasted, parts.edges, parts.throttled)


def test_idle_before_the_first_and_after_the_last_work_is_shown_within_idle() -> None:
    """100 s until it worked, 150 s after it had; 50 s of idle lie between."""
    usage = used(WORKED, first_working=T0 + 100.0, last_in_state={"working": T0 + 850.0})

    parts = waste_of(job(run([line(usage)])))

    assert (100.0, 150.0, 300.0) == (parts.before_use, parts.after_use, parts.idle)


def test_edges_are_never_more_than_what_was_idle() -> None:
    """After its last work it span."""
    usage = used(
        {"working": 100.0, "spinning": 890.0, "idle": 10.0},
        first_working=T0 + 20.0, last_in_state={"working": T0 + 110.0},
    )  # fmt: skip

    parts = waste_of(job(run([line(usage)])))

    assert (10.0, 0.0) == (parts.before_use, parts.after_use)


def test_a_device_that_never_worked_was_idle_before_its_first_use() -> None:
    """All of its idle time."""
    parts = waste_of(job(run([line(used({"idle": 1000.0}, last_in_state={"idle": T0 + 1000.0}))])))

    assert (1000.0, 0.0) == (parts.before_use, parts.after_use)


def test_edges_that_nobody_told_are_unknown() -> None:
    """An agent of an older kind says how long it worked, not when."""
    assert waste_of(job(run([line(used(WORKED))]))).edges is None


def test_two_epochs_of_a_row_are_one_device() -> None:
    """The agent lost its state half-way: what was idle then lies between the first and the last work."""
    first = used({"working": 400.0, "idle": 100.0}, first_working=T0, last_in_state={"working": T0 + 400.0})
    then = used(
        {"working": 400.0, "idle": 100.0}, first_working=T0 + 600.0, last_in_state={"working": T0 + 1000.0}
    )
    lines = [
        line(first, last_seen=T0 + 500.0),
        line(then, started=T0 + 500, epoch="ba9876543210"),
    ]

    parts = waste_of(job(run(lines)))

    assert ({"working": 800.0, "idle": 200.0}, 0.0) == (exclusive(parts), parts.edges)


def test_a_share_of_a_device_wastes_its_share() -> None:
    """A slice of one seventh that did not work for 700 s lost 100 device-seconds."""
    usage = used({"idle": 100.0}, last_in_state={"idle": T0 + 700.0})

    parts = waste_of(job(run([line(usage, share=1 / 7, last_seen=T0 + 700.0)], last_seen=T0 + 700.0)))

    assert (pytest.approx(100.0), pytest.approx(100.0)) == (parts.wasted, parts.before_use)


def test_throttled_time_stands_beside_the_parts() -> None:
    """It is work, only slower; several reasons at once count no more than what was held."""
    reasons = {"sw_thermal": 700.0, "sw_power_cap": 600.0}

    parts = waste_of(job(run([line(used(WORKED, throttled_seconds=reasons))])))

    assert (1000.0, 1000.0) == (parts.throttled, parts.total)


def test_work_since_the_last_report_of_a_failed_attempt_is_lost() -> None:
    """It reported after 600 s and failed after 1000 s: 400 s, and what was idle stays idle."""
    parts = waste_of(job(failed(progress=progress(500, 600))))

    assert {"working": 500.0, "idle": 100.0, "lost": 400.0} == exclusive(parts)
    assert 0.0 == parts.bounded


def test_work_that_the_next_attempt_did_again_is_lost() -> None:
    """It had reported step 500 after 600 s; the next attempt took up step 250, which was passed after 300 s."""
    again = run([line(used({"working": 1000.0}))], started=T0 + 1000, last_seen=T0 + 2000.0, outcome="COMPLETED",
                progress=progress(1000, 2000, start_step=250))  # fmt: skip

    parts = waste_of(job(failed("NODE_FAIL", progress=progress(500, 600)), again))

    assert {"working": 1200.0, "idle": 100.0, "lost": 700.0} == exclusive(parts)


def test_work_that_is_done_again_is_lost_however_the_attempt_ended() -> None:
    """Its user cancelled it, and took up the checkpoint before."""
    again = run([line(used({"working": 1000.0}))], started=T0 + 1000, last_seen=T0 + 2000.0, outcome="COMPLETED",
                progress=progress(1000, 2000, start_step=250))  # fmt: skip

    parts = waste_of(job(failed("CANCELLED", progress=progress(500, 600)), again))

    assert 700.0 == parts.lost


def test_steps_that_a_failed_attempt_went_back_itself_are_lost_too() -> None:
    """It did 750 steps in 600 s and was at 500 when it reported last."""
    went_back = replace(progress(500, 600), best=600.0, lost=250.0)

    parts = waste_of(job(failed(progress=went_back)))

    assert {"working": 300.0, "idle": 100.0, "lost": 600.0} == exclusive(parts)


def test_a_hang_after_the_last_report_is_spinning_and_not_lost_too() -> None:
    """It worked until it reported, then span until its time was up."""
    usage = used({"working": 600.0, "spinning": 400.0}, last_in_state={"working": T0 + 600.0})

    parts = waste_of(job(run([line(usage)], outcome="TIMEOUT", progress=progress(500, 600))))

    assert {"working": 600.0, "spinning": 400.0} == exclusive(parts)


def test_a_failed_attempt_without_reports_is_lost_at_most_as_a_whole() -> None:
    """Whether a checkpoint saved something nobody knows."""
    parts = waste_of(job(failed(allocated_seconds=1500.0)))

    assert {"idle": 100.0, "lost": 1400.0} == exclusive(parts)
    assert 1400.0 == parts.bounded


@pytest.mark.parametrize("outcome", ["COMPLETED", "CANCELLED", "TIMEOUT", "RUNNING", ""])
def test_nothing_is_lost_without_a_report_by(outcome: str) -> None:
    """What ended well, what somebody ended, what went on until its limit, and what runs."""
    assert 0.0 == waste_of(job(failed(outcome))).lost


@pytest.mark.parametrize(
    ("code", "lost"), [(1, 900.0), (134, 900.0), (0, 0.0), (130, 0.0), (143, 0.0), (None, 0.0)]
)
def test_the_exit_code_tells_where_no_batch_system_does(code: int | None, lost: float) -> None:
    """A command that was stopped by its user did not fail."""
    assert lost == waste_of(job(failed(""), state="ended", exit_code=code)).lost


def test_a_run_counts_as_far_as_it_lies_in_the_time_asked_for() -> None:
    """At an even rate; one outside of it counts nothing."""
    later = run([line(used({"working": 10.0}))], started=T0 + 2000, last_seen=T0 + 2010.0)

    parts = waste_of(job(run([line(used(WORKED))]), later), T0 + 750.0, T0 + 1500.0)

    assert {name: seconds / 4 for name, seconds in WORKED.items()} == exclusive(parts)


_seconds = st.floats(0, 1e7)
_usages = st.builds(
    Usage,
    held_seconds=_seconds,
    state_seconds=st.dictionaries(st.sampled_from(STATES), _seconds),
    throttled_seconds=st.dictionaries(st.sampled_from(("sw_thermal", "other")), _seconds),
    first_working=st.none() | st.floats(T0 - 10, T0 + 2000),
    last_in_state=st.dictionaries(st.sampled_from(STATES), st.floats(T0 - 10, T0 + 2000)),
)
_lines = st.builds(line, _usages, st.sampled_from(("GPU-0", "GPU-1")), share=st.floats(0.01, 1))
_progress = st.none() | st.builds(progress, st.floats(0, 1000), st.floats(-10, 2000), st.floats(0, 1000))
_runs = st.builds(
    run,
    st.lists(_lines, max_size=3),
    allocated_seconds=st.none() | _seconds,
    outcome=st.sampled_from(("", "COMPLETED", "RUNNING", *sorted(LOSING))),
    progress=_progress,
)
_jobs = st.builds(
    job, _runs, _runs, state=st.sampled_from(("running", "ended")), exit_code=st.sampled_from((None, 1))
)


@given(_jobs)
def test_parts_add_up_to_what_is_charged(made: Job) -> None:
    """Whatever agents and batch systems say, nothing comes from nowhere and nothing is negative."""
    parts = waste_of(made)

    within = (parts.bounded, parts.before_use or 0.0, parts.after_use or 0.0, parts.throttled or 0.0)
    slack = 1e-9 * max(1.0, parts.total)
    assert made.device_seconds == pytest.approx(parts.total, rel=1e-9, abs=1e-6)
    assert (
        min(*within, *(getattr(parts, name) for name in ("working", "spinning", "idle", "lost", "unknown"))) >= 0
    )
    assert parts.bounded <= parts.lost + slack
    assert (parts.edges or 0.0) <= parts.idle + slack


@given(st.lists(_jobs, max_size=4), st.floats(0, 1), st.none() | st.integers(1, 3))
def test_groups_add_up_to_the_total(made: list[Job], least: float, top: int | None) -> None:
    """Named and others together are everything."""
    jobs = [job(*each.runs, name=str(number)) for number, each in enumerate(made)]

    found = wasted(jobs, "job", least=least, top=top)

    named = sum(each.parts.total for each in found.named) + found.others.parts.total
    assert found.total.parts.total == pytest.approx(named)
    assert len(jobs) == len(found.named) + found.other_groups


def test_only_those_that_wasted_much_are_named_the_most_first() -> None:
    """The others are together."""
    made = [
        job(run([line(used({"working": 900.0, "idle": 100.0}))]), name="busy"),
        job(run([line(used({"idle": 500.0}))]), name="idle"),
        job(run([line(used({"working": 100.0, "spinning": 900.0}))]), name="hung"),
    ]

    found = wasted(made, "job", least=0.3)

    assert ["hung", "idle"] == [each.name for each in found.named]
    assert (1, {"working": 900.0, "idle": 100.0}) == (found.other_groups, exclusive(found.others.parts))
    assert ["hung"] == [each.name for each in wasted(made, "job", top=1).named]
    assert ["hung"] == [each.name for each in wasted(made, "job", floor_seconds=600.0).named]


@pytest.mark.parametrize(
    ("by", "name"), [("user", "ada"), ("account", "ml"), ("partition", "gpu"), ("campaign", None)]
)
def test_groups_are_what_the_batch_system_says(by: str, name: str | None) -> None:
    """And the campaign is what the job says."""
    found = wasted([job(run([line(used(WORKED))]), record=running())], by)  # type: ignore[arg-type]

    assert [name] == [each.name for each in found.named]


def test_jobs_whose_devices_nobody_knows_are_counted() -> None:
    """Their time is missing, not 0."""
    found = wasted([job(run(), record=record(devices=None))], "user")

    assert (1, 0.0) == (found.total.unknown_jobs, found.total.parts.total)


def test_a_user_is_known_by_record_by_id_or_by_uid() -> None:
    """In that order; else nobody knows."""
    jobs = [job(record=running()), job(name="user:bob"), job(uid=1000), job()]

    assert ["ada", "bob", "uid:1000", None] == [user_of(each) for each in jobs]


def test_what_was_wasted_has_a_cost_where_the_job_has_one() -> None:
    """In proportion, by currency, over all groups; a job without a price has none."""
    worked = [line(used(WORKED))]
    its = job(run(worked), job_ids=frozenset({"7"}))
    other = job(run(worked), name="other", job_ids=frozenset({"other"}))
    costs = {("default", its.job_id): {"EUR": 10.0}}

    found = wasted([its, other], "job", costs=costs)

    assert {"EUR": pytest.approx(4.0)} == found.total.cost
    assert [{"EUR": pytest.approx(4.0)}, {}] == sorted((each.cost for each in found.named), key=len, reverse=True)
