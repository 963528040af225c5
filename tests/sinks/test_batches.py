"""Lines in batches, and times that are given out once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.sinks.batches import BATCH_BYTES, Batch, Line, Times, batches, milliseconds


def test_a_batch_has_the_time_of_its_newest_point() -> None:
    """By which a spool knows how old it is."""
    lines = [Line(1500, "a v=1 1500\n"), Line(2500, "b v=1 2500\n"), Line(2000, "c v=1 2000\n")]

    assert (Batch(2.5, 3, b"a v=1 1500\nb v=1 2500\nc v=1 2000\n"),) == batches(lines)


def test_lines_without_text_are_no_points() -> None:
    """A device of which nothing is known gives no batch."""
    assert batches([Line(1, ""), Line(2, "")]) == ()


def test_many_lines_are_several_batches() -> None:
    """A segment of a spool holds any of them."""
    lines = [Line(1000 + number, f"m,n={number} v=1 {number}\n" + "x" * 990) for number in range(1000)]

    made = batches(lines)

    assert b"".join(each.lines for each in made) == "".join(line.text for line in lines).encode()
    assert sum(each.points for each in made) == 1000
    assert max(len(each.lines) for each in made) <= BATCH_BYTES


def test_fault_18_times_on_both_sides_of_a_jump_of_the_clock_are_not_in_one_batch() -> None:
    """What a server would drop for its time takes nothing else with it."""
    lines = [
        Line(time, f"m v=1 {time}\n") for time in (10**12, 0, 59_000, 10**12, 10**12 + 60_000, 10**12 + 60_001)
    ]

    made = batches(lines)

    assert [(1e9, 1), (59.0, 2), (1e9 + 60, 2), (1e9 + 60.001, 1)] == [(each.time, each.points) for each in made]


@pytest.mark.parametrize(
    ("time", "expected"), [(1.9999, 1999), (1_764_000_000.123, 1_764_000_000_123), (0.0, 0), (-0.0001, -1)]
)
def test_milliseconds_are_never_later(time: float, expected: int) -> None:
    """A point is not from the future."""
    assert expected == milliseconds(time)


@given(st.lists(st.integers(0, 30), max_size=60))
def test_no_time_is_given_out_twice(wanted: list[int]) -> None:
    """Also where the clock stands still or goes back; and each is the next that is free."""
    times = Times()

    given_out: list[int] = []
    for each in wanted:
        free = times.use(times.free(each))
        assert set(range(each, free)) <= set(given_out)
        given_out.append(free)
    assert len(given_out) == len(set(given_out))


def test_remembered_times_are_bounded() -> None:
    """An agent runs for years."""
    times = Times(limit=100)
    for time in range(10_000):
        times.use(times.free(time))

    assert len(times._used) == len(times._order) == 100
