"""Amounts as people read them."""

from __future__ import annotations

import pytest

from gpuwatch.accounting.amounts import alike, amount, digits, unit_of


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (0.00034, "0.00034"), (0.0512, "0.051"), (1.24, "1.2"), (9.97, "10"), (12.34, "12.3"),
     (99.7, "100"), (450.4, "450"), (7680, "7,680"), (-1.24, "-1.2")],
)  # fmt: skip
def test_small_numbers_keep_their_digits(number: float, text: str) -> None:
    """A small job is not 0.00 device-hours."""
    assert text == digits(number)


@pytest.mark.parametrize(
    ("quantity", "value", "text"),
    [("device-hours", 9000.0, "2.5 device-hours"), ("energy", 1.62e9, "450 kWh"), ("energy", 3.96e5, "110 Wh"),
     ("energy", 7.2e9, "2 MWh"), ("wall", 90.0, "1.5 min"), ("wall", 129_600.0, "1.5 d"),
     ("carbon", 180_000.0, "180 kg")],
)  # fmt: skip
def test_amounts_have_the_unit_that_fits(quantity: str, value: float, text: str) -> None:
    """Joules are for machines."""
    assert text == amount(quantity, value)


def test_money_has_its_currency_and_charge_no_unit() -> None:
    """Quantities without a ladder of units."""
    assert ("1,200 EUR", "5,000") == (amount("cost", 1200, "EUR"), amount("charge", 5000, "1"))


def test_the_second_number_of_a_sentence_has_the_unit_of_the_first() -> None:
    """450 kWh, more than the 0.5 declared (kWh, not 500 Wh)."""
    assert "0.5" == alike("energy", 1.8e6, 1.62e9)


def test_a_unit_is_as_many_base_units() -> None:
    """Of an amount in it; what has no ladder of units is in its own."""
    assert [(3.6e6, "kWh"), (3600.0, "device-hours"), (1.0, "EUR"), (1.0, "")] == [
        unit_of("energy", 1.62e9),
        unit_of("device-hours", 1.0),
        unit_of("cost", 9.0, "EUR"),
        unit_of("charge", 9.0, "1"),
    ]
