"""What makes a field of a value an exported metric."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple

Labels = str | tuple[str, ...]
"""The label values of one series: a string where the metric has one label, a tuple where it has more."""

Labelled = Mapping[Labels, float]
"""A metric with labels of its own: label values to number; a series that is unknown has no key."""


class _Empty(dict[Any, Any]):
    """A mapping that stays empty; hashable, as Python 3.11 asks of a dataclass default."""

    __slots__ = ()

    def __hash__(self) -> int:  # type: ignore[override]
        return 0

    def __setitem__(self, key: Any, value: Any) -> None:
        raise TypeError("EMPTY cannot be changed")


EMPTY: Mapping[Any, Any] = _Empty()


@dataclass(frozen=True, slots=True)
class Metric:
    """Name, type, help and label names of an exported metric; `low` and `high` bound a believable reading."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    kind: Literal["gauge", "counter"] = "gauge"
    low: float | None = None
    high: float | None = None


def metric(
    name: str,
    help: str,
    *labels: str,
    kind: Literal["gauge", "counter"] = "gauge",
    low: float | None = None,
    high: float | None = None,
    default: object = None,
) -> Any:
    """Declare a dataclass field that is exported as the metric `name`; with `labels` its value is `Labelled`."""
    described = Metric(name, help, labels, kind, low, high)
    return field(default=EMPTY if labels else default, metadata={"metric": described})


class MetricField(NamedTuple):
    """A field of a value class and the metric it is."""

    field: str
    metric: Metric


_METRICS: dict[type, tuple[MetricField, ...]] = {}


def metrics_of(value_class: type) -> tuple[MetricField, ...]:
    """The metrics that `value_class` declares, in order."""
    if value_class not in _METRICS:
        _METRICS[value_class] = _declared_metrics(value_class)
    return _METRICS[value_class]


def _declared_metrics(value_class: type) -> tuple[MetricField, ...]:
    return tuple(
        MetricField(each.name, each.metadata["metric"])
        for each in fields(value_class)
        if "metric" in each.metadata
    )


def count_series(value: Any) -> int:
    """How many series `series_of` gives for a value."""
    count = 0
    for name, described in metrics_of(type(value)):
        number = getattr(value, name)
        count += len(number) if described.labels else number is not None
    return count


def series_of(value: Any) -> Iterator[tuple[Metric, tuple[str, ...], float]]:
    """Each known series of a value: metric, values of the metric's own labels, number."""
    for name, described in metrics_of(type(value)):
        number = getattr(value, name)
        if number is None:
            continue
        if not described.labels:
            yield described, (), number
            continue
        for labels, each in number.items():
            yield described, labels if isinstance(labels, tuple) else (labels,), each
