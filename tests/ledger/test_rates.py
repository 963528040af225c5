"""What hours and joules cost: exact, the same over any cut, None where something is not known, always labelled."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.errors import Rejected
from gpuwatch.ledger.rates import Rate, Rates

HOUR = 3600.0
KWH = 3.6e6
A100 = "NVIDIA A100-SXM4-80GB"
T = datetime(2026, 3, 1, tzinfo=UTC).timestamp()


def price(value: str | None, model: str = "", partition: str = "", **more: object) -> Rate:
    return Rate("price", value, "EUR", "site", model, partition, **more)


def site(*rates: Rate) -> Rates:
    return Rates.of([Rate("pue", "1.1", "ratio", "site: meter 2025"), *rates])


@pytest.mark.parametrize(
    ("device_hours", "megawatt_hours", "tonnes"),
    [(82_432, 36, 14), (135_168, 59, 23), (530_432, 233, 90), (1_022_362, 449, 173)],
    ids=["7B", "13B", "33B", "65B"],
)
def test_llama_table_follows_from_hours_watts_pue_and_intensity(
    device_hours: int, megawatt_hours: int, tonnes: int
) -> None:
    """The published energy and carbon of LLaMA, whole MWh and tonnes: 400 W, PUE 1.1, 385 g/kWh.

    The paper cuts 449.8 to 449, and reckons carbon of the MWh that it shows (449 × 0.385 = 172.9).
    """
    rates = site(Rate("intensity", "385", "g/kWh", "site: paper 2023"))
    joules = device_hours * HOUR * 400

    figures = rates.figures(T, T + 21 * 86_400, device_hours * HOUR, joules, None, A100, "")

    assert megawatt_hours == int(figures.facility_joules / 3.6e9)
    assert tonnes == round(megawatt_hours * 385 / 1000)
    assert figures.carbon_grams == pytest.approx(figures.facility_joules / KWH * 385, rel=1e-15)
    assert abs(figures.carbon_grams / 1e6 - tonnes) < 0.5


def test_price_change_in_the_middle_of_a_job_is_met_to_the_last_digit() -> None:
    """Eight devices for six hours, the price rising after two: 16 h × 1.85 + 32 h × 2.15."""
    rates = site(price("1.85", "A100", ends=T + 2 * HOUR), price("2.15", "A100", begins=T + 2 * HOUR))

    figures = rates.figures(T, T + 6 * HOUR, 48 * HOUR, None, None, A100, "gpu")

    assert (98.4, 98.4, None, "EUR") == (
        figures.cost, figures.price_cost, figures.energy_cost, figures.currency
    )  # fmt: skip


def test_energy_is_charged_where_there_is_a_tariff() -> None:
    """Facility energy, hosts included: (90 + 10) kWh × 1.1 × 0.3 beside 10 h × 2."""
    rates = site(price("2"), Rate("tariff", "0.3", "EUR", "site"))

    figures = rates.figures(T, T + HOUR, 10 * HOUR, 90 * KWH, 10 * KWH, A100, "")

    assert (20.0, 33.0, 53.0) == (figures.price_cost, figures.energy_cost, figures.cost)
    assert 110 * KWH == figures.facility_joules


def test_tariff_for_part_of_the_time_charges_that_part() -> None:
    """Where there was none, energy was not charged."""
    rates = site(price("0"), Rate("tariff", "0.3", "EUR", "site", begins=T + HOUR))

    assert 3.3 == rates.figures(T, T + 2 * HOUR, HOUR, 20 * KWH, None, A100, "").cost
    assert (0.0, None) == (
        rates.figures(T, T + HOUR, HOUR, 20 * KWH, None, A100, "").cost,
        rates.figures(T, T + HOUR, HOUR, 20 * KWH, None, A100, "").energy_cost,
    )


def test_what_is_not_known_is_none_and_never_zero() -> None:
    """No price, no energy, no hours, `none` for a PUE: each takes what follows from it, and nothing else."""
    priced, tariff = price("2", ends=T + HOUR), Rate("tariff", "0.3", "EUR", "site")
    unknown_pue = Rates.of([Rate("pue", None, "ratio", "site: none"), priced, tariff])

    no_price = site().figures(T, T + HOUR, HOUR, KWH, None, A100, "")
    half_priced = site(priced).figures(T, T + 2 * HOUR, HOUR, KWH, None, A100, "")
    no_energy = site(priced, tariff).figures(T, T + HOUR, HOUR, None, KWH, A100, "")
    no_hours = site(priced).figures(T, T + HOUR, None, KWH, None, A100, "")
    no_pue = unknown_pue.figures(T, T + HOUR, HOUR, KWH, None, A100, "")

    assert (None, None, "") == (no_price.cost, no_price.price_cost, no_price.currency)
    assert 1.1 * 473.05 == pytest.approx(no_price.carbon_grams)
    assert half_priced.cost is None
    assert (2.0, None, None, None, None) == (
        no_energy.price_cost, no_energy.energy_cost, no_energy.cost, no_energy.facility_joules,
        no_energy.carbon_grams,
    )  # fmt: skip
    assert no_hours.cost is None
    assert (2.0, None, None, None, None) == (
        no_pue.price_cost, no_pue.energy_cost, no_pue.cost, no_pue.facility_joules, no_pue.carbon_grams
    )  # fmt: skip


def test_the_price_of_the_partition_and_then_of_the_longest_name_counts() -> None:
    """A partition beats any model; a name is part of the model's, in whichever case."""
    rates = site(
        price("1"), price("2", "a100"), price("3", "A100-SXM4-80GB"), price("4", "", "urgent"), price("5", "h100")
    )

    found = [
        rates.price_at(model, partition, T).value
        for model, partition in [
            ("Tesla T4", "gpu"), ("NVIDIA A100-PCIE-40GB", "gpu"), (A100, "gpu"), (A100, "urgent"), ("", "")
        ]
    ]  # fmt: skip
    assert [1, 2, 3, 4, 1] == found


def test_where_a_stronger_price_does_not_hold_the_weaker_does() -> None:
    """But `none` is an answer, too."""
    rates = site(
        price("1"),
        price("2", "a100", begins=T),
        price(None, "a100-sxm", begins=T + 1, ends=T + 2),
        price("3", "h100"),
    )

    assert [1.0, 2.0, None, 2.0] == [
        None if value is None else value.value
        for value in (rates.price_at(A100, "", time) for time in (T - 1, T, T + 1, T + 2))
    ]


def test_defaults_are_never_silent() -> None:
    """Without a file nothing has a price, and PUE and intensity say whose and of which year they are."""
    rates = Rates.of(())

    pue, intensity = rates.pue_at(T), rates.intensity_at(T)
    assert (None, None, "") == (rates.price_at(A100, "", T), rates.tariff_at(T), rates.currency)
    assert (1.54, "default: Uptime survey 2025", 2025, True) == (pue.value, pue.basis, pue.year, pue.default)
    assert (473.05, "default: world 2024, Ember", 2024, True) == (
        intensity.value, intensity.basis, intensity.year, intensity.default
    )  # fmt: skip


def test_outside_what_a_site_says_the_default_holds_and_is_named() -> None:
    """A PUE measured since March says nothing about February."""
    rates = Rates.of([Rate("pue", "1.2", "ratio", "site: meter 2026", begins=T)])

    assert ["default: Uptime survey 2025", "site: meter 2026"] == [rates.pue_at(time).basis for time in (T - 1, T)]
    assert 1.37 == rates.figures(T - HOUR, T + HOUR, HOUR, 1.0, None, A100, "").facility_joules


def test_carbon_follows_a_time_series() -> None:
    """Each hour with its own intensity, and the hour that is not known makes the whole not known."""
    points = ((T, "100"), (T + HOUR, "300"), (T + 2 * HOUR, None), (T + 3 * HOUR, "50"))
    rates = site(Rate("intensity", None, "g/kWh", "series: grid", begins=T, ends=T + 4 * HOUR, points=points))

    assert 440.0 == rates.figures(T, T + 2 * HOUR, HOUR, 2 * KWH, None, A100, "").carbon_grams
    assert (
        1.1 * 250
        == rates.figures(T + 0.5 * HOUR, T + 2 * HOUR, HOUR, 1.5 * KWH, None, A100, "").carbon_grams / 1.4
    )
    assert rates.figures(T, T + 4 * HOUR, HOUR, KWH, None, A100, "").carbon_grams is None
    assert rates.intensity_at(T + 2.5 * HOUR) is None
    assert "default: world 2024, Ember" == rates.intensity_at(T + 4 * HOUR).basis


def test_breakpoints_are_all_changes_inside() -> None:
    """Beginnings, ends and points of series, each once; the ends of the time are not among them."""
    points = ((T, "1"), (T + 10, "2"), (T + 20, "3"))
    rates = site(
        price("1", begins=T + 5, ends=T + 10),
        Rate("intensity", None, "g/kWh", "series", begins=T, ends=T + 30, points=points),
    )

    assert [T + 5, T + 10, T + 20] == rates.breakpoints(T, T + 30)
    assert [] == rates.breakpoints(T + 10, T + 20)
    assert [T, T + 5, T + 10, T + 20, T + 30] == rates.breakpoints(0, float("inf"))


def test_text_of_another_schema_or_damaged_is_refused() -> None:
    """The ledger keeps texts for ever, and tells what it cannot read."""
    with pytest.raises(Rejected, match="rates: schema 2 is unknown; there is: 1"):
        Rates.from_text('{"schema":2}')
    for text in ("", "[]", "{}", '{"schema":1,"zone":"UTC","rates":[{"points":[]}]}'):
        with pytest.raises(Rejected, match="rates: are damaged; "):
            Rates.from_text(text)


moments = st.integers(0, 400).map(lambda hours: T + hours * 1800.0)
values = st.none() | st.decimals(0, 2000, places=3).map(lambda value: f"{value.normalize():f}")


@st.composite
def rate(draw: st.DrawFn) -> Rate:
    kind = draw(st.sampled_from(["price", "tariff", "pue", "intensity"]))
    begins, ends = sorted(draw(st.lists(moments, min_size=2, max_size=2, unique=True)))
    is_price = kind == "price"
    series = draw(st.booleans()) and kind == "intensity"
    points = tuple((begins + 600.0 * step, draw(values)) for step in range(draw(st.integers(1, 4))))
    return Rate(
        kind, None if series else draw(values), "EUR" if kind in ("price", "tariff") else "",
        draw(st.text(max_size=5)),
        draw(st.sampled_from(["", "a100", "sxm4"])) if is_price else "",
        draw(st.sampled_from(["", "gpu"])) if is_price else "",
        draw(st.sampled_from([None, begins])), draw(st.sampled_from([None, ends])),
        points=points if series else (),
    )  # fmt: skip


@st.composite
def sites(draw: st.DrawFn) -> Rates:
    return Rates.of(draw(st.lists(rate(), max_size=6)), draw(st.sampled_from(["UTC", "Europe/Berlin"])))


spans = st.lists(st.floats(T - 1e6, T + 1e6), min_size=3, max_size=3, unique=True).map(sorted)


@given(sites(), spans, st.floats(0, 1e9), st.floats(0, 1e12), st.floats(0, 1e10))
def test_cutting_the_time_anywhere_changes_no_sum(
    rates: Rates, three: list[float], seconds: float, joules: float, host: float
) -> None:
    """Hours and joules go with the time; a part that is not known is not known in the whole, either."""
    begins, middle, ends = three
    share = float((Fraction(middle) - Fraction(begins)) / (Fraction(ends) - Fraction(begins)))

    whole = rates.figures(begins, ends, seconds, joules, host, A100, "gpu")
    first = rates.figures(begins, middle, seconds * share, joules * share, host * share, A100, "gpu")
    rest = 1 - share
    second = rates.figures(middle, ends, seconds * rest, joules * rest, host * rest, A100, "gpu")

    for name in ("facility_joules", "cost", "carbon_grams", "price_cost"):
        parts = getattr(first, name), getattr(second, name)
        if None in parts:
            assert getattr(whole, name) is None
        else:
            assert getattr(whole, name) == pytest.approx(sum(parts), rel=1e-9, abs=1e-6)


@given(sites(), spans, st.floats(0, 1e9), st.floats(0, 1e9))
def test_more_hours_never_cost_less(rates: Rates, three: list[float], less: float, more: float) -> None:
    """Neither in money nor in carbon, where that is known."""
    less, more = sorted((less, more))

    little = rates.figures(three[0], three[2], less, less, None, A100, "gpu")
    much = rates.figures(three[0], three[2], more, more, None, A100, "gpu")

    for name in ("facility_joules", "cost", "carbon_grams"):
        low, high = getattr(little, name), getattr(much, name)
        assert (low is None) == (high is None)
        assert low is None or low <= high


@given(sites())
def test_text_makes_the_same_rates_again(rates: Rates) -> None:
    """Version, currency and every figure."""
    again = Rates.from_text(rates.text)

    assert (rates, rates.version, rates.currency, rates.rates) == (
        again,
        again.version,
        again.currency,
        again.rates,
    )
    assert rates.text == json.dumps(
        json.loads(rates.text), separators=(",", ":"), sort_keys=True, ensure_ascii=False
    )


@given(st.lists(rate(), max_size=5), st.lists(rate(), max_size=5), st.randoms())
def test_version_changes_when_the_content_does_and_only_then(
    some: list[Rate], others: list[Rate], random: object
) -> None:
    """The order of lines, or a line written twice, is no content."""
    shuffled = [*some, *some[:1]]
    random.shuffle(shuffled)

    assert Rates.of(some).version == Rates.of(shuffled).version
    assert (set(some) == set(others)) == (Rates.of(some).version == Rates.of(others).version)
    assert 12 == len(Rates.of(some).version)
