"""Outlooks and distributions made for tests, of which the truth is known."""

from __future__ import annotations

import numpy as np

from gpuwatch.forecast.evidence import Case, Outlook, Piece
from gpuwatch.forecast.mixing import Distribution, distributions
from gpuwatch.forecast.reference import Array, row_around, row_through

NO_CONTEXT = (-1, 0, 0, True)


def case(used: float = 0.0, declared: float | None = 1000.0, limit: float | None = None) -> Case:
    """A run of ada's that is called train."""
    return Case("ada", "lab", "train", used, declared, limit=limit)


def outlook(*pieces: tuple[float, Array, float], used: float = 0.0) -> Outlook:
    """Pieces by their share, their row, and the amount that they are beside."""
    made = tuple(
        Piece(f"ratio {number}", None, row, float(np.log(anchor)))
        for number, (_, row, anchor) in enumerate(pieces)
    )
    return Outlook(case(used), NO_CONTEXT, made, tuple(share for share, _, _ in pieces))


def about(amount: float, deviation: float = 0.3, used: float = 0.0) -> Distribution:
    """What a run comes to that may come to this amount, with a spread on both sides."""
    return next(distributions([outlook((1.0, row_around(deviation), amount), used=used)]))


def between(least: float, most: float, used: float = 0.0) -> Distribution:
    """Any amount between these as likely as another, by their logarithms."""
    return next(distributions([outlook((1.0, row_through((0.0, 1.0), (least, most)), 1.0), used=used)]))
