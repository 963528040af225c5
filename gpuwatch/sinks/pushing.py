"""From snapshots to points: what is pushed, when, and under which time. No I/O and no clock: times are theirs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import floor
from typing import Any
from zlib import crc32

from gpuwatch.meter.documents import row_facts
from gpuwatch.model import Snapshot, points
from gpuwatch.sinks.averages import Averages, host_cells, reading_cells, usage_cells
from gpuwatch.sinks.batches import Batch, Line, Times, batches, milliseconds
from gpuwatch.sinks.event_points import Event, ProgressPoints, event_of, event_series
from gpuwatch.sinks.job_points import JobPoints, job_fields, job_series, key_of
from gpuwatch.sinks.line_protocol import Encoder, Field, Series

LIMIT_RAW_LINES = 500


@dataclass(slots=True)
class _Interval:
    """What has come in one push interval. `index` counts those of this node since 1970."""

    index: int
    devices: dict[str, Averages] = field(default_factory=dict)
    host: Averages = field(default_factory=Averages)
    models: dict[str, str] = field(default_factory=dict)


class Pushing:
    """Makes batches of the snapshots of one node. Not for two threads at once.

    Devices and host are pushed every `push_seconds`, changed counters of jobs every `jobs_seconds` and when they
    are over, events as they come. Of `raw_devices` (uuids), and of the devices that `raw_jobs` (ids) hold, each
    sample is pushed instead. No two points of a series have the same time, whatever the clock does.
    """

    def __init__(
        self,
        push_seconds: float = 15.0,
        jobs_seconds: float = 60.0,
        raw_jobs: Collection[str] = (),
        raw_devices: Collection[str] = (),
    ) -> None:
        self._push_seconds = push_seconds
        self._raw_jobs = frozenset(raw_jobs)
        self._raw_devices = frozenset(raw_devices)
        self._encoder = Encoder()
        self._jobs = JobPoints(jobs_seconds)
        self._progress = ProgressPoints()
        self._times, self._event_times = Times(), Times()
        self._snapshot: Snapshot | None = None
        self._interval: _Interval | None = None
        self._stamp = 0
        self._raw: list[Line] = []

    def take(self, snapshot: Snapshot) -> Sequence[Batch]:
        """What the snapshot makes due."""
        index = self._index(snapshot)
        lines: list[Line] = []
        if self._interval is not None and self._ends(self._interval, index, snapshot):
            lines += self._finish()
        if self._interval is None:
            self._interval = _Interval(index)
        lines += self._add(self._interval, snapshot)
        lines += [self._over(each, snapshot) for each in snapshot.events if each["type"] == "row"]
        events = (event_of(each) for each in snapshot.events if each["type"] != "row")
        lines += self._events(events, snapshot)
        lines += self._rows(snapshot)
        return batches(lines)

    def flush(self) -> Sequence[Batch]:
        """What would be due later; for when there are no more snapshots."""
        if self._snapshot is None:
            return ()
        return batches([*self._finish(), *self._rows(self._snapshot, last=True)])

    def _index(self, snapshot: Snapshot) -> int:
        # Each node has its own phase, the same after a restart, so that a thousand do not push at once.
        phase = crc32(snapshot.node.encode("utf-8", "surrogatepass")) / 2**32
        return floor(snapshot.time / self._push_seconds - phase)

    def _ends(self, interval: _Interval, index: int, snapshot: Snapshot) -> bool:
        return interval.index != index or (self._snapshot is not None and snapshot.time < self._snapshot.time)

    def _add(self, interval: _Interval, snapshot: Snapshot) -> Iterator[Line]:
        raw = self._raw_now(snapshot)
        for uuid in sorted(raw & interval.devices.keys()):
            # What came before its samples are pushed, under the time of the last of that.
            yield self._device(self._snapshot or snapshot, uuid, interval)
        self._stamp = self._times.free(milliseconds(snapshot.time))
        self._snapshot = snapshot
        interval.models |= {uuid: device.model for uuid, device in snapshot.devices.items()}
        for uuid, reading in snapshot.readings.items():
            if uuid not in raw:
                interval.devices.setdefault(uuid, Averages()).add(reading_cells(reading))
        if snapshot.host is not None:
            interval.host.add(host_cells(snapshot.host))
        for uuid in sorted(raw):
            self._raw.append(self._sample(snapshot, uuid, interval))
        if len(self._raw) >= LIMIT_RAW_LINES:
            yield from self._take_raw()

    def _raw_now(self, snapshot: Snapshot) -> set[str]:
        if not self._raw_jobs and not self._raw_devices:
            return set()
        held = {each.device for each in snapshot.allocations if each.job_id in self._raw_jobs}
        return (held | self._raw_devices) & snapshot.devices.keys()

    def _take_raw(self) -> list[Line]:
        raw, self._raw = self._raw, []
        return raw

    def _finish(self) -> Iterator[Line]:
        """The points of the interval that is over, under the time of its last sample."""
        interval, snapshot = self._interval, self._snapshot
        if interval is None or snapshot is None:
            return
        self._interval = None
        yield from self._take_raw()
        silent = snapshot.devices.keys() - interval.devices.keys() - self._raw_now(snapshot)
        interval.devices |= {uuid: Averages() for uuid in silent}
        for uuid in sorted(interval.devices):
            yield self._device(snapshot, uuid, interval)
        series = Series(points.HOST, _tags(points.HOST_TAGS, snapshot.cluster, snapshot.node))
        yield self._line(series, interval.host.fields(), self._times.use(self._stamp))
        yield from self._events(self._progress.changed(snapshot), snapshot)

    def _device(self, snapshot: Snapshot, uuid: str, interval: _Interval) -> Line:
        averages = interval.devices.pop(uuid)
        return self._device_line(snapshot, uuid, interval.models.get(uuid), averages)

    def _sample(self, snapshot: Snapshot, uuid: str, interval: _Interval) -> Line:
        sample = Averages(peaks=False)
        if (reading := snapshot.readings.get(uuid)) is not None:
            sample.add(reading_cells(reading))
        return self._device_line(snapshot, uuid, interval.models.get(uuid), sample)

    def _device_line(self, snapshot: Snapshot, uuid: str, model: str | None, averages: Averages) -> Line:
        if (usage := snapshot.device_usage.get(uuid)) is not None:
            averages.add(usage_cells(usage))
        tags = _tags(points.DEVICE_TAGS, snapshot.cluster, snapshot.node, uuid, model)
        return self._line(Series(points.DEVICE, tags), averages.fields(), self._times.use(self._stamp))

    def _rows(self, snapshot: Snapshot, last: bool = False) -> Iterator[Line]:
        for row, model in self._jobs.due(snapshot, last):
            time = self._times.use(self._stamp)
            series = job_series(snapshot, row.key, snapshot.epoch)
            yield self._line(series, job_fields(row_facts(row, model)), time)

    def _over(self, row: Mapping[str, Any], snapshot: Snapshot) -> Line:
        """The counters of a job that was over before this agent began, under the time at which that was noted."""
        # A millisecond later: of that very moment there may be a point that is older.
        time = milliseconds(row["time"]) + 1
        return self._line(job_series(snapshot, key_of(row), row["epoch"]), job_fields(row), time)

    def _events(self, events: Iterable[Event], snapshot: Snapshot) -> Iterator[Line]:
        for event in events:
            time = self._event_times.use(self._event_times.free(milliseconds(event.time)))
            yield self._line(event_series(snapshot, event.kind), event.fields, time)

    def _line(
        self, series: Series, fields: Mapping[Field, float | str] | Mapping[Field, float], time: int
    ) -> Line:
        return Line(time, self._encoder.line(series, tuple(fields), tuple(fields.values()), time))


def _tags(names: Sequence[str], *values: str | None) -> tuple[tuple[str, str | None], ...]:
    return tuple(zip(names, values, strict=True))
