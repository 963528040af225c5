"""Forecasts of a pass as points."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from gpuwatch.model import Forecast, points
from gpuwatch.sinks.batches import Batch, Line, Times, batches, milliseconds
from gpuwatch.sinks.line_protocol import GAUGE, TEXT, Encoder, Field, Series

_SCOPE = Field(points.FORECAST_SCOPE, TEXT)
_DECLARED = Field(points.FORECAST_DECLARED, GAUGE)
_OVER = Field(points.FORECAST_OVER, GAUGE)


def forecast_batches(forecasts: Sequence[Forecast], cluster: str) -> tuple[Batch, ...]:
    """Everything that a pass foresees; scopes of one kind and quantity have times one millisecond apart."""
    return batches(_lines(forecasts, cluster))


def _lines(forecasts: Sequence[Forecast], cluster: str) -> Iterator[Line]:
    encoder, times = Encoder(), defaultdict[tuple[str, str], Times](Times)
    for each in sorted(forecasts, key=lambda each: (each.time, each.scope, each.quantity)):
        given = times[each.scope.kind, each.quantity]
        time = given.use(given.free(milliseconds(each.time)))
        tags = zip(points.FORECAST_TAGS, (cluster, each.scope.kind, each.quantity), strict=True)
        fields = _fields(each)
        if len(fields) > 1:
            series = Series(points.FORECAST, tuple(tags))
            yield Line(time, encoder.line(series, tuple(fields), tuple(fields.values()), time))


def _fields(forecast: Forecast) -> dict[Field, float | str]:
    fields: dict[Field, float | str] = {_SCOPE: forecast.scope.name}
    fields |= {Field(points.quantile(q), GAUGE): value for q, value in sorted(forecast.quantiles.items())}
    if forecast.declared is not None:
        fields[_DECLARED] = forecast.declared.likely
    if forecast.p_over is not None:
        fields[_OVER] = forecast.p_over
    return fields
