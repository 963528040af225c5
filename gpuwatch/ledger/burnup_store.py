"""Burn-ups on disk: how jobs came to where they are, one row for each run of a job.

A burn-up is written in columns, and numbers that only rise as what they rise by, so that ten thousand are read in
a second: times and device-seconds to the thousandth, energy to the joule, steps as they were told.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from itertools import accumulate, chain, filterfalse, groupby, repeat
from math import isfinite
from operator import is_, sub
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select, tuple_, update

from gpuwatch.ledger import forecast_tables as tables
from gpuwatch.ledger.sql import Insert, among, run_many
from gpuwatch.model import BurnUp, BurnUpPoint

RunKey = tuple[str, int]
"""A job id and when its run began, Unix seconds."""

Projected = tuple[tuple[int, float], ...]
"""What the burn-up of a run that is over projected, device-seconds, as it came into each bucket of progress."""

_AT_ONCE = 5000
MOST_PROJECTED = 20_000


def is_due(burnup: BurnUp, kept: BurnUp | None) -> bool:
    """Whether it is worth writing: only its last point, which the next pass knows better, may be another."""
    if kept is None:
        return bool(burnup.points)
    return (burnup.spacing_seconds, burnup.settled[-1:]) != (kept.spacing_seconds, kept.settled[-1:])


def load_burnups(connection: Connection, cluster: str, keys: Collection[RunKey]) -> dict[RunKey, BurnUp]:
    """The burn-ups of runs of a cluster's jobs; one that is not there, or cannot be read, is not among them."""
    wanted, job_ids = set(keys), sorted({job_id for job_id, _ in keys})
    there = tables.burnups.c
    found: dict[RunKey, BurnUp] = {}
    for first in range(0, len(job_ids), _AT_ONCE):
        chosen = among(there.job_id, job_ids[first : first + _AT_ONCE])
        query = select(there.job_id, there.started, there.points).where(chosen, there.cluster == cluster)
        for job_id, started, text in connection.execute(query):
            if (job_id, started) in wanted and (known := read(text, started)) is not None:
                found[job_id, started] = known
    return found


def save_burnups(connection: Connection, cluster: str, burnups: Mapping[RunKey, BurnUp], now: float) -> int:
    """Write burn-ups that are new or have grown; how many."""
    # What it projects is written once it is over, and stays.
    rows = [(*key, cluster, now, written(burnup), None) for key, burnup in burnups.items()]
    run_many(connection, _upsert, rows)
    return len(rows)


def save_projected(connection: Connection, cluster: str, projected: Mapping[RunKey, Projected]) -> None:
    """Keep what the burn-ups of runs projected that are over; runs without a burn-up are passed over."""
    names = ("its_job", "its_start", "its_cluster", "what")
    rows = [
        dict(zip(names, (*key, cluster, json.dumps(found, separators=(",", ":"))), strict=True))
        for key, found in projected.items()
        if found
    ]
    run_many(connection, _projected, rows)


def _projected(_insert: Insert) -> Any:
    there = tables.burnups.c
    its = (there.job_id == bindparam("its_job"), there.started == bindparam("its_start"))
    mine = there.cluster == bindparam("its_cluster")
    return update(tables.burnups).values(projected=bindparam("what")).where(*its, mine)


def load_projected(connection: Connection, cluster: str) -> dict[RunKey, Projected]:
    """What burn-ups projected of the runs that are over, the latest `MOST_PROJECTED`, the oldest first.

    What cannot be read is passed over.
    """
    there = tables.burnups.c
    query = select(there.job_id, there.started, there.projected)
    query = query.where(there.cluster == cluster, there.projected.is_not(None))
    latest = query.order_by(there.seen.desc()).limit(MOST_PROJECTED)
    rows = reversed(connection.execute(latest).all())
    return {(job_id, started): found for job_id, started, text in rows if (found := _read_projected(text))}


def _read_projected(text: str) -> Projected:
    try:
        found = tuple((int(bucket), float(amount)) for bucket, amount in json.loads(text))
    except (ValueError, TypeError, OverflowError):
        return ()
    return found if all(isfinite(amount) for _, amount in found) else ()


def _upsert(insert: Insert) -> Any:
    new = insert(tables.burnups)
    return new.on_conflict_do_update(
        index_elements=list(tables.burnups.primary_key),
        set_={name: new.excluded[name] for name in ("seen", "points")},
    )


def drop_unseen(connection: Connection, cluster: str, before: float, most: int) -> int:
    """Drop burn-ups that were last written before a Unix time, the oldest first; how many."""
    key = tables.burnups.primary_key.columns
    there = tables.burnups.c
    old = select(*key).where(there.cluster == cluster, there.seen < before).order_by(there.seen).limit(most)
    return connection.execute(delete(tables.burnups).where(tuple_(*key).in_(old))).rowcount


def written(burnup: BurnUp) -> str:
    """A burn-up as it is kept: JSON of its spacing and of a column for each part of a point."""
    started = burnup.started
    times, used, joules, steps, totals = zip(*burnup.points, strict=True) if burnup.points else ((),) * 5
    columns = {
        "every": burnup.spacing_seconds,
        "times": _rises([round(1000.0 * (time - started)) for time in times]),
        "used": _rises([round(1000.0 * amount) for amount in used]),
        "joules": [None if amount is None else round(amount) for amount in joules],
        "steps": steps,
        "totals": [(total, len([*run])) for total, run in groupby(totals)],
    }
    return _ENCODE(columns)


_ENCODE = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def read(text: str, started: float) -> BurnUp | None:
    """What `written` made of the burn-up of a run that began at `started`; None where that cannot be read."""
    try:
        return _read(json.loads(text), started)
    except (ValueError, TypeError, KeyError, OverflowError):
        return None


def _read(told: dict[str, Any], started: float) -> BurnUp:
    times = [started + each / 1000.0 for each in accumulate(told["times"])]
    used = [each / 1000.0 for each in accumulate(told["used"])]
    totals = chain.from_iterable(repeat(total, number) for total, number in told["totals"])
    points = tuple(map(_POINT, zip(times, used, told["joules"], told["steps"], totals, strict=True)))
    # What is no number is a TypeError here.
    numbers = chain(times, used, told["joules"], told["steps"], (total for total, _ in told["totals"]))
    if not all(map(isfinite, filterfalse(_is_unknown, numbers))) or not told["every"] > 0:
        raise ValueError("burnups: not finite")
    return BurnUp(started, points, told["every"])


_is_unknown = partial(is_, None)


_POINT = partial(tuple.__new__, BurnUpPoint)


def _rises(values: Sequence[int]) -> list[int]:
    return [*values[:1], *map(sub, values[1:], values)]
