"""What is assumed where a site knows nothing yet: it is shipped, and never shown as a site's own record. Pure."""

from __future__ import annotations

from functools import lru_cache

from gpuwatch.forecast.burnup import ERRORS
from gpuwatch.forecast.reference import Array, row_around, row_through

_PLACES = (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)

_BY_FLOPS = (0.45, 0.64, 0.68, 0.85, 1.0, 1.24, 1.41, 1.77, 2.4, 4.0)
"""What 43 published trainings came to by an estimate from their FLOP count, beside its median: their spread is
what `gpuwatch estimate flops` gives as its interval, and its likely amount is the median already."""

_BY_ANYTHING = (0.05, 0.15, 0.3, 0.65, 1.0, 1.3, 2.0, 3.0, 8.0, 20.0)
"""Anybody's guess: wide by intent, as overruns have fat tails, and many declare a limit they will not reach."""

_LEAST_SECONDS, _MOST_SECONDS = 30.0, 30 * 86_400.0 * 64


@lru_cache(maxsize=8)
def ratio(method: str | None) -> Array:
    """What runs come to beside what was declared, by its basis (`flops`, `pilot`, `history`, `guess`)."""
    return row_through(_PLACES, _BY_FLOPS if method == "flops" else _BY_ANYTHING)


@lru_cache(maxsize=512)
def total(limit: float | None) -> Array:
    """What a run comes to of which only its limit is known, device-seconds: any order as likely as another."""
    most = limit if limit is not None and limit > _LEAST_SECONDS else _MOST_SECONDS
    return row_through((0.0, 1.0), (_LEAST_SECONDS, most)) if most > _LEAST_SECONDS else row_around(1.0)


@lru_cache(maxsize=16)
def error(bucket: int) -> Array:
    """How far projections from burn-ups are off, in each of `burnup.BUCKETS`."""
    return row_around(ERRORS[bucket])
