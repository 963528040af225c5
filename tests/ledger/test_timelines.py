"""Means over any time of what changes at certain times: exact, and the same however the time is cut."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.ledger.timelines import Timeline, combined, product

times = st.floats(0, 2e9, allow_nan=False)
amounts = st.none() | st.fractions(0, 1000, max_denominator=1000)


@st.composite
def timelines(draw: st.DrawFn) -> Timeline:
    cuts = sorted(draw(st.sets(times, max_size=8)))
    return Timeline.of(cuts, draw(st.lists(amounts, min_size=len(cuts) + 1, max_size=len(cuts) + 1)))


STAIRS = Timeline.of([10.0, 20.0, 40.0], [Fraction(1), Fraction(2), None, Fraction(4)])


@pytest.mark.parametrize(
    ("begins", "ends", "mean"),
    [
        (0, 10, Fraction(1)),
        (10, 20, Fraction(2)),
        (5, 15, Fraction(3, 2)),
        (0, 20, Fraction(3, 2)),
        (8, 20, Fraction(22, 12)),
        (19, 21, None),
        (20, 20, None),
        (10, 10, Fraction(2)),
        (39, 41, None),
        (40, 1e9, Fraction(4)),
    ],
)
def test_mean_weighs_each_value_with_its_time(begins: float, ends: float, mean: Fraction | None) -> None:
    """A change belongs to the time after it; any time that is not known makes the mean unknown."""
    assert mean == STAIRS.mean(begins, ends)


def test_changes_are_those_inside() -> None:
    """The ends of the time are no changes within it."""
    assert (10.0, 20.0) == tuple(STAIRS.changes(9, 40))
    assert () == tuple(STAIRS.changes(10, 20))


def test_a_value_that_stays_is_no_change() -> None:
    """Two lines of a file with one value are one."""
    assert () == Timeline.of([1.0, 2.0], [Fraction(3), Fraction(3), Fraction(3)]).cuts


@given(timelines(), st.lists(times, min_size=3, max_size=3, unique=True))
def test_mean_over_parts_is_the_mean_over_the_whole(line: Timeline, three: list[float]) -> None:
    """Exactly, as fractions."""
    begins, middle, ends = sorted(three)
    parts = [
        (line.mean(begins, middle), Fraction(middle) - Fraction(begins)),
        (line.mean(middle, ends), Fraction(ends) - Fraction(middle)),
    ]

    whole = line.mean(begins, ends)

    if any(mean is None for mean, _ in parts):
        assert whole is None
    else:
        assert sum(mean * length for mean, length in parts) == whole * (Fraction(ends) - Fraction(begins))


@given(timelines(), timelines(), times)
def test_combination_is_that_of_the_values_at_each_time(left: Timeline, right: Timeline, time: float) -> None:
    """Also at the changes themselves, and before all of them."""
    both = combined(left, right, product)

    assert product(left.at(time), right.at(time)) == both.at(time)
