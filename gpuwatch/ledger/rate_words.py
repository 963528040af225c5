"""What rates are in force at a time, for people and as JSON; what is a default, and how old, is always said.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, tzinfo

from gpuwatch.ledger.rates import KINDS, Rate, Rates, Value

_PER = {"price": "device-hour", "tariff": "kWh"}


def words(rates: Rates, time: float, zone: tzinfo) -> list[str]:
    """The rates in force at a time as sentences; days are those of `zone`."""
    held = {kind: [each for each in rates.rates if each.kind == kind and each.holds(time)] for kind in KINDS}
    day = _day(time, zone)
    lines = [f"Rates {rates.version} on {day} ({rates.zone})"]
    lines += [f"price: {_price(each, time)}{_since(each, zone)}" for each in held["price"]]
    if not held["price"]:
        lines.append("price: none, so what device-hours cost is not known; accounting.rates_file can say it")
    tariff = rates.tariff_at(time)
    lines.append(f"tariff: {_amount(tariff)} per kWh{_basis(tariff, time, zone)}" if tariff else _NO_TARIFF)
    pue = rates.pue_at(time)
    lines.append(f"PUE: {_amount(pue)}{_basis(pue, time, zone)}" if pue else _NO_PUE)
    grams = rates.intensity_at(time)
    lines.append(
        f"grid intensity: {grams.value:.10g} g CO2e/kWh, location-based{_basis(grams, time, zone)}"
        if grams
        else _NO_INTENSITY
    )
    following = _next_change(rates, time)
    if following is not None:
        lines.append(f"next change: {_day(following, zone)}")
    return lines


_NO_TARIFF = "tariff: none, so energy is not part of the cost"
_NO_PUE = "PUE: not known, and so neither facility energy nor carbon"
_NO_INTENSITY = "grid intensity: not known, and so carbon is not"


def bases(rates: Rates, time: float, zone: tzinfo) -> list[str]:
    """By which PUE and intensity energy becomes carbon; that one of them is a default is never silent."""
    pue, grams = rates.pue_at(time), rates.intensity_at(time)
    return [
        f"PUE {_amount(pue)}{_basis(pue, time, zone)}" if pue else "PUE not known",
        f"grid {grams.value:.10g} g CO2e/kWh{_basis(grams, time, zone)}" if grams else "grid intensity not known",
    ]


def document(rates: Rates, time: float) -> dict[str, object]:
    """The rates in force at a time for JSON: times in Unix seconds, null for what is open or not known."""
    return {
        "version": rates.version,
        "timezone": rates.zone,
        "currency": rates.currency or None,
        "time": time,
        "prices": [
            _document(each, each.at(time)) for each in rates.rates if each.kind == "price" and each.holds(time)
        ],
        **{kind: _in_force(rates, kind, time) for kind in KINDS if kind != "price"},
        "next_change": _next_change(rates, time),
    }


def _in_force(rates: Rates, kind: str, time: float) -> dict[str, object] | None:
    held = [each for each in rates.rates if each.kind == kind and each.holds(time)]
    return _document(held[-1], held[-1].at(time)) if held else None


def _document(rate: Rate, value: str | None) -> dict[str, object]:
    return {
        **({"model": rate.model or None, "partition": rate.partition or None} if rate.kind == "price" else {}),
        "value": None if value is None else float(value),
        "unit": rate.unit or None,
        "per": _PER.get(rate.kind),
        "basis": rate.basis,
        "source": rate.source or None,
        "year": rate.year,
        "default": rate.default,
        "from": rate.begins,
        "to": rate.ends,
    }


def _price(rate: Rate, time: float) -> str:
    where = " ".join(
        filter(None, (f"of {rate.model}" if rate.model else "", f"in {rate.partition}" if rate.partition else ""))
    )
    value = rate.at(time)
    amount = "not known" if value is None else f"{value} {rate.unit} per device-hour"
    return f"{amount}{' ' if where else ''}{where} ({rate.basis})"


def _amount(value: Value) -> str:
    number = f"{value.value:.10g}"
    return number if value.unit == "ratio" else f"{number} {value.unit}"


def _basis(value: Value, time: float, zone: tzinfo) -> str:
    age = 0 if value.year is None else datetime.fromtimestamp(time, zone).year - value.year
    old = "" if age < 1 else "; 1 year old" if age == 1 else f"; {age} years old"
    return f" ({value.basis}{old})"


def _since(rate: Rate, zone: tzinfo) -> str:
    begins = f" since {_day(rate.begins, zone)}" if rate.begins is not None else ""
    return begins + (f" until {_day(rate.ends, zone)}" if rate.ends is not None else "")


def _next_change(rates: Rates, time: float) -> float | None:
    later: Sequence[float] = rates.breakpoints(time, float("inf"))
    return later[0] if later else None


def _day(time: float, zone: tzinfo) -> str:
    moment = datetime.fromtimestamp(time, zone)
    return f"{moment:%Y-%m-%d}" if (moment.hour, moment.minute) == (0, 0) else f"{moment:%Y-%m-%d %H:%M}"
