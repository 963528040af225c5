"""Recorded telemetry through the real pipeline: at once (`gpuwatch replay`), or in real time as a device source.

Every row goes through the sampler's range check and the meter, at the file's own times. Each device has a time
axis of its own. A row's job holds the device until the device's next row, which is how the meter charges an
interval: to whoever held when it began; over a gap only to who held at both ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from gpuwatch.devices.checks import checked
from gpuwatch.devices.player import Index, Player, index_of
from gpuwatch.devices.recordings import NOBODY, Recording, Rejections, Sample, by_first_time, in_order
from gpuwatch.errors import Rejected, Unavailable
from gpuwatch.meter import Holding, Meter, MeterSettings
from gpuwatch.model import Device, JobKey, Reading, Site, Usage

MAX_GAP_SECONDS = MeterSettings().gap_seconds
# Holds a device while no job does, so that also that time has its counters. No job has an empty id.
FREE = JobKey("", 1)


@dataclass(frozen=True, slots=True)
class DeviceReplay:
    """What a recording says of one device; None where it says nothing."""

    uid: str
    seconds: float
    joules: float | None
    method: str | None
    busy_seconds: float | None
    unmeasured_seconds: float
    rejected: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class JobReplay:
    """What a recording says of one job, over all of its devices."""

    job_id: str
    devices: tuple[str, ...]
    usage: Usage


@dataclass(frozen=True, slots=True)
class FileReplay:
    """How reading one file went; `rejected` counts what could not be put down to a device."""

    file: Path
    format: str
    rows: int
    rejected: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Replay:
    """The outcome of a replay, sorted by device and job."""

    devices: tuple[DeviceReplay, ...]
    jobs: tuple[JobReplay, ...]
    files: tuple[FileReplay, ...]


def method_of(usage: Usage) -> str | None:
    """The method by which most of the energy was measured; None where none was."""
    joules = usage.energy_joules
    return str(max(joules, key=joules.__getitem__)) if joules else None


def replay(paths: Sequence[Path], max_gap_seconds: float = MAX_GAP_SECONDS) -> Replay:
    """Put recordings through range check and meter, in the order of their times: a device may go on in the next.

    Raises `Unavailable` for a file that cannot be read and `Rejected` for one that is no recording.
    """
    rejections = Rejections()
    files: list[FileReplay] = []
    tracks: dict[str, Track] = {}
    settings = MeterSettings(gap_seconds=max_gap_seconds)
    for sample in in_order(_samples(paths, files, rejections), rejections):
        uid = sample.reading.device
        track = tracks.get(uid)
        if track is None:
            track = tracks[uid] = Track(uid, settings, rejections)
        track.take(sample)
    for uid in rejections.by_uid:
        if uid != NOBODY and uid not in tracks:
            tracks[uid] = Track(uid, settings, rejections)
    ends = [tracks[uid].end() for uid in sorted(tracks)]
    return Replay(tuple(device for device, _ in ends), _jobs(jobs for _, jobs in ends), tuple(files))


def _samples(paths: Sequence[Path], files: list[FileReplay], rejections: Rejections) -> Iterator[Sample]:
    for path in by_first_time(paths):
        unplaced = Rejections()

        def reject(uid: str, reason: str, unplaced: Rejections = unplaced) -> None:
            (unplaced if uid == NOBODY else rejections)(uid, reason)

        with Recording(path, reject) as recording:
            yield from recording.samples()
            files.append(FileReplay(path, recording.format, recording.rows, unplaced.of(NOBODY)))


class Track:
    """One device on its own time axis: a meter, and who holds the device."""

    def __init__(self, uid: str, settings: MeterSettings, rejections: Rejections) -> None:
        self._uid = uid
        self._settings = settings
        self._rejections = rejections
        self._meter = Meter(settings)
        self._time: float | None = None
        self._holdings: list[Holding] = []
        self._job: str | None = None

    def take(self, sample: Sample) -> None:
        """Account for the time since the last sample."""
        reading, rejected = checked(sample.reading)
        for reason, count in rejected.items():
            self._rejections(self._uid, reason, count)
        if sample.job_id != self._job or self._time is None:
            self._change_holder(sample)
        self._meter.advance(reading.time, {self._uid: reading}, self._holdings, wall=reading.time)
        self._time = reading.time

    def _change_holder(self, sample: Sample) -> None:
        job = FREE if sample.job_id is None else JobKey(sample.job_id, 0)
        self._job, self._holdings = sample.job_id, [Holding(job, self._uid, 1.0, "whole")]

    def end(self) -> tuple[DeviceReplay, Mapping[str, JobReplay]]:
        """The totals; what still waits for a later reading will not get one."""
        if self._time is None:
            rejected = self._rejections.of(self._uid)
            return DeviceReplay(self._uid, 0.0, None, None, None, 0.0, rejected), {}
        self._meter.finish()
        jobs = {
            row.job_id: JobReplay(row.job_id, (self._uid,), usage)
            for row, usage in self._meter.rows.items()
            if row.job_id
        }
        return self._device(), jobs

    def _device(self) -> DeviceReplay:
        metered = self._meter.devices[self._uid]
        held = sum(self._meter.rows.values(), Usage())
        joules = metered.energy_joules
        # Of time that nobody is charged for, the meter keeps the energy but not what had none.
        loose = 0.0 if metered.unattributed_energy_joules else metered.unattributed_seconds
        if jumps := self._meter.rejected_counters.get(self._uid, 0):
            self._rejections(self._uid, "counter_jump", jumps)
        return DeviceReplay(
            uid=self._uid,
            seconds=metered.seconds,
            joules=sum(joules.values()) if joules else None,
            method=method_of(Usage(energy_joules=joules)),
            busy_seconds=held.busy_seconds,
            unmeasured_seconds=held.energy_unmeasured_seconds + loose,
            rejected=self._rejections.of(self._uid),
        )


def _jobs(by_device: Iterable[Mapping[str, JobReplay]]) -> tuple[JobReplay, ...]:
    total: dict[str, JobReplay] = {}
    for jobs in by_device:
        for job_id, job in jobs.items():
            before = total.get(job_id)
            total[job_id] = (
                job
                if before is None
                else JobReplay(job_id, before.devices + job.devices, before.usage + job.usage)
            )
    return tuple(total[job_id] for job_id in sorted(total))


class ReplayDevices:
    """A recording as devices of this node, in real time: what it says at this moment of its course.

    Times are now's; energy counters go on from one round to the next, and at the pace of the clock whatever the
    `speed` is. Where the recording has a gap, or has ended, its devices cannot be read.
    """

    class Settings(BaseModel):
        """The file, how fast it runs, whether it begins again, and how old its last row may be."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        file: Path
        speed: float = Field(default=1.0, gt=0, le=10_000)
        loop: bool = False
        max_gap_seconds: float = Field(default=MAX_GAP_SECONDS, gt=0)

    def __init__(self, settings: Settings, site: Site) -> None:
        self._settings = settings
        self._site = site
        self._index: Index | None = None
        self._began = 0.0
        self._players: dict[str, Player] = {}

    def scan(self, now: float) -> Sequence[Device]:
        """The devices of the recording; at the first call it begins to run."""
        if self._index is None:
            try:
                index = index_of(self._settings.file)
            except Rejected as exc:
                raise Unavailable(str(exc)) from exc
            self._began = now
            self._players = {
                uid: Player(self._settings.file, uid, index, self._settings.loop) for uid in index.models
            }
            self._index = index
        return [
            Device(uid, self._site.node, place, "replay", model or "Recorded accelerator")
            for place, (uid, model) in enumerate(self._index.models.items())
        ]

    def read(self, device: Device, now: float) -> Reading:
        """What the recording says of the device at this moment of its course."""
        player = self._players.get(device.uid)
        if player is None:
            raise Unavailable(f"{device.uid}: not in the recording; there is {', '.join(self._players)}")
        settings = self._settings
        course = max(0.0, now - self._began) * settings.speed
        values, joules = player.at(course, settings.max_gap_seconds)
        return replace(values, time=now, energy_joules=None if joules is None else joules / settings.speed)

    def close(self) -> None:
        """Close the file."""
        for player in self._players.values():
            player.close()
