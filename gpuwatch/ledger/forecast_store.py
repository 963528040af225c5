"""Forecasts as they were, on disk: how they moved can be drawn, and told of a scope that is long over.

A point is kept whenever the scope has grown older by a part of its age, so that a month has no more than a few
hundred, and at once when an overrun has become likely or is so no more.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, delete, exists, func, select, tuple_

from gpuwatch.ledger import burnup_store, history, trial_store
from gpuwatch.ledger import forecast_tables as tables
from gpuwatch.ledger.sql import Insert, among, run_many
from gpuwatch.model import Forecast, Scope

AGE_RATIO = 0.04
LEAST_SECONDS = 60.0
TURNS = (0.5, 0.8)
"""When P(over) comes above or below these, a point is kept at once."""
TURN_MARGIN = 0.05
"""But not where it only trembles around one."""

KEPT_SECONDS = 90 * 86_400.0
"""How long forecasts and burn-ups are kept of what is over."""

ROWS_AT_ONCE = 50_000
"""So many points are dropped in one transaction; the next goes on."""

_AT_ONCE = 5000
_LEVELS = {name: int(name[1:]) / 100 for name in tables.QUANTILES}
_RUN = ("scope", "scope_kind", "cluster", "quantity", "started")


class PointKey(NamedTuple):
    """Whose forecast it is, of what, and when the scope began, Unix seconds."""

    scope: Scope
    quantity: str
    started: int


class LastKept(NamedTuple):
    """When a forecast was last kept, Unix seconds, and P(over) then."""

    time: float
    p_over: float | None


@dataclass(frozen=True, slots=True)
class KeptForecast:
    """A forecast as it was at a Unix time, amounts in base units; a quantile that is missing was not known.

    `declared` is what was declared by then, and `crosses_at` when it was to be crossed.
    """

    started: int
    time: float
    used: float
    quantiles: Mapping[float, float]
    declared: float | None = None
    p_over: float | None = None
    crosses_at: float | None = None


def is_due(last: LastKept | None, started: float, now: float, p_over: float | None) -> bool:
    """Whether the forecast of what began at `started` is to be kept now, after `last`.

    Also where the clock was set back by more than lies between two points.
    """
    if last is None:
        return True
    if abs(now - last.time) >= max(LEAST_SECONDS, AGE_RATIO * (last.time - started)):
        return True
    return now > last.time and _has_turned(last.p_over, p_over)


def _has_turned(before: float | None, now: float | None) -> bool:
    if before is None or now is None:
        return before is not now
    return abs(now - before) >= TURN_MARGIN and any((before >= turn) != (now >= turn) for turn in TURNS)


def keep_points(
    connection: Connection,
    cluster: str,
    forecasts: Sequence[tuple[Forecast, float]],
    last_kept: MutableMapping[PointKey, LastKept],
) -> int:
    """Keep those that are due, each with when its scope began; how many. `last_kept` is brought up to date.

    What was kept of a later time, by a clock that was set back since, is dropped.
    """
    rows, ahead = [], []
    for forecast, started in forecasts:
        key = PointKey(forecast.scope, forecast.quantity, int(started))
        last = last_kept.get(key)
        if not is_due(last, started, forecast.time, forecast.p_over):
            continue
        row = _row(cluster, key, forecast)
        if last is not None and forecast.time < last.time:
            ahead.append((*row[: len(_RUN)], forecast.time))
        rows.append(row)
        last_kept[key] = LastKept(forecast.time, forecast.p_over)
    for each in ahead:
        _drop_later(connection, each)
    run_many(connection, _upsert, rows)
    return len(rows)


def _row(cluster: str, key: PointKey, forecast: Forecast) -> tuple[object, ...]:
    return (
        key.scope.name, key.scope.kind, cluster, key.quantity, key.started, int(forecast.time), forecast.used,
        forecast.declared.likely if forecast.declared is not None else None, forecast.p_over,
        forecast.crosses_at, *(forecast.quantiles.get(level) for level in _LEVELS.values()),
    )  # fmt: skip


def _drop_later(connection: Connection, run: tuple[object, ...]) -> None:
    there = tables.forecast_points.c
    *key, time = run
    its = (there[name] == value for name, value in zip(_RUN, key, strict=True))
    connection.execute(delete(tables.forecast_points).where(*its, there.time > time))


def _upsert(insert: Insert) -> Any:
    new, there = insert(tables.forecast_points), tables.forecast_points
    facts = [column.name for column in there.c if not column.primary_key]
    return new.on_conflict_do_update(
        index_elements=list(there.primary_key), set_={name: new.excluded[name] for name in facts}
    )


def last_points(connection: Connection, cluster: str, scopes: Collection[Scope]) -> dict[PointKey, LastKept]:
    """When the forecasts of scopes were last kept: what `keep_points` is to be given first."""
    wanted, names = set(scopes), sorted({scope.name for scope in scopes})
    points = tables.forecast_points
    run = [points.c[name] for name in _RUN]
    found: dict[PointKey, LastKept] = {}
    for first in range(0, len(names), _AT_ONCE):
        its = (among(points.c.scope, names[first : first + _AT_ONCE]), points.c.cluster == cluster)
        latest = select(*run, func.max(points.c.time).label("time")).where(*its).group_by(*run).subquery()
        same = and_(*(points.c[name] == latest.c[name] for name in (*_RUN, "time")))
        query = select(*run, points.c.time, points.c.p_over).select_from(latest.join(points, same))
        for row in connection.execute(query):
            scope = Scope(row.scope_kind, row.scope)
            if scope in wanted:
                found[PointKey(scope, row.quantity, row.started)] = LastKept(row.time, row.p_over)
    return found


def points_of(
    connection: Connection, cluster: str, scope: Scope, quantity: str, started: float | None = None
) -> list[KeptForecast]:
    """What was forecast of a scope and a quantity, the oldest first; all runs of it unless `started` names one."""
    points = tables.forecast_points
    there = points.c
    query = select(points).where(
        there.scope == scope.name, there.scope_kind == scope.kind, there.cluster == cluster,
        there.quantity == quantity,
    )  # fmt: skip
    if started is not None:
        query = query.where(there.started == int(started))
    return [_kept(row._mapping) for row in connection.execute(query.order_by(there.started, there.time))]


def _kept(row: Mapping[Any, Any]) -> KeptForecast:
    quantiles = {level: row[name] for name, level in _LEVELS.items() if row[name] is not None}
    return KeptForecast(
        row["started"], float(row["time"]), row["used"], quantiles, row["declared"], row["p_over"],
        row["crosses_at"],
    )  # fmt: skip


def thin(connection: Connection, cluster: str, now: float) -> int:
    """Drop what is kept of forecasts and is too old, at most `ROWS_AT_ONCE` of each kind; how many rows.

    Nothing is older than the latest usage makes it: a clock that jumps ahead drops nothing.
    """
    before = min(now, history.latest_seen(connection, cluster)) - KEPT_SECONDS
    return (
        _drop_old_points(connection, cluster, before)
        + burnup_store.drop_unseen(connection, cluster, before, ROWS_AT_ONCE)
        + trial_store.drop_beyond(connection, cluster, trial_store.MOST_KEPT, ROWS_AT_ONCE)
    )


def _drop_old_points(connection: Connection, cluster: str, before: float) -> int:
    """Drop the points of runs whose last one is of before a Unix time."""
    points = tables.forecast_points
    there, later = points.c, points.alias("later")
    its = and_(*(later.c[name] == there[name] for name in _RUN), later.c.time >= before)
    key = points.primary_key.columns
    old = select(*key).where(there.cluster == cluster, there.time < before, ~exists().where(its))
    oldest = old.order_by(there.time).limit(ROWS_AT_ONCE)
    return connection.execute(delete(points).where(tuple_(*key).in_(oldest))).rowcount
