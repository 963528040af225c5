"""Prometheus reads the newest snapshot: rendered when first asked for, at most once, served to everybody."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from threading import Lock

from pydantic import BaseModel, ConfigDict, Field

from gpuwatch import __version__
from gpuwatch.model import (
    EMPTY,
    AgentHealth,
    DeviceUsage,
    Estimate,
    HostReading,
    JobKey,
    JobRow,
    Labels,
    Metric,
    Probe,
    Reading,
    SinkHealth,
    Site,
    Snapshot,
    SourceHealth,
    Usage,
    count_series,
    metrics_of,
    series_of,
)
from gpuwatch.sinks.text_format import Page, Sample, TextFormat

ROW_LABELS = ("job_id", "started", "uuid", "epoch")

DEVICE_INFO = Metric(
    "gpuwatch_device_info",
    "What a device is, always 1; the other device series carry its uuid alone.",
    ("uuid", "kind", "vendor", "model", "index", "pci", "parent", "driver"),
)
DEVICE_UP = Metric("gpuwatch_device_up", "1 where the device's last reading succeeded.", ("uuid",))
JOB_SHARE = Metric(
    "gpuwatch_device_job_share",
    "Share of the device that the job holds now, and by which rule it is told.",
    ("uuid", "job_id", "started", "basis"),
)
PROGRESS = Metric(
    "gpuwatch_job_progress_ratio", "Fraction of its work that the job says is done.", ("job_id", "started")
)
PROGRESS_START = Metric(
    "gpuwatch_job_progress_start_ratio",
    "Fraction that was already done when this attempt began.",
    ("job_id", "started"),
)
DECLARED = Metric(
    "gpuwatch_job_declared",
    "What the job declared for itself, in base units: device-seconds, joules, grams, seconds, the currency.",
    ("job_id", "started", "quantity", "bound"),
)
AGENT_INFO = Metric(
    "gpuwatch_agent_info",
    "Which agent this is, always 1; nodename is the node as the batch system names it.",
    ("version", "cluster", "nodename", "epoch"),
)
DROP_REASONS = ("series_limit", "invalid", "duplicate")
OWN_SERIES = 3 + len(DROP_REASONS)
NAME = "prometheus"


def catalogue() -> tuple[Metric, ...]:
    """Every metric that an agent exports, with all of its labels, in the order of the page."""
    return (*_catalogue_of_snapshots(), *_SINKS)


def _catalogue_of_snapshots() -> tuple[Metric, ...]:
    return (
        AGENT_INFO,
        *_identified(AgentHealth),
        *_identified(SourceHealth, "source"),
        DEVICE_INFO,
        DEVICE_UP,
        *_identified(Reading, "uuid"),
        *_identified(DeviceUsage, "uuid"),
        JOB_SHARE,
        *_identified(Usage, *ROW_LABELS),
        PROGRESS,
        PROGRESS_START,
        DECLARED,
        *_identified(HostReading),
    )


def _identified(value_class: type, *identity: str) -> Iterator[Metric]:
    for _, metric in metrics_of(value_class):
        names = identity
        if value_class is DeviceUsage and not metric.labels:
            names = (*identity, "epoch")
        yield replace(metric, labels=names + metric.labels)


_SINKS = tuple(_identified(SinkHealth, "sink"))


def samples_of(value: object, *identity: str) -> Iterator[Sample]:
    """The samples of one value of the model, named by `identity`."""
    for metric, own, number in series_of(value):
        yield Sample(metric.name, identity, own, number)


def fixed_samples(snapshot: Snapshot, fresh: bool) -> Iterator[Sample]:
    """What is there without any job, most needed first; what was seen at a moment only where that is now."""
    info = (__version__, snapshot.cluster, snapshot.node, snapshot.epoch)
    yield Sample(AGENT_INFO.name, info, (), 1)
    yield from samples_of(snapshot.agent)
    for source, health in sorted(snapshot.sources.items()):
        yield from samples_of(health, source)
    yield from _device_samples(snapshot, fresh)
    if fresh and snapshot.host is not None:
        yield from samples_of(snapshot.host)


def _device_samples(snapshot: Snapshot, fresh: bool) -> Iterator[Sample]:
    for uuid, device in sorted(snapshot.devices.items()):
        identity = (uuid, device.kind, device.vendor, device.model, str(device.index))
        more = (device.pci or "", device.parent or "", device.driver or "")
        yield Sample(DEVICE_INFO.name, identity + more, (), 1)
        yield Sample(DEVICE_UP.name, (uuid,), (), fresh and uuid in snapshot.readings)
    for uuid, usage in sorted(snapshot.device_usage.items()):
        for metric, own, number in series_of(usage):
            # Where no energy was ever measured, nobody knows that it was 0.
            if number or usage.energy_joules or "energy" not in metric.name:
                yield Sample(metric.name, (uuid,) if own else (uuid, snapshot.epoch), own, number)
    if fresh:
        for uuid, reading in sorted(snapshot.readings.items()):
            yield from samples_of(reading, uuid)


class JobSeries:
    """The series of each open or just ended job: the longest open first, the first ended last."""

    def __init__(self, snapshot: Snapshot, fresh: bool, grace_seconds: float) -> None:
        self._snapshot = snapshot
        self._rows = _jobs(snapshot, grace_seconds)
        self._shares = _shares(snapshot) if fresh else {}
        self.jobs = sorted(self._rows, key=lambda job: _rank(job, self._rows[job]))

    def samples(self, job: JobKey) -> list[Sample]:
        """All of one job."""
        return [
            *_row_samples(self._rows[job], self._snapshot.epoch),
            *_share_samples(job, self._shares.get(job, {})),
            *_declared_samples(self._snapshot, job),
        ]

    def count(self, job: JobKey) -> int:
        """How many these are, without making them: of thousands of jobs only a few are shown."""
        usages = sum(count_series(row.usage) for row in self._rows[job])
        told = job in self._snapshot.declared
        declared = sum(1 for _ in _declared_samples(self._snapshot, job)) if told else 0
        return usages + len(self._shares.get(job, {})) + declared


def _jobs(snapshot: Snapshot, grace_seconds: float) -> dict[JobKey, list[JobRow]]:
    since = snapshot.time - grace_seconds
    shown: dict[JobKey, list[JobRow]] = {
        JobKey(row.key.job_id, row.key.started): []
        for row in snapshot.rows.values()
        if row.open or row.last_seen >= since
    }
    for key in sorted(snapshot.rows):
        job = JobKey(key.job_id, key.started)
        if job in shown:
            shown[job].append(snapshot.rows[key])
    return shown


def _rank(job: JobKey, rows: Iterable[JobRow]) -> tuple[bool, float, str]:
    if any(row.open for row in rows):
        return False, job.started, job.job_id
    return True, -max(row.last_seen for row in rows), job.job_id


def _row_samples(rows: Iterable[JobRow], epoch: str) -> Iterator[Sample]:
    for row in rows:
        job_id, started, uuid = row.key
        yield from samples_of(row.usage, job_id, str(started), uuid, epoch)


def _shares(snapshot: Snapshot) -> dict[JobKey, dict[tuple[str, str], float]]:
    """How much each open job holds, by device and basis."""
    jobs = {
        (row.key.job_id, row.key.device): JobKey(row.key.job_id, row.key.started)
        for row in snapshot.rows.values()
        if row.open
    }
    found: dict[JobKey, dict[tuple[str, str], float]] = {}
    for held in snapshot.allocations:
        job = jobs.get((held.job_id, held.device))
        if job is not None:
            shares = found.setdefault(job, {})
            shares[held.device, held.basis] = shares.get((held.device, held.basis), 0.0) + held.share
    return found


def _share_samples(job: JobKey, shares: Mapping[tuple[str, str], float]) -> Iterator[Sample]:
    for (uuid, basis), share in sorted(shares.items()):
        yield Sample(JOB_SHARE.name, (uuid, job.job_id, str(job.started), basis), (), share)


def _declared_samples(snapshot: Snapshot, job: JobKey) -> Iterator[Sample]:
    declared = snapshot.declared.get(job)
    if declared is None:
        return
    identity = (job.job_id, str(job.started))
    progress = declared.progress
    if progress is not None and progress.total > 0:
        yield Sample(PROGRESS.name, identity, (), progress.ratio)
        yield Sample(PROGRESS_START.name, identity, (), progress.start_ratio)
    # A campaign's amount is the campaign's, not that of each of its jobs.
    own = (each for each in declared.estimates if each.scope.kind == "job")
    latest: dict[str, Estimate] = {each.quantity: each for each in sorted(own, key=lambda each: each.declared_at)}
    for quantity, estimate in sorted(latest.items()):
        for bound in ("low", "likely", "high"):
            yield Sample(DECLARED.name, (*identity, quantity, bound), (), getattr(estimate, bound))


def within_limit(fixed: list[Sample], series: JobSeries, limit: int) -> tuple[list[Sample], int]:
    """As many samples as the limit allows, and how many were offered: jobs go as a whole, the last first."""
    kept, offered = fixed[:limit], len(fixed)
    full = offered > limit
    for job in series.jobs:
        count = series.count(job)
        offered += count
        full = full or len(kept) + count > limit
        if not full:
            kept += series.samples(job)
    return kept, offered


class PrometheusSink:
    """Keeps the newest snapshot for whoever scrapes; `render` may be called in any number of threads."""

    class Settings(BaseModel):
        """The table `[sinks.prometheus]`.

        A snapshot is stale after `stale_seconds`, or three ticks where the agent ticks more slowly than that.
        """

        model_config = ConfigDict(extra="forbid", frozen=True)

        grace_seconds: float = Field(default=900.0, ge=0)
        stale_seconds: float = Field(default=3.0, gt=0)
        series_limit: int = Field(default=2000, ge=10)

    def __init__(self, settings: Settings, site: Site, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = Lock()
        self._snapshot: Snapshot | None = None
        self._taken_at = self._interval = 0.0
        self._rendered: tuple[Snapshot | None, bool] | None = None
        self._body = b""
        self._format = TextFormat(_catalogue_of_snapshots())
        self._own_format = TextFormat(_SINKS)
        self._taken = self._delivered = 0
        self._dropped: dict[Labels, float] = dict.fromkeys(DROP_REASONS, 0.0)

    def start(self) -> None:
        """Nothing has to be begun."""

    def take(self, snapshot: Snapshot) -> None:
        """Remember the newest snapshot; nothing is rendered until somebody asks."""
        now = self._clock()
        if self._snapshot is not None:
            self._interval = now - self._taken_at
        self._snapshot, self._taken_at = snapshot, now

    def render(self) -> bytes:
        """The page of the newest snapshot in the text format 0.0.4; the same object until there is a newer one."""
        with self._lock:
            snapshot = self._snapshot
            stale_after = max(self._settings.stale_seconds, 3 * self._interval)
            fresh = snapshot is not None and self._clock() - self._taken_at <= stale_after
            rendered = self._rendered
            if rendered is None or rendered[0] is not snapshot or rendered[1] is not fresh:
                self._body = self._render(snapshot, fresh)
                self._rendered = snapshot, fresh
            return self._body

    def health(self) -> Mapping[str, SinkHealth]:
        """Nothing beside what it renders itself: what a page left out is known once it is rendered."""
        return EMPTY

    def close(self) -> None:
        """Nothing is held that needs it."""

    def check(self, now: float) -> Sequence[Probe]:
        """It delivers to whoever asks."""
        return ()

    def _render(self, snapshot: Snapshot | None, fresh: bool) -> bytes:
        page = Page() if snapshot is None else self._page(snapshot, fresh)
        sinks = self._own_format.write(self._sink_samples(EMPTY if snapshot is None else snapshot.sinks))
        return (page.text + sinks.text).encode()

    def _page(self, snapshot: Snapshot, fresh: bool) -> Page:
        fixed = list(fixed_samples(snapshot, fresh))
        jobs = JobSeries(snapshot, fresh, self._settings.grace_seconds)
        others = sum(count_series(each) for each in snapshot.sinks.values())
        kept, offered = within_limit(fixed, jobs, self._settings.series_limit - OWN_SERIES - others)
        page = self._format.write(kept)
        self._taken += offered
        self._delivered += page.series
        self._dropped["series_limit"] += offered - len(kept)
        for reason, count in page.dropped.items():
            self._dropped[reason] += count
        return page

    def _sink_samples(self, others: Mapping[str, SinkHealth]) -> Iterator[Sample]:
        own = SinkHealth(True, self._taken, self._delivered, dict(self._dropped))
        for name, health in sorted({**others, NAME: own}.items()):
            yield from samples_of(health, name)
