"""The nouns of gpuwatch, all frozen values. A field declared with `metric()` *is* an exported metric.

Units are base units (seconds, joules, watts, bytes, celsius, hertz, ratio 0 to 1). `None` and a missing
key mean unknown, and unknown is absent in every output; 0 is a reading.
"""

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

STATES = ("working", "spinning", "idle", "unknown")
BASES = ("whole", "mig", "shard", "mps", "timeslice", "holders")
METHODS = ("counter", "integrated", "modelled")


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


@dataclass(frozen=True, slots=True)
class Site:
    """Where a process runs: names for its values, and the roots of procfs and sysfs (fixtures change them)."""

    cluster: str = "default"
    node: str = "localhost"
    procfs: str = "/proc"
    sysfs: str = "/sys"


@dataclass(frozen=True, slots=True)
class Device:
    """One accelerator, or a slice of one (`parent` is then the uid of the whole, `fraction` its part)."""

    uid: str
    node: str
    index: int
    vendor: str
    model: str
    kind: Literal["gpu", "mig", "tpu"] = "gpu"
    pci: str | None = None
    parent: str | None = None
    driver: str | None = None
    fraction: float = 1.0


@dataclass(frozen=True, slots=True)
class Process:
    """A process that has a device open, as the driver lists it (host pid)."""

    pid: int
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What one device said at one moment. `time` is Unix seconds; every value may be unknown."""

    device: str
    time: float
    utilization_ratio: float | None = metric(
        "gpuwatch_device_utilization_ratio",
        "Fraction of the driver's last sampling period in which at least one kernel ran.",
        low=0, high=1,
    )  # fmt: skip
    memory_utilization_ratio: float | None = metric(
        "gpuwatch_device_memory_utilization_ratio",
        "Fraction of the driver's last sampling period in which device memory was read or written.",
        low=0, high=1,
    )  # fmt: skip
    encoder_ratio: float | None = metric(
        "gpuwatch_device_encoder_ratio", "Video encoder utilization.", low=0, high=1
    )
    decoder_ratio: float | None = metric(
        "gpuwatch_device_decoder_ratio", "Video decoder utilization.", low=0, high=1
    )
    sm_activity_ratio: float | None = metric(
        "gpuwatch_device_sm_activity_ratio",
        "Fraction of time and of streaming multiprocessors with a warp resident.",
        low=0, high=1,
    )  # fmt: skip
    tensor_activity_ratio: float | None = metric(
        "gpuwatch_device_tensor_activity_ratio",
        "Fraction of cycles in which a tensor (matrix) unit was active.",
        low=0, high=1,
    )  # fmt: skip
    dram_activity_ratio: float | None = metric(
        "gpuwatch_device_dram_activity_ratio",
        "Fraction of cycles in which the memory interface was active.",
        low=0, high=1,
    )  # fmt: skip
    memory_used_bytes: float | None = metric(
        "gpuwatch_device_memory_used_bytes",
        "Device memory in use, without what the driver reserves.",
        low=0, high=2**44,
    )  # fmt: skip
    memory_total_bytes: float | None = metric(
        "gpuwatch_device_memory_total_bytes", "Device memory installed.", low=0, high=2**44
    )
    memory_reserved_bytes: float | None = metric(
        "gpuwatch_device_memory_reserved_bytes",
        "Device memory that the driver keeps for itself.",
        low=0, high=2**44,
    )  # fmt: skip
    power_watts: Labelled = metric(
        "gpuwatch_device_power_watts",
        "Electrical power; window says over which time the sensor averages, scope what it covers.",
        "window", "scope",
        low=0, high=20_000,
    )  # fmt: skip
    power_limit_watts: float | None = metric(
        "gpuwatch_device_power_limit_watts", "Enforced power limit.", low=0, high=20_000
    )
    energy_joules: float | None = None
    """The hardware's own energy counter since driver load; exported as metered, see `DeviceUsage`."""
    temperature_celsius: Labelled = metric(
        "gpuwatch_device_temperature_celsius", "Temperature by sensor.", "sensor", low=-40, high=200
    )
    clock_hz: Labelled = metric("gpuwatch_device_clock_hz", "Current clock by domain.", "domain", low=0, high=2e10)
    throttle_seconds: Labelled = metric(
        "gpuwatch_device_throttle_seconds_total",
        "Time the clocks were held down, by reason, since driver load.",
        "reason",
        kind="counter", low=0,
    )  # fmt: skip
    ecc_errors: Labelled = metric(
        "gpuwatch_device_ecc_errors_total",
        "Memory errors by type (corrected, uncorrected) and scope (volatile, aggregate).",
        "type", "scope",
        kind="counter", low=0,
    )  # fmt: skip
    remapped_rows: Labelled = metric(
        "gpuwatch_device_remapped_rows", "Memory rows replaced by spares, by state.", "state", low=0
    )
    recovery_action: Labelled = metric(
        "gpuwatch_device_recovery_action", "1 for the recovery the driver asks for.", "state", low=0, high=1
    )
    fabric_state: Labelled = metric(
        "gpuwatch_device_fabric_state", "1 for the state of the NVLink fabric.", "state", low=0, high=1
    )
    xid_errors: Labelled = metric(
        "gpuwatch_device_xid_errors_total",
        "Driver error reports (XID) by code since the agent started.",
        "xid",
        kind="counter", low=0,
    )  # fmt: skip
    xid_last_timestamp_seconds: Labelled = metric(
        "gpuwatch_device_xid_last_timestamp_seconds", "When an XID was last reported.", "xid", low=0
    )
    pcie_bytes: Labelled = metric(
        "gpuwatch_device_pcie_bytes_total",
        "Bytes over PCIe by direction.",
        "direction",
        kind="counter",
        low=0,
    )
    nvlink_bytes: Labelled = metric(
        "gpuwatch_device_nvlink_bytes_total",
        "Bytes over NVLink by direction.",
        "direction",
        kind="counter", low=0,
    )  # fmt: skip
    processes: tuple[Process, ...] | None = None
    """Processes that have the device open; None where the driver would not say, empty where it has none."""


@dataclass(frozen=True, slots=True)
class HostReading:
    """What the node itself said; named as node_exporter names the like."""

    time: float
    cpu_seconds: Labelled = metric(
        "gpuwatch_host_cpu_seconds_total", "CPU time by mode.", "mode", kind="counter", low=0
    )
    cpu_count: float | None = metric("gpuwatch_host_cpus", "Logical CPUs.", low=0)
    load1: float | None = metric("gpuwatch_host_load1", "1-minute load average.", low=0)
    load5: float | None = metric("gpuwatch_host_load5", "5-minute load average.", low=0)
    load15: float | None = metric("gpuwatch_host_load15", "15-minute load average.", low=0)
    boot_time_seconds: float | None = metric(
        "gpuwatch_host_boot_time_seconds", "When the node booted, Unix seconds.", low=0
    )
    memory_total_bytes: float | None = metric("gpuwatch_host_memory_total_bytes", "Memory installed.", low=0)
    memory_available_bytes: float | None = metric(
        "gpuwatch_host_memory_available_bytes", "Memory available without swapping.", low=0
    )
    memory_used_bytes: float | None = metric("gpuwatch_host_memory_used_bytes", "Memory in use.", low=0)
    swap_used_bytes: float | None = metric("gpuwatch_host_swap_used_bytes", "Swap in use.", low=0)
    filesystem_size_bytes: Labelled = metric(
        "gpuwatch_host_filesystem_size_bytes", "File system size.", "mountpoint", low=0
    )
    filesystem_available_bytes: Labelled = metric(
        "gpuwatch_host_filesystem_available_bytes", "File system space open to users.", "mountpoint", low=0
    )
    disk_read_bytes: Labelled = metric(
        "gpuwatch_host_disk_read_bytes_total", "Bytes read by disk.", "device", kind="counter", low=0
    )
    disk_written_bytes: Labelled = metric(
        "gpuwatch_host_disk_written_bytes_total", "Bytes written by disk.", "device", kind="counter", low=0
    )
    disk_io_time_seconds: Labelled = metric(
        "gpuwatch_host_disk_io_time_seconds_total",
        "Time a disk had I/O in flight.",
        "device",
        kind="counter", low=0,
    )  # fmt: skip
    network_receive_bytes: Labelled = metric(
        "gpuwatch_host_network_receive_bytes_total",
        "Bytes received by network interface.",
        "device",
        kind="counter", low=0,
    )  # fmt: skip
    network_transmit_bytes: Labelled = metric(
        "gpuwatch_host_network_transmit_bytes_total",
        "Bytes sent by network interface.",
        "device",
        kind="counter", low=0,
    )  # fmt: skip
    network_receive_errors: Labelled = metric(
        "gpuwatch_host_network_receive_errs_total", "Receive errors.", "device", kind="counter", low=0
    )
    network_transmit_errors: Labelled = metric(
        "gpuwatch_host_network_transmit_errs_total", "Transmit errors.", "device", kind="counter", low=0
    )
    network_up: Labelled = metric("gpuwatch_host_network_up", "1 where the link is up.", "device", low=0, high=1)
    infiniband_receive_bytes: Labelled = metric(
        "gpuwatch_host_infiniband_port_data_received_bytes_total",
        "Bytes received by InfiniBand port.",
        "device", "port",
        kind="counter", low=0,
    )  # fmt: skip
    infiniband_transmit_bytes: Labelled = metric(
        "gpuwatch_host_infiniband_port_data_transmitted_bytes_total",
        "Bytes sent by InfiniBand port.",
        "device", "port",
        kind="counter", low=0,
    )  # fmt: skip
    infiniband_rate_bytes_per_second: Labelled = metric(
        "gpuwatch_host_infiniband_rate_bytes_per_second",
        "Signalling rate of the port.",
        "device",
        "port",
        low=0,
    )
    infiniband_errors: Labelled = metric(
        "gpuwatch_host_infiniband_errors_total",
        "Port errors by counter.",
        "device", "port", "counter",
        kind="counter", low=0,
    )  # fmt: skip
    energy_joules: Labelled = metric(
        "gpuwatch_host_energy_joules_total", "Energy of the host by domain.", "domain", kind="counter", low=0
    )


def merge_host(time: float, parts: Iterator[HostReading]) -> HostReading:
    """One reading of the node from what its sources each know; where two know the same, the later wins."""
    known = {
        name: value
        for part in parts
        for name, _ in metrics_of(HostReading)
        if (value := getattr(part, name)) is not None and value != EMPTY
    }
    return HostReading(time=time, **known)


@dataclass(frozen=True, slots=True)
class Allocation:
    """A job holds `share` (0 to 1) of a device, by the reason `basis` (one of `BASES`)."""

    job_id: str
    device: str
    share: float
    basis: str


class JobKey(NamedTuple):
    """A job on one node: `started` is the Unix second at which the node first saw it hold a device."""

    job_id: str
    started: int


class RowKey(NamedTuple):
    """The key of one row of counters: a job and one of its devices."""

    job_id: str
    started: int
    device: str


def _sum_optional(left: float | None, right: float | None) -> float | None:
    if left is None or right is None:
        return right if left is None else left
    return left + right


def _sum_mapping(left: Mapping[Labels, float], right: Mapping[Labels, float]) -> Mapping[Labels, float]:
    if not left or not right:
        return left or right
    total = dict(left)
    for key, value in right.items():
        total[key] = total.get(key, 0.0) + value
    return total


@dataclass(frozen=True, slots=True)
class Usage:
    """What was held and what became of it; adds up, and `Usage()` is its zero.

    Σ `state_seconds` = `held_seconds`. A counter that was never measured is None, not 0.
    """

    held_seconds: float = metric(
        "gpuwatch_job_held_seconds_total",
        "Time the job held the device, times its share of it.",
        kind="counter", default=0.0,
    )  # fmt: skip
    busy_seconds: float | None = metric(
        "gpuwatch_job_busy_seconds_total", "Integral of utilization over the held time.", kind="counter"
    )
    memory_byte_seconds: float | None = metric(
        "gpuwatch_job_memory_byte_seconds_total", "Integral of used device memory.", kind="counter"
    )
    tensor_seconds: float | None = metric(
        "gpuwatch_job_tensor_seconds_total", "Integral of tensor activity.", kind="counter"
    )
    energy_unmeasured_seconds: float = metric(
        "gpuwatch_job_energy_unmeasured_seconds_total",
        "Held time without a measurement of energy.",
        kind="counter", default=0.0,
    )  # fmt: skip
    state_seconds: Labelled = metric(
        "gpuwatch_job_state_seconds_total",
        "Held time by state: working, spinning (reported busy at idle power), idle, unknown (not measured).",
        "state",
        kind="counter",
    )
    energy_joules: Labelled = metric(
        "gpuwatch_job_energy_joules_total",
        "Energy of the job's share of the device, by method of measurement.",
        "method",
        kind="counter",
    )
    throttled_seconds: Labelled = metric(
        "gpuwatch_job_throttled_seconds_total",
        "Held time with clocks held down, by reason.",
        "reason",
        kind="counter",
    )

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.held_seconds + other.held_seconds,
            _sum_optional(self.busy_seconds, other.busy_seconds),
            _sum_optional(self.memory_byte_seconds, other.memory_byte_seconds),
            _sum_optional(self.tensor_seconds, other.tensor_seconds),
            self.energy_unmeasured_seconds + other.energy_unmeasured_seconds,
            _sum_mapping(self.state_seconds, other.state_seconds),
            _sum_mapping(self.energy_joules, other.energy_joules),
            _sum_mapping(self.throttled_seconds, other.throttled_seconds),
        )

    @property
    def joules(self) -> float:
        """Energy over all methods."""
        return sum(self.energy_joules.values())


@dataclass(frozen=True, slots=True)
class DeviceUsage:
    """Where a device's time and energy went since the epoch began; parts sum to `seconds` and `energy_joules`."""

    device: str
    seconds: float = 0.0
    energy_joules: Labelled = metric(
        "gpuwatch_device_energy_joules_total",
        "Energy of the device as metered since the epoch began, by method.",
        "method",
        kind="counter",
    )
    held_seconds: float = metric(
        "gpuwatch_device_held_seconds_total", "Time held by jobs.", kind="counter", default=0.0
    )
    unallocated_seconds: float = metric(
        "gpuwatch_device_unallocated_seconds_total", "Time held by nobody.", kind="counter", default=0.0
    )
    unattributed_seconds: float = metric(
        "gpuwatch_device_unattributed_seconds_total",
        "Time whose holder is not known.",
        kind="counter", default=0.0,
    )  # fmt: skip
    held_energy_joules: float = metric(
        "gpuwatch_device_held_energy_joules_total", "Energy while held by jobs.", kind="counter", default=0.0
    )
    unallocated_energy_joules: float = metric(
        "gpuwatch_device_unallocated_energy_joules_total",
        "Energy while held by nobody.",
        kind="counter", default=0.0,
    )  # fmt: skip
    unattributed_energy_joules: float = metric(
        "gpuwatch_device_unattributed_energy_joules_total",
        "Energy whose holder is not known.",
        kind="counter", default=0.0,
    )  # fmt: skip

    @property
    def residual_seconds(self) -> float:
        """Seconds of the device that no part accounts for; 0 but for rounding."""
        return self.seconds - self.held_seconds - self.unallocated_seconds - self.unattributed_seconds

    @property
    def residual_joules(self) -> float:
        """Joules of the device that no part accounts for; 0 but for rounding."""
        parts = self.held_energy_joules + self.unallocated_energy_joules + self.unattributed_energy_joules
        return sum(self.energy_joules.values()) - parts


class Scope(NamedTuple):
    """What a figure is about: `kind` is job, array, campaign or account."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True)
class Estimate:
    """What somebody declared a scope would need. Amounts are in base units; `unit` names it (s, J, g, EUR, 1)."""

    scope: Scope
    quantity: str
    low: float
    likely: float
    high: float
    unit: str
    basis: str | None = None
    declared_by: str = ""
    declared_at: float = 0.0
    channel: str = "socket"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job says it is. `start_step` is the first step its attempt reported."""

    step: float
    total: float
    start_step: float
    time: float

    @property
    def ratio(self) -> float:
        """Fraction of the whole that is done."""
        return self.step / self.total

    @property
    def start_ratio(self) -> float:
        """Fraction that was already done when this attempt began."""
        return self.start_step / self.total


@dataclass(frozen=True, slots=True)
class JobRow:
    """The counters of one job on one device, and whether they can still grow. `seq` grows with each change."""

    key: RowKey
    usage: Usage
    share: float
    basis: str
    open: bool
    seq: int
    last_seen: float


@dataclass(frozen=True, slots=True)
class Declared:
    """The current numbers of a job's declarations and progress; the history is in the journal."""

    job: JobKey
    estimates: tuple[Estimate, ...] = ()
    progress: Progress | None = None
    campaign: str | None = None


@dataclass(frozen=True, slots=True)
class SourceHealth:
    """How reading one source went; kept by the sampler, never by the source."""

    source: str
    up: bool = metric("gpuwatch_source_up", "1 where the last read of the source succeeded.", default=False)
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
        "Messages of jobs at the agent's socket, by type and outcome.",
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


@dataclass(frozen=True, slots=True)
class Forecast:
    """Where a scope will end: `quantiles` maps 0 < q < 1 to amounts in base units; `basis` says why, in words."""

    scope: Scope
    quantity: str
    used: float
    quantiles: Mapping[float, float]
    declared: Estimate | None
    basis: str
    time: float
    p_over: float | None = None
    crosses_at: float | None = None


@dataclass(frozen=True, slots=True)
class Alert:
    """Something worth telling: identity is (kind, scope, quantity); values are never part of it."""

    kind: str
    scope: Scope
    quantity: str
    severity: Literal["info", "warning", "critical"]
    since: float
    value: float
    declared: float
    text: str
