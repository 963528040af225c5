"""How a forecast moved, and what was measured in between."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gpuwatch.accounting.forecast_change import changes
from gpuwatch.accounting.series import BurnUpSeries
from gpuwatch.accounting.views import JobView
from gpuwatch.ledger.forecast_store import KeptForecast
from gpuwatch.ledger.quality import quality_of
from gpuwatch.model import BurnUpPoint, Estimate, Forecast, Scope
from tests.ledger import made
from tests.ledger.batch import T0

HOUR, DAY = 3600.0, 86_400.0
NOW = T0 + 2 * DAY


def quantiles(low: float, middle: float, high: float) -> dict[float, float]:
    return {0.1: low * HOUR, 0.5: middle * HOUR, 0.9: high * HOUR}


def kept(
    before: float, low: float, middle: float, high: float, used: float = 24.0, **changed: Any
) -> KeptForecast:
    return KeptForecast(T0, NOW - before, used * HOUR, quantiles(low, middle, high), **changed)


def told(*past: KeptForecast, points: Any = (), **changed: Any) -> list[str]:
    """A job of one device that is projected to need 200 to 280 device-hours."""
    values: dict[str, Any] = {"used": 48 * HOUR, "quantiles": quantiles(200, 240, 280), "time": NOW, **changed}
    forecast = Forecast(Scope("job", "7"), "device-hours", declared=None, basis="", **values)
    job = made.job(made.run(), started=T0)
    series = BurnUpSeries(points, {"device-hours": past})
    view = JobView(job, {"device-hours": forecast}, (), quality_of(job), burnup=series)
    return [each.text for each in changes(view)]


def test_the_forecast_of_a_day_ago_stands_beside_that_of_now() -> None:
    """The last one that is a day old; those of an hour ago are too near, those of two days too far."""
    past = (kept(2 * DAY, 1, 2, 3), kept(DAY + 60, 80, 100, 120), kept(HOUR, 190, 230, 270))

    assert [
        "2023-11-15 07:59Z: 80 to 120, now 200 to 280 device-hours: nothing that was measured says why"
    ] == told(*past)


def test_of_a_young_job_the_first_forecast_is_taken() -> None:
    """If it is ten minutes old."""
    assert 1 == len(told(kept(HOUR, 80, 100, 120)))
    assert [] == told(kept(60.0, 80, 100, 120))
    assert [] == told()


def test_what_hardly_moved_is_not_told() -> None:
    """Within a twentieth, with an interval as wide."""
    assert [] == told(kept(DAY, 195, 235, 276))


def test_a_slower_step_is_told_with_its_factor() -> None:
    """By the burn-up, before and after."""
    steps = [10.0 * min(hour, 24) + 2.0 * max(0, hour - 24) for hour in range(49)]
    points = [BurnUpPoint(T0 + hour * HOUR, hour * HOUR, None, step, 1000.0) for hour, step in enumerate(steps)]

    (text,) = told(kept(DAY, 80, 100, 120), points=points)

    assert text.endswith(": a step takes 5 times what it took until then")


def test_more_devices_and_another_declaration_are_told() -> None:
    """It uses three times as much in an hour; the declaration was raised."""
    declared = Estimate(Scope("job", "7"), "device-hours", 500 * HOUR, 500 * HOUR, 500 * HOUR, "s")
    past = kept(DAY, 80, 100, 120, declared=100 * HOUR)
    forecast = Forecast(Scope("job", "7"), "device-hours", 96 * HOUR, quantiles(200, 240, 280), declared, "", NOW)
    job = made.job(made.run(), started=T0)
    view = JobView(job, {"device-hours": forecast}, (), quality_of(job),
                   burnup=BurnUpSeries((), {"device-hours": (past,)}))  # fmt: skip

    (change,) = changes(view)

    assert (
        "it uses 3 times as much in an hour as until then", "500 are declared, and 100 device-hours were",
    ) == change.reasons  # fmt: skip
    assert [] == list(changes(replace(view, job=replace(job, state="ended"))))
    assert [] == list(changes(replace(view, burnup=None)))


def test_a_narrower_interval_is_a_change_too() -> None:
    """More of it has run."""
    (text,) = told(kept(DAY, 100, 240, 400))

    assert text.endswith("more of it has run, so that less of it is unknown")
