"""Carbon intensity of the grid by country and year, as shipped: grid_intensity.csv, where its source is, too."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SOURCE = "Ember"
_DATA = Path(__file__).with_name("grid_intensity.csv")
_WORLD = "WORLD"


@dataclass(frozen=True, slots=True)
class Year:
    """What a kWh generated in a country in one year emitted: `grams` of CO2e as a decimal, over the life cycle."""

    name: str
    year: int
    grams: str

    @property
    def basis(self) -> str:
        """Where the figure is from, as in `France 2024, Ember`."""
        return f"{self.name} {self.year}, {SOURCE}"


def country(name: str) -> tuple[Year, ...]:
    """The years of a country by ISO 3166 code (alpha-2, alpha-3) or English name, oldest first; empty: unknown."""
    return _table().get(name.strip().casefold(), ())


def world() -> Year:
    """The average of the world in the latest year there is."""
    return country(_WORLD)[-1]


def names() -> tuple[str, ...]:
    """The names of all countries there are."""
    return tuple(sorted({years[-1].name for years in _table().values()}))


@cache
def _table() -> Mapping[str, tuple[Year, ...]]:
    with _DATA.open(encoding="utf-8", newline="") as file:
        rows = [*csv.DictReader(line for line in file if not line.startswith("#"))]
    found: dict[str, tuple[Year, ...]] = {}
    for row in sorted(rows, key=lambda row: int(row["year"])):
        keys = {row[key].casefold() for key in ("code", "code2", "name") if row[key]}
        for key in keys:
            found[key] = (*found.get(key, ()), Year(row["name"], int(row["year"]), row["grams_per_kwh"]))
    return found
