"""A device that is held down, told from devices that have another part of their job."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.accounting.outliers import Doing, outliers
from gpuwatch.accounting.rates_of_use import account_uses, usual
from gpuwatch.accounting.watched import AccountUse


def devices(
    clocks: Sequence[float | None], watts: Sequence[float | None] = (), works: Sequence[float] = ()
) -> list[Doing]:
    """Devices at these clocks (GHz), watts and parts of the time at work."""
    power = watts or [700.0] * len(clocks)
    work = works or [0.9] * len(clocks)
    return [
        Doing("gw0", f"GPU-{place}", None if clock is None else clock * 1e9, power[place], work[place])
        for place, clock in enumerate(clocks)
    ]


LIKE = [1.90, 1.92, 1.91, 1.89, 1.93, 1.90, 1.91]


def test_a_device_at_a_much_lower_clock_is_one() -> None:
    """With what it does beside the others."""
    (found,) = outliers(devices([*LIKE, 1.2]), 0.25, 1800.0)

    assert ("GPU-7", 1.2e9, 1.91e9, 7, 1800.0) == (
        found.uuid, found.clock, found.others_clock, found.others, found.seconds
    )  # fmt: skip
    assert pytest.approx(1 - 1.2 / 1.91) == found.far


def test_less_power_at_a_lower_clock_is_one() -> None:
    """A wrong power limit: the clock alone is not so far below."""
    (found,) = outliers(
        devices([*LIKE, 1.6], [*[700.0, 690.0, 705.0, 700.0, 695.0, 700.0, 702.0], 350.0]), 0.25, 9.0
    )

    assert pytest.approx(0.5) == found.far


@pytest.mark.parametrize(
    "healthy",
    [
        devices(LIKE),
        devices([*LIKE, 1.91], [*[700.0] * 7, 400.0]),
        devices([*LIKE, 1.91], [700.0, 690.0, 600.0, 590.0, 500.0, 510.0, 400.0, 380.0]),
        devices([*LIKE, 1.91], [], [*[0.9] * 7, 0.3]),
        devices([*LIKE, 0.9], [*[700.0] * 7, 90.0], [*[0.9] * 7, 0.05]),
        devices([1.9, 1.8, 1.7, 1.6, 1.5, 1.4, 1.35, 1.3]),
        devices([1.9, 1.9, 1.9, 1.9, 1.9, 1.9, 1.2, 1.2]),
        devices([*LIKE, None], [*[700.0] * 7, 100.0]),
        devices([*LIKE, 1.2], [], [0.05] * 8),
        devices([None] * 8),
        devices([*LIKE, 1.75]),
    ],
    ids=[
        "alike", "one-light-stage", "stages-of-a-pipeline", "one-that-evaluates", "one-that-hardly-works",
        "spread", "two-kinds", "a-clock-not-read", "nobody-works", "no-clocks", "a-little-slower",
    ],
)  # fmt: skip
def test_parts_of_a_job_that_do_something_else_are_none(healthy: list[Doing]) -> None:
    """Uneven power and work are how a job is made; a clock is not."""
    assert () == outliers(healthy, 0.25, 1800.0)


def test_of_many_devices_an_eighth_may_be() -> None:
    """The farthest first."""
    found = outliers(devices([*LIKE, *LIKE, 1.2, 1.0]), 0.25, 1800.0)

    assert ["GPU-15", "GPU-14"] == [each.uuid for each in found]


_values = st.one_of(st.none(), st.floats(0.0, 1e12))


@given(
    st.lists(
        st.builds(Doing, st.just("gw0"), st.text(max_size=2), _values, _values, st.floats(0.0, 2.0)), min_size=1
    )
)
def test_nothing_raises_and_few_are_told(found: list[Doing]) -> None:
    """Whatever was read."""
    told = outliers(found, 0.25, 1800.0)

    assert len(told) <= max(1, len(found) // 8)
    assert all(0.0 < each.far <= 1.0 for each in told)


def test_what_is_usual_needs_seven_days_of_use() -> None:
    """What is not exceeded on nine of ten of them."""
    assert (None, 10.0, 9.0) == (usual([1.0] * 6), usual([10.0] * 7), usual([float(day) for day in range(11)]))


def test_uses_are_of_the_day_beside_the_days_before() -> None:
    """By quantity and currency; days without use are no days, and older ones are not looked at."""
    days = [("ml", day, "EUR", 3600.0, 1e6, 2.0) for day in range(91, 100)]
    days += [
        ("ml", 50, "EUR", 1e9, None, None),
        ("ml", 100, "EUR", 7200.0, None, 5.0),
        ("ml", 100, "USD", 1.0, 3.0, None),
    ]
    days += [("old", 99, "", 1.0, None, None), ("new", 100, "", 5.0, None, None)]

    assert (
        AccountUse("ml", "device-hours", "", 7201.0, 3600.0, 9),
        AccountUse("ml", "energy", "", 3.0, 1e6, 9),
        AccountUse("ml", "cost", "EUR", 5.0, 2.0, 9),
        AccountUse("new", "device-hours", "", 5.0, None, 0),
    ) == account_uses(days, 100)
