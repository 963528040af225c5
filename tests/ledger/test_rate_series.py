"""Time series of grid intensity: in order, without gaps, each value until the next."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

import pytest

from gpuwatch.errors import Rejected
from gpuwatch.ledger.rate_series import Series, read_series

BERLIN = ZoneInfo("Europe/Berlin")
T = datetime(2026, 1, 1, tzinfo=UTC).timestamp()


def series(*rows: str, zone: tzinfo = UTC) -> Series:
    return read_series("\n".join(("time,grams_per_kwh", *rows)).splitlines(keepends=True), "s.csv", zone)


def test_values_hold_until_the_next_and_the_last_as_long_as_the_one_before() -> None:
    """`none` and an empty value are not known; both are points of the series."""
    read = series("2026-01-01T00:00Z,10.50", "2026-01-01T01:00Z,none", "2026-01-01T02:00Z,", "2026-01-01T03:00Z,0")

    assert Series(((T, "10.5"), (T + 3600, None), (T + 7200, None), (T + 10800, "0")), T + 14400) == read


def test_times_without_offset_are_local() -> None:
    """With one they are what they say."""
    read = series("2026-01-01T01:00,1", "2026-01-01T00:30:00+00:00,2", "2026-01-01T02:00+01:00,3", zone=BERLIN)

    assert [T, T + 1800, T + 3600] == [time for time, _ in read.points]


def test_months_and_years_are_no_gaps() -> None:
    """They differ in length by little."""
    months = series(*(f"2026-{month:02}-01,{month}" for month in range(1, 13)))

    assert 12 == len(months.points)


@pytest.mark.parametrize(
    ("rows", "mistake"),
    [
        (["2026-01-01T00:00,1"], "has 1 values; it must have 2 to 200,000"),
        (
            ["2026-01-01T00:00,1", "2026-01-01T01:00,1", "2026-01-01T02:00,1", "2026-01-01T04:00,1"],
            "lines 4 and 5: leave a gap of 2.0 hours, where a value mostly holds 1.0;"
            " write a line with the value none there",
        ),
        (
            ["2026-10-25T02:00,1", "2026-10-25T02:00,1", "2026-10-25T03:00,1"],
            "lines 2 and 3: the time does not go on; write times in order, with their offset from UTC",
        ),
        (
            ["2026-01-01T00:00,-1", "2026-01-01T01:00,2500"],
            "line 2: -1 is not possible for an intensity in g CO2e per kWh; it is 0 to 2,000\n"
            "s.csv: line 3: 2500 is not possible for an intensity in g CO2e per kWh; it is 0 to 2,000",
        ),
    ],
)
def test_each_mistake_names_its_lines(rows: list[str], mistake: str) -> None:
    """The clock that is put back in autumn makes an hour twice, where times have no offset."""
    with pytest.raises(Rejected) as refused:
        series(*rows, zone=BERLIN)

    assert f"s.csv: {mistake}" == str(refused.value)


def test_many_mistakes_are_counted() -> None:
    """A file in the wrong form has one for each line."""
    with pytest.raises(Rejected, match=r"line 21: .*\ns.csv: and 5 more$"):
        series(*["x,1"] * 25)
