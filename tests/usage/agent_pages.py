"""Nodes whose jobs begin, grow and end at given times, and the /metrics pages that their agents have then."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gpuwatch.meter.documents import row_facts
from gpuwatch.model import (
    Allocation,
    Declared,
    Device,
    DeviceUsage,
    Estimate,
    JobKey,
    JobRow,
    Progress,
    RowKey,
    Scope,
    Site,
    Snapshot,
    Usage,
)
from gpuwatch.sinks.prometheus import PrometheusSink

MODEL = "NVIDIA H100 80GB HBM3"
LOST = (
    "clock_cycles", "clock_seconds", "storage_wait_seconds", "link_bytes", "errors", "energy_gap_seconds",
    "first_working", "last_in_state",
)  # fmt: skip
"""What the usage API has of a row and /metrics has not."""


@dataclass(frozen=True)
class Held:
    """A job that holds a share of a device for a time; `quiet` is where it holds nothing in between."""

    job_id: str
    started: int
    ended: float = float("inf")
    uuid: str = "GPU-0"
    share: float = 1.0
    basis: str = "whole"
    quiet: tuple[float, float] = (0.0, 0.0)

    def usage(self, now: float) -> Usage:
        """What came of it until then."""
        seconds = (min(now, self.ended) - self.started) * self.share
        return Usage(
            held_seconds=seconds,
            busy_seconds=0.875 * seconds,
            memory_byte_seconds=4.1e10 * seconds,
            energy_unmeasured_seconds=0.125 * seconds,
            state_seconds={"working": 0.75 * seconds, "idle": 0.25 * seconds},
            energy_joules={"counter": 512.25 * seconds, "integrated": 7.0 * seconds},
            throttled_seconds={"sw_power_cap": 0.0078125 * seconds},
            host_energy_joules=104.0 * seconds,
            host_energy_measured_seconds=0.5 * seconds,
            clock_cycles=1e9 * seconds,
            clock_seconds=seconds,
            first_working=self.started + 1.0,
        )

    def row(self, now: float) -> JobRow:
        """Its row as of then."""
        open_ = now < self.ended
        seen = min(now, self.ended)
        return JobRow(
            RowKey(self.job_id, self.started, self.uuid), self.usage(now), self.share, self.basis, open_, 1, seen
        )

    def holds(self, now: float) -> bool:
        """Whether it has the device at that time."""
        return self.started <= now < self.ended and not self.quiet[0] <= now < self.quiet[1]


@dataclass
class Node:
    """A node with some jobs, and what they said; `begins` is where the life of its agent does."""

    name: str = "gw0"
    epoch: str = "0123456789ab"
    cluster: str = "default"
    jobs: tuple[Held, ...] = ()
    begins: float = 0.0
    ends: float = float("inf")
    progress: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    """By job id: times and steps of a hundred; the first is where it began."""
    declared: Mapping[str, tuple[Estimate, ...]] = field(default_factory=dict)
    series_limit: int = 2000

    def rows(self, now: float) -> list[JobRow]:
        """The rows of the jobs that have begun."""
        return [held.row(now) for held in self.jobs if self.begins <= held.started <= now]

    def facts(self, now: float) -> list[dict[str, Any]]:
        """What the usage API says of them, without what /metrics has not."""
        facts = (row_facts(row, MODEL) for row in self.rows(now))
        return [{name: value for name, value in each.items() if name not in (*LOST, "seq")} for each in facts]

    def snapshot(self, now: float) -> Snapshot:
        """All that the agent knows at a time."""
        rows = self.rows(now)
        uuids = sorted({held.uuid for held in self.jobs} | {"GPU-0"})
        said = {
            JobKey(held.job_id, held.started): Declared(
                JobKey(held.job_id, held.started), self.declared.get(held.job_id, ()),
                self._progress(held.job_id, now),
            )
            for held in self.jobs
        }  # fmt: skip
        return Snapshot(
            cluster=self.cluster, node=self.name, time=now, seq=1, epoch=self.epoch, boot_id="b",
            devices={uuid: Device(uuid, self.name, n, "nvidia", MODEL, "gpu") for n, uuid in enumerate(uuids)},
            allocations=tuple(Allocation(h.job_id, h.uuid, h.share, h.basis) for h in self.jobs if h.holds(now)),
            rows={row.key: row for row in rows},
            device_usage={uuid: DeviceUsage(uuid, 1.0) for uuid in uuids},
            declared=said,
        )  # fmt: skip

    def _progress(self, job_id: str, now: float) -> Progress | None:
        reports = [report for report in self.progress.get(job_id, ()) if report[0] <= now]
        return Progress(reports[-1][1], 100.0, reports[0][1], reports[-1][0]) if reports else None

    def page(self, now: float) -> str:
        """What it exports at a time; nothing before and after the agent's life."""
        if not self.begins <= now < self.ends:
            return ""
        sink = PrometheusSink(
            PrometheusSink.Settings(series_limit=self.series_limit), Site(self.cluster, self.name)
        )
        sink.take(self.snapshot(now))
        sink.render()
        return sink.render().decode()


def job_declares(
    quantity: str, low: float, likely: float, high: float, unit: str, job_id: str = "4711"
) -> Estimate:
    """What a job declares for itself."""
    return Estimate(Scope("job", job_id), quantity, low, likely, high, unit)


class Scraped(NamedTuple):
    """A sample as a server keeps it."""

    name: str
    labels: Mapping[str, str]
    time: float
    value: float


_LINE = re.compile(r"([a-z_]+)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')


def scraped(page: str, time: float, target: Mapping[str, str]) -> Iterator[Scraped]:
    """The samples of a page, with the labels of the place that it was scraped from."""
    for line in page.splitlines():
        match = _LINE.fullmatch(line)
        if match is not None:
            own = {name: _read(value) for name, value in _LABEL.findall(match[2] or "")}
            exported = {f"exported_{name}" if name in target else name: value for name, value in own.items()}
            yield Scraped(match[1], {**exported, **target}, time, float(match[3]))


def timed(samples: Iterable[Scraped]) -> str:
    """Samples with their times in ms, as a server imports them."""
    return "".join(
        f"{each.name}{{{','.join(f'{name}={_quoted(value)}' for name, value in each.labels.items())}}} "
        f"{each.value!r} {round(each.time * 1000)}\n"
        for each in samples
    )


def _read(value: str) -> str:
    return value.replace("\\\\", "\0").replace('\\"', '"').replace("\\n", "\n").replace("\0", "\\")


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
