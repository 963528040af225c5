"""A burn-up stays small, even and in order, whatever it is told."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.model import BurnUp, BurnUpPoint, grown
from gpuwatch.model.burnups import FIRST_SPACING_SECONDS, MOST_POINTS

hostile = st.lists(
    st.builds(
        BurnUpPoint, st.floats(0, 2e9), st.floats(0, 1e9), st.none() | st.floats(0, 1e12),
        st.none() | st.floats(0, 1e9), st.none() | st.floats(1, 1e9),
    ),
    max_size=300,
)  # fmt: skip


def made(points: Sequence[BurnUpPoint]) -> BurnUp:
    """What comes of points, one after the other."""
    burnup = BurnUp(0.0)
    for point in points:
        burnup = grown(burnup, point)
    return burnup


def steady(interval: float, number: int) -> list[BurnUpPoint]:
    """A job of eight devices, seen at an interval."""
    return [BurnUpPoint(interval * place, 8.0 * interval * place) for place in range(1, number + 1)]


@given(hostile)
def test_it_is_bounded_and_in_order_whatever_it_is_told(points: list[BurnUpPoint]) -> None:
    """Clocks that jump and amounts that fall included."""
    burnup = made(points)

    assert len(burnup.points) <= MOST_POINTS
    assert all(a.time < b.time and a.used <= b.used for a, b in pairwise(burnup.points))
    assert {*burnup.points} <= {*points}


@given(st.floats(0.5, FIRST_SPACING_SECONDS), st.integers(1, 3000))
def test_a_steady_job_has_its_first_and_last_point_and_even_ones_between(interval: float, number: int) -> None:
    """No two are more than twice as far apart as any other two, but for the last."""
    told = steady(interval, number)

    burnup = made(told)

    gaps = [b.time - a.time for a, b in pairwise(burnup.points)]
    assert (told[0], told[-1]) == (burnup.points[0], burnup.points[-1])
    assert all(burnup.spacing_seconds <= gap < 2.001 * burnup.spacing_seconds for gap in gaps[:-1])
    assert number * interval < 2 * MOST_POINTS * FIRST_SPACING_SECONDS or len(burnup.points) > MOST_POINTS // 4


def test_what_is_full_is_thinned_and_goes_on_at_twice_the_spacing() -> None:
    """One that is one too many leaves every second one."""
    full = made(steady(60.0, MOST_POINTS))

    thinned = made(steady(60.0, MOST_POINTS + 1))

    assert (MOST_POINTS, 60.0) == (len(full.points), full.spacing_seconds)
    assert (MOST_POINTS // 2 + 1, 120.0) == (len(thinned.points), thinned.spacing_seconds)


def test_the_last_point_is_the_latest_and_gives_way_to_the_next() -> None:
    """What is nearer than the spacing is there until the next one comes."""
    burnup = made(steady(25.0, 5))

    assert [25.0, 100.0, 125.0] == [point.time for point in burnup.points]
    assert [25.0, 100.0] == [point.time for point in burnup.settled]


@pytest.mark.parametrize(
    ("point", "times"),
    [
        (BurnUpPoint(130.0, 100.0), [60.0, 120.0, 180.0]),  # told late
        (BurnUpPoint(180.0, 1440.0), [60.0, 120.0, 180.0]),  # the same again
        (BurnUpPoint(130.0, 1500.0), [60.0, 120.0, 130.0]),  # the clock was set back
        (BurnUpPoint(240.0, 1000.0), [60.0, 120.0, 240.0]),  # restated
        (BurnUpPoint(240.0, 100.0), [240.0]),  # restated, and nothing of before is true
        (BurnUpPoint(180.0, 1400.0), [60.0, 120.0, 180.0]),
        (BurnUpPoint(240.0, 1440.0), [60.0, 120.0, 180.0, 240.0]),  # suspended
    ],
)
def test_what_contradicts_the_latest_is_forgotten(point: BurnUpPoint, times: list[float]) -> None:
    """And what is merely late is passed over."""
    burnup = grown(made(steady(60.0, 3)), point)

    assert times == [each.time for each in burnup.points]


def test_what_says_nothing_new_leaves_the_same_value() -> None:
    """So that nobody writes it again."""
    burnup = made(steady(60.0, 3))

    assert burnup is grown(burnup, burnup.points[-1])


def test_steps_may_fall() -> None:
    """A job that goes back lost work, and its burn-up shows it."""
    told = [BurnUpPoint(60.0, 60.0, None, 100.0, 1000.0), BurnUpPoint(120.0, 120.0, None, 50.0, 1000.0)]

    assert tuple(told) == made(told).points
