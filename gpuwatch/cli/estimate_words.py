"""An estimate as a table, as JSON, and as the line that declares it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from gpuwatch import declaration
from gpuwatch.accounting.amounts import alike, split
from gpuwatch.cli.periods import columns
from gpuwatch.errors import DeclarationError
from gpuwatch.estimates.quantiles import LEVELS, NAMES, Quantiles

_SHOWN = (0.1, 0.5, 0.9)
_UNITS: Mapping[str, tuple[float, str]] = {
    "device-hours": (3600.0, "h"),
    "energy": (3.6e6, "kWh"),
    "facility-energy": (3.6e6, "kWh"),
    "carbon": (1000.0, "kg"),
    "wall": (3600.0, "h"),
}
"""What is written into a declaration: base units of one unit."""


class Row(NamedTuple):
    """One quantity of an estimate, in base units, as declarations call it; `unit` is the currency of a cost.

    `title` may be empty where the unit says it.
    """

    title: str
    quantity: str
    amounts: Quantiles
    unit: str = ""


def document(quantiles: Quantiles | None, per: float = 1.0) -> dict[str, float] | None:
    """q05 to q95 for JSON, divided by `per`; null is what is not known."""
    return None if quantiles is None else {NAMES[level]: quantiles[level] / per for level in LEVELS}


def table(rows: Sequence[Row]) -> list[str]:
    """Low, likely and high of each quantity, three in one unit: eight of ten are to end between the outer two."""
    head = ("", *(f"{100 * level:.0f} %" for level in _SHOWN))
    return columns([head, *(tuple(_cells(row)) for row in rows)])


def _cells(row: Row) -> Iterator[str]:
    middle = row.amounts[0.5]
    unit = split(row.quantity, middle, row.unit)[1]
    yield f"{row.title}, {unit}" if row.title else unit
    yield from (alike(row.quantity, row.amounts[level], middle) for level in _SHOWN)


def declared(rows: Sequence[Row], basis: str) -> str | None:
    """The declaration of these quantities, three digits each; None: too much or too little to be declared."""
    words = [f"{row.quantity}={_range(row)}" for row in rows]
    try:
        return declaration.format(declaration.parse(" ".join([*words, f"basis={basis}"])))
    except DeclarationError:
        return None


def _range(row: Row) -> str:
    per, unit = _UNITS.get(row.quantity, (1.0, row.unit))
    return "..".join(f"{row.amounts[level] / per:.3g}" for level in _SHOWN) + unit


def lines_to_paste(text: str | None) -> list[str]:
    """The command and the batch script's line that declare it."""
    if text is None:
        return ["too much or too little to be declared in one line"]
    options = " ".join("--" + word.replace("=", " ", 1) for word in text.split())
    return [f"gpuwatch declare {options}", f'#SBATCH --comment="gpuwatch: {text}"']
