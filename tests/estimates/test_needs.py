"""From FLOP to device-hours, energy, money and carbon: published trainings, arithmetic by hand, monotone."""

from __future__ import annotations

import io
from datetime import UTC
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch import specs
from gpuwatch.errors import Rejected
from gpuwatch.estimates import devices, needs, utilization
from gpuwatch.estimates.flops import Flop, Work, training
from gpuwatch.estimates.quantiles import LEVELS, Quantiles, certain
from gpuwatch.ledger.rate_file import read_rates
from gpuwatch.ledger.rates import Rates

NOW = 1_790_000_000.0
TABLE = specs.load()
A100 = devices.find(TABLE, "A100 SXM4 80GB")
PUBLISHED = {
    "LLaMA 7B": (6.7e9, 1e12, 82_432),
    "LLaMA 13B": (13e9, 1e12, 135_168),
    "LLaMA 33B": (32.5e9, 1.4e12, 530_432),
    "LLaMA 65B": (65.2e9, 1.4e12, 1_022_362),
    "Llama 2 7B": (6.74e9, 2e12, 184_320),
}


def hours(active: float, tokens: float) -> Quantiles:
    flop = training(Work(active, tokens))
    seconds = needs.device_seconds(flop, A100, "bf16", utilization.of_device(A100))
    return {level: seconds[level] / 3600 for level in LEVELS}


def rates(text: str) -> Rates:
    return read_rates(io.StringIO(f"kind,model,value,unit,source,year\n{text}"), "rates.csv", UTC)


def test_intervals_hold_published_device_hours() -> None:
    """80 % intervals from N, D and device alone hold at least 4 of the 5 of LLaMA and Llama 2."""
    inside = [name for name, (active, tokens, actual) in PUBLISHED.items()
              if hours(active, tokens)[0.1] <= actual <= hours(active, tokens)[0.9]]  # fmt: skip

    assert len(inside) >= 4


def test_page_shows_these_intervals() -> None:
    """Three digits of each, as estimated here."""
    page = (Path(__file__).parents[2] / "docs" / "estimating.md").read_text(encoding="utf-8")
    for name, (active, tokens, actual) in PUBLISHED.items():
        low, high = (float(f"{hours(active, tokens)[level]:.3g}") for level in (0.1, 0.9))

        assert f"| {actual:,} | {low:,.0f} to {high:,.0f} |" in page, name


def test_device_hours_by_hand() -> None:
    """4.02e22 FLOP at 0.365 of 312 TFLOP/s."""
    assert hours(6.7e9, 1e12)[0.5] == pytest.approx(4.02e22 / (0.365 * 312e12 * 3600))


def test_mfu_counts_what_the_model_needs() -> None:
    """Recomputation is in an MFU already; by the prior it takes time."""
    flop = Flop(6e20, 8e20)

    by_mfu = needs.device_seconds(flop, A100, "bf16", utilization.of_mfu(0.5))
    by_prior = needs.device_seconds(flop, A100, "bf16", utilization.of_device(A100))

    assert by_mfu[0.5] == pytest.approx(6e20 / (312e12 * 0.5 * 0.77))
    assert by_prior[0.5] == pytest.approx(8e20 / (312e12 * 0.365))


def test_energy_money_and_carbon_by_hand() -> None:
    """100 device-hours at 300 W: 30 kWh, times PUE 1.2; 2 EUR an hour, 0.25 EUR and 400 g per kWh."""
    found = needs.needs(
        certain(360_000.0), certain(300.0),
        rates("price,A100,2,EUR,,\ntariff,,0.25,EUR,,\npue,,1.2,,meter,2025\nintensity,,400,,grid,2025\n"),
        "A100 SXM4 80GB", "", NOW, 8,
    )  # fmt: skip

    assert found.energy_joules is not None
    assert found.facility_joules is not None
    assert found.cost is not None
    assert found.carbon_grams is not None
    assert found.wall_seconds is not None
    assert [30 * 3.6e6, 36 * 3.6e6, 209.0, 14_400.0, 45_000.0] == pytest.approx(
        [each[0.5] for each in (found.energy_joules, found.facility_joules, found.cost, found.carbon_grams,
                                found.wall_seconds)]
    )  # fmt: skip
    assert "EUR" == found.currency


def test_what_is_not_known_is_none() -> None:
    """Neither a price nor power: hours alone."""
    found = needs.needs(certain(3600.0), None, Rates.of(()), "TPU v5e", "", NOW, None)

    assert (None, None, None, None, None) == (
        found.energy_joules, found.facility_joules, found.cost, found.carbon_grams, found.wall_seconds
    )  # fmt: skip


def test_power_is_a_part_of_the_makers() -> None:
    """Unless it is a mean already, or given; of a TPU v5e nobody knows it."""
    power = needs.power_of(A100)
    mean = needs.power_of(devices.find(TABLE, "TPU v4"))

    assert power is not None
    assert mean is not None
    assert (200, 300, 380) == pytest.approx([power[level] for level in (0.1, 0.5, 0.9)])
    assert 170 == mean[0.5]
    assert certain(350.0) == needs.power_of(A100, 350.0)
    assert needs.power_of(devices.find(TABLE, "TPU v5e")) is None


@pytest.mark.parametrize("watts", [0.0, -1.0, float("nan"), float("inf"), 1e308])
def test_absurd_power_is_refused(watts: float) -> None:
    """Units slip; a megawatt is no device."""
    with pytest.raises(Rejected, match="watts: "):
        needs.power_of(A100, watts)


def test_defaults_are_never_silent() -> None:
    """PUE and grid are called defaults, and what is not known says what would tell it."""
    words = "\n".join(needs.assumptions(A100, None, (Rates.of(()), UTC), "A100", "", NOW))
    unknown = "\n".join(
        needs.assumptions(devices.find(TABLE, "TPU v5e"), None, (Rates.of(()), UTC), "TPU v5e", "", NOW)
    )

    assert "PUE 1.54 (default: Uptime survey 2025" in words
    assert "473.05 g CO2e/kWh (default: world 2024, Ember" in words
    assert "no price is known, so cost is not; --rates" in words
    assert "power of TPU v5e is not published" in unknown


def test_price_and_tariff_are_said() -> None:
    """With who says so."""
    found = rates("price,A100,2,EUR,,\ntariff,,0.25,EUR,,\n")

    words = "\n".join(needs.assumptions(A100, 250.0, (found, UTC), "A100 SXM4 80GB", "", NOW))

    assert "power 250 W per device: given" in words
    assert "price 2 EUR per device-hour (site) and 0.25 EUR per kWh (site), as today" in words


amounts = st.floats(1e6, 1e30)


@given(amounts, st.floats(1, 1000), st.floats(0.001, 1), st.floats(1, 1000))
def test_more_work_or_less_utilization_is_never_less_of_anything(
    flop: float, factor: float, mfu: float, watts: float
) -> None:
    """Hours, energy and time grow with FLOP and with power, and fall with utilization and devices."""

    def found(flop: float, mfu: float, watts: float, count: int) -> tuple[Quantiles, Quantiles, Quantiles]:
        seconds = needs.device_seconds(Flop(flop, flop), A100, "bf16", utilization.of_mfu(mfu))
        each = needs.needs(seconds, certain(watts), Rates.of(()), "A100", "", NOW, count)
        assert each.energy_joules is not None
        assert each.wall_seconds is not None
        return each.device_seconds, each.energy_joules, each.wall_seconds

    less = found(flop, mfu, watts, 64)
    for more in (
        found(flop * factor, mfu, watts, 64),
        found(flop, max(mfu / factor, 0.001), watts, 64),
        found(flop, mfu, watts * factor, 64),
        found(flop, mfu, watts, 8),
    ):
        for low, high in zip(less, more, strict=True):
            assert all(low[level] <= high[level] * (1 + 1e-9) for level in LEVELS)
            assert all(one <= two for one, two in pairwise(high[level] for level in LEVELS))
