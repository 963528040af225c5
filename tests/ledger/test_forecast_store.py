"""Forecasts as they were, on disk, in both databases."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import pytest

from gpuwatch.ledger import writing
from gpuwatch.ledger.burnup_store import load_burnups, save_burnups
from gpuwatch.ledger.charging import Tariffs, catch_up
from gpuwatch.ledger.forecast_store import (
    KEPT_SECONDS,
    KeptForecast,
    LastKept,
    PointKey,
    is_due,
    keep_points,
    last_points,
    points_of,
    thin,
)
from gpuwatch.ledger.posting import read
from gpuwatch.ledger.rate_file import load_rates
from gpuwatch.ledger.store import Store
from gpuwatch.model import BurnUp, BurnUpPoint, Estimate, Forecast, Scope
from tests.ledger.deliveries import delivery, row

STARTED = 1_800_000_000
JOB = Scope("job", "7")
KEY = PointKey(JOB, "device-hours", STARTED)
QUANTILES = {0.05: 1.0, 0.1: 2.0, 0.25: 3.0, 0.5: 4.0, 0.75: 5.0, 0.9: 6.0, 0.95: 7.0}
DAY = 86_400.0
NOW = STARTED + KEPT_SECONDS + DAY


def forecast(after: float, p_over: float | None = None, scope: Scope = JOB, **changed: Any) -> Forecast:
    """A forecast of so many seconds after the start."""
    told: dict[str, Any] = {
        "quantity": "device-hours", "used": 8 * after, "quantiles": QUANTILES, "declared": None, "basis": "",
    }  # fmt: skip
    return Forecast(scope, **{**told, **changed}, time=STARTED + after, p_over=p_over)


def keep(store: Store, *forecasts: Forecast, last: dict[PointKey, LastKept], cluster: str = "default") -> int:
    """Keep forecasts, each in a pass of its own."""
    number = 0
    for each in forecasts:
        with store.writing() as connection:
            number += keep_points(connection, cluster, [(each, float(STARTED))], last)
    return number


def times(store: Store, scope: Scope = JOB, cluster: str = "default") -> list[float]:
    """When the forecasts of a scope were kept, in seconds after its start."""
    with store.reading() as connection:
        return [each.time - STARTED for each in points_of(connection, cluster, scope, "device-hours")]


@pytest.mark.parametrize(
    ("before", "after", "p_before", "p_after", "due"),
    [
        (600.0, 659.0, None, None, False),
        (600.0, 660.0, None, None, True),
        (100_000.0, 103_999.0, None, None, False),
        (100_000.0, 104_000.0, None, None, True),
        (100_000.0, 100_060.0, 0.40, 0.55, True),
        (100_000.0, 100_060.0, 0.85, 0.75, True),
        (100_000.0, 100_060.0, 0.49, 0.51, False),  # it trembles
        (100_000.0, 100_060.0, 0.55, 0.75, False),
        (100_000.0, 100_060.0, None, 0.10, True),  # something was declared
        (100_000.0, 100_000.0, 0.40, 0.55, False),  # the same pass again
        (100_000.0, 99_990.0, 0.40, 0.55, False),  # another's clock
        (100_000.0, 95_000.0, None, None, True),  # the clock was set back
    ],
)
def test_a_point_is_due_by_age_or_where_an_overrun_became_likely(
    before: float, after: float, p_before: float | None, p_after: float | None, due: bool
) -> None:
    """4 % of the age, a minute at least; P(over) across 0.5 or 0.8."""
    assert due == is_due(LastKept(STARTED + before, p_before), STARTED, STARTED + after, p_after)


@pytest.mark.parametrize("interval", [60.0, 97.0, 600.0])
def test_a_month_has_less_than_three_hundred_points(interval: float) -> None:
    """However often a pass is made."""
    last, number, age = None, 0, 0.0
    while age < 30 * DAY:
        if is_due(last, STARTED, STARTED + age, None):
            last, number = LastKept(STARTED + age, None), number + 1
        age += interval

    assert 100 < number < 300


def test_all_that_is_known_is_kept(store: Store) -> None:
    """A quantile that is missing stays so, and 0 is an amount."""
    declared = Estimate(JOB, "device-hours", 1.0, 2.0, 3.0, "s")
    bare = forecast(60.0, quantiles={0.5: 0.0})
    full = forecast(120.0, 0.7, declared=declared, crosses_at=STARTED + 1e4)

    assert 2 == keep(store, bare, full, last={})
    with store.reading() as connection:
        found = points_of(connection, "default", JOB, "device-hours", STARTED)
    assert [
        KeptForecast(STARTED, STARTED + 60.0, 480.0, {0.5: 0.0}),
        KeptForecast(STARTED, STARTED + 120.0, 960.0, QUANTILES, 2.0, 0.7, STARTED + 1e4),
    ] == found


def test_what_is_not_due_is_not_kept(store: Store) -> None:
    """Nor what is told twice, by this or by another accounting."""
    last: dict[PointKey, LastKept] = {}
    keep(store, *map(forecast, (6000.0, 6060.0, 6239.0, 6240.0)), last=last)

    assert {KEY: LastKept(STARTED + 6240.0, None)} == last
    keep(store, forecast(6240.0), last={})
    assert [6000.0, 6240.0] == times(store)


def test_points_are_found_by_scope_quantity_and_start(store: Store) -> None:
    """The oldest first; a scope that began twice has both."""
    last: dict[PointKey, LastKept] = {}
    again = STARTED + 50_000.0
    campaign, other = Scope("campaign", "7"), Scope("job", "8")
    told = [(forecast(90_000.0), again), (forecast(600.0), STARTED), (forecast(300.0, scope=campaign), STARTED)]
    told += [(forecast(400.0, scope=other), STARTED), (forecast(500.0, quantity="energy"), STARTED)]
    with store.writing() as connection:
        keep_points(connection, "default", [(each, float(began)) for each, began in told], last)
        keep_points(connection, "other", [(forecast(700.0), float(STARTED))], {})

    with store.reading() as connection:
        both = points_of(connection, "default", JOB, "device-hours")
        second = points_of(connection, "default", JOB, "device-hours", again)
    assert [600.0, 90_000.0] == [each.time - STARTED for each in both]
    assert [90_000.0] == [each.time - STARTED for each in second]


def test_last_points_are_what_was_kept(store: Store) -> None:
    """So that an accounting that starts goes on where the one before was; of the scopes that are asked for."""
    last: dict[PointKey, LastKept] = {}
    scopes = [Scope("job", str(number)) for number in range(300)]
    for after, p_over in ((60.0, 0.1), (120.0, None), (180.0, 0.9)):
        with store.writing() as connection:
            told = [(forecast(after, p_over, scope), float(STARTED)) for scope in scopes]
            keep_points(connection, "default", told, last)

    with store.reading() as connection:
        assert last == last_points(connection, "default", scopes)
        assert {KEY: LastKept(STARTED + 180.0, 0.9)} == last_points(connection, "default", [JOB])
        assert {} == last_points(connection, "default", [Scope("campaign", "7")])
        assert {} == last_points(connection, "other", scopes)


def test_a_clock_that_was_set_back_takes_its_points_along(store: Store) -> None:
    """Those of a future that never was are gone, and the next go on."""
    last: dict[PointKey, LastKept] = {}
    keep(store, *map(forecast, (600.0, 660.0, 400 * DAY, 720.0, 780.0)), last=last)

    assert [600.0, 660.0, 720.0, 780.0] == times(store)
    assert {KEY: LastKept(STARTED + 780.0, None)} == last


@pytest.fixture
def old(store: Store) -> Store:
    """Two jobs with forecasts and burn-ups: 7 ended long ago, 8 goes on; nodes were last seen at `NOW`."""
    last: dict[PointKey, LastKept] = {}
    for after, name in ((600.0, "7"), (700.0, "7"), (600.0, "8"), (KEPT_SECONDS + DAY, "8")):
        keep(store, forecast(after, scope=Scope("job", name)), last=last)
    burnup = BurnUp(STARTED, (BurnUpPoint(STARTED + 600.0, 4800.0),))
    with store.writing() as connection:
        save_burnups(connection, "default", {("7", STARTED): burnup}, STARTED + 700.0)
        save_burnups(connection, "default", {("8", STARTED): burnup}, NOW)
        told = delivery([row("8", last_seen=NOW)], now=NOW)
        writing.post(connection, read(told), told.origin)
    catch_up(store, "default", Tariffs(load_rates(None, UTC)), NOW)
    return store


def burnups(store: Store) -> set[str]:
    """Whose burn-ups there are."""
    with store.reading() as connection:
        return {job_id for job_id, _ in load_burnups(connection, "default", [("7", STARTED), ("8", STARTED)])}


def test_what_is_long_over_is_dropped(old: Store) -> None:
    """A scope that goes on keeps its points from the first; a second time changes nothing."""
    for number in (3, 0):
        with old.writing() as connection:
            assert number == thin(connection, "default", NOW)

    assert ([], [600.0, KEPT_SECONDS + DAY]) == (times(old), times(old, Scope("job", "8")))
    assert {"8"} == burnups(old)


@pytest.mark.parametrize("cluster", ["default", "other"])
def test_a_clock_that_jumps_ahead_drops_nothing_more(old: Store, cluster: str) -> None:
    """Nothing is older than the nodes' own clocks make it."""
    with old.writing() as connection:
        thin(connection, cluster, NOW + 1000 * DAY)

    assert [600.0, KEPT_SECONDS + DAY] == times(old, Scope("job", "8"))
    assert ({"8"} if cluster == "default" else {"7", "8"}) == burnups(old)
