"""Identities of compute statements: true ones pass, and what is off by a factor is found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.reports.checks import Check, Known, number
from gpuwatch.reports.claims import Claim, Stated, Sum, between
from gpuwatch.reports.lint import lint
from gpuwatch.reports.lint_devices import device_known
from gpuwatch.reports.lint_file import read_claims
from tests.reports.published import LLAMA_1, LLAMA_3

HOUR = 3600.0


def devices(_name: str) -> Known:
    """An accelerator of 1 PFLOP/s and 700 W."""
    return Known("X", 1e15, 700.0)


def failed(*claims: Claim) -> list[Check]:
    return list(lint(claims, devices).findings)


def stated(value: float) -> Stated:
    """A number as a paper prints it: three digits."""
    rounded = float(f"{value:.3g}")
    return Stated(rounded, 0.005 * rounded, 3)


def true_claim(
    count: int, days: float, watts: float, pue: float, grams: float, parameters: float, used: float
) -> Claim:
    """A statement that was computed from what it says, and then rounded."""
    seconds = count * days * 86_400
    facility = seconds * watts * pue
    flop = seconds * 1e15 * used
    return Claim(
        "run", "X", stated(count), stated(days * 86_400), stated(seconds), watts=stated(watts),
        facility_joules=stated(facility), device_joules=stated(seconds * watts), pue=stated(pue),
        grams_per_kwh=stated(grams), carbon_grams=stated(facility / 3.6e6 * grams), parameters=stated(parameters),
        tokens=stated(flop / 6 / parameters), flop=stated(flop), utilization=stated(used),
    )  # fmt: skip


TRUE = st.builds(
    true_claim, st.integers(1, 20_000), st.floats(0.1, 200), st.floats(150, 690), st.floats(1.03, 1.9),
    st.floats(10, 1100), st.floats(1e8, 1e12), st.floats(0.05, 0.6),
)  # fmt: skip
FIELDS = (
    "devices", "wall_seconds", "device_seconds", "watts", "facility_joules", "device_joules", "grams_per_kwh",
    "carbon_grams", "utilization",
)  # fmt: skip


@given(TRUE)
def test_a_true_statement_passes(claim: Claim) -> None:
    """Rounding to three digits makes no statement wrong."""
    assert [] == failed(claim)


@given(TRUE, st.sampled_from(FIELDS), st.sampled_from((1.3, 1 / 1.3, 10.0, 1000.0)))
def test_a_figure_that_is_off_by_a_factor_of_1_3_is_found(claim: Claim, field: str, factor: float) -> None:
    """Whichever one it is, and by more too; the finding says by how much."""
    changed: dict[str, Any] = {field: getattr(claim, field).times(factor)}

    found = [each for each in failed(replace(claim, **changed)) if each.verdict == "wrong"]

    assert found
    off = max(factor, 1 / factor)
    assert any(each.factor is not None and abs(each.factor / off - 1) < 0.05 for each in found)
    assert all(each.remedy for each in found)


@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=20), st.sampled_from((1.3, 1 / 1.3)))
def test_parts_that_do_not_add_up_are_found(parts: list[float], factor: float) -> None:
    """Sums of our own tables, and rows of others against their total."""
    whole = sum(parts)
    rows = [Claim(f"row {place}", device_seconds=Stated(part * HOUR)) for place, part in enumerate(parts)]
    total = Claim("total", device_seconds=Stated(whole * HOUR), is_total=True)

    assert not lint([*rows, total], devices, [Sum("x", tuple(parts), whole)]).findings

    wrong = Claim("total", device_seconds=Stated(factor * whole * HOUR), is_total=True)
    found = lint([*rows, wrong], devices, [Sum("x", tuple(parts), factor * whole)]).findings
    assert ["rows add up to the total", "parts add up to the whole"] == sorted(
        (each.identity for each in found), reverse=True
    )
    assert all(each.factor == pytest.approx(1.3) for each in found)


def test_the_llama_1_table_passes() -> None:
    """Forty figures that fit each other; that its energy is no measurement is a note."""
    read = read_claims(LLAMA_1, "llama.md")
    linted = lint(read.claims, device_known)

    assert (4, ()) == (len(read.claims), linted.findings)
    assert 32 == sum(each.verdict == "holds" for each in linted.checks)
    assert {"energy is hours × board power"} == {each.identity for each in linted.notes}


def test_the_llama_3_3_row_is_caught() -> None:
    """Tonnes that no grid would make of so many hours: off by two orders of magnitude."""
    (found,) = lint(read_claims(LLAMA_3, "card.csv").claims, device_known).findings

    assert ("Llama 3.3 70B", "implied intensity is a grid's", "wrong") == (
        found.row,
        found.identity,
        found.verdict,
    )
    assert found.factor == pytest.approx(180, rel=0.01)
    assert "2.63 g/kWh" in found.left
    assert "2,318 t" in found.remedy


def test_beside_other_rows_their_grid_is_the_measure() -> None:
    """The other rows of the table say which grid it was."""
    rows = read_claims(
        LLAMA_1 + "| Llama 3.3 | 70.6B | 15T | | H100 SXM | 7.0M | 700 | | | | 12.9 |\n", "x"
    ).claims

    (found,) = lint(rows, device_known).findings
    assert "at the 385 g/kWh of the other rows" in found.remedy


def test_tonnes_that_are_zero_are_no_grids() -> None:
    """What a contract makes of it belongs beside it."""
    (found,) = lint(read_claims("run,MWh,tCO2e\nA,100,0\n", "x").claims, device_known).findings

    assert ("implied intensity is a grid's", "wrong", None) == (found.identity, found.verdict, found.factor)
    assert "it would be 47.3 t; market-based" in found.remedy


def test_energy_above_the_boards_power_is_wrong() -> None:
    """Devices cannot draw more; whole nodes may draw twice as much, which is said."""
    claim = Claim("run", "X", device_seconds=Stated(HOUR))
    assert "wrong" == failed(replace(claim, device_joules=Stated(1000 * HOUR)))[0].verdict
    assert [] == failed(replace(claim, device_joules=Stated(700 * HOUR)))
    assert "doubtful" == failed(replace(claim, energy_joules=Stated(1000 * HOUR)))[0].verdict
    assert "wrong" == failed(replace(claim, energy_joules=Stated(1600 * HOUR)))[0].verdict
    assert "doubtful" == failed(replace(claim, device_joules=Stated(50 * HOUR)))[0].verdict


@pytest.mark.parametrize(
    ("claim", "identity", "verdict"),
    [
        (Claim("a", pue=Stated(0.9)), "PUE", "wrong"),
        (Claim("a", pue=Stated(2.4)), "PUE", "doubtful"),
        (Claim("a", pue=Stated(12.0)), "PUE", "wrong"),
        (Claim("a", grams_per_kwh=Stated(0.4)), "stated intensity is a grid's", "wrong"),
        (Claim("a", "X", device_seconds=Stated(1e6), flop=Stated(2e21)), "utilization of the run", "wrong"),
        (Claim("a", "X", device_seconds=Stated(1e6), flop=Stated(9e20)), "utilization of the run", "doubtful"),
        (Claim("a", "X", device_seconds=Stated(1e6), flop=Stated(1e18)), "utilization of the run", "doubtful"),
        (Claim("a", flop=Stated(3e21), parameters=Stated(1e9), tokens=Stated(1e12)), "FLOP ≥ 6ND", "wrong"),
        (
            Claim("a", devices=Stated(8), wall_seconds=Stated(100), device_seconds=Stated(900), all_day=False),
            "device-hours ≤ devices × wall time", "wrong",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told_from_what_is_hard_to_believe(claim: Claim, identity: str, verdict: str) -> None:
    """Each identity by itself."""
    assert [(identity, verdict)] == [(each.identity, each.verdict) for each in failed(claim)]


def test_devices_that_stood_idle_between_runs_are_no_finding() -> None:
    """Of a campaign device-hours are at most devices times wall time."""
    claim = Claim("a", devices=Stated(8), wall_seconds=Stated(100), device_seconds=Stated(300), all_day=False)

    assert [] == failed(claim)
    assert ["device-hours = devices × wall time"] == [
        each.identity for each in failed(replace(claim, all_day=True))
    ]


def test_rates_that_changed_bound_what_they_make() -> None:
    """Between the least and the greatest intensity anything may be; beyond them nothing."""
    claim = Claim("a", facility_joules=Stated(3.6e9), grams_per_kwh=between(200, 400))

    assert [] == failed(replace(claim, carbon_grams=Stated(390e3)))
    assert ["CO2e = energy × intensity"] == [
        each.identity for each in failed(replace(claim, carbon_grams=Stated(700e3)))
    ]


def test_too_many_digits_are_a_note() -> None:
    """It is not wrong, and claims more than a sensor can know."""
    linted = lint([Claim("a", energy_joules=Stated(1.23456e9, 0.5, 6))], devices)

    assert ((), 1) == (linted.findings, len(linted.notes))


def test_nothing_to_check_is_no_finding() -> None:
    """Zeros and lone figures are passed over."""
    zero = Stated(0.0)
    assert [] == failed(Claim("a"), Claim("b", "X", zero, zero, zero, watts=zero, energy_joules=zero, flop=zero))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.000123, "0.000123"), (2.634, "2.63"), (99.96, "100"), (4900.4, "4,900"), (4e22, "4e+22")],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    """And thousands where they are read more easily."""
    assert text == number(value)
