"""Somebody else's tables: columns by their heads, units in heads and cells, and what is no table."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.errors import Rejected
from gpuwatch.reports.lint import lint
from gpuwatch.reports.lint_columns import column_of
from gpuwatch.reports.lint_devices import device_known
from gpuwatch.reports.lint_file import read_claims

HOUR = 3600.0


@pytest.mark.parametrize(
    ("head", "field", "factor"),
    [
        ("gpu_hours", "device_seconds", HOUR),
        ("GPU hours", "device_seconds", HOUR),
        ("device-hours", "device_seconds", HOUR),
        ("Training Time (GPU hours)", "device_seconds", HOUR),
        ("Training time (days)", "wall_seconds", 86_400.0),
        ("TPU-days", "device_seconds", 86_400.0),
        ("tdp_watts", "tdp_watts", 1.0),
        ("Training Power Consumption (W)", "watts", 1.0),
        ("peak FLOP/s", "peak_flops", 1.0),
        ("dense TFLOP/s", "peak_flops", 1e12),
        ("W per dev (basis)", "watts", 1.0),
        ("MWh", "energy_joules", 3.6e9),
        ("Energy (kWh)", "energy_joules", 3.6e6),
        ("energy", "energy_joules", 0.0),
        ("facility energy MWh", "facility_joules", 3.6e9),
        ("GPU energy (kWh)", "device_joules", 3.6e6),
        ("PUE", "pue", 1.0),
        ("g/kWh", "grams_per_kwh", 1.0),
        ("carbon intensity (kgCO2/kWh)", "grams_per_kwh", 1e3),
        ("tCO2e", "carbon_grams", 1e6),
        ("CO2 (kg)", "carbon_grams", 1e3),
        ("Location-Based Greenhouse Gas Emissions (tons CO2eq)", "carbon_grams", 1e6),
        ("Market-Based Emissions (tons CO2eq)", None, 0.0),
        ("params", "parameters", 1.0),
        ("tokens", "tokens", 1.0),
        ("FLOP", "flop", 1.0),
        ("MFU", "utilization", 1.0),
        ("devices", "devices", 1.0),
        ("days", "wall_seconds", 86_400.0),
        ("cost_usd", "cost", 1.0),
        ("mark", None, 0.0),
        ("", None, 0.0),
    ],
)
def test_columns_are_known_by_their_heads(head: str, field: str | None, factor: float) -> None:
    """In the spellings that papers, cards and spreadsheets have."""
    column = column_of(head)

    assert (field, factor) == ((column.field, column.factor) if column is not None else (None, 0.0))


def test_csv_markdown_and_json_say_the_same() -> None:
    """One row in three formats, with other separators too."""
    csv = "run;gpu_hours;energy;tCO2e\nA;82,432;36 MWh;14\n"
    markdown = (
        "text\n\n| run | gpu_hours | energy | tCO2e |\n|:--|--:|---|---|\n| **A** | 82,432 | 36 MWh | 14 |\n"
    )
    document = json.dumps([{"run": "A", "gpu_hours": "82,432", "energy": "36 MWh", "tCO2e": "14"}])

    (first,) = read_claims(csv, "a.csv").claims
    assert ("A", 82_432 * HOUR, 36 * 3.6e9, 14e6) == (
        first.row, first.device_seconds and first.device_seconds.value,
        first.energy_joules and first.energy_joules.value, first.carbon_grams and first.carbon_grams.value,
    )  # fmt: skip
    assert first == read_claims(markdown, "a.md").claims[0] == read_claims(document, "a.json").claims[0]


def test_several_tables_of_a_page_are_read_and_others_passed_over() -> None:
    """A page has tables of other things, too."""
    other = "| a | b |\n|---|---|\n| 1 | 2 |\n\n| gpu hours |\n|---|\n| x |\n\n"
    page = f"{other}| run | gpu hours |\n|--|--|\n| A | 5 |\n"

    assert ["A"] == [each.row for each in read_claims(page, "page.md").claims]


def test_columns_that_are_not_known_are_named() -> None:
    """So that nobody thinks that they were checked."""
    assert ("mark", "reviewer") == read_claims("run,gpu hours,mark,reviewer\nA,5,x,y\n", "a.csv").unknown


def test_a_total_is_known_by_its_name() -> None:
    """It is no row beside the others."""
    claims = read_claims("run,gpu hours\nA,5\nB,6\nTotal,11\n", "a.csv").claims

    assert [False, False, True] == [each.is_total for each in claims]


@pytest.mark.parametrize(
    "text", ["", "hello", "{}", "[]", "{", "a,b\n1,2\n", "run,gpu hours\nA,\n", "\x00\x01", "[[1]]"]
)
def test_what_has_nothing_to_check_is_refused(text: str) -> None:
    """With the columns that there are."""
    with pytest.raises(Rejected, match="no row with device-hours, energy or carbon"):
        read_claims(text, "a.csv")


def test_a_row_that_is_too_short_is_read_as_far_as_it_goes() -> None:
    """And one that is too long, too."""
    claims = read_claims("run,gpu hours,tCO2e\nA,5\nB,6,7,8,9\n", "a.csv").claims

    assert [None, 7e6] == [each.carbon_grams and each.carbon_grams.value for each in claims]


_HEADS = (
    "run", "gpu_hours", "energy", "MWh", "PUE", "g/kWh", "tCO2e", "params", "tokens", "FLOP", "device", "devices",
    "days", "W", "tdp_watts", "MFU", "cost", "facility energy kWh", "GPU energy", "peak FLOP/s",
)  # fmt: skip
_CELLS = (
    "0", "-1", "1e49", "1e-49", "7.0M", "400 T", "in W?", "H100", "A100-80", "", "1%", "36 MWh", "**2**", "~3",
    "total", "99999999999999999999", "0.0000001", "inf", "nan", "1,2,3", "12,345.67", "0.0",
)  # fmt: skip


@given(st.lists(st.lists(st.sampled_from(_CELLS), min_size=5, max_size=5), min_size=1, max_size=4), st.data())
def test_no_table_is_too_strange_to_be_checked(rows: list[list[str]], data: st.DataObject) -> None:
    """Zeros, enormous and negative numbers and words in any column: a factor is 1 or more, or none."""
    heads = data.draw(st.permutations(_HEADS))[:5]
    text = "\n".join(";".join(each) for each in (heads, *rows))
    try:
        claims = read_claims(text, "a.csv").claims
    except Rejected:
        return

    checks = lint(claims, device_known).checks
    assert all(each.factor is None or 0.999 < each.factor < float("inf") for each in checks)


def test_deep_json_does_no_harm() -> None:
    """It is no statement."""
    with pytest.raises(Rejected):
        read_claims("[" * 100_000, "a.json")
