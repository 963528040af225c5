"""Numbers as statements write them, with the digits they have."""

from __future__ import annotations

import pytest

from gpuwatch.reports.claims import Stated, between, exactly, read_number


@pytest.mark.parametrize(
    ("text", "value", "rest"),
    [
        ("82,432", 82_432, ""),
        ("7.0M", 7e6, ""),
        ("1T", 1e12, ""),
        ("400 T", 400, "T"),
        ("4.0e22", 4e22, ""),
        ("**2.6 X**", 2.6, "X"),
        ("36 MWh", 36, "MWh"),
        ("38 %", 38, "%"),
        ("38%", 0.38, ""),
        ("~14", 14, ""),
        ("1 022 362", 1_022_362, ""),
        ("-3", -3, ""),
        ("12kWh", 12, "kWh"),
    ],
)
def test_numbers_are_read_as_people_write_them(text: str, value: float, rest: str) -> None:
    """Letters of size touch their number; what follows after a blank is a unit or a remark."""
    read = read_number(text)

    assert read is not None
    assert (pytest.approx(value), rest) == (read[0].value, read[1])


@pytest.mark.parametrize("text", ["", "in W?", "n/a", "–", ".", "e5", "1e999", "1e-300", "x12"])
def test_what_is_no_number_is_none(text: str) -> None:
    """Also what is larger than any number."""
    assert read_number(text) is None


@pytest.mark.parametrize(
    ("text", "half", "digits"),
    [
        ("36", 0.5, 2),
        ("1.1", 0.05, 2),
        ("31.22", 0.005, 4),
        ("82,432", 0.5, 5),
        ("400", 4.0, 1),
        ("1.30e3", 5.0, 3),
    ],
)
def test_a_number_is_as_good_as_its_last_digit(text: str, half: float, digits: int) -> None:
    """Zeros at the end of a whole number are taken to be good to one in a hundred."""
    read = read_number(text)

    assert read is not None
    assert (pytest.approx(half), digits) == (read[0].half, read[0].digits)


def test_slack_is_a_factor() -> None:
    """How much larger the true number may be; none for one that is exact."""
    assert 1.0 == Stated(5.0).slack
    assert pytest.approx(1 / 0.9) == Stated(10.0, 1.0).slack
    assert float("inf") == Stated(1.0, 1.0).slack
    assert (300.0, 100.0) == between(200.0, 400.0)[:2]
    assert exactly(None) is None
