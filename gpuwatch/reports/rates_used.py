"""By which prices, PUE and grid intensity the figures of a statement were reckoned. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from gpuwatch.ledger.rates import Rates, Value
from gpuwatch.reports.material import Material
from gpuwatch.reports.statement import Rate

_MOST = 20


def prices(material: Material) -> Iterator[str]:
    """The prices of the models and partitions that were charged, and any tariff, in words."""
    found: dict[str, None] = {}
    for rows in material.charges.values():
        for row in rows:
            rates = material.rates.get(row.rates)
            if rates is None or row.cost is None:
                continue
            for time in (row.begins, *rates.breakpoints(row.begins, row.ends)):
                price = rates.price_at(row.model, row.partition, time)
                if price is not None:
                    of = f" of {row.model}" if row.model else ""
                    found[f"{price.value:.10g} {price.unit} per device-hour{of} ({price.basis})"] = None
                tariff = rates.tariff_at(time)
                if tariff is not None:
                    found[f"{tariff.value:.10g} {tariff.unit} per kWh ({tariff.basis})"] = None
    yield from list(found)[:_MOST]


def rates(material: Material, begins: float | None, ends: float | None) -> Iterator[Rate]:
    """Every PUE and intensity that held from begin to end, one row for each source."""
    if begins is None or ends is None:
        return
    for kind in ("pue", "intensity"):
        found: dict[tuple[str, str, int | None, bool], list[float]] = {}
        for sets in material.rates.values():
            for value in _values(sets, kind, begins, ends):
                key = value.basis, value.source, value.year, value.default
                found.setdefault(key, []).append(value.value)
        for (basis, source, year, default), values in found.items():
            distinct = set(values)
            yield Rate(kind, min(values), max(values), basis, source, year, default, len(distinct))


def _values(sets: Rates, kind: str, begins: float, ends: float) -> Iterator[Value]:
    at = sets.pue_at if kind == "pue" else sets.intensity_at
    for time in (begins, *sets.breakpoints(begins, ends)):
        value = at(time)
        if value is not None:
            yield value
