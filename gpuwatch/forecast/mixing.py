"""Many outlooks at once to what each run comes to: one distribution from all evidence. Pure.

What is used already is known: amounts below it are left out, so that classes which a run has outlived lose their
say by themselves. A time limit is an end to all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import log

import numpy as np

from gpuwatch.forecast.evidence import Outlook
from gpuwatch.forecast.reference import MASS, Array

AT_ONCE = 1000
"""So many outlooks are mixed together."""
_ALIKE = 128
_NEVER = -60.0
_LEAST = 1e-12
_LEFT: Array = np.array([0.0, 0.05, 0.5, 2.0])
_LEFT_PLACES: Array = np.array([0.0, 0.25, 0.6, 1.0])


@dataclass(frozen=True, slots=True)
class Distribution:
    """What a run may come to: `amounts` (logarithms, rising) with the mass up to each, `upto`.

    `weights` is how much each piece of the outlook says now, in their order.
    """

    amounts: Array
    upto: Array
    used: float
    weights: Array

    def quantiles(self, places: Sequence[float]) -> Array:
        """The amounts at these quantiles, base units, never below what is used."""
        found: Array = np.maximum(np.exp(np.interp(places, self.upto, self.amounts)), self.used)
        return found

    def beyond(self, amount: float) -> float:
        """The probability of coming to more than an amount."""
        if amount <= self.used:
            return 1.0
        return 1.0 - self.place(amount)

    def place(self, amount: float) -> float:
        """Which quantile an amount is."""
        return float(np.interp(np.log(max(amount, _LEAST)), self.amounts, self.upto, left=0.0, right=1.0))

    def place_after(self, used: float, amount: float) -> float:
        """Which quantile an amount is once more is used and nothing else is known."""
        gone = self.place(used)
        if gone >= 1.0 - _LEAST:
            return float(np.interp(log(amount / used), _LEFT, _LEFT_PLACES, left=0.0, right=1.0))
        return max(0.0, (self.place(amount) - gone) / (1.0 - gone))


def distributions(outlooks: Sequence[Outlook]) -> Iterator[Distribution]:
    """The distribution of each outlook, in their order."""
    left = iter(outlooks)
    while some := list(islice(left, AT_ONCE)):
        # Those of about as many pieces together, so that next to nothing is reckoned with for nothing.
        order = sorted(range(len(some)), key=lambda place: len(some[place].pieces))
        parts = (order[first : first + _ALIKE] for first in range(0, len(order), _ALIKE))
        mixed = (each for part in parts for each in _mixed([some[place] for place in part]))
        found = dict(zip(order, mixed, strict=True))
        yield from map(found.__getitem__, range(len(some)))


def _mixed(outlooks: Sequence[Outlook]) -> Iterator[Distribution]:
    most, width = max(len(each.pieces) for each in outlooks), len(MASS)
    amounts = np.full((len(outlooks), most, width), _NEVER)
    shares = np.zeros((len(outlooks), most))
    is_there = np.arange(most) < np.array([len(each.pieces) for each in outlooks])[:, None]
    pieces = [piece for each in outlooks for piece in each.pieces]
    rows = np.concatenate([piece.row for piece in pieces]).reshape(-1, width)
    amounts[is_there] = rows + np.array([piece.anchor for piece in pieces])[:, None]
    shares[is_there] = [share for each in outlooks for share in each.shares]
    used = np.array([each.case.used for each in outlooks])
    least = np.maximum(np.log(used, where=used > 0, out=np.full(len(used), _NEVER)), _NEVER)
    weights = shares[:, :, None] * MASS * (amounts > least[:, None, None])
    by_piece = weights.sum(axis=2)
    flat = amounts.reshape(len(outlooks), -1)
    # What an outlook comes to must not depend, in the last digit, on those that are beside it.
    order = flat.argsort(axis=1, kind="stable")
    flat = np.take_along_axis(flat, order, axis=1)
    mass = np.take_along_axis(weights.reshape(len(outlooks), -1), order, axis=1)
    upto = mass.cumsum(axis=1)
    whole = upto[:, -1].copy()
    upto = (upto - mass / 2) / np.maximum(whole, _LEAST)[:, None]
    for place, each in enumerate(outlooks):
        if whole[place] <= _LEAST:
            yield _outlived(each, least[place])
            continue
        begin = int((flat[place] > least[place]).argmax())
        yield Distribution(
            flat[place, begin:], upto[place, begin:], each.case.used,
            by_piece[place, : len(each.pieces)] / whole[place],
        )  # fmt: skip


def _outlived(outlook: Outlook, least: float) -> Distribution:
    """It came to more than all that is known: about as long again as anything lasts that has lasted so long."""
    return Distribution(least + _LEFT, _LEFT_PLACES, outlook.case.used, np.zeros(len(outlook.pieces)))
