"""What hours and joules cost, in money and carbon: prices, tariffs, PUE and grid intensity, each with its basis.

Pure. Hours and joules are spread evenly over the time they are given for and meet the rates that held in each part
of it. Sums are exact (fractions), whatever the time is cut into; what is not known makes None, never 0.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, Literal

from gpuwatch.errors import Rejected
from gpuwatch.ledger import grid
from gpuwatch.ledger.timelines import Amount, Timeline, combined, product

Kind = Literal["price", "tariff", "pue", "intensity"]
KINDS: tuple[Kind, ...] = ("price", "tariff", "pue", "intensity")

PUE = "1.54"
PUE_BASIS = "default: Uptime survey 2025"
"""The mean PUE of data centres in the Uptime Institute's survey of 2025 (681 answers)."""

_SCHEMA = 1
_HOUR = 3600
_KWH = 3_600_000
_EVER, _NEVER = float("-inf"), float("inf")

_Ratio = tuple[int, int]
"""Numerator and denominator, not reduced: exact as a fraction is, at a third of the time."""


@dataclass(frozen=True, slots=True)
class Rate:
    """One rate and when it holds: [begins, ends), Unix seconds, None: since ever, for ever.

    `value` is a decimal, None where the site says `none`; a time series has `points` (time, decimal) instead, each
    holding until the next. `unit` is a currency for prices (per device-hour) and tariffs (per kWh). Where several
    rates of a kind hold, a `default` one gives way, then one for any partition, then one for a shorter model.
    """

    kind: Kind
    value: str | None
    unit: str
    basis: str
    model: str = ""
    partition: str = ""
    begins: float | None = None
    ends: float | None = None
    source: str = ""
    year: int | None = None
    default: bool = False
    points: tuple[tuple[float, str | None], ...] = ()

    def at(self, time: float) -> str | None:
        """The value at a time at which the rate holds."""
        if not self.points:
            return self.value
        return self.points[max(bisect_right(self.points, time, key=lambda point: point[0]) - 1, 0)][1]

    def holds(self, time: float) -> bool:
        """Whether it holds at a time, where nothing stronger does."""
        return (self.begins is None or self.begins <= time) and (self.ends is None or time < self.ends)

    def applies(self, model: str, partition: str) -> bool:
        """Whether it is for devices of a model in a partition (both empty where not known)."""
        return self.partition in ("", partition) and self.model.casefold() in model.casefold()

    def changes(self) -> Iterator[float]:
        """Every time at which it begins, ends or has another value."""
        yield from (each for each in (self.begins, self.ends) if each is not None)
        yield from (time for time, _ in self.points if self.holds(time))


@dataclass(frozen=True, slots=True)
class Value:
    """A rate at one time: a price in `unit` per device-hour, a tariff per kWh, a ratio, or g of CO2e per kWh."""

    value: float
    unit: str
    basis: str
    source: str
    year: int | None
    default: bool


@dataclass(frozen=True, slots=True)
class Figures:
    """What device-seconds and joules came to; None: not known. `cost` is `price_cost` and any `energy_cost`."""

    facility_joules: float | None
    cost: float | None
    currency: str
    carbon_grams: float | None
    price_cost: float | None
    energy_cost: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Rates:
    """All rates of a site. `text` is canonical JSON of which they can be made again, `version` 12 hex of its hash.

    `zone` names the time zone whose midnight the file's dates are, `currency` is empty where nothing has a price.
    """

    rates: tuple[Rate, ...]
    zone: str
    currency: str
    text: str
    version: str

    @classmethod
    def of(cls, rates: Iterable[Rate], zone: str = "UTC") -> Rates:
        """Rates in whichever order, together with the defaults for what they leave out."""
        ordered = tuple(sorted({*rates, *defaults()}, key=_order))
        currency = next((each.unit for each in ordered if each.kind in ("price", "tariff") and each.unit), "")
        content = {"schema": _SCHEMA, "zone": zone, "rates": [_document(each) for each in ordered]}
        text = json.dumps(content, separators=(",", ":"), sort_keys=True, ensure_ascii=False, allow_nan=False)
        return cls(ordered, zone, currency, text, hashlib.sha256(text.encode()).hexdigest()[:12])

    @classmethod
    def from_text(cls, text: str) -> Rates:
        """The rates that had this text; `Rejected` where it is none."""
        try:
            content = json.loads(text)
            if content["schema"] != _SCHEMA:
                raise Rejected(f"rates: schema {content['schema']!r} is unknown; there is: {_SCHEMA}")
            rates = tuple(_rate(each) for each in content["rates"])
            currency = next((each.unit for each in rates if each.kind in ("price", "tariff") and each.unit), "")
            version = hashlib.sha256(text.encode()).hexdigest()[:12]
            return cls(rates, str(content["zone"]), currency, text, version)
        except (ValueError, KeyError, TypeError) as exc:
            raise Rejected(f"rates: are damaged; {type(exc).__name__}: {exc}") from exc

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rates) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.version)

    def breakpoints(self, begins: float, ends: float) -> list[float]:
        """The times after `begins` and before `ends` at which anything changes, in order."""
        changes = _changes(self)
        first, last = bisect_right(changes, begins), len(changes)
        while last > first and changes[last - 1] >= ends:
            last -= 1
        return list(changes[first:last])

    def price_at(self, model: str, partition: str, time: float) -> Value | None:
        """The price of a device-hour; None: not known."""
        return self._value(_for(self, "price", model, partition), time)

    def tariff_at(self, time: float) -> Value | None:
        """The price of a kWh of the facility; None: energy is not charged."""
        return self._value(_for(self, "tariff"), time)

    def pue_at(self, time: float) -> Value | None:
        """Facility energy over the energy of devices and hosts; None: the site says it is not known."""
        return self._value(_for(self, "pue"), time)

    def intensity_at(self, time: float) -> Value | None:
        """Grams of CO2e per kWh of facility energy, location-based; None: the site says it is not known."""
        return self._value(_for(self, "intensity"), time)

    def figures(
        self,
        begins: float,
        ends: float,
        device_seconds: float | None,
        joules: float | None,
        host_joules: float | None,
        model: str,
        partition: str,
    ) -> Figures:
        """What device-seconds and joules of [begins, ends) came to, of devices of one model in one partition.

        Joules of hosts count where they are known. A tariff is charged where there is one, and then the cost is
        not known without the energy.
        """
        energy = _ratio(joules)
        if energy is not None and host_joules is not None:
            energy = _plus(energy, _ratio(host_joules))
        price = _prices(self, model, partition).mean(begins, ends)
        cost = price_cost = _times(_ratio(device_seconds), price, _HOUR)
        energy_cost = None
        if _has_tariff(self, begins, ends):
            energy_cost = _times(energy, _line(self, "energy_cost").mean(begins, ends), _KWH)
            cost = _plus(price_cost, energy_cost)
        return Figures(
            _float(_times(energy, _line(self, "pue").mean(begins, ends), 1)),
            _float(cost),
            self.currency,
            _float(_times(energy, _line(self, "carbon").mean(begins, ends), _KWH)),
            _float(price_cost),
            _float(energy_cost),
        )

    @staticmethod
    def _value(candidates: tuple[Rate, ...], time: float) -> Value | None:
        rate = next((each for each in reversed(candidates) if each.holds(time)), None)
        value = None if rate is None else rate.at(time)
        if rate is None or value is None:
            return None
        return Value(float(value), rate.unit, rate.basis, rate.source, rate.year, rate.default)


def defaults() -> tuple[Rate, Rate]:
    """What holds where a site says nothing: the PUE of a survey, and the grid of the world."""
    world = grid.world()
    return (
        Rate("pue", PUE, "ratio", PUE_BASIS, source="Uptime survey", year=2025, default=True),
        Rate(
            "intensity", world.grams, "g/kWh", f"default: world {world.year}, {grid.SOURCE}",
            source=grid.SOURCE, year=world.year, default=True,
        ),
    )  # fmt: skip


def _order(rate: Rate) -> tuple[object, ...]:
    """Weaker rates first."""
    return (
        KINDS.index(rate.kind), not rate.default, bool(rate.partition), len(rate.model), rate.model,
        rate.partition, _EVER if rate.begins is None else rate.begins, _NEVER if rate.ends is None else rate.ends,
        rate.value or "", rate.basis,
    )  # fmt: skip


def _document(rate: Rate) -> dict[str, object]:
    return asdict(rate)


def _rate(document: Mapping[str, Any]) -> Rate:
    points = tuple((float(time), None if value is None else str(value)) for time, value in document["points"])
    return Rate(**{**document, "points": points})


@lru_cache(maxsize=4096)
def _for(rates: Rates, kind: Kind, model: str = "", partition: str = "") -> tuple[Rate, ...]:
    """The rates of a kind that can hold, weaker ones first."""
    return tuple(each for each in rates.rates if each.kind == kind and each.applies(model, partition))


@lru_cache(maxsize=64)
def _changes(rates: Rates) -> tuple[float, ...]:
    return tuple(sorted({time for each in rates.rates for time in each.changes()}))


@lru_cache(maxsize=4096)
def _prices(rates: Rates, model: str, partition: str) -> Timeline:
    return _timeline(_for(rates, "price", model, partition))


@lru_cache(maxsize=64)
def _line(rates: Rates, name: Literal["tariff", "pue", "intensity", "energy_cost", "carbon"]) -> Timeline:
    """Of a kind, or per kWh of devices and hosts: money for energy (0 without a tariff), or grams."""
    if name == "energy_cost":
        return combined(_line(rates, "pue"), _line(rates, "tariff"), _charged)
    if name == "carbon":
        return combined(_line(rates, "pue"), _line(rates, "intensity"), product)
    return _timeline(_for(rates, name))


def _charged(pue: Amount, tariff: Amount) -> Amount:
    return Fraction() if tariff is None else product(pue, tariff)


def _timeline(candidates: tuple[Rate, ...]) -> Timeline:
    """At each time the value of the strongest that holds."""
    cuts = sorted({time for each in candidates for time in each.changes()})
    first = cuts[0] - 1 if cuts else 0.0
    return Timeline.of(cuts, [_strongest(candidates, time) for time in (first, *cuts)])


def _strongest(candidates: tuple[Rate, ...], time: float) -> Amount:
    rate = next((each for each in reversed(candidates) if each.holds(time)), None)
    value = None if rate is None else rate.at(time)
    return None if value is None else Fraction(value)


def _has_tariff(rates: Rates, begins: float, ends: float) -> bool:
    line = _line(rates, "tariff")
    times = (begins, *line.changes(begins, ends))
    return any(line.at(time) is not None for time in times)


def _ratio(value: float | None) -> _Ratio | None:
    return None if value is None else value.as_integer_ratio()


def _times(value: _Ratio | None, mean: Amount, per: int) -> _Ratio | None:
    if value is None or mean is None:
        return None
    return value[0] * mean.numerator, value[1] * mean.denominator * per


def _plus(left: _Ratio | None, right: _Ratio | None) -> _Ratio | None:
    if left is None or right is None:
        return None
    return left[0] * right[1] + right[0] * left[1], left[1] * right[1]


def _float(value: _Ratio | None) -> float | None:
    return None if value is None else value[0] / value[1]
