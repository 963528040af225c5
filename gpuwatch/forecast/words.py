"""Why a forecast says what it says, and how often such forecasts were right, in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from gpuwatch.forecast.calibration import FEWEST
from gpuwatch.forecast.evidence import SHIPPED, Outlook, Piece
from gpuwatch.forecast.reference import Array

LEAST_SHARE = 0.1
"""Evidence that says less than that is not told of."""

_OF: Mapping[str, str] = {
    "batch": "called {name} that were submitted with it",
    "like": "of {user} called {name} that declared as much",
    "name": "of {user} called {name}",
    "user": "of {user}",
    "account": "of account {account}",
    "called": "called {name}, of anybody",
    "cluster": "of this cluster",
}


def basis_of(outlook: Outlook, weights: Array, total: float | None = None) -> str:
    """What a forecast is based on, the weightiest first; `total` is the number of steps of the whole."""
    by_words: dict[str, float] = {}
    for piece, weight in zip(outlook.pieces, weights.tolist(), strict=True):
        words = _burn_up(outlook, total) if piece.kind.startswith("burn") else _of(outlook, piece)
        by_words[words] = by_words.get(words, 0.0) + weight
    told = sorted(((weight, words) for words, weight in by_words.items()), reverse=True)
    kept = [each for each in told if each[0] >= LEAST_SHARE] or told[:1]
    if len(kept) == 1:
        return kept[0][1]
    return ", ".join(f"{words} ({100 * weight:.0f} %)" for weight, words in kept)


def _burn_up(outlook: Outlook, total: float | None) -> str:
    seen = outlook.burn_up
    ratio = seen.ratio if seen is not None else 0.0
    steps = f" of {total:,.10g} steps" if total is not None else ""
    return f"its burn-up at {100 * ratio:.0f} %{steps}"


def _of(outlook: Outlook, piece: Piece) -> str:
    place, case = piece.kind.partition(" ")[2], outlook.case
    if place == SHIPPED or piece.source is None:
        told = "declarations" if piece.kind.startswith("ratio") else "jobs"
        known = any(each.source is not None for each in outlook.pieces)
        return f"what is shipped about {told}" + ("" if known else ": nothing alike has ended here")
    words = _OF[place].format(user=case.user or "nobody", name=case.name or "nothing", account=case.account)
    return f"{len(piece.source):,} job{'s' if len(piece.source) != 1 else ''} {words}"


def record_of(n: int, held: float) -> str:
    """How often intervals of 80 % held at this site, of `n` finished forecasts."""
    if n < FEWEST:
        return f"no record at this site yet (n={n})"
    return f"80 % intervals held {100 * held:.0f} % of the time in {n:,} finished forecasts at this site"
