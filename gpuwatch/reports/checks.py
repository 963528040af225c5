"""One identity of a compute statement, checked: what stands on either side, by which factor they differ. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from gpuwatch.accounting.amounts import unit_of
from gpuwatch.reports.claims import Claim, Stated

Verdict = Literal["holds", "note", "doubtful", "wrong"]

TOLERANCE = 1.05
"""By which factor two sides may differ beyond what rounding explains: no power sensor is better than 5 %."""


@dataclass(frozen=True, slots=True)
class Check:
    """One identity of one row: both sides in words with numbers, and what would make them fit.

    `factor`, 1 or more: how far two sides are apart that should be equal, or how far one is beyond its bound.
    """

    row: str
    identity: str
    verdict: Verdict
    left: str
    right: str
    factor: float | None = None
    remedy: str = ""


class Known(NamedTuple):
    """What the maker says of a device: dense peak FLOP/s at the usual precision, and board watts; None: not known.

    Where several devices fit the name these are the largest, and `sure` is false if they differ.
    """

    name: str
    peak_flops: float | None = None
    watts: float | None = None
    sure: bool = True


Devices = Callable[[str], Known | None]


class Linted(NamedTuple):
    """All checks that could be made."""

    checks: tuple[Check, ...]

    @property
    def findings(self) -> tuple[Check, ...]:
        """Those that do not hold: what cannot be true first, then what is hard to believe."""
        return tuple(each for verdict in ("wrong", "doubtful") for each in self.checks if each.verdict == verdict)

    @property
    def notes(self) -> tuple[Check, ...]:
        """What is true and should be said."""
        return tuple(each for each in self.checks if each.verdict == "note")

    @property
    def wrong(self) -> int:
        """How many cannot be true."""
        return sum(each.verdict == "wrong" for each in self.checks)


class Side(NamedTuple):
    """One side: words that show it, its value, and by which factor rounding may have moved it."""

    words: str
    value: float
    slack: float = 1.0


def side(what: str, quantity: str, *stated: Stated, over: Stated | None = None) -> Side:
    """A product of stated numbers, over another one; shown in the unit that people read that quantity in."""
    value = math.prod(each.value for each in stated) / (over.value if over else 1.0)
    slack = math.prod(each.slack for each in (*stated, *([over] if over else [])))
    return Side(f"{what} = {shown(quantity, value)}", value, slack)


def shown(quantity: str, value: float) -> str:
    """An amount in base units: `device-hours`, `energy`, `carbon`; of others the quantity is the unit itself."""
    if quantity not in _LADDERS:
        return f"{number(value)} {quantity}".rstrip()
    per, unit = unit_of(quantity, value)
    return f"{number(value / per)} {_LADDERS[quantity] or unit}"


_LADDERS = {"device-hours": "h", "energy": "", "carbon": ""}


def number(value: float) -> str:
    """Three significant digits, with thousands where they are read more easily."""
    if value != 0 and not 1e-3 <= abs(value) < 1e9:
        return f"{value:.3g}"
    if abs(value) >= 100:
        return f"{float(f'{value:.4g}'):,.0f}"
    return f"{value:.3g}"


def equal(claim: Claim, identity: str, left: Side, right: Side, remedy: str, upto: float = TOLERANCE) -> Check:
    """An identity: both sides are the same, as far as their digits tell."""
    off = max(left.value / right.value, right.value / left.value)
    allowed = upto * left.slack * right.slack
    return Check(
        claim.row, identity, "holds" if off <= allowed else "wrong", left.words, right.words, off,
        "" if off <= allowed else remedy,
    )  # fmt: skip
