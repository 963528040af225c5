"""When the energy counter of an AMD card is believed, and how long its clocks were held down."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.devices.amd_energy import CounterTrust
from gpuwatch.devices.amd_metrics import Residencies, Table
from gpuwatch.devices.amd_throttle import ThrottleClock


def told(
    trust: CounterTrust, watts: float, factor: float, seconds: range, start: float = 500.0
) -> list[float | None]:
    """What is believed each second of a counter that counts `factor` times the power."""
    return [trust.believed(float(now), start + watts * factor * now, watts) for now in seconds]


def test_counter_is_used_once_it_has_agreed_with_power() -> None:
    """Half a minute of power alone, then the counter as it is."""
    believed = told(CounterTrust("amd:1"), 300.0, 1.05, range(40))

    assert believed[:30] == [None] * 30
    assert believed[30:] == [pytest.approx(500.0 + 315.0 * now) for now in range(30, 40)]


@pytest.mark.parametrize("factor", [0.0, 0.5, 2.0, 1000.0])
def test_counter_that_disagrees_is_never_used_and_that_is_said_once(
    factor: float, caplog: pytest.LogCaptureFixture
) -> None:
    """One that stands still, that counts one die of two, or in another unit."""
    trust = CounterTrust("amd:1")
    with caplog.at_level(logging.WARNING):
        believed = told(trust, 300.0, factor, range(300))

    assert {None} == set(believed)
    assert trust.refused
    assert 1 == len(caplog.records)
    assert "amd:1" in caplog.text and "power_watts=300.0" in caplog.text


def test_counter_that_begins_to_disagree_is_not_used_any_longer() -> None:
    """After two half minutes, and for good: that it agrees again proves nothing."""
    trust = CounterTrust("amd:1")
    told(trust, 300.0, 1.0, range(31))
    stood_still = [trust.believed(float(now), 9500.0, 300.0) for now in range(31, 100)]
    again = told(trust, 300.0, 1.0, range(100, 200))

    assert stood_still[-1] is None and {None} == set(again)


def test_one_odd_half_minute_is_forgiven() -> None:
    """A load whose steps fall between the looks."""
    trust = CounterTrust("amd:1")
    joules = 0.0
    for now in range(200):
        joules += 600.0 if 60 <= now < 90 else 300.0
        believed = trust.believed(float(now), joules, 300.0)

    assert believed == joules and not trust.refused


def test_difference_at_rest_is_not_held_against_it() -> None:
    """Eight watts and twelve are nothing that proves or disproves."""
    trust = CounterTrust("amd:1")
    believed = told(trust, 8.0, 1.5, range(300))

    assert {None} == set(believed) and not trust.refused


def test_fall_and_gap_are_not_compared() -> None:
    """A counter that began anew, or that nobody looked at for a while, agrees with what is known of it."""
    trust = CounterTrust("amd:1")
    told(trust, 300.0, 1.0, range(31))
    fallen = told(trust, 300.0, 1.0, range(31, 100), start=-9000.0)
    later = told(trust, 300.0, 1.0, range(1000, 1100), start=5e6)

    assert None not in fallen and None not in later


def test_counter_without_any_power_is_believed() -> None:
    """There is nothing to compare it with, and nothing better."""
    trust = CounterTrust("amd:1")

    assert [1.0, 2.0] == [trust.believed(now, joules, None) for now, joules in ((0.0, 1.0), (1.0, 2.0))]


@given(st.lists(st.tuples(
    st.floats(0, 1e6), st.none() | st.floats(0, 1e9), st.none() | st.floats(0, 2e4)), max_size=60))  # fmt: skip
def test_any_history_gives_the_counter_or_nothing(history: list[tuple[float, float | None, float | None]]) -> None:
    """What is believed is never anything but what was told."""
    trust = CounterTrust("amd:1")

    for now, joules, watts in history:
        assert trust.believed(now, joules, watts) in (None, joules)


def test_residencies_become_seconds_of_the_time_between_two_reads() -> None:
    """Half of the cycles by power is half of the time; of kinds of heat that overlap the longest counts."""
    clock = ThrottleClock()
    clock.advance(10.0, of_cycles(1000, 100, (0, 0, 0, 0)))

    after = clock.advance(14.0, of_cycles(5000, 2100, (0, 1000, 0, 400)))
    assert after == {"sw_power_cap": pytest.approx(2.0), "hw_thermal": pytest.approx(1.0)}


def test_residencies_turn_over_and_begin_anew() -> None:
    """At 2^32 they go on from 0; after a reset the cycles say nothing of them, and no time is made up."""
    clock = ThrottleClock()
    clock.advance(0.0, of_cycles(2**32 - 500, 2**32 - 100, (0, 0, 0, 0)))
    turned = clock.advance(1.0, of_cycles(500, 400, (0, 0, 0, 0)))
    reset = clock.advance(2.0, of_cycles(1000, 10, (0, 0, 0, 0)))

    assert turned["sw_power_cap"] == pytest.approx(0.5)
    assert reset == turned


def test_status_counts_the_time_up_to_the_read_that_saw_it() -> None:
    """A second for each look, none for a gap; a reason that does not hold stands at 0."""
    clock = ThrottleClock()
    seen = [clock.advance(now, Table("1.3", throttled=frozenset({"hw_thermal"}))) for now in (0.0, 1.0, 2.0, 60.0)]

    assert [0.0, 1.0, 2.0, 2.0] == [each["hw_thermal"] for each in seen]
    assert 0.0 == seen[-1]["sw_power_cap"]


def test_card_that_does_not_say_has_no_throttle_time() -> None:
    """No table, or one without either."""
    clock = ThrottleClock()

    assert {} == {**clock.advance(0.0, None), **clock.advance(1.0, Table("1.1"))}


def of_cycles(cycles: int, power: int, heat: tuple[int, ...]) -> Table:
    """A table of cycles in which the clocks were held down."""
    return Table("1.6", residencies=Residencies(cycles, {"sw_power_cap": (power,), "hw_thermal": heat}))
