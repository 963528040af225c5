"""The rates file: what a spreadsheet says becomes rates, and every mistake is told with its line, all at once."""

from __future__ import annotations

import re
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gpuwatch.errors import ConfigurationError
from gpuwatch.ledger.rate_file import load_rates, read_rates
from gpuwatch.ledger.rates import Rates

HEAD = "kind,model,partition,from,to,value,unit,source,year,country"
BERLIN = ZoneInfo("Europe/Berlin")
GOOD = f"""{HEAD}
# what the board agreed on
price,H100,,2025-01-01,2026-01-01,2.10,EUR,board,2024,
price,H100,,2026-01-01,,2.2,EUR,board,2025,

price,,debug,,,0,EUR,,,
tariff,,,2025-01-01,,0.25,EUR,contract 7,,
pue,,,2025-01-01,2026-01-01,1.31,,annual report,2025,
pue,,,2026-01-01,,none,,,,
intensity,,,2025-01-01,2026-01-01,,,,,de
intensity,,,2026-01-01,,24.5,g/kWh,supplier,2025,
"""


def rates_of(text: str, zone: tzinfo = UTC) -> Rates:
    return read_rates(text.splitlines(keepends=True), "r.csv", zone)


def mistakes_of(*rows: str, head: str = HEAD) -> list[str]:
    """What is wrong with a file of these rows, the first of which is line 2."""
    with pytest.raises(ConfigurationError) as refused:
        rates_of("\n".join((head, *rows)))
    assert all(mistake.startswith("r.csv: ") for mistake in refused.value.mistakes)
    return [mistake.removeprefix("r.csv: ") for mistake in refused.value.mistakes]


def day(text: str, zone: tzinfo = UTC) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


def test_every_kind_is_read_with_its_basis() -> None:
    """Prices, tariff, PUE, a country and a site's own intensity."""
    rates = rates_of(GOOD)
    before, after = day("2025-06-01"), day("2026-06-01")

    assert [(2.1, "EUR", "site: board 2024"), (2.2, "EUR", "site: board 2025")] == [
        (value.value, value.unit, value.basis)
        for value in (rates.price_at("NVIDIA H100 80GB HBM3", "gpu", time) for time in (before, after))
    ]
    assert 0.0 == rates.price_at("NVIDIA H100 80GB HBM3", "debug", before).value
    assert rates.price_at("NVIDIA A100", "gpu", before) is None
    assert (0.25, "EUR", "site: contract 7") == (
        rates.tariff_at(before).value, rates.tariff_at(before).unit, rates.tariff_at(before).basis
    )  # fmt: skip
    assert (1.31, "site: annual report 2025") == (rates.pue_at(before).value, rates.pue_at(before).basis)
    assert rates.pue_at(after) is None
    assert (344.14, "Germany 2024, Ember", 2024) == (
        rates.intensity_at(before).value, rates.intensity_at(before).basis, rates.intensity_at(before).year
    )  # fmt: skip
    assert (24.5, "site: supplier 2025") == (rates.intensity_at(after).value, rates.intensity_at(after).basis)
    assert "EUR" == rates.currency


def test_how_a_spreadsheet_writes_it_does_not_matter() -> None:
    """Order of lines and columns, trailing zeros, comments, case of kinds, empty cells."""
    lines = GOOD.splitlines()
    turned = "\r\n".join([lines[0], *reversed(lines[2:]), ",,,,,,,,,"]).replace("2.10", " 2.1000")
    columns = "Value,Kind,unit\n1.50,PRICE,EUR\nNone,pue,ratio"

    assert rates_of(GOOD).version == rates_of(turned).version
    assert rates_of(f"{HEAD}\npue,,,,,none,\nprice,,,,,1.5,EUR") == rates_of(columns)
    assert rates_of(GOOD).version != rates_of(GOOD.replace("2.10", "2.11")).version


def test_days_begin_at_midnight_of_the_zone() -> None:
    """Also on the days on which the clocks are changed, which have 23 and 25 hours."""
    rates = rates_of(
        f"{HEAD}\nprice,,,2026-03-29,2026-03-30,23,EUR\nprice,,,2026-10-25,2026-10-26,25,EUR,\n"
        "price,,,2026-03-30,2026-10-25,none,,\n",
        BERLIN,
    )

    assert [
        day("2026-03-28T23:00"),
        day("2026-03-29T22:00"),
        day("2026-10-24T22:00"),
        day("2026-10-25T23:00"),
    ] == (rates.breakpoints(0, 4e9))
    for hours, first in ((23, "2026-03-28T23:00"), (25, "2026-10-24T22:00")):
        begins = day(first)
        cost = rates.figures(begins, begins + hours * 3600, hours * 3600.0, None, None, "", "").cost
        assert hours * hours == cost


@pytest.mark.parametrize(
    ("row", "mistake"),
    [
        ("prise,,,,,1,EUR", "'prise' is no kind, did you mean price; there is: price, tariff, pue, intensity"),
        ("price,,,,,,EUR", "value: is empty; write for example 1.85, or none for what is not known"),
        ("price,,,,,one,EUR", "value: 'one' is no number; write for example 1.85, or none for what is not known"),
        ("price,,,,,nan,EUR", "value: 'nan' is no number; write for example 1.85, or none for what is not known"),
        ("price,,,,,-1,EUR", "value: -1 is not possible for a price per device-hour; it is 0 to 10,000"),
        ("price,,,,,10001,EUR", "value: 10001 is not possible for a price per device-hour; it is 0 to 10,000"),
        ("price,,,,,1,", "unit: '' is no currency; write its three letters, as in EUR"),
        ("price,,,,,1,€", "unit: '€' is no currency; write its three letters, as in EUR"),
        ("price,,,1.1.2026,,1,EUR", "from: '1.1.2026' is no day; write for example 2026-11-25"),
        ("price,,,1026-01-01,,1,EUR", "from: '1026-01-01' is no day; write for example 2026-11-25"),
        ("price,,,,2026-02-30,1,EUR", "to: '2026-02-30' is no day; write for example 2026-11-25"),
        ("price,,,2026-01-01,2026-01-01,1,EUR", "to: 2026-01-01 is not after 2026-01-01; it is the first"),
        ("price,,,,,1,EUR,,26,", "year: '26' is none; there is: 1990 to 2100"),
        ("price,,,,,1,EUR,,,de", "country: is for kind intensity only; leave it empty"),
        ("tariff,,,,,100.5,EUR", "value: 100.5 is not possible for a tariff per kWh; it is 0 to 100"),
        ("tariff,H100,,,,0.2,EUR", "model: is for kind price only; leave it empty"),
        ("pue,,gpu,,,1.2,,a,2025", "partition: is for kind price only; leave it empty"),
        ("pue,,,,,0.9,,a,2025", "value: 0.9 is not possible for a PUE; it is 1 to 3"),
        ("pue,,,,,3.1,,a,2025", "value: 3.1 is not possible for a PUE; it is 1 to 3"),
        ("pue,,,,,1.2,%,a,2025", "unit: '%' is not possible; there is: ratio"),
        ("pue,,,,,1.2", "source and year: are needed, as every figure names them"),
        ("intensity,,,,,300,,meter", "source and year: are needed, as every figure names them"),
        ("intensity,,,,,2001,,a,2025", "value: 2001 is not possible for an intensity in g CO2e per kWh; it is"),
        ("intensity,,,,,0.3,kg/kWh,a,2025", "unit: 'kg/kWh' is not possible; there is: g/kWh"),
        ("intensity,,,,,", "value: is empty; write a number, none, the name of a .csv file, or a country"),
        ("intensity,,,,,,,,,Germny", "country: 'Germny' is not in the shipped table, did you mean 'Germany'"),
        ("intensity,,,,,5,,,,de", "value: stands beside a country; the shipped table has it, leave it empty"),
        ("intensity,,,,,x.csv", "value: 'x.csv' is a file, and there is no folder to look for it"),
        ('price,,,,,"1,5",EUR', "value: '1,5' is no number; write for example 1.85, or none for what is"),
    ],
)  # fmt: skip
def test_each_mistake_is_told_with_its_line_and_what_there_is(row: str, mistake: str) -> None:
    """And nothing else about that line."""
    (told,) = mistakes_of("price,B200,,,2000-01-01,1,EUR", "price,H100,,,,1,EUR", row)

    assert told.startswith(f"line 4: {mistake}")


def test_all_mistakes_of_all_lines_are_told_at_once() -> None:
    """Several in one line, too, and clashes of the lines that can be read."""
    told = mistakes_of(
        "price,,,x,,-1,EURO,,1,de",
        "pue,,,2026-01-01,,1.2,,a,2025",
        "wattage,,,,,1,",
        "pue,,,2026-06-01,,1.3,,a,2025",
    )

    assert [
        "line 2: from: 'x' is no day; write for example 2026-11-25",
        "line 2: country: is for kind intensity only; leave it empty",
        "line 2: year: '1' is none; there is: 1990 to 2100",
        "line 2: unit: 'EURO' is no currency; write its three letters, as in EUR",
        "line 2: value: -1 is not possible for a price per device-hour; it is 0 to 10,000",
        "line 4: 'wattage' is no kind; there is: price, tariff, pue, intensity",
        "lines 3 and 5: both say the PUE from 2026-06-01 on; end the one on the day on which the other begins",
    ] == told


def test_overlap_names_both_lines() -> None:
    """Of one kind, model (in whichever case) and partition; also where one line lies within another."""
    told = mistakes_of(
        "price,H100,gpu,2026-01-01,2026-07-01,1,EUR",
        "price,h100,gpu,2026-02-01,2026-03-01,2,EUR",
        "price,H100,gpu,2026-06-30,,3,EUR",
        "price,H100,,2026-06-30,,3,EUR",
        "price,H100,,,,3,EUR",
    )

    end = "end the one on the day on which the other begins"
    assert [
        f"lines 5 and 6: both say the price of 'H100' from 2026-06-30 on; {end}",
        f"lines 2 and 3: both say the price of 'h100' in partition 'gpu' from 2026-02-01 to 2026-03-01; {end}",
        f"lines 2 and 4: both say the price of 'H100' in partition 'gpu' from 2026-06-30 to 2026-07-01; {end}",
    ] == told


def test_gap_names_both_lines_unless_it_is_said() -> None:
    """A price for which somebody forgot a month is a mistake; `none` says that it is meant."""
    rows = ["tariff,,,2026-03-01,,0.3,EUR", "tariff,,,2025-01-01,2026-02-01,0.2,EUR"]

    assert [
        "lines 2 and 3: nothing says the tariff from 2026-02-01 to 2026-03-01;"
        " write a line for it, with the value none if it is not known"
    ] == mistakes_of(*rows)
    assert rates_of("\n".join((HEAD, *rows, "tariff,,,2026-02-01,2026-03-01,none"))).tariff_at(
        day("2026-02-10")
    ) is None  # fmt: skip


def test_two_currencies_are_a_mistake() -> None:
    """Sums of both would mean nothing."""
    assert ["prices and tariffs are in EUR (line 2), USD (line 3); a ledger has one currency"] == mistakes_of(
        "price,,,,,1,EUR", "tariff,,,,,0.2,USD", "price,H100,,,,none,"
    )


def test_limits_fit_currencies_of_small_units() -> None:
    """150 won per kWh are no mistake."""
    rates = rates_of(f"{HEAD}\nprice,,,,,60000,VND\ntariff,,,,,2000,VND\n")

    assert 60_000 == rates.price_at("", "", 0).value


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("", "r.csv: has no line; the first one names the columns: kind, model"),
        ("kind;value\n", "r.csv: the first line lacks kind, value; there is: kind, model"),
        ("kind,value,colour\n", "r.csv: the first line has 'colour'; there is: kind, model"),
        ("kind,value,kind\n", "r.csv: the first line has 'kind', 'value', 'kind'; there is: kind, model"),
        ("kind,value\nprice,1,2\n", "r.csv: line 2: has 3 cells; the first line names 2"),
        ('kind,value\nprice,"1\n', "r.csv: line 2: unexpected end of data"),
    ],
)
def test_what_is_no_such_table_is_refused(text: str, mistake: str) -> None:
    """With what the first line should be."""
    with pytest.raises(ConfigurationError) as refused:
        rates_of(text)

    assert refused.value.mistakes[0].startswith(mistake)


cells = st.one_of(
    st.sampled_from(
        ["price", "tariff", "pue", "intensity", "none", "EUR", "1.5", "2", "2026-01-01", "de", "x.csv"]
    ),
    st.decimals(-1, 20_000).map(str),
    st.dates().map(str),
    st.text(max_size=4),
)
tables = st.lists(st.lists(cells, max_size=11).map(",".join), max_size=6).map("\n".join)


@given(tables)
@example("price,,,0001-01-01,9999-12-31,1,EUR")
@example("price,,,,,1E99999999,EUR")
@example("intensity,,,,,,,,,WORLD")
def test_any_table_is_read_or_refused_as_a_mistake(text: str) -> None:
    """Whatever a spreadsheet holds; what is read can be kept as text."""
    try:
        rates = rates_of(f"{HEAD}\n{text}", BERLIN)
    except ConfigurationError as refused:
        assert all(mistake.startswith("r.csv: ") for mistake in refused.mistakes)
    else:
        assert rates == Rates.from_text(rates.text)
        assert rates.version == Rates.of(rates.rates, "Europe/Berlin").version


def test_words_are_made_safe() -> None:
    """Sources and models are shown on pages and terminals."""
    rates = rates_of(f"{HEAD}\nprice,,,,,1,EUR,\x1b[31mred\u202e,,\n")

    assert "site: \ufffd[31mred\ufffd" == rates.price_at("", "", 0).basis


def test_the_example_of_the_page_is_right(tmp_path: Path) -> None:
    """With the series that it names, as that is shown."""
    page = Path(__file__).parent.parent.parent / "docs" / "rates.md"
    rates, series = re.findall(r"```csv\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "rates.csv").write_text(rates)
    (tmp_path / "grid-2026.csv").write_text(series)

    read = load_rates(tmp_path / "rates.csv", BERLIN)

    assert ["Germany 2024, Ember", "series: grid operator", "default: world 2024, Ember"] == [
        read.intensity_at(day(time, BERLIN)).basis for time in ("2025-12-31", "2026-01-01", "2026-01-01T02:00")
    ]


def test_no_file_means_defaults() -> None:
    """Named after the zone, in which days will be divided."""
    assert Rates.of((), "Europe/Berlin") == load_rates(None, BERLIN)
    assert "UTC" == load_rates(None, UTC).zone


def test_file_is_read_as_spreadsheets_save_it(tmp_path: Path) -> None:
    """UTF-8 with a byte order mark and with CRLF."""
    path = tmp_path / "rates.csv"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())

    assert rates_of(GOOD) == load_rates(path, UTC)


def test_file_that_cannot_be_read_is_a_mistake_of_the_configuration(tmp_path: Path) -> None:
    """Missing, or in another encoding."""
    latin = tmp_path / "latin.csv"
    latin.write_bytes(f"{HEAD}\nprice,,,,,1,EUR,B\xfcro\n".encode("latin-1"))

    for path, mistake in (
        (tmp_path / "no.csv", "cannot be read; No such file or directory"),
        (latin, f"byte {len(HEAD) + 18} is not UTF-8; save it as CSV UTF-8"),
    ):
        with pytest.raises(ConfigurationError) as refused:
            load_rates(path, UTC)
        assert (f"{path}: {mistake}",) == refused.value.mistakes


def test_series_beside_the_file_is_used_at_its_own_resolution(tmp_path: Path) -> None:
    """Within the dates of its line; before and after it the lines around it count."""
    (tmp_path / "grid.csv").write_text(
        "time,grams_per_kwh\n2026-01-01T00:00Z,100\n2026-01-01T12:00Z,200\n2026-01-02T00:00Z,300\n2026-01-02T12:00Z,50\n"
    )
    path = tmp_path / "rates.csv"
    path.write_text(
        f"{HEAD}\nintensity,,,2026-01-01,2026-01-02,grid.csv,,operator,,\nintensity,,,2026-01-02,,7,,a,2026,\n"
    )

    rates = load_rates(path, UTC)

    assert [("default: world 2024, Ember", 473.05), ("series: operator", 100), ("series: operator", 200)] == [
        (value.basis, value.value)
        for value in (rates.intensity_at(day("2026-01-01") + hours * 3600) for hours in (-1, 1, 13))
    ]
    assert 7.0 == rates.intensity_at(day("2026-01-02T18:00")).value
    assert Rates.from_text(rates.text) == rates


def test_mistakes_of_a_series_are_told_with_both_lines(tmp_path: Path) -> None:
    """Its name, its line and what is wrong with it, and what it does not cover."""
    (tmp_path / "grid.csv").write_text("time,grams_per_kwh\nnow,100\n2026-01-01T12:00,x\n")
    (tmp_path / "short.csv").write_text("time,grams_per_kwh\n2026-01-01T12:00,1\n2026-01-01T13:00,2\n")
    path = tmp_path / "rates.csv"
    path.write_text(
        f"{HEAD}\nintensity,,,,2026-01-01,grid.csv\nintensity,,,2026-01-01,2026-02-01,short.csv\n"
        "intensity,,,2026-02-01,,gone.csv\n"
    )

    with pytest.raises(ConfigurationError) as refused:
        load_rates(path, UTC)

    grid = tmp_path / "grid.csv"
    assert [
        f"line 2: value: {grid}: line 2: 'now' is no time; write for example 2026-11-25T13:00+01:00",
        f"line 2: value: {grid}: line 3: 'x' is no number; write for example 1.85, or none for what is not known",
        "line 3: from: 2026-01-01 is before the beginning of short.csv",
        "line 3: to: 2026-02-01 is after the end of short.csv",
        f"line 4: value: {tmp_path / 'gone.csv'}: cannot be read; No such file or directory",
    ] == [mistake.removeprefix(f"{path}: ") for mistake in refused.value.mistakes]
