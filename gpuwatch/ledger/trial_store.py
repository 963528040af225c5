"""Trials on disk: what was forecast of a run at each stage, beside what it came to; and what was learned of them.

What marks and calls mean is for `forecast.trials` to say; here they are numbers by name.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, and_, bindparam, delete, func, select, tuple_, update

from gpuwatch.ledger import forecast_tables as tables
from gpuwatch.ledger.sql import Insert, run_many
from gpuwatch.model import EMPTY, Scope

MOST_KEPT = 20_000
"""So many trials that are over are kept of a cluster, the latest."""

_KEY = ("scope", "scope_kind", "cluster", "quantity", "started")
_FACTS = ("user", "against", "declared", "marks", "calls")

Numbers = tuple[float | None, ...]
CalibrationKey = tuple[str, str, float]
"""A quantity, a stage and the level of a quantile."""


class TrialKey(NamedTuple):
    """Whose trial it is, of what, and when the scope began, Unix seconds."""

    scope: Scope
    quantity: str
    started: int


class Outcome(NamedTuple):
    """What a run came to, when it ended (Unix seconds), and whether it would have come to more."""

    final: float
    ended: float
    cut: bool = False


@dataclass(frozen=True, slots=True)
class KeptTrial:
    """One run as it is kept: what it is held against, amounts in base units, and numbers by stage and threshold.

    `outcome` is None while it goes on.
    """

    user: str
    against: str
    declared: float
    marks: Mapping[str, Numbers] = EMPTY
    calls: Mapping[float, Numbers] = EMPTY
    outcome: Outcome | None = None


def open_trials(connection: Connection, cluster: str) -> dict[TrialKey, KeptTrial]:
    """The trials of a cluster that are not over, but for those that cannot be read: they begin anew."""
    there = tables.trials.c
    query = select(tables.trials).where(there.cluster == cluster, there.ended.is_(None))
    return dict(filter(None, map(_trial, connection.execute(query))))


def save_trials(connection: Connection, cluster: str, trials: Mapping[TrialKey, KeptTrial]) -> int:
    """Write trials that are new or have changed; how many. One that is saved without an outcome goes on again."""
    rows = [_row(cluster, *item) for item in trials.items()]
    run_many(connection, _upsert, rows)
    return len(rows)


def _row(cluster: str, key: TrialKey, trial: KeptTrial) -> tuple[object, ...]:
    return (
        key.scope.name, key.scope.kind, cluster, key.quantity, key.started, trial.user, trial.against,
        trial.declared, _json(trial.marks), _json({f"{at:g}": said for at, said in trial.calls.items()}),
        *(trial.outcome or (None, None, None)),
    )  # fmt: skip


def _upsert(insert: Insert) -> Any:
    new = insert(tables.trials)
    changed = (*_FACTS, "final", "ended", "cut")
    return new.on_conflict_do_update(
        index_elements=list(tables.trials.primary_key), set_={name: new.excluded[name] for name in changed}
    )


def finish(connection: Connection, cluster: str, outcomes: Mapping[TrialKey, Outcome]) -> int:
    """Say what runs came to, also again where that was restated; how many of them are on trial."""
    rows = [
        {**_names(cluster, key), **{f"its_{name}": value for name, value in outcome._asdict().items()}}
        for key, outcome in outcomes.items()
    ]
    return run_many(connection, _outcome, rows)


def _names(cluster: str, key: TrialKey) -> dict[str, object]:
    values = (key.scope.name, key.scope.kind, cluster, key.quantity, key.started)
    return {f"its_{name}": value for name, value in zip(_KEY, values, strict=True)}


def _outcome(_insert: Insert) -> Any:
    there = tables.trials.c
    its = (there[name] == bindparam(f"its_{name}") for name in _KEY)
    return update(tables.trials).where(*its).values({name: bindparam(f"its_{name}") for name in Outcome._fields})


def drop(connection: Connection, cluster: str, keys: Collection[TrialKey]) -> int:
    """Forget trials of which nobody will know what they came to; how many there were."""
    return run_many(connection, _drop, [_names(cluster, key) for key in keys])


def _drop(_insert: Insert) -> Any:
    there = tables.trials.c
    return delete(tables.trials).where(*(there[name] == bindparam(f"its_{name}") for name in _KEY))


def finished(
    connection: Connection, cluster: str, quantity: str, most: int = 5000
) -> list[tuple[TrialKey, KeptTrial]]:
    """The latest trials of a cluster and a quantity that are over, the one that ended first first.

    Those that cannot be read are passed over.
    """
    there = tables.trials.c
    over = and_(there.cluster == cluster, there.quantity == quantity, there.ended.is_not(None))
    query = (
        select(tables.trials).where(over).order_by(there.ended.desc(), there.scope.desc(), there.started.desc())
    )
    return [*filter(None, map(_trial, connection.execute(query.limit(most))))][::-1]


def drop_beyond(connection: Connection, cluster: str, kept: int, most: int) -> int:
    """Drop trials that are over, all but the latest, the oldest first and at most so many at once; how many."""
    there, key = tables.trials.c, tables.trials.primary_key.columns
    over = and_(there.cluster == cluster, there.ended.is_not(None))
    number = connection.scalar(select(func.count()).select_from(tables.trials).where(over)) or 0
    if number <= kept:
        return 0
    old = select(*key).where(over).order_by(there.ended).limit(min(most, number - kept))
    return connection.execute(delete(tables.trials).where(tuple_(*key).in_(old))).rowcount


def _trial(row: Row[Any]) -> tuple[TrialKey, KeptTrial] | None:
    """None where what is there cannot be read."""
    outcome = None if row.ended is None else Outcome(row.final, row.ended, bool(row.cut))
    try:
        marks = {stage: _numbers(told) for stage, told in json.loads(row.marks).items()}
        calls = {float(at): _numbers(told) for at, told in json.loads(row.calls).items()}
    except (ValueError, TypeError, AttributeError, OverflowError):
        return None
    key = TrialKey(Scope(row.scope_kind, row.scope), row.quantity, row.started)
    return key, KeptTrial(row.user, row.against, row.declared, marks, calls, outcome)


def _numbers(told: Sequence[float | None]) -> Numbers:
    # What is no number is a TypeError here.
    if not all(isfinite(each) for each in told if each is not None):
        raise ValueError(f"trials: {told!r} is not finite")
    return tuple(told)


def _json(numbers: Mapping[str, Numbers]) -> str:
    return json.dumps(numbers, separators=(",", ":"), allow_nan=False)


def load_calibration(connection: Connection, cluster: str) -> dict[CalibrationKey, tuple[float, int]]:
    """Which raw quantile stands for each level, and after how many runs, of a cluster."""
    query = select(tables.calibration).where(tables.calibration.c.cluster == cluster)
    return {(row.quantity, row.stage, row.level): (row.place, row.n) for row in connection.execute(query)}


def save_calibration(
    connection: Connection, cluster: str, places: Mapping[CalibrationKey, tuple[float, int]]
) -> None:
    """Write what was learned; levels that are not told of stay."""
    run_many(connection, _learned, [(cluster, *key, *learned) for key, learned in places.items()])


def _learned(insert: Insert) -> Any:
    new = insert(tables.calibration)
    return new.on_conflict_do_update(
        index_elements=list(tables.calibration.primary_key),
        set_={name: new.excluded[name] for name in ("place", "n")},
    )
