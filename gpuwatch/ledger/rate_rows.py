"""One line of a rates file: what it may say of which kind, and within which limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, tzinfo
from decimal import Decimal
from difflib import get_close_matches

from gpuwatch import hygiene
from gpuwatch.errors import Rejected
from gpuwatch.ledger import grid
from gpuwatch.ledger.periods import midnight
from gpuwatch.ledger.rate_series import NONE, YEARS, Series, decimal
from gpuwatch.ledger.rates import KINDS, Kind, Rate

NEEDED = ("kind", "value")
KNOWN = ("kind", "model", "partition", "from", "to", "value", "unit", "source", "year", "country")

_CURRENCIES = """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY
    COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR
    ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK
    MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF
    SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU
    UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG
"""
CURRENCIES = frozenset(_CURRENCIES.split())
"""The currencies of ISO 4217 that people pay with."""

_CHEAP = """
    BIF CDF CLP COP CRC GNF HUF IDR IQD IRR JPY KHR KRW KZT LAK LBP MGA MMK MNT MWK NGN PYG RWF SOS SSP SYP TZS UGX
    UZS VND XAF XOF
"""
_SMALL = frozenset(_CHEAP.split())
"""Those of which a thousand times as much is not yet absurd."""

_LIMITS: Mapping[Kind, tuple[int, int, str]] = {
    "price": (0, 10_000, "a price per device-hour"),
    "tariff": (0, 100, "a tariff per kWh"),
    "pue": (1, 3, "a PUE"),
    "intensity": (0, 2_000, "an intensity in g CO2e per kWh"),
}
_UNITS: Mapping[Kind, tuple[str, ...]] = {"pue": ("", "ratio"), "intensity": ("", "g/kWh")}
_EVER, _NEVER = float("-inf"), float("inf")


@dataclass(frozen=True, slots=True)
class Found:
    """The rates that one line says, and when: [begins, ends), Unix seconds or infinite."""

    number: int
    kind: Kind
    model: str
    partition: str
    begins: float
    ends: float
    rates: tuple[Rate, ...]

    @property
    def key(self) -> tuple[str, str, str]:
        """What only one line may say at any time."""
        return self.kind, self.model.casefold(), self.partition


@dataclass(slots=True)
class _Reader:
    """Reads the cells of one line and notes what is wrong with each."""

    row: Mapping[str, str]
    zone: tzinfo
    wrong: list[str]

    def cell(self, name: str) -> str:
        return self.row.get(name, "")

    def kind(self) -> Kind | None:
        text = self.cell("kind").lower()
        if text in KINDS:
            return text
        near = get_close_matches(text, KINDS, n=1)
        meant = f", did you mean {near[0]}" if near else ""
        self.wrong.append(f"{text[:40]!r} is no kind{meant}; there is: {', '.join(KINDS)}")
        return None

    def day(self, name: str, otherwise: float) -> float:
        text = self.cell(name)
        if not text:
            return otherwise
        try:
            day = date.fromisoformat(text)
            if len(text) != len("2026-11-25") or day.year not in YEARS:
                raise ValueError
            return midnight(day, self.zone)
        except (ValueError, OverflowError):
            self.wrong.append(f"{name}: {text[:40]!r} is no day; write for example 2026-11-25")
            return otherwise

    def year(self) -> int | None:
        text = self.cell("year")
        if not text:
            return None
        if text.isdecimal() and text.isascii() and int(text) in YEARS:
            return int(text)
        self.wrong.append(f"year: {text[:40]!r} is none; there is: {YEARS[0]} to {YEARS[-1]}")
        return None

    def unit(self, kind: Kind, valued: bool) -> str:
        text = self.cell("unit")
        if kind in _UNITS:
            if text not in _UNITS[kind]:
                self.wrong.append(f"unit: {text[:40]!r} is not possible; there is: {_UNITS[kind][-1]}")
            return _UNITS[kind][-1]
        if text not in CURRENCIES and (text or valued):
            self.wrong.append(f"unit: {text[:40]!r} is no currency; write its three letters, as in EUR")
        return text

    def only(self, kind: Kind, others: Kind, *names: str) -> None:
        for name in names:
            if kind != others and self.cell(name):
                self.wrong.append(f"{name}: is for kind {others} only; leave it empty")

    def value(self, kind: Kind) -> str | None:
        low, high, what = _LIMITS[kind]
        times = 1_000 if self.cell("unit") in _SMALL else 1
        try:
            return decimal(self.cell("value"), Decimal(low), Decimal(high * times), what)
        except Rejected as exc:
            self.wrong.append(f"value: {exc}")
            return None


def read_row(
    row: Mapping[str, str], number: int, zone: tzinfo, series: Callable[[str], Series], wrong: list[str]
) -> Found | None:
    """What a line says; what is wrong with it is added to `wrong`. None where not even its time is known."""
    reader = _Reader(row, zone, wrong)
    kind = reader.kind()
    if kind is None:
        return None
    begins, ends = reader.day("from", _EVER), reader.day("to", _NEVER)
    if ends <= begins:
        wrong.append(f"to: {reader.cell('to')} is not after {reader.cell('from')}; it is the first day without it")
    has_time = not wrong
    reader.only(kind, "price", "model", "partition")
    reader.only(kind, "intensity", "country")
    rates = _rates(reader, kind, begins, ends, series)
    names = hygiene.label(reader.cell("model")), hygiene.label(reader.cell("partition"))
    return Found(number, kind, *names, begins, ends, () if wrong else rates) if has_time else None


def _rates(
    reader: _Reader, kind: Kind, begins: float, ends: float, series: Callable[[str], Series]
) -> tuple[Rate, ...]:
    text, source, year = reader.cell("value"), hygiene.label(reader.cell("source")), reader.year()
    unit = reader.unit(kind, text.lower() != NONE)
    rate = Rate(
        kind, None, unit, _basis(source, year), hygiene.label(reader.cell("model")),
        hygiene.label(reader.cell("partition")), _finite(begins), _finite(ends), source, year,
    )  # fmt: skip
    if kind == "intensity" and reader.cell("country"):
        return _of_country(reader, rate, begins, ends)
    if kind == "intensity" and text.lower().endswith(".csv"):
        return _of_series(reader, rate, begins, ends, series)
    if text.lower() == NONE:
        return (replace(rate, basis="site: none"),)
    if not text and kind == "intensity":
        reader.wrong.append("value: is empty; write a number, none, the name of a .csv file, or a country")
        return ()
    if kind in _UNITS and (not source or year is None):
        reader.wrong.append("source and year: are needed, as every figure names them")
    return (replace(rate, value=reader.value(kind)),)


def _of_country(reader: _Reader, rate: Rate, begins: float, ends: float) -> tuple[Rate, ...]:
    """A rate for each year of the shipped table; the first holds before it, too, the last for ever."""
    name = reader.cell("country")
    for other in ("value", "year"):
        if reader.cell(other):
            reader.wrong.append(f"{other}: stands beside a country; the shipped table has it, leave it empty")
    years = grid.country(name)
    if not years:
        near = get_close_matches(name, grid.names(), n=1)
        meant = f", did you mean {near[0]!r}" if near else ""
        reader.wrong.append(
            f"country: {name[:40]!r} is not in the shipped table{meant}; write its ISO code or English name"
        )
        return ()
    starts = [_EVER, *(midnight(date(each.year, 1, 1), reader.zone) for each in years[1:]), _NEVER]
    parts = zip(years, starts, starts[1:], strict=False)
    return tuple(
        replace(rate, value=each.grams, basis=each.basis, begins=_finite(max(begins, first)),
              ends=_finite(min(ends, last)), source=grid.SOURCE, year=each.year)
        for each, first, last in parts
        if max(begins, first) < min(ends, last)
    )  # fmt: skip


def _of_series(
    reader: _Reader, rate: Rate, begins: float, ends: float, series: Callable[[str], Series]
) -> tuple[Rate, ...]:
    """The part of a time series that lies in [begins, ends); it must be there where these are said."""
    name = reader.cell("value")
    try:
        read = series(name)
    except Rejected as exc:
        reader.wrong.extend(f"value: {line}" for line in str(exc).splitlines())
        return ()
    points = read.points
    if begins != _EVER and points[0][0] > begins:
        reader.wrong.append(f"from: {reader.cell('from')} is before the beginning of {name}")
    if ends != _NEVER and read.ends < ends:
        reader.wrong.append(f"to: {reader.cell('to')} is after the end of {name}")
    first, last = max(begins, points[0][0]), min(ends, read.ends)
    if first >= last:
        reader.wrong.append(f"value: {name} has nothing of that time")
        return ()
    held = max(place for place, (time, _) in enumerate(points) if time <= first)
    kept = tuple(point for point in points[held:] if point[0] < last)
    source = rate.source or hygiene.label(name)
    return (replace(rate, basis=f"series: {source}", begins=first, ends=last, source=source, points=kept),)


def _basis(source: str, year: int | None) -> str:
    words = " ".join(filter(None, (source, "" if year is None else str(year))))
    return f"site: {words}" if words else "site"


def _finite(time: float) -> float | None:
    return None if time in (_EVER, _NEVER) else time
