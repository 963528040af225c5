"""Why a job uses more than was declared, in sentences with numbers."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.accounting.reasons import reasons, slower_since
from gpuwatch.model import BurnUp, BurnUpPoint
from tests.ledger import made
from tests.ledger.batch import T0


def burnup(*paces: float) -> BurnUp:
    """A point a minute, ten steps each at so many device-seconds a step."""
    used, points = 0.0, [BurnUpPoint(float(T0), 0.0, None, 0.0, 1000.0)]
    for number, pace in enumerate(paces, 1):
        used += 10 * pace
        points.append(BurnUpPoint(T0 + 60.0 * number, used, None, 10.0 * number, 1000.0))
    return BurnUp(float(T0), tuple(points))


def test_the_moment_from_which_a_step_takes_longer_is_found() -> None:
    """Ten points at one pace, ten at nearly twice of it; and how much that is beside what was declared."""
    curve = burnup(*(1.0,) * 10, *(1.8,) * 10)
    job = made.job(made.run([made.line(made.used({"working": 1000.0}))]), progress=made.progress(200.0, 1200.0))

    found = slower_since(curve.points)

    assert found is not None
    assert (T0 + 600.0, 1.8) == (found.since, round(found.times, 9))
    told = "slower since 2023-11-14 08:10Z: a step takes 1.8 times what it took before"
    assert [f"{told}, and 0.9 times what was declared"] == reasons(job, curve, planned=2000.0)


def test_an_even_pace_is_no_reason() -> None:
    """Nor one that gets better."""
    assert slower_since(burnup(*(1.0,) * 20).points) is None
    assert slower_since(burnup(*(2.0,) * 10, *(1.0,) * 10).points) is None


@given(st.lists(st.floats(0.9, 1.1), min_size=2, max_size=60))
def test_a_little_trembling_is_no_reason(paces: list[float]) -> None:
    """Within a tenth."""
    found = slower_since(burnup(*paces).points)

    # Ends of four points may differ by chance, never by more than all that there is.
    assert found is None or found.times <= 1.1 / 0.9


def test_steps_that_go_back_break_nothing() -> None:
    """Work that was lost is no pace."""
    points = burnup(*(1.0,) * 20).points
    back = [each._replace(step=(each.step or 0.0) % 70.0) for each in points]

    assert all(a.time < b.time for a, b in pairwise(back))
    slower_since(back)


def test_what_the_devices_did_is_told_with_its_part_of_the_time() -> None:
    """The largest first; what is below a twentieth is none."""
    usage = made.used(
        {"working": 600.0, "idle": 250.0, "spinning": 120.0, "unknown": 30.0},
        throttled_seconds={"hw_thermal": 400.0, "sw_power_cap": 10.0},
    )
    job = made.job(made.run([made.line(usage)]))

    assert [
        "its devices were idle 25 % of the time (0.069 device-hours)",
        "its devices were busy by its own word at idle power 12 % of the time (0.033 device-hours)",
        "clocks were held down by heat 40 % of the time (hw_thermal)",
    ] == reasons(job)


def test_work_that_was_lost_is_told() -> None:
    """Of a first attempt that failed after its last report, and began again."""
    first = made.run(
        [made.line(made.used({"working": 1000.0}))], outcome="FAILED", progress=made.progress(100.0, 500.0),
        allocated_seconds=1000.0,
    )  # fmt: skip
    second = made.run(
        [made.line(made.used({"working": 1000.0}))], started=T0 + 2000, last_seen=T0 + 3000.0,
        allocated_seconds=1000.0, progress=made.progress(150.0, 3000.0, start_step=100.0),
    )  # fmt: skip

    (text,) = reasons(made.job(first, second))

    assert "began again once, and lost 0.14 device-hours of its work (25 %)" == text


def test_nothing_is_said_of_what_was_not_measured() -> None:
    """No agent, no reason."""
    assert [] == reasons(made.job(made.run(allocated_seconds=3600.0)))
