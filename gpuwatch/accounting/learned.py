"""What forecasts learned about how much each kind of evidence is worth, from pass to pass, in the ledger."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import isfinite
from typing import Any

from sqlalchemy import Connection, select

from gpuwatch.forecast.evidence import Context, Experience
from gpuwatch.forecast.reference import Tail
from gpuwatch.ledger import forecast_tables as tables
from gpuwatch.ledger.sql import Insert, run_many


def load(connection: Connection, cluster: str) -> Experience:
    """An experience without runs that knows what was learned; nothing where that cannot be read."""
    there = tables.learned.c
    text = connection.scalar(select(there.state).where(there.cluster == cluster))
    return read(text) if text else Experience()


def save(connection: Connection, cluster: str, experience: Experience) -> None:
    """Keep what was learned, in the caller's transaction."""
    run_many(connection, _upsert, [(cluster, written(experience))])


def _upsert(insert: Insert) -> Any:
    new = insert(tables.learned)
    return new.on_conflict_do_update(
        index_elements=list(tables.learned.primary_key), set_={"state": new.excluded.state}
    )


def written(experience: Experience) -> str:
    """What was learned as JSON."""
    shares = [
        {"context": context, "shares": {kind: round(share, 4) for kind, share in told.items()}}
        for context, told in sorted(experience.learned.items())
    ]
    tails = {kind: [round(each, 5) for each in tail.scales] for kind, tail in sorted(experience.tails.items())}
    return json.dumps({"shares": shares, "tails": tails}, separators=(",", ":"))


def read(text: str) -> Experience:
    """What `written` made of it; nothing where that cannot be read."""
    try:
        found = json.loads(text)
        shares: dict[Context, dict[str, float]] = {
            (bucket, together, alike, declares): {kind: _amount(share) for kind, share in each["shares"].items()}
            for each in found["shares"]
            for bucket, together, alike, declares in [each["context"]]
        }
        tails = {kind: _tail(scales) for kind, scales in found["tails"].items()}
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        # Of another version, or damaged: it is learned anew.
        return Experience()
    return Experience(tails=tails, learned=shares)


def _tail(scales: Sequence[float]) -> Tail:
    if len(scales) != len(Tail().scales):
        raise ValueError(f"learned: a tail of {len(scales)} scales")
    return Tail([_amount(scale) for scale in scales])


def _amount(number: float) -> float:
    # What is no number is a TypeError here.
    if not isfinite(number) or number < 0:
        raise ValueError(f"learned: {number!r} is no amount")
    return number
