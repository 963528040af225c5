"""Forecasts as points."""

from __future__ import annotations

import pytest

from gpuwatch.model import Estimate, Forecast, Scope, points
from gpuwatch.sinks.forecast_points import forecast_batches
from tests.sinks.line_parser import Point, parse

NOW = 1_764_000_000.5


def forecast(name: str = "4711", quantity: str = "energy", kind: str = "job") -> Forecast:
    """A job that will need more than it said."""
    scope = Scope(kind, name)
    declared = Estimate(scope, quantity, 1.0, 2.0, 3.0, "J")
    return Forecast(
        scope, quantity, 1.5, {0.05: 2.5, 0.5: 3.25, 0.95: 1e12}, declared, "used / progress", NOW, 0.97
    )


def read(forecasts: list[Forecast]) -> list[Point]:
    """The points of a pass."""
    return parse(b"".join(batch.lines for batch in forecast_batches(forecasts, "c1")))


def test_forecast_is_a_point_with_its_quantiles() -> None:
    """The scope's name is a field: as a tag it would be a series for each job."""
    fields = {"scope": "4711", "q05": 2.5, "q50": 3.25, "q95": 1e12, "declared": 2.0, "p_over": 0.97}
    tags = (("cluster", "c1"), ("scope_kind", "job"), ("quantity", "energy"))

    assert [Point(points.FORECAST, tags, tuple(fields.items()), 1_764_000_000_500_000_000)] == read([forecast()])


def test_scopes_of_one_pass_have_times_of_their_own() -> None:
    """With the same tags and time the last would overwrite the others; the order is always the same."""
    found = read([forecast("b"), forecast("a"), forecast("a", "cost"), forecast("x", kind="campaign")])

    keys = [(point.tags, point.time) for point in found]
    times = {(dict(point.fields)["scope"], dict(point.tags)["quantity"]): point.time for point in found}
    assert len(set(keys)) == len(keys) == 4
    assert (times["a", "energy"], times["a", "energy"] + 1_000_000) == (
        times["a", "cost"], times["b", "energy"],
    )  # fmt: skip


def test_what_cannot_be_said_yet_is_absent() -> None:
    """Neither quantiles nor declaration: no point."""
    nothing = Forecast(Scope("job", "1"), "energy", 1.0, {}, None, "too early", NOW)

    assert forecast_batches([nothing], "c1") == ()


@pytest.mark.parametrize(("q", "expected"), [(0.05, "q05"), (0.5, "q50"), (0.975, "q97_5"), (0.01, "q01")])
def test_names_of_quantiles(q: float, expected: str) -> None:
    """Two digits, so that they sort."""
    assert expected == points.quantile(q)
