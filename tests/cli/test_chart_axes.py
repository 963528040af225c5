"""Ticks of the axes of charts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.cli.chart_axes import amount_ticks, time_ticks


@pytest.mark.parametrize(
    ("quantity", "high", "labels", "unit"),
    [
        ("device-hours", 910 * 3600.0, ["0", "200", "400", "600", "800"], "device-hours"),
        ("device-hours", 90.0, ["0", "0.005", "0.01", "0.015", "0.02", "0.025"], "device-hours"),
        ("energy", 7.7e12, ["0", "500", "1,000", "1,500", "2,000"], "MWh"),
        ("wall", 3 * 86_400.0, ["0", "1", "2", "3"], "d"),
    ],
)
def test_amounts_are_round_and_in_one_unit(quantity: str, high: float, labels: list[str], unit: str) -> None:
    """That of the largest."""
    ticks, name = amount_ticks(quantity, 0.0, high, 6)

    assert (labels, unit) == ([tick.label for tick in ticks], name)


@pytest.mark.parametrize(
    ("span", "labels"),
    [
        (40.0, ["0", "10 s", "20 s", "30 s", "40 s"]),
        (3600.0, ["0", "20 min", "40 min", "60 min"]),
        (24 * 3600.0, ["0", "6 h", "12 h", "18 h", "24 h"]),
        (56 * 86_400.0, ["0", "20 d", "40 d"]),
    ],
)
def test_times_have_the_unit_that_fits(span: float, labels: list[str]) -> None:
    """Seconds, minutes, hours, days."""
    assert labels == [tick.label for tick in time_ticks(span, 6)]


@given(st.floats(0.0, 1e200), st.floats(0.0, 1e200), st.integers(2, 8))
def test_ticks_lie_within_their_axis_and_are_few(first: float, second: float, most: int) -> None:
    """Whatever its ends are."""
    low, high = sorted((first, second))

    amounts, _ = amount_ticks("device-hours", low, high, most)
    times = time_ticks(high, most)

    slack = 1e-6 * high
    assert all(low - slack <= tick.value <= high + slack for tick in amounts)
    assert all(0.0 <= tick.value <= high + slack for tick in times)
    assert (len(amounts) <= most + 1, len(times) <= most + 1) == (True, True)
    assert all(len(tick.label) <= 10 for tick in (*amounts, *times))
