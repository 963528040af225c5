"""Amounts as people read them: device-hours, kWh, hours. Pure; inside, everything stays in base units."""

from __future__ import annotations

from collections.abc import Mapping

_ENERGY = ((3.6e9, "MWh"), (3.6e6, "kWh"), (3600.0, "Wh"))
_CARBON = ((1e6, "t"), (1e3, "kg"), (1.0, "g"))
_TIME = ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))
_LADDERS: Mapping[str, tuple[tuple[float, str], ...]] = {
    "device-hours": ((3600.0, "device-hours"),),
    "energy": _ENERGY,
    "facility-energy": _ENERGY,
    "carbon": _CARBON,
    "wall": _TIME,
}


def amount(quantity: str, value: float, unit: str = "") -> str:
    """`4.1 device-hours`, `450 kWh`; `unit` is used for what has none of its own (a currency)."""
    number, name = split(quantity, value, unit)
    return f"{number} {name}".rstrip()


def split(quantity: str, value: float, unit: str = "") -> tuple[str, str]:
    """The number and the name of its unit."""
    factor, name = unit_of(quantity, value, unit)
    return digits(value / factor), name


def alike(quantity: str, value: float, other: float) -> str:
    """`value` in the unit that `other` is shown in, and without it: the second of two numbers in a sentence."""
    return digits(value / unit_of(quantity, other)[0])


def unit_of(quantity: str, value: float, unit: str = "") -> tuple[float, str]:
    """How many base units the unit is that `value` is shown in, and its name."""
    ladder = _LADDERS.get(quantity)
    if ladder is None:
        return 1.0, unit if unit != "1" else ""
    return next((step for step in ladder if abs(value) >= step[0]), ladder[-1])


def digits(number: float) -> str:
    """Two significant digits below 10, whole numbers from 100 on: 0.0034, 1.2, 64, 7,680."""
    size = abs(number)
    if size >= 99.5 or size == 0:
        return f"{number:,.0f}"
    if size >= 9.95:
        return _trimmed(f"{number:.1f}")
    return _trimmed(f"{float(f'{number:.2g}'):.10f}")


def _trimmed(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def money(costs: Mapping[str, float]) -> str:
    """`1,234.50 EUR`; several currencies stand beside each other. Small amounts keep three digits."""
    return " + ".join(f"{_price(value)} {currency}" for currency, value in sorted(costs.items()))


def _price(value: float) -> str:
    return f"{value:,.2f}" if value == 0 or abs(value) >= 1 else f"{value:.3g}"
