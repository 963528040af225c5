"""From a distribution of device-seconds to what is told of a scope."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.forecast.calibration import Places
from gpuwatch.forecast.projection import (
    Against,
    Foretold,
    Going,
    Together,
    ended,
    forecast_of,
    together,
    unknown,
)  # fmt: skip
from gpuwatch.forecast.trials import LEVELS
from gpuwatch.model import Estimate, Forecast, Scope
from tests.forecast.rows import about

JOB = Scope("job", "run-1")
NOW = 1_000_000.0
HOURS = Going("device-hours", 100.0, 1.0)


def foretold(
    amount: float = 1000.0, deviation: float = 0.3, used: float = 100.0, rate: float = 2.0,
    limit: float | None = None, places: Places | None = None,
) -> Foretold:  # fmt: skip
    """A run that may come to `amount` device-seconds."""
    return Foretold(about(amount, deviation, used), places or Places(), used, rate, limit)


def forecast(
    part: Foretold | Together | None = None, going: Going = HOURS, against: float | None = None,
    tolerance: float = 0.1,
) -> Forecast:  # fmt: skip
    held = None if against is None else Against(against)
    return forecast_of(JOB, foretold() if part is None else part, going, held, tolerance, "its like", NOW)


def test_device_hours_are_what_the_distribution_says() -> None:
    """Quantiles in base units, with what was used and why."""
    found = forecast()

    assert list(LEVELS) == list(found.quantiles)
    assert pytest.approx(1000.0) == found.quantiles[0.5]
    assert (JOB, "device-hours", 100.0, "its like", NOW) == (
        found.scope, found.quantity, found.used, found.basis, found.time,
    )  # fmt: skip
    assert (None, None, None, "") == (found.p_over, found.crosses_at, found.reference, found.against)


def test_energy_goes_on_with_device_seconds() -> None:
    """What was used of it, and so many joules for each device-second more, at every quantile."""
    hours = forecast()
    energy = forecast(going=Going("energy", 70_000.0, 500.0))

    expected = {level: 70_000.0 + (amount - 100.0) * 500.0 for level, amount in hours.quantiles.items()}
    assert pytest.approx(expected) == energy.quantiles
    assert ("energy", 70_000.0) == (energy.quantity, energy.used)


def test_the_probability_of_an_overrun_is_that_of_the_quantiles() -> None:
    """A quarter lies above the upper quartile, wherever it is; for energy as for hours."""
    for going in (HOURS, Going("energy", 70_000.0, 500.0)):
        quantiles = forecast(going=going).quantiles
        found = {level: forecast(going=going, against=quantiles[level], tolerance=0.0) for level in LEVELS}

        assert pytest.approx({level: 1 - level for level in LEVELS}, abs=1e-6) == {
            level: each.p_over for level, each in found.items()
        }


def test_the_tolerance_is_above_what_is_declared() -> None:
    """A tenth more is no overrun yet."""
    upper = forecast().quantiles[0.75]

    assert pytest.approx(0.25) == forecast(against=upper / 1.1, tolerance=0.1).p_over


def test_when_it_crosses_is_as_uncertain_as_its_rate_was_uneven() -> None:
    """400 device-seconds are left: at 2 a second, at half of that, or at four times as much."""
    found = forecast(going=Going("device-hours", 100.0, 1.0, slow=0.5, fast=4.0), against=500.0)

    assert (NOW + 200.0, (NOW + 50.0, NOW + 400.0)) == (found.crosses_at, found.crosses_between)


def test_it_crosses_when_what_is_left_is_used_at_its_rate() -> None:
    """400 device-seconds are left at 2 a second; that it crosses at all is certain but for a tenth."""
    found = forecast(against=500.0)

    assert NOW + 200.0 == found.crosses_at
    assert (NOW + 200.0, NOW + 200.0) == found.crosses_between
    assert (500.0, "declared") == (found.reference, found.against)


@pytest.mark.parametrize(
    ("level", "crosses", "between"),
    [(0.05, True, "end"), (0.25, True, "open"), (0.75, False, "open"), (0.95, False, "")],
)  # fmt: skip
def test_when_it_crosses_goes_with_how_likely_it_does(level: float, crosses: bool, between: str) -> None:
    """The median is never where it more likely never crosses; the interval is open where it may never."""
    found = forecast(against=forecast().quantiles[level])

    assert crosses == (found.crosses_at is not None)
    assert between == ("" if found.crosses_between is None else "end" if found.crosses_between[1] else "open")


def test_a_run_that_uses_nothing_now_crosses_at_no_time() -> None:
    """It is paused: how likely an overrun is remains."""
    found = forecast(foretold(rate=0.0), against=500.0)

    assert (None, None) == (found.crosses_at, found.crosses_between)
    assert found.p_over is not None
    assert found.p_over > 0.5


def test_what_is_crossed_is_certain() -> None:
    """Used is above what may be used: it is a fact, and lies in the past."""
    found = forecast(against=50.0)

    assert (1.0, None, None) == (found.p_over, found.crosses_at, found.crosses_between)


def test_a_time_limit_is_an_end_to_all() -> None:
    """No quantile is above it; the probability that it ends the run is what lies beyond."""
    limit = forecast().quantiles[0.75]
    found = forecast(foretold(limit=limit), against=limit, tolerance=0.0)

    assert limit == max(found.quantiles.values())
    assert forecast().quantiles[0.5] == found.quantiles[0.5]
    assert (pytest.approx(0.25), 0.0) == (found.p_limit, found.p_over)


def test_a_run_at_its_limit_is_at_its_end() -> None:
    """Also a little beyond: a batch system takes a moment to end it."""
    found = forecast(foretold(limit=97.0))

    assert ({100.0}, 1.0) == (set(found.quantiles.values()), found.p_limit)


def test_a_run_far_beyond_its_limit_is_not_ended_by_it() -> None:
    """It goes on, and comes to what it would without one."""
    found, free = forecast(foretold(limit=80.0)), forecast()

    assert (free.quantiles, free.p_over, None) == (found.quantiles, found.p_over, found.p_limit)


def test_without_a_limit_there_is_no_probability_of_it() -> None:
    """Not known is not 0."""
    assert None is forecast().p_limit


def test_quantiles_are_the_corrected_ones() -> None:
    """A site whose forecasts were too narrow has wider ones; the overrun's probability goes with them."""
    places = Places((0.01, 0.02, 0.1, 0.5, 0.9, 0.98, 0.99), 500)
    narrow, wide = forecast(), forecast(foretold(places=places))

    assert wide.quantiles[0.1] < narrow.quantiles[0.1] < narrow.quantiles[0.9] < wide.quantiles[0.9]
    assert (
        pytest.approx(0.1) == forecast(foretold(places=places), against=wide.quantiles[0.9], tolerance=0.0).p_over
    )


def test_gaps_widen_the_interval_upwards() -> None:
    """A fifth of the time was not measured: up to a quarter of what was, at most, is missing."""
    going = Going("energy", 800.0, 1.0)
    whole, gaps = forecast(going=going), forecast(going=replace(going, gaps=0.2))

    unseen = {level: gaps.quantiles[level] - whole.quantiles[level] for level in LEVELS}
    assert pytest.approx({level: level * 200.0 for level in LEVELS}) == unseen
    assert "its like; not measured for 20 % of the held time" == gaps.basis
    assert "its like" == whole.basis


def test_the_probability_of_an_overrun_knows_of_gaps() -> None:
    """It is that of the quantiles that are shown."""
    going = Going("energy", 800.0, 1.0, gaps=0.2)
    quantiles = forecast(going=going).quantiles

    found = [forecast(going=going, against=quantiles[level], tolerance=0.0).p_over for level in LEVELS]

    assert pytest.approx([1 - level for level in LEVELS], abs=1e-6) == found


def test_a_gap_too_small_to_tell_of_changes_nothing() -> None:
    """Half a percent is what deliveries between two passes make."""
    assert forecast() == forecast(going=replace(HOURS, gaps=0.004))


def test_all_unmeasured_is_bounded() -> None:
    """Nothing was measured but the first moments: no division by nothing."""
    found = forecast(going=replace(HOURS, gaps=1.0))

    assert max(found.quantiles.values()) < 1e5


@given(
    st.floats(1, 1e9), st.floats(0.01, 2), st.floats(0, 1e9), st.floats(0, 1), st.floats(0, 1e3),
    st.one_of(st.none(), st.floats(0, 1e10)), st.lists(st.floats(0, 1e12), min_size=2, max_size=6),
)  # fmt: skip
def test_a_forecast_is_consistent(
    amount: float, deviation: float, used: float, gaps: float, each: float, limit: float | None, held: list[float]
) -> None:
    """Quantiles rise from what was used, and the more is declared the less likely an overrun is."""
    part, going = foretold(amount, deviation, used, limit=limit), Going("energy", used * each, each, gaps)

    quantiles = list(forecast(part, going).quantiles.values())
    over = [forecast(part, going, against=amount_held).p_over or 0.0 for amount_held in sorted(held)]

    assert quantiles[0] >= going.used * (1 - 1e-9)
    assert (np.diff(quantiles) >= -1e-9 * np.abs(quantiles[1:])).all()
    assert all(0.0 <= p <= 1.0 for p in over)
    assert (np.diff(over) <= 1e-9).all()


def test_what_will_be_ended_by_its_limit_may_still_have_used_unseen() -> None:
    """Its device-seconds are certain; what lies between measured and used is as likely as not half of the gap."""
    going = Going("energy", 100.0, 1.0, gaps=0.5)
    found = [
        forecast(foretold(limit=100.0), going, amount, tolerance=0.0).p_over for amount in (110.0, 150.0, 190.0)
    ]

    assert pytest.approx([0.9, 0.5, 0.1]) == found


def test_a_quantity_that_takes_nothing_never_overruns() -> None:
    """Energy of devices that draw nothing: whatever is declared lies beyond all."""
    found = forecast(going=Going("energy", 0.0, 0.0), against=10.0)

    assert ({0.0}, 0.0) == (set(found.quantiles.values()), found.p_over)


def test_what_has_ended_came_to_what_it_used() -> None:
    """Its declaration stands beside it, and nothing is likely any more."""
    declared = Estimate(JOB, "device-hours", 100.0, 150.0, 200.0, "h")

    assert Forecast(
        JOB, "device-hours", 120.0, {0.5: 120.0}, declared, "ended", NOW, against="declared", reference=200.0
    ) == ended(JOB, "device-hours", 120.0, declared, NOW)
    assert ("", None) == (
        ended(JOB, "device-hours", 1.0, None, NOW).against, ended(JOB, "device-hours", 1.0, None, NOW).reference,
    )  # fmt: skip


def test_where_nothing_can_be_said_it_says_why() -> None:
    """No quantiles, and no probability."""
    found = unknown(JOB, "device-hours", 5.0, None, "open-ended", NOW)

    assert ({}, None, "open-ended", 5.0) == (dict(found.quantiles), found.p_over, found.basis, found.used)


def test_one_run_after_others_is_what_it_is_and_what_they_used() -> None:
    """A chain of which one job runs."""
    part = foretold()
    found = together([part], 700.0)

    assert pytest.approx([700.0 + each for each in part.quantiles]) == list(found.quantiles)
    assert (800.0, 2.0, None) == (found.used, found.rate, found.p_limit)


@pytest.mark.parametrize("count", [2, 5, 20])
def test_several_runs_add_up_and_even_out_for_a_half(count: int) -> None:
    """Means add. The interval is narrower than if all were slow together, and wider than if each were alone."""
    part = foretold(deviation=0.4)
    low, high = part.quantile(0.1), part.quantile(0.9)
    random = np.random.default_rng(1)
    alone = [np.interp(random.random(40_000), LEVELS, part.quantiles) for _ in range(count)]
    independent = np.quantile(np.sum(alone, axis=0), LEVELS)

    found = together([part] * count, 0.0)

    lower, upper = found.quantiles[1], found.quantiles[5]
    assert pytest.approx(count * float(np.mean(alone[0])), rel=0.06) == found.quantiles[3]
    assert upper - lower < 0.97 * count * (high - low)
    assert upper - lower > 1.1 * (independent[5] - independent[1])
    assert (count * 100.0, count * 2.0) == (found.used, found.rate)


def test_what_several_come_to_is_told_the_same_every_time() -> None:
    """Draws are made with a seed of their own."""
    parts = [foretold(amount) for amount in (500.0, 800.0, 3000.0)]

    assert together(parts, 5.0) == together(parts, 5.0)


def test_what_several_lie_beyond_is_a_probability() -> None:
    """At their quantiles what these say; certain below what is used."""
    found = together([foretold(), foretold(500.0)], 50.0)

    assert pytest.approx([1 - level for level in LEVELS]) == [found.beyond(each) for each in found.quantiles]
    assert (1.0, 0.0) == (found.beyond(10.0), found.beyond(inf))
    assert (
        pytest.approx(0.25)
        == forecast(
            found, Going("device-hours", found.used, 1.0), against=found.quantiles[4], tolerance=0.0
        ).p_over
    )


def test_beyond_the_outermost_quantiles_several_are_not_certain() -> None:
    """A hair above what they come to in 19 of 20 cases is about as likely as that; it fades from there on."""
    found = together([foretold(), foretold(500.0)], 50.0)
    low, high = found.quantiles[0], found.quantiles[-1]
    span = high - found.quantiles[4]

    assert pytest.approx([0.95, 0.05], abs=0.001) == [found.beyond(low * 0.9999), found.beyond(high * 1.0001)]
    assert pytest.approx(0.01) == found.beyond(high + span)
    further = [found.beyond(high + times * span) for times in range(8)]
    assert sorted(further, reverse=True) == further
    assert 1.0 > found.beyond(low - 5.0) > 0.95


def test_several_that_come_to_one_amount_come_to_no_other() -> None:
    """All of them at their limits, say."""
    found = Together((7.0,) * len(LEVELS), 5.0, 1.0)

    assert [1.0, 0.0] == [found.beyond(6.9), found.beyond(7.1)]


def test_a_campaign_of_campaigns_adds_up() -> None:
    """An account: chains and single jobs."""
    chain = together([foretold(rate=1.0)], 900.0)
    found = together([chain, foretold(rate=3.0)], 0.0)

    assert (1100.0, 4.0) == (found.used, found.rate)
    assert list(found.quantiles) == sorted(found.quantiles)
    assert found.quantiles[0] > 1100.0
