"""What ended in the ledger, as a backtest is given it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection

from gpuwatch.forecast.history import BacktestRun
from gpuwatch.forecast.trials import UNHEARD
from gpuwatch.ledger import burnup_store, clusters
from gpuwatch.ledger.past import normalised
from gpuwatch.ledger.replaying import ended_runs
from gpuwatch.model import BurnUpPoint

MOST = 100_000
"""So many runs of each cluster are replayed, the latest."""


def past_runs(connection: Connection, now: float) -> list[BacktestRun]:
    """The runs that ended before `now`, of all clusters that the ledger keeps."""
    return [run for name in clusters.known(connection) for run in _runs(connection, name, now)]


def _runs(connection: Connection, cluster: str, now: float) -> Iterator[BacktestRun]:
    for each in ended_runs(connection, cluster, 0.0, now, MOST, _points):
        said = {"name": normalised(each.name), "state": each.state or UNHEARD, "cluster": cluster}
        yield BacktestRun(**{**each._asdict(), **said})


def _points(text: str, started: float) -> Sequence[BurnUpPoint]:
    burnup = burnup_store.read(text, started)
    return burnup.points if burnup is not None else ()
