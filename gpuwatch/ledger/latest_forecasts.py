"""What the latest pass forecast of everything that ran then, for all who show it and reckon nothing themselves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, delete, select

from gpuwatch.ledger import forecast_tables as tables
from gpuwatch.ledger.sql import Insert, among, run_many
from gpuwatch.model import Forecast, Scope

ScopeOf = tuple[str, Scope]
"""A scope and the cluster whose accounting forecasts it."""

_AT_ONCE = 5000
_LEVELS = tuple(int(name[1:]) / 100 for name in tables.QUANTILES)


def save(connection: Connection, cluster: str, forecasts: Sequence[Forecast], now: float) -> None:
    """Write what was forecast at `now` of everything that runs, and drop what is not among it: it has ended."""
    run_many(connection, _upsert, [_row(cluster, each, now) for each in forecasts])
    there = tables.forecasts.c
    connection.execute(delete(tables.forecasts).where(there.cluster == cluster, there.time != now))


def _row(cluster: str, forecast: Forecast, now: float) -> tuple[object, ...]:
    begin, end = forecast.crosses_between or (None, None)
    quantile = forecast.quantiles.get
    return (
        forecast.scope.name, forecast.scope.kind, cluster, forecast.quantity, now, forecast.used,
        forecast.against, forecast.reference, forecast.p_over, forecast.p_limit, forecast.crosses_at, begin, end,
        forecast.stage, forecast.basis, forecast.record, forecast.n, *map(quantile, _LEVELS),
    )  # fmt: skip


def _upsert(insert: Insert) -> Any:
    new, there = insert(tables.forecasts), tables.forecasts
    facts = [column.name for column in there.c if not column.primary_key]
    return new.on_conflict_do_update(
        index_elements=list(there.primary_key), set_={name: new.excluded[name] for name in facts}
    )


def of_scopes(connection: Connection, wanted: Collection[ScopeOf]) -> dict[ScopeOf, dict[str, Forecast]]:
    """What was last forecast of scopes, by quantity; one that did not run in the latest pass is not among them.

    What is `declared` is left out: who knows the scopes knows that, as it is by now.
    """
    scopes, names = set(wanted), sorted({scope.name for _, scope in wanted})
    there = tables.forecasts.c
    found: dict[ScopeOf, dict[str, Forecast]] = defaultdict(dict)
    for first in range(0, len(names), _AT_ONCE):
        query = select(tables.forecasts).where(among(there.scope, names[first : first + _AT_ONCE]))
        for name, kind, cluster, *row in connection.execute(query):
            scope = Scope(kind, name)
            if (cluster, scope) in scopes:
                found[cluster, scope][row[0]] = _forecast(scope, *row)
    return dict(found)


def _forecast(
    scope: Scope, quantity: str, time: float, used: float, against: Any, reference: float | None,
    p_over: float | None, p_limit: float | None, at: float | None, begin: float | None, end: float | None,
    stage: str, basis: str, record: str, n: int, *amounts: float | None,
) -> Forecast:  # fmt: skip
    """The columns after the key, in the order of the table."""
    quantiles = {q: amount for q, amount in zip(_LEVELS, amounts, strict=True) if amount is not None}
    between = (begin, end) if begin is not None else None
    return Forecast(
        scope, quantity, used, quantiles, None, basis, time, p_over, at, between, against, reference, p_limit,
        stage, record, n,
    )  # fmt: skip
