"""Readings of a push interval made one point: of gauges the mean and the peak, of counters the last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from gpuwatch.model import DeviceUsage, HostReading, Labels, Metric, Reading, metrics_of, points
from gpuwatch.sinks.line_protocol import COUNT, COUNTER, GAUGE, Field

LIMIT_CELLS = 10_000


class Cell(NamedTuple):
    """What a number of a point is called; `order` is its place in the line, `last` that its last value counts."""

    order: int
    field: Field
    peak: Field | None
    last: bool


class _Column(NamedTuple):
    order: int
    attribute: str
    metric: Metric


class Cells:
    """The numbers of values of one class, by the names that they have in InfluxDB."""

    def __init__(self, value_class: type, measurement: str, first: int = 0) -> None:
        self._prefix = f"{measurement}_"
        self._columns = [_Column(first + n, *each) for n, each in enumerate(metrics_of(value_class))]
        self._cells: dict[tuple[int, Labels], Cell] = {}

    def of(self, value: object) -> Iterator[tuple[Cell, float]]:
        """Each known number of a value."""
        for column in self._columns:
            number = getattr(value, column.attribute)
            if not column.metric.labels:
                if number is not None:
                    yield self._cell(column, ()), number
            else:
                for labels, each in number.items():
                    yield self._cell(column, labels), each

    def _cell(self, column: _Column, labels: Labels) -> Cell:
        key = (column.order, labels)
        return self._cells.get(key) or self._new(key, column.metric)

    def _new(self, key: tuple[int, Labels], metric: Metric) -> Cell:
        if len(self._cells) >= LIMIT_CELLS:
            self._cells.clear()
        order, labels = key
        base = metric.name.removeprefix(self._prefix)
        name = points.labelled(base, *((labels,) if isinstance(labels, str) else labels))
        form = _form(metric)
        peak = Field(name + points.PEAK, form) if base in points.PEAKS else None
        cell = self._cells[key] = Cell(order, Field(name, form), peak, form != GAUGE)
        return cell


def _form(metric: Metric) -> str:
    if metric.name.endswith(("_bytes_total", "_errors_total", "_errs_total")):
        return COUNT
    # The mean of two moments is none of them.
    moment = metric.name.endswith(("_timestamp_seconds", "_boot_time_seconds"))
    return COUNTER if moment or metric.kind == "counter" else GAUGE


READINGS = Cells(Reading, points.DEVICE)
USAGES = Cells(DeviceUsage, points.DEVICE, 1000)
HOSTS = Cells(HostReading, points.HOST)


def reading_cells(reading: Reading) -> Iterator[tuple[Cell, float]]:
    """What a device said."""
    return READINGS.of(reading)


def usage_cells(usage: DeviceUsage) -> Iterator[tuple[Cell, float]]:
    """Where a device's time and energy went; where no energy was ever measured, nobody knows that it was 0."""
    for cell, number in USAGES.of(usage):
        if number or usage.energy_joules or "energy" not in cell.field.name:
            yield cell, number


def host_cells(host: HostReading) -> Iterator[tuple[Cell, float]]:
    """What a node said of itself."""
    return HOSTS.of(host)


class _Gauge:
    __slots__ = ("count", "peak", "total")

    def __init__(self, number: float) -> None:
        self.total, self.count, self.peak = number, 1, number

    def add(self, number: float) -> None:
        self.total += number
        self.count += 1
        if number > self.peak:
            self.peak = number


class Averages:
    """Of one device or node in one push interval. With `peaks` there is the greatest value beside some means."""

    def __init__(self, peaks: bool = True) -> None:
        self._peaks = peaks
        self._gauges: dict[Cell, _Gauge] = {}
        self._last: dict[Cell, float] = {}

    def add(self, cells: Iterator[tuple[Cell, float]]) -> None:
        """The numbers of one sample."""
        gauges, last = self._gauges, self._last
        for cell, number in cells:
            if cell.last:
                last[cell] = number
            elif (gauge := gauges.get(cell)) is None:
                gauges[cell] = _Gauge(number)
            else:
                gauge.add(number)

    def fields(self) -> Mapping[Field, float]:
        """The point's fields, in an order that does not depend on that of the samples."""
        found: dict[Field, float] = {}
        for cell in sorted({**self._gauges, **self._last}):
            gauge = self._gauges.get(cell)
            if gauge is None:
                found[cell.field] = self._last[cell]
                continue
            found[cell.field] = gauge.total / gauge.count
            if cell.peak is not None and self._peaks:
                found[cell.peak] = gauge.peak
        return found
