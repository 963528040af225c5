"""Everything the agent knows after one tick."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gpuwatch.model.devices import Device, Reading
from gpuwatch.model.estimates import Declared
from gpuwatch.model.host import HostReading
from gpuwatch.model.metric import EMPTY, Labelled, metric
from gpuwatch.model.usage import Allocation, DeviceUsage, JobKey, JobRow, RowKey


@dataclass(frozen=True, slots=True)
class SourceHealth:
    """How reading one source went; kept by the sampler, never by the source."""

    source: str
    up: bool | None = metric(
        "gpuwatch_source_up",
        "1 where the last read of the source succeeded; none where the node has nothing that it could read.",
        default=False,
    )
    duration_seconds: float | None = metric("gpuwatch_source_duration_seconds", "How long the last read took.")
    last_success_timestamp_seconds: float | None = metric(
        "gpuwatch_source_last_success_timestamp_seconds", "When the source was last read, Unix seconds."
    )
    rejected_readings: Labelled = metric(
        "gpuwatch_source_rejected_readings_total",
        "Values that were out of range and dropped, by reason.",
        "reason",
        kind="counter",
    )
    message: str = ""


@dataclass(frozen=True, slots=True)
class SinkHealth:
    """What became of what a sink was given: taken = delivered + queued + dropped, at every moment."""

    up: bool | None = metric("gpuwatch_sink_up", "1 where the sink works.")
    taken: float = metric(
        "gpuwatch_sink_taken_total", "Series or points that the sink was given.", kind="counter", default=0.0
    )
    delivered: float = metric(
        "gpuwatch_sink_delivered_total", "Series or points that the sink passed on.", kind="counter", default=0.0
    )
    dropped: Labelled = metric(
        "gpuwatch_sink_dropped_total",
        "Series or points that the sink left out, by reason.",
        "reason",
        kind="counter",
    )
    queued: float | None = metric("gpuwatch_sink_queued", "Points that wait to be delivered.")
    queued_bytes: float | None = metric(
        "gpuwatch_sink_queued_bytes", "Bytes on disk, or in memory, of the points that wait."
    )
    oldest_age_seconds: float | None = metric(
        "gpuwatch_sink_oldest_age_seconds", "How long the oldest point that waits has done so."
    )
    failures: Labelled = metric(
        "gpuwatch_sink_failures_total", "Requests of the sink that failed, by reason.", "reason", kind="counter"
    )
    spool_degraded: float | None = metric(
        "gpuwatch_sink_spool_degraded",
        "1 where points wait in memory alone, as the disk does not take them.",
    )
    spool_limit_bytes: float | None = metric(
        "gpuwatch_sink_spool_limit_bytes", "Bytes that may wait; beyond that the oldest points are given up."
    )
    spool_limit_seconds: float | None = metric(
        "gpuwatch_sink_spool_limit_seconds", "How long points may wait; those that did longer are given up."
    )
    server: Labelled = metric(
        "gpuwatch_sink_server_info", "What the sink delivers to, always 1.", "flavor", "version"
    )


@dataclass(frozen=True, slots=True)
class AgentHealth:
    """How the agent itself fares."""

    tick_seconds: float | None = metric("gpuwatch_agent_tick_seconds", "How long the last tick took.")
    ticks_missed: float = metric(
        "gpuwatch_agent_ticks_missed_total", "Ticks that a late one swallowed.", kind="counter", default=0.0
    )
    clock_jumps: float = metric(
        "gpuwatch_agent_clock_jumps_total", "Jumps of the wall clock.", kind="counter", default=0.0
    )
    config_last_reload_successful: float = metric(
        "gpuwatch_agent_config_last_reload_successful", "1 where the running configuration is the one on disk.",
        default=1.0,
    )  # fmt: skip
    residual_seconds: float = metric(
        "gpuwatch_agent_residual_seconds",
        "Device time that neither jobs nor unallocated nor unattributed account for; 0 but for rounding.",
        default=0.0,
    )
    residual_joules: float = metric(
        "gpuwatch_agent_residual_joules",
        "Device energy that neither jobs nor unallocated nor unattributed account for; 0 but for rounding.",
        default=0.0,
    )
    share_excess: float = metric(
        "gpuwatch_agent_share_excess", "By how much claimed shares of devices exceed the whole.", default=0.0
    )
    state_saved: float = metric(
        "gpuwatch_agent_state_saved", "1 where the counters' last save to disk succeeded.", default=1.0
    )
    journal_dropped: Labelled = metric(
        "gpuwatch_agent_journal_dropped_total",
        "Ended jobs and journal entries given up before accounting took them, by reason.",
        "reason",
        kind="counter",
    )
    socket_requests: Labelled = metric(
        "gpuwatch_agent_socket_requests_total",
        "What jobs said, at the socket and by other ways, by type and outcome.",
        "type", "outcome",
        kind="counter",
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything the agent knows after one tick; every output is a view of it. Never changed, only replaced."""

    cluster: str
    node: str
    time: float
    seq: int
    epoch: str
    boot_id: str
    devices: Mapping[str, Device] = EMPTY
    readings: Mapping[str, Reading] = EMPTY
    device_usage: Mapping[str, DeviceUsage] = EMPTY
    allocations: tuple[Allocation, ...] = ()
    rows: Mapping[RowKey, JobRow] = EMPTY
    declared: Mapping[JobKey, Declared] = EMPTY
    host: HostReading | None = None
    sources: Mapping[str, SourceHealth] = EMPTY
    agent: AgentHealth = field(default_factory=AgentHealth)
    saved: tuple[JobRow, ...] = ()
    """Rows as the disk has them, so that no crash takes it back; ended ones up to `saved_seq` are there too."""
    saved_seq: int = -1
    sinks: Mapping[str, SinkHealth] = EMPTY
    events: tuple[Mapping[str, Any], ...] = ()
    """Declarations and events since the snapshot before: as the usage API tells them, and their `type`.

    The first of an agent's life also has what the life before it noted last, whose sinks may not have got it, and
    rows of jobs that were over by then.
    """
