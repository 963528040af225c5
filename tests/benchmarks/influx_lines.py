"""What pushing to InfluxDB amounts to: how fast lines are written, and how many bytes, points and series.

Two hours of a node with eight devices, with every field and the noise of real sensors, go through the code that
pushes; days are these hours times twelve. Bytes in the spool are those of zlib at level 6, batch by batch.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import process_time

from gpuwatch.model import points
from gpuwatch.sinks.averages import Averages, reading_cells, usage_cells
from gpuwatch.sinks.batches import Batch
from gpuwatch.sinks.line_protocol import Encoder, Series
from gpuwatch.sinks.pushing import Pushing
from tests.sinks.line_parser import parse
from tests.sinks.node_at_work import DEVICES, NodeAtWork

HOURS = 2
DAY_HOURS = 24
WEEK_DAYS = 7
LEVEL = 6
LINES = 20_000


@dataclass
class Volume:
    """What batches amount to."""

    points: Counter[str] = field(default_factory=Counter)
    lines: Counter[str] = field(default_factory=Counter)
    stored: int = 0
    batches: int = 0
    tags: set[str] = field(default_factory=set)
    series: set[tuple[str, str]] = field(default_factory=set)

    def add(self, batch: Batch) -> None:
        """One more."""
        self.batches += 1
        self.stored += len(zlib.compress(batch.lines, LEVEL))
        for line in batch.lines.decode().splitlines(keepends=True):
            head = line[: _end(line)]
            measurement = head.partition(",")[0]
            self.points[measurement] += 1
            self.lines[measurement] += len(line.encode())
            if head not in self.tags:
                self.tags.add(head)
                self.series |= {(head, name) for name, _ in parse(line.encode())[0].fields}


def _end(line: str) -> int:
    """Where the tags end: at the first blank that is not escaped."""
    at = line.index(" ")
    while line[at - 1] == "\\":
        at = line.index(" ", at + 1)
    return at


def volume(seconds: int, jobs: int = 1) -> Volume:
    """What so many seconds of the node are pushed as."""
    pushing, found = Pushing(), Volume()
    for snapshot in NodeAtWork(jobs=jobs).seconds(seconds):
        for batch in pushing.take(snapshot):
            found.add(batch)
    return found


def fields_per_second() -> float:
    """How many fields of real device lines the encoder writes in a second of one core, averages not counted."""
    made = []
    for snapshot in NodeAtWork().seconds(30):
        for uuid, reading in snapshot.readings.items():
            averages = Averages()
            averages.add(reading_cells(reading))
            averages.add(usage_cells(snapshot.device_usage[uuid]))
            values = (snapshot.cluster, snapshot.node, uuid, snapshot.devices[uuid].model)
            series = Series(points.DEVICE, tuple(zip(points.DEVICE_TAGS, values, strict=True)))
            fields = averages.fields()
            made.append((series, tuple(fields), tuple(fields.values()), int(snapshot.time * 1000)))
    encoder, written = Encoder(), 0
    began = process_time()
    for number in range(LINES):
        series, names, numbers, time = made[number % len(made)]
        encoder.line(series, names, numbers, time)
        written += len(names)
    return written / (process_time() - began)


def _of_one_job() -> tuple[int, int]:
    """New series of a job on eight devices: of tags, and of tags and fields."""
    pushing, found = Pushing(), Volume()
    node = NodeAtWork()
    last = node.second()
    for snapshot in (last, node.ended(last)):
        for batch in pushing.take(snapshot):
            found.add(batch)
    fields = [head for head, _ in found.series if head.startswith(points.JOB)]
    return sum(1 for head in found.tags if head.startswith(points.JOB)), len(fields)


def measure() -> Mapping[str, float]:
    """Figures by name, for the default push."""
    found = volume(HOURS * 3600)
    days = HOURS / DAY_HOURS
    device_days = DEVICES * days
    series, field_series = _of_one_job()
    return {
        "line_protocol_fields_per_second": round(fields_per_second()),
        "influx_bytes_per_device_day": round(sum(found.lines.values()) / device_days),
        "influx_spool_bytes_per_device_day": round(found.stored / device_days),
        "influx_spool_bytes_per_week": round(found.stored / days * WEEK_DAYS),
        "influx_points_per_device_day": round(sum(found.points.values()) / device_days),
        "influx_batches_per_day": round(found.batches / days),
        "influx_series_per_node": len(found.tags),
        "influx_field_series_per_node": len(found.series),
        "influx_new_series_per_1000_jobs": 1000 * series,
        "influx_new_field_series_per_1000_jobs": 1000 * field_series,
        "influx_device_line_bytes": round(found.lines[points.DEVICE] / found.points[points.DEVICE]),
    }


if __name__ == "__main__":
    for name, figure in measure().items():
        print(f"{name:40} {figure:,}")
