"""From a job of the ledger to its chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from gpuwatch.accounting.series import BurnUpSeries
from gpuwatch.accounting.views import JobView
from gpuwatch.cli.burnup_chart import Moved, chart_lines
from gpuwatch.cli.burnup_series import chart_of, chosen
from gpuwatch.ledger.forecast_store import KeptForecast
from gpuwatch.ledger.quality import Figure, Quality
from gpuwatch.ledger.scopes import Revision
from gpuwatch.model import EMPTY, BurnUpPoint, Expectation, Forecast, Scope, Usage
from tests.cli.charts import estimate
from tests.ledger.batch import HOUR, T0, running
from tests.ledger.made import job, run

NOW = T0 + 2 * HOUR


def kept(time: float, quantiles: Mapping[float, float], p_over: float | None = None) -> KeptForecast:
    """A forecast of the past."""
    return KeptForecast(T0, time, 1.0, quantiles, None, p_over)


def forecast(quantity: str, *amounts: float, **changed: Any) -> Forecast:
    """Its 10 %, median and 90 %."""
    quantiles = dict(zip((0.1, 0.5, 0.9), amounts, strict=False))
    return Forecast(Scope("job", "7"), quantity, 100.0, quantiles, None, "burn-up", NOW, **changed)


def view(series: BurnUpSeries | None, forecasts: Sequence[Forecast] = (), **changed: Any) -> JobView:
    """Two runs, of two devices for half an hour, and of one for an hour."""
    expectation = changed.pop("expectation", None)
    usage = Usage(held_seconds=HOUR, energy_joules={"counter": 2e6})
    runs = (
        run(started=T0, last_seen=T0 + HOUR / 2, usage=usage),
        run(started=int(T0 + HOUR), last_seen=NOW, usage=usage),
    )
    figure = Figure("states", EMPTY, 0.0, 0.0)
    return JobView(
        job(*runs, **changed), {each.quantity: each for each in forecasts}, (), Quality(figure, figure, figure),
        expectation=expectation, burnup=series,
    )  # fmt: skip


SERIES = BurnUpSeries(
    (
        BurnUpPoint(T0 + 900.0, 1800.0, 1e6),
        BurnUpPoint(T0 + 1800.0, 3600.0, 2e6),
        BurnUpPoint(T0 + 5400.0, 5400.0),
        BurnUpPoint(T0 + 7100.0, 7100.0, 3.9e6),
    ),
    {
        "device-hours": (
            kept(T0 + 60.0, {0.1: 1.0, 0.5: 2.0, 0.9: 3.0}, 0.2),
            kept(T0 + 90.0, {}),
            kept(NOW, {0.5: 4.0}),
        )
    },
)


@pytest.mark.parametrize(
    ("quantity", "points"),
    [
        ("device-hours", [(0, 0), (900, 1800), (1800, 3600), (5400, 5400), (7100, 7100), (7200, 7200)]),
        ("energy", [(0, 0), (900, 1e6), (1800, 2e6), (7100, 3.9e6), (7200, 4e6)]),
        ("wall", [(0, 0), (900, 900), (1800, 1800), (5400, 5400), (7100, 7100), (7200, 7200)]),
    ],
)
def test_points_go_up_to_what_is_known_last(quantity: str, points: list[tuple[float, float]]) -> None:
    """What is not known is left out, and the wall time goes on between runs."""
    chart = chart_of(view(SERIES), quantity, NOW)

    assert chart is not None
    assert [(T0 + at, amount) for at, amount in points] == [*chart.used]


@pytest.mark.parametrize("series", [None, BurnUpSeries(), BurnUpSeries((BurnUpPoint(T0 + 60.0, 60.0),))])
def test_without_points_there_is_no_chart(series: BurnUpSeries | None) -> None:
    """Of energy nothing is known in any of them."""
    assert None is chart_of(view(series), "energy", NOW)


def test_of_an_unknown_quantity_there_is_no_chart() -> None:
    """Money has no burn-up of its own."""
    assert None is chart_of(view(SERIES), "cost", NOW)


def test_forecasts_of_the_past_move() -> None:
    """One that could not say anything is left out, and one without an interval is its median."""
    chart = chart_of(view(SERIES), "device-hours", NOW)

    assert chart is not None
    assert [Moved(T0 + 60.0, 1.0, 2.0, 3.0, 0.2), Moved(NOW, 4.0, 4.0, 4.0, None)] == [*chart.moved]


def test_the_latest_forecast_is_the_end_of_how_it_moved() -> None:
    """Not each pass is kept, and what is drawn must not differ from what is said beside it."""
    latest = forecast("device-hours", 5.0, 6.0, 7.0, p_over=0.98)
    before = BurnUpSeries(SERIES.points, {"device-hours": SERIES.foretold["device-hours"][:1]})

    charts = [
        chart_of(view(before, [latest]), "device-hours", NOW),
        chart_of(view(before, [latest], state="ended"), "device-hours", NOW),
        chart_of(view(SERIES, [latest]), "device-hours", NOW),
    ]

    assert [(5.0, 6.0, 7.0, 0.98), (1.0, 2.0, 3.0, 0.2), (4.0, 4.0, 4.0, None)] == [
        each.moved[-1][1:] for each in charts if each is not None
    ]


def test_it_ends_when_its_wall_time_says() -> None:
    """Which is a forecast of its own, and no end lies in the past."""
    forecasts = (forecast("device-hours", 1e5, 2e5, 3e5), forecast("wall", HOUR, 4 * HOUR, 5 * HOUR))

    chart = chart_of(view(SERIES, forecasts), "device-hours", NOW)

    assert chart is not None
    assert (NOW, T0 + 4 * HOUR, T0 + 5 * HOUR) == chart.ends


def test_without_a_wall_time_it_goes_on_at_its_rate() -> None:
    """7200 device-seconds in two hours."""
    chart = chart_of(view(SERIES, [forecast("device-hours", 7200.0, 14_400.0, 21_600.0)]), "device-hours", NOW)

    assert chart is not None
    assert (NOW, NOW + 7200.0, NOW + 14_400.0) == chart.ends


def test_what_it_is_held_against_is_declared_else_expected() -> None:
    """By the forecast, else by its like; of another quantity nothing."""
    like = Expectation(Scope("job", "7"), "device-hours", {0.1: 5.0, 0.9: 9.0}, 41, "like it")
    held = forecast("device-hours", 1.0, 2.0, 3.0, against="expected", reference=7.0)
    declared = (Revision(estimate(4e5), True),)

    charts = [
        chart_of(view(SERIES, revisions=declared), "device-hours", NOW),
        chart_of(view(SERIES, [held], expectation=like), "device-hours", NOW),
        chart_of(view(SERIES, expectation=like), "device-hours", NOW),
        chart_of(view(SERIES, expectation=like), "energy", NOW),
    ]

    assert [(4e5,), (7.0,), (5.0, 9.0), ()] == [each.lines for each in charts if each is not None]


def test_the_limit_is_that_of_the_latest_run() -> None:
    """It began after an hour, and may run for two."""
    chart = chart_of(view(SERIES, record=running()), "device-hours", NOW)

    assert chart is not None
    assert T0 + 3 * HOUR == chart.limit_at


def test_a_job_that_has_ended_has_no_fan() -> None:
    """The chart ends with it, whenever it is looked at."""
    ended = view(SERIES, [forecast("device-hours", 7200.0)], state="ended", record=running())

    chart = chart_of(ended, "device-hours", NOW + 9e5)

    assert chart is not None
    assert (NOW, None, None, True) == (chart.now, chart.ends, chart.limit_at, chart.ended)
    assert chart_lines(chart)


def test_what_is_drawn_is_what_is_declared() -> None:
    """Device-hours before others, and where nothing is."""
    energy, hours = Revision(estimate(1e9, "energy", "J"), True), Revision(estimate(3600.0), True)

    assert ["energy", "device-hours", "device-hours"] == [
        chosen(view(SERIES, revisions=each)) for each in ((energy,), (energy, hours), ())
    ]


def test_a_view_without_runs_begins_when_the_job_did() -> None:
    """As that of a user who works beside the batch system."""
    alone = view(BurnUpSeries((BurnUpPoint(T0 + 60.0, 60.0),)))
    alone = replace(alone, job=replace(alone.job, runs=(), record=running()))

    chart = chart_of(alone, "device-hours", NOW)

    assert chart is not None
    assert T0 + 2 * HOUR == chart.limit_at
