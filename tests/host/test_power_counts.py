"""Registers that wrap, are reset and jump, and power that is sampled, whatever they do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.host.power_counts import Register, Sampled

SPAN = 262_143_328_850
WATTS = 2000.0

steps = st.lists(
    st.tuples(st.floats(0.1, 59.0), st.floats(0.0, WATTS)), min_size=1, max_size=60
)  # seconds and watts between two looks


@given(st.integers(0, SPAN), steps)
def test_register_counts_what_was_used_however_often_it_wraps(
    start: int, drawn: list[tuple[float, float]]
) -> None:
    """A true consumption, seen through a register of limited range."""
    register, now, true = Register(), 0.0, float(start)
    register.advance(now, start, SPAN, WATTS)
    for seconds, watts in drawn:
        now += seconds
        true += watts * seconds * 1e6

        assert register.advance(now, int(true) % SPAN, SPAN, WATTS) is None
    assert register.joules == pytest.approx((true - start) * 1e-6, rel=1e-6, abs=1e-4)


@given(st.lists(st.tuples(st.floats(0.0, 100.0), st.integers(-SPAN, 2 * SPAN)), max_size=60))
def test_register_never_falls_nor_exceeds_what_can_be(looks: list[tuple[float, int]]) -> None:
    """Whatever it shows: resets, jumps, gaps, numbers out of its range."""
    register, now = Register(), 0.0
    for seconds, value in looks:
        now, before = now + seconds, register.joules
        reason = register.advance(now, value, SPAN, WATTS)

        assert before <= register.joules <= before + WATTS * (seconds + 2.0) + 1e-6
        assert reason in (None, "too_high", "too_low", "gap", "jump", "reset")
        assert reason is None or register.joules == before


@given(st.integers(10**9, SPAN - 10**11), st.integers(0, 10**6))
def test_register_that_begins_anew_is_not_taken_for_one_that_wrapped(before: int, after: int) -> None:
    """Far from the end of its range, the rest of it would be more than a package can use."""
    register = Register()
    register.advance(0.0, before, SPAN, WATTS)

    assert register.advance(5.0, after, SPAN, WATTS) == "reset"
    assert register.joules == 0.0


def test_register_goes_on_after_what_it_was_not_believed() -> None:
    """The value that was refused is where the next difference begins."""
    register = Register()
    reasons = [
        register.advance(at, value, SPAN, WATTS) for at, value in ((0, 0), (5, 10**11), (10, 10**11 + 10**6))
    ]

    assert (reasons, register.joules) == ([None, "jump", None], 1.0)


@given(st.lists(st.tuples(st.floats(0.1, 60.0), st.floats(0.0, 2e4)), min_size=2, max_size=40))
def test_sampled_power_is_the_trapezoid_of_readings_close_together(readings: list[tuple[float, float]]) -> None:
    """And nothing over a gap."""
    sampled, now, expected = Sampled(), 0.0, 0.0
    for index, (seconds, watts) in enumerate(readings):
        now += seconds
        known = index == 0 or seconds <= 15.0
        if index and known:
            expected += (readings[index - 1][1] + watts) / 2 * seconds
        told = sampled.advance(now, watts, 15.0 + 1e-9)

        assert told == known or abs(seconds - 15.0) < 1e-6
    assert sampled.joules == pytest.approx(expected, rel=1e-6, abs=1e-3)
