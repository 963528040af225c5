"""What a run comes to by its own progress."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.forecast.burnup import BUCKETS, ERRORS, BurnUp, burn_up, first_in_each_bucket


def steady(
    hours: int, rate: float = 0.01, begun: float = 0.0, late: float = 0.0
) -> tuple[list[float], list[float]]:
    """A report each hour of a run that does `rate` of the whole in one, after `late` hours of nothing."""
    return [hour + late for hour in range(1, hours + 1)], [begun + rate * hour for hour in range(1, hours + 1)]


def total(used_at: list[float], ratios: list[float], used: float, begun: float = 0.0) -> float:
    found = burn_up(used_at, ratios, used, begun)
    assert found is not None
    return found.total


def test_a_steady_run_ends_where_its_rate_brings_it() -> None:
    """A hundredth of the whole an hour, from the first hour on."""
    assert pytest.approx(100.0) == total(*steady(30), 30.0)


def test_one_report_alone_is_used_over_progress() -> None:
    """A tenth of the whole for 6 days."""
    assert BurnUp(60.0, 0.1) == burn_up([6.0], [0.1], 6.0)


def test_warm_up_is_spent_and_makes_no_rate() -> None:
    """Ten hours in which nothing was done are ten hours more, and not a third more of the rest."""
    used_at, ratios = steady(30, late=10.0)

    assert pytest.approx(110.0) == total(used_at, ratios, 40.0)


def test_a_warm_up_at_half_the_rate_is_removed() -> None:
    """The first of ten reports are made at half the rate: the rest goes on as the other nine tenths did."""
    used_at = [float(hour) for hour in range(1, 51)]
    ratios = [0.005 * hour if hour <= 5 else 0.025 + 0.01 * (hour - 5) for hour in range(1, 51)]

    found = total(used_at, ratios, 50.0)

    # From the sixth report on: 50 hours and what is left at a hundredth an hour.
    assert pytest.approx(50.0 + (1 - ratios[-1]) / 0.01) == found
    assert found < 50.0 / ratios[-1]


def test_downtime_raises_the_total() -> None:
    """Ten hours without devices' work between two reports make the rate lower, and the whole dearer."""
    used_at, ratios = steady(30)
    down = [at if at <= 20 else at + 10.0 for at in used_at]

    assert 100.0 + 10.0 < total(down, ratios, 40.0)


def test_lost_work_raises_the_total() -> None:
    """Ten hours done twice are spent twice."""
    used_at, ratios = steady(30)
    lost_at = [*used_at, *(30.0 + hour for hour in range(1, 21))]
    lost = [*ratios, *(0.2 + 0.01 * hour for hour in range(1, 21))]

    assert 100.0 + 10.0 < total(lost_at, lost, 50.0)


def test_what_is_reported_later_is_not_known_yet() -> None:
    """A run that slows down after 30 hours is projected without that before it does."""
    used_at, ratios = steady(30)
    later_at, later = [*used_at, 60.0, 90.0], [*ratios, 0.31, 0.32]

    assert burn_up(used_at, ratios, 40.0) == burn_up(later_at, later, 40.0)


def test_a_run_that_took_up_from_a_checkpoint_is_projected_by_its_own_part() -> None:
    """It took up at .6 and is at .8 after 2 hours, by one report: two more to go."""
    assert BurnUp(pytest.approx(4.0), 0.8) == burn_up([2.0], [0.8], 2.0, begun=0.6)
    assert pytest.approx(40.0) == total(*steady(30, begun=0.6), 30.0, begun=0.6)


@pytest.mark.parametrize(
    ("used_at", "ratios", "used", "begun"),
    [
        ([], [], 5.0, 0.0),
        ([6.0], [0.1], 5.0, 0.0),
        ([4.0], [0.0], 5.0, 0.0),
        ([4.0], [0.3], 5.0, 0.3),
        ([4.0], [0.2], 5.0, 0.3),
        ([0.0], [0.2], 5.0, 0.0),
        ([4.0], [1e-300], 5.0, 0.0),
    ],
)  # fmt: skip
def test_nothing_is_projected_from_nothing(
    used_at: list[float], ratios: list[float], used: float, begun: float
) -> None:
    """No report yet, none done, none since the checkpoint, nothing used, or of a whole without end."""
    assert None is burn_up(used_at, ratios, used, begun)


def test_a_silent_runs_projection_rises_after_a_usual_gap() -> None:
    """A report an hour is usual: what is used later than an hour after the last one is added as it is."""
    used_at, ratios = steady(30)

    assert pytest.approx(100.0) == total(used_at, ratios, 30.9)
    assert pytest.approx(100.0 + 9.0) == total(used_at, ratios, 40.0)


def test_a_run_that_reported_once_is_not_taken_for_hung_too_soon() -> None:
    """What it took to the first report it may take to the second."""
    assert (60.0, pytest.approx(62.0)) == (total([6.0], [0.1], 12.0), total([6.0], [0.1], 14.0))


def test_a_run_beyond_its_plan_ends_where_it_is() -> None:
    """It is farther than planned: nothing is left to do, as far as anybody said."""
    used_at, ratios = steady(30, rate=0.05)

    assert BurnUp(30.0, pytest.approx(1.5)) == burn_up(used_at, ratios, 30.0)


def test_progress_in_a_wrong_unit_ends_nowhere_below_what_is_used() -> None:
    """Percent in place of a fraction, from some time on."""
    used_at, ratios = steady(30)
    wrong = [ratio * 100 if hour > 15 else ratio for hour, ratio in enumerate(ratios)]

    found = burn_up(used_at, wrong, 30.0)

    assert BurnUp(30.0, pytest.approx(30.0)) == found
    assert found is not None
    assert len(BUCKETS) - 1 == found.bucket


_ratio = st.one_of(st.floats(0, 1), st.floats(0, 200), st.sampled_from((0.0, 1.0, 5e-324, 1e300)))
_reports = st.lists(st.tuples(st.floats(0, 1e12), _ratio), max_size=30)


@given(_reports, st.floats(0, 1e12), st.floats(0, 1))
def test_a_projection_is_never_below_what_was_used_by_the_last_report(
    reports: list[tuple[float, float]], used: float, begun: float
) -> None:
    """Whatever was reported, however wrong; and what was used since lies below it but for one usual gap."""
    used_at = sorted(at for at, _ in reports)
    known = [at for at in used_at if at <= used]

    found = burn_up(used_at, [ratio for _, ratio in reports], used, begun)

    assert found is None or known[-1] <= found.total < float("inf")
    assert found is None or found.total >= used - known[-1] - 1e-9 * used
    assert found is None or 0 <= found.bucket < len(BUCKETS)


@given(st.integers(1, 30), st.floats(0.0001, 0.1), st.lists(st.floats(0, 1000), min_size=2, max_size=2))
def test_silence_never_lowers_a_projection(reports: int, rate: float, silent: list[float]) -> None:
    """A run that goes on without reporting is projected the same, then higher."""
    used_at, ratios = steady(reports, rate)
    sooner, later = sorted(silent)

    assert total(used_at, ratios, reports + sooner) <= total(used_at, ratios, reports + later)


def test_of_a_run_that_is_over_each_bucket_has_its_first_projection() -> None:
    """A run at a hundredth an hour comes into the buckets from .03 on at 3, 6, 12, 25 hours."""
    used_at, ratios = steady(30)

    found = first_in_each_bucket(used_at, ratios)

    assert [0, 1, 2, 3, 4] == [bucket for bucket, _ in found]
    assert pytest.approx([100.0] * 5) == [projected for _, projected in found]


def test_a_run_that_reported_nothing_was_in_no_bucket() -> None:
    """There is nothing to learn from it about projections."""
    assert () == first_in_each_bucket([], [])


def test_an_error_is_shipped_for_each_bucket() -> None:
    """Errors never grow as a run comes nearer to its end."""
    assert len(BUCKETS) == len(ERRORS)
    assert sorted(ERRORS, reverse=True) == list(ERRORS)
