"""From a job of the ledger to what its chart is drawn of. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from gpuwatch.accounting.series import BurnUpSeries
from gpuwatch.accounting.views import JobView
from gpuwatch.cli.burnup_chart import Chart, Moved
from gpuwatch.forecast.projection import MEDIAN
from gpuwatch.ledger.forecast_store import KeptForecast
from gpuwatch.ledger.queries import used
from gpuwatch.model import EMPTY, Forecast

DRAWN = ("device-hours", "energy", "wall")
"""The quantities that there is a burn-up of."""

_LOW, _HIGH = 0.1, 0.9


def chosen(view: JobView) -> str:
    """The quantity to draw where nobody says: what is declared, device-hours before others; else device-hours."""
    declared = view.job.estimates
    return next((quantity for quantity in DRAWN if quantity in declared), DRAWN[0])


def chart_of(view: JobView, quantity: str, now: float) -> Chart | None:
    """The chart of a quantity at the Unix time `now`; None where it is not known how it came to what it used."""
    points = _used_by(view, view.burnup, quantity) if view.burnup is not None else []
    if not points or view.burnup is None:
        return None
    job, forecast = view.job, view.forecasts.get(quantity)
    ended = job.state == "ended"
    at = job.last_seen if ended else max(now, job.last_seen)
    return Chart(
        quantity,
        float(job.started),
        at,
        points,
        job.estimates.get(quantity),
        _expected(view, quantity),
        forecast.quantiles if forecast is not None else EMPTY,
        None if ended or forecast is None else _ends(view, forecast, points, at),
        [*_moved(view.burnup.foretold.get(quantity, ()), None if ended else forecast)],
        None if ended else _limit_at(view),
        forecast.crosses_at if forecast is not None else None,
        ended,
    )


def _used_by(view: JobView, series: BurnUpSeries, quantity: str) -> list[tuple[float, float]]:
    """What it used by when, to what it used in all; it began with nothing."""
    started = float(view.job.started)
    rising = [(started, 0.0)]
    for point in series.points:
        amount = _amount(quantity, point.time - started, point.used, point.joules)
        if amount is not None:
            rising.append((point.time, amount))
    total = used(view.job, quantity)
    if len(rising) > 1 and total is not None and view.job.last_seen > rising[-1][0]:
        rising.append((view.job.last_seen, total))
    return rising if len(rising) > 1 else []


def _amount(quantity: str, seconds: float, device_seconds: float, joules: float | None) -> float | None:
    return {"device-hours": device_seconds, "energy": joules, "wall": seconds}.get(quantity)


def _expected(view: JobView, quantity: str) -> tuple[float, float] | None:
    """What the forecast is held against where nothing is declared, else the 80 % interval of its like."""
    forecast, like = view.forecasts.get(quantity), view.expectation
    if forecast is not None and forecast.against == "expected" and forecast.reference is not None:
        return forecast.reference, forecast.reference
    if like is None or like.quantity != quantity:
        return None
    low, high = like.quantiles.get(_LOW), like.quantiles.get(_HIGH)
    return (low, high) if low is not None and high is not None else None


def _ends(
    view: JobView, forecast: Forecast, points: Sequence[tuple[float, float]], now: float
) -> tuple[float, float, float] | None:
    """When it ends: by the forecast of its wall time, and without one at the mean rate until now."""
    wall, started = view.forecasts.get("wall"), float(view.job.started)
    of_wall = _three(wall.quantiles) if wall is not None else None
    if of_wall is not None:
        early, likely, late = (max(now, started + each) for each in of_wall)
        return early, likely, late
    amounts, reached = _three(forecast.quantiles), points[-1][1]
    if amounts is None or reached <= 0 or now <= started:
        return None
    rate = reached / (now - started)
    early, likely, late = (now + max(0.0, each - reached) / rate for each in amounts)
    return early, likely, late


def _three(quantiles: Mapping[float, float]) -> tuple[float, float, float] | None:
    """The ends of the 80 % interval around the median; all of them the median where nothing else is known."""
    if MEDIAN not in quantiles:
        return None
    median = quantiles[MEDIAN]
    return quantiles.get(_LOW, median), median, quantiles.get(_HIGH, median)


def _moved(foretold: Sequence[KeptForecast], latest: Forecast | None) -> Iterator[Moved]:
    """What was kept of forecasts, and the latest, which need not be among them."""
    last = max((each.time for each in foretold), default=0.0)
    for each in (*foretold, *([latest] if latest is not None and latest.time > last else ())):
        three = _three(each.quantiles)
        if three is not None:
            yield Moved(each.time, *three, each.p_over)


def _limit_at(view: JobView) -> float | None:
    """When the time limit of its latest run ends it."""
    job = view.job
    limit = job.record.facts.limit_seconds if job.record is not None else None
    if limit is None:
        return None
    return (job.runs[-1].started if job.runs else job.started) + limit
