"""Where a scope will end: the arithmetic of the thin projection."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.forecast.projection import MEDIAN, Evidence, project, project_chain, project_span, project_sum
from gpuwatch.model import Forecast, Progress, Scope

JOB = Scope("job", "run-1")
START = 1_000_000.0


def evidence(used: float = 3600.0, seen: float = 3600.0, progress: Progress | None = None) -> Evidence:
    """A job that ran until `seen` seconds after its start."""
    return Evidence(JOB, "device-hours", used, START, START + seen, "running", progress=progress)


def report(step: float, at: float = 3600.0, total: float = 1000.0, first: float = 0.0) -> Progress:
    """A report made `at` seconds after the start."""
    return Progress(step, total, first, START + at)


def median(given_evidence: Evidence) -> float | None:
    return project(given_evidence, START + 9999).quantiles.get(MEDIAN)


def test_a_third_done_needs_three_times_as_much() -> None:
    """used / progress."""
    forecast = project(evidence(progress=report(250)), START + 3600)

    assert {MEDIAN: pytest.approx(14_400.0)} == forecast.quantiles
    assert ("used / progress, 25 % of 1000 steps", 3600.0) == (forecast.basis, forecast.used)


def test_an_attempt_is_projected_by_its_own_increment() -> None:
    """Resumed at 60 %, now at 80 %: its own part of the work is 40 % of the whole, half of that is done."""
    assert pytest.approx(7200.0) == median(evidence(progress=report(800, first=600)))


@pytest.mark.parametrize("progress", [None, report(0), report(9), report(605, first=600), report(500, first=600)])
def test_without_progress_there_is_no_projection(progress: Progress | None) -> None:
    """None reported, less than 1 % of the whole, or going backwards."""
    assert None is median(evidence(progress=progress))


def test_a_job_that_ended_needed_what_it_used() -> None:
    """However far it said it was."""
    forecast = project(replace(evidence(progress=report(250)), state="ended"), START)

    assert ({MEDIAN: 3600.0}, "ended") == (forecast.quantiles, forecast.basis)


def test_usage_after_the_report_is_taken_at_the_same_rate() -> None:
    """Half done after 50 min and seen 10 min later: still twice what was used until the report."""
    assert pytest.approx(6000.0) == median(evidence(seen=3600, progress=report(500, at=3000)))


def test_silence_beyond_patience_is_lost_time() -> None:
    """Half done after an hour, then nothing for two: patience is as long as it took, the rest is added in full."""
    forecast = project(evidence(used=3 * 3600, seen=3 * 3600, progress=report(500, at=3600)), START)

    assert {MEDIAN: pytest.approx(2 * 3600.0 + 3600.0)} == forecast.quantiles
    assert forecast.basis.endswith("no report for 120 min, the later part of it counted as lost")


def test_a_job_that_reports_rarely_is_not_taken_for_hung() -> None:
    """A report every half hour: just before the second one the projection is what the first one said."""
    assert pytest.approx(18_000.0) == median(evidence(used=3590, seen=3590, progress=report(100, at=1800)))


def test_a_report_newer_than_the_usage_scales_nothing_up() -> None:
    """The report came between two deliveries."""
    assert pytest.approx(7200.0) == median(evidence(seen=3600, progress=report(500, at=3700)))


def test_what_was_not_measured_is_said() -> None:
    """An energy projection with gaps is a lower bound."""
    forecast = project(replace(evidence(progress=report(500)), quantity="energy", gaps=0.12), START)

    assert forecast.basis.endswith("not measured for 12 % of the held time")


_progress = st.builds(
    lambda total, done, first, at: Progress(total * done, total, total * first, START + at),
    st.floats(1, 1e9), st.floats(0, 2), st.floats(0, 1), st.floats(-100, 1e6),
)  # fmt: skip


@given(st.floats(0, 1e12), st.floats(0, 1e6), _progress)
def test_never_below_what_is_used(used: float, seen: float, progress: Progress) -> None:
    """Whatever was reported, however wrong."""
    found = median(evidence(used, seen, progress))

    assert found is None or used <= found < float("inf")


@given(st.floats(1, 1e6), st.floats(0.02, 1.0), st.floats(0, 2000), st.floats(0, 2000))
def test_silence_never_lowers_a_projection(rate: float, done: float, first: float, second: float) -> None:
    """A job that goes on at its rate without reporting is projected the same, then higher."""
    said = report(1000 * done, at=1000.0)
    earlier, later = sorted((1000.0 + first, 1000.0 + second))

    before = median(evidence(rate * earlier, earlier, said))
    after = median(evidence(rate * later, later, said))

    assert before is not None
    assert after is not None
    assert after >= before * (1 - 1e-9)


def part(used: float, total: float | None, basis: str = "used / progress, …") -> Forecast:
    quantiles = {} if total is None else {MEDIAN: total}
    return Forecast(JOB, "device-hours", used, quantiles, None, basis, START)


def test_a_campaign_is_what_was_used_and_what_its_jobs_need_yet() -> None:
    """A failed attempt counts with what it used, a job without progress with what it used so far."""
    parts = [part(100.0, 100.0, "ended"), part(50.0, 200.0), part(30.0, None)]

    forecast = project_sum(evidence(used=180.0), parts, START)

    assert {MEDIAN: 330.0} == forecast.quantiles
    assert "sum of 3 jobs, 1 of them projected, 1 without a projection" == forecast.basis


def test_a_campaign_of_jobs_without_progress_has_no_projection() -> None:
    """Nothing is known of where it ends."""
    assert {} == project_sum(evidence(), [part(5.0, None)], START).quantiles


def test_a_campaigns_wall_time_ends_with_its_last_job() -> None:
    """Wall time does not add up."""
    forecast = project_span(evidence(used=3600.0), [START + 5000, START + 9000], START)

    assert {MEDIAN: 9000.0} == forecast.quantiles


def test_what_earlier_attempts_used_is_spent() -> None:
    """Half of this attempt's own part is done with 1 h; the 2 h of the attempts before come on top, once."""
    resumed = replace(evidence(used=10_800.0, progress=report(800, first=600)), before=7200.0)

    forecast = project(resumed, START + 3600)

    assert {MEDIAN: pytest.approx(7200.0 + 7200.0)} == forecast.quantiles
    assert forecast.basis.endswith("earlier attempts included")


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.integers(0, 1000))
def test_a_projection_is_never_below_what_all_attempts_used(own: float, before: float, step: int) -> None:
    """Whatever the progress of the latest one."""
    total = project(replace(evidence(used=own + before, progress=report(step)), before=before), START)

    assert all(value >= own + before - 1e-6 for value in total.quantiles.values())


def chain(**changed: Any) -> Evidence:
    """A chain that used 2 h before its last attempt, and 1 h in that, which brought it to 300 of 1000 steps."""
    values = {"used": 10_800.0, "before": 7200.0, "progress": report(300), **changed}
    return replace(evidence(), **values)


def test_a_chain_is_projected_by_all_that_its_attempts_used() -> None:
    """Three hours are three tenths; what its progress does not tell of is added as it is."""
    alone = project_chain(chain(), "chain of 3 jobs", START)
    beside = project_chain(chain(used=14_400.0, after=3600.0), "chain of 3 jobs", START)

    assert ({MEDIAN: pytest.approx(36_000.0)}, "chain of 3 jobs") == (alone.quantiles, alone.basis)
    assert {MEDIAN: pytest.approx(39_600.0)} == beside.quantiles


def test_a_chain_whose_last_attempt_hangs_is_projected_higher() -> None:
    """It reported after an hour, and says nothing for two."""
    forecast = project_chain(chain(used=18_000.0, seen=START + 3 * 3600.0), "chain of 3 jobs", START)

    assert {MEDIAN: pytest.approx(36_000.0 + 3600.0)} == forecast.quantiles
    assert "chain of 3 jobs; no report for 120 min, the later part of it counted as lost" == forecast.basis


@pytest.mark.parametrize(
    ("changed", "total", "basis"),
    [
        ({"state": "ended"}, 10_800.0, "chain, ended"),
        ({"progress": None}, None, "chain, no progress reported"),
        ({"progress": report(305, first=300)}, None, "chain; too little to project from"),
        ({"progress": report(1500, first=1500)}, 10_800.0, "chain"),
        ({"progress": report(1200)}, 10_800.0, "chain"),
    ],
)
def test_a_chain_that_is_over_needs_what_it_used(changed: Any, total: float | None, basis: str) -> None:
    """Also one that is beyond its end; of one that did next to nothing, nothing is known."""
    forecast = project_chain(chain(**changed), "chain", START)

    assert ({} if total is None else {MEDIAN: pytest.approx(total)}, basis) == (forecast.quantiles, forecast.basis)


@given(st.floats(0, 1e9), st.floats(0, 1e9), st.floats(0, 1e9), st.floats(0, 1e6), _progress)
def test_a_chain_is_never_below_what_it_used(
    before: float, own: float, after: float, seen: float, said: Progress
) -> None:
    """Whatever was reported, however wrong."""
    used = before + own + after
    found = chain(used=used, before=before, after=after, seen=START + seen, progress=said)

    total = project_chain(found, "chain", START).quantiles.get(MEDIAN)

    assert total is None or used <= total < float("inf")
