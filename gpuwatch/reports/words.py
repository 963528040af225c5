"""Amounts and times of a statement as people read them; what is not known is said, and never 0. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, tzinfo

from gpuwatch.accounting.amounts import amount, digits, money, unit_of
from gpuwatch.reports.figures import Figure

UNKNOWN = "not known"
HOURS = "device-hours"


def hours(seconds: float | None) -> str:
    """Device-hours without their unit: three digits or more, as they are added up."""
    if seconds is None:
        return UNKNOWN
    value = seconds / 3600.0
    if abs(value) >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 9.995 else f"{value:.2f}" if abs(value) >= 0.9995 else digits(value)


def bounded(quantity: str, figure: Figure, unit: str = "") -> str:
    """`9.34 kWh (8.87 to 9.81)`; a figure without an upper bound is at least its lower one."""
    if figure.value is None:
        return UNKNOWN
    value = known(quantity, figure.value, unit)
    if figure.low is None or figure.low == figure.high:
        return value
    per, name = unit_of(quantity, figure.value, unit)
    low = significant(figure.low / per)
    if figure.high is None:
        return f"{value} ({low} {name} or more)"
    return f"{value} ({low} to {significant(figure.high / per)})"


def known(quantity: str, value: float | None, unit: str = "") -> str:
    """An amount with three digits, or that it is not known."""
    if value is None:
        return UNKNOWN
    if quantity == "cost":
        return money({unit: value})
    if quantity not in _MEASURED:
        return amount(quantity, value, unit)
    per, name = unit_of(quantity, value, unit)
    return f"{significant(value / per)} {name}"


_MEASURED = ("energy", "facility-energy", "carbon")


def significant(number: float) -> str:
    """Three significant digits, zeros among them: 2.00, 64.3, 802, 7,900."""
    size = abs(number)
    if size >= 99.95 or size == 0:
        return f"{float(f'{number:.3g}'):,.0f}"
    places = 1 if size >= 9.995 else 2 if size >= 0.9995 else 3
    return f"{number:.{places}f}"


def cell(quantity: str, value: float | None) -> str:
    """An amount in a table, empty where it is not known."""
    return "" if value is None else known(quantity, value)


def cost(costs: Mapping[str, float]) -> str:
    """Money in a table, empty where it is not known."""
    return money(costs) if costs else ""


def percent(ratio: float | None, unknown: str = "") -> str:
    """Per cent, with a digit more where there is little; never rounded to all or nothing."""
    if ratio is None:
        return unknown
    value = 100.0 * ratio
    if 0 < value < 0.1:
        return "< 0.1 %"
    if 99.9 < value < 100:
        return "> 99.9 %"
    return f"{value:.0f} %" if value in (0.0, 100.0) or 9.95 <= value < 99.5 else f"{value:.1f} %"


def factor(ratio: float | None) -> str:
    """`1.24 ×`; empty where it is not known."""
    return "" if ratio is None else f"{ratio:.2f} ×" if ratio < 9.95 else f"{digits(ratio)} ×"


def moment(time: float | None, zone: tzinfo) -> str:
    """A minute in a time zone."""
    return UNKNOWN if time is None else f"{datetime.fromtimestamp(time, zone):%Y-%m-%d %H:%M}"


def day(time: float, zone: tzinfo) -> str:
    """A day in a time zone."""
    return f"{datetime.fromtimestamp(time, zone):%Y-%m-%d}"


def count(number: int, noun: str) -> str:
    """`1 job`, `1,200 jobs`."""
    return f"1 {noun}" if number == 1 else f"{number:,} {noun}s"


def scientific(value: float) -> str:
    """`8.1 × 10²²`."""
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')} × 10{str(int(exponent)).translate(_RAISED)}"


_RAISED = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def si(value: float) -> str:
    """`7B`, `1.4T`: numbers of parameters and tokens."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"
