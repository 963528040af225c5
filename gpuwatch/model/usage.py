"""Who held what, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from gpuwatch.model.metric import EMPTY, Labelled, Labels, metric

STATES = ("working", "spinning", "idle", "unknown")

BASES = ("whole", "mig", "shard", "mps", "timeslice", "holders")

METHODS = ("counter", "integrated", "modelled")

THROTTLES = ("sw_power_cap", "sw_thermal", "hw_thermal", "hw_power_brake", "sync_boost", "other")

LINKS = (
    "pcie_receive", "pcie_transmit", "nvlink_receive", "nvlink_transmit", "xgmi_receive", "xgmi_transmit",
)  # fmt: skip

ERRORS = ("ecc_corrected", "ecc_uncorrected", "xid")


@dataclass(frozen=True, slots=True)
class Allocation:
    """A job holds `share` of a device, by the reason `basis` (one of `BASES`).

    The share is that of the whole board: whoever has a slice of one seventh to himself holds a seventh.
    """

    job_id: str
    device: str
    share: float
    basis: str


class JobKey(NamedTuple):
    """A job on one node: `started` is the Unix second at which the node first saw it hold a device."""

    job_id: str
    started: int


class GroupUse(NamedTuple):
    """What a job's control group has used of the processors, seconds, and holds of the memory; None: not known."""

    cpu_seconds: float | None
    memory_bytes: float | None


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


def _least(left: float | None, right: float | None) -> float | None:
    if left is None or right is None:
        return right if left is None else left
    return min(left, right)


def _latest(left: Mapping[Labels, float], right: Mapping[Labels, float]) -> Mapping[Labels, float]:
    if not left or not right:
        return left or right
    latest = dict(left)
    for key, value in right.items():
        latest[key] = max(latest.get(key, value), value)
    return latest


@dataclass(frozen=True, slots=True)
class Usage:
    """What was held and what became of it; adds up, and `Usage()` is its zero.

    Σ `state_seconds` = `held_seconds`. A counter that was never measured is None, not 0. Counters add up; of
    `energy_gap_seconds` and `last_in_state` the greatest counts, of `first_working` the least.
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
    clock_cycles: float | None = None
    """Cycles of the SM clock while working; divided by `clock_seconds` the mean clock at work, Hz."""
    clock_seconds: float | None = None
    """Working time of which the clock is known."""
    storage_wait_seconds: float | None = None
    """Held time in which all of the job's processes on the node waited for storage."""
    link_bytes: Labelled = EMPTY
    """Bytes over the device's links, by one of `LINKS`."""
    errors: Labelled = EMPTY
    """Errors of the device while it was held, by one of `ERRORS`."""
    energy_gap_seconds: float = 0.0
    """The longest held time on end without a measurement of energy."""
    first_working: float | None = None
    """When it was first seen working, Unix seconds."""
    last_in_state: Labelled = EMPTY
    """When it was last seen in each of `STATES`, Unix seconds."""
    host_energy_joules: float | None = metric(
        "gpuwatch_job_host_energy_joules_total",
        "Energy of the node itself by the job's processor time and memory; the job's, on one of its devices.",
        kind="counter",
    )
    host_energy_measured_seconds: float | None = metric(
        "gpuwatch_job_host_energy_measured_seconds_total",
        "Time of the job on the node in which its part of the node's energy was known; on the same device.",
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
            _sum_optional(self.clock_cycles, other.clock_cycles),
            _sum_optional(self.clock_seconds, other.clock_seconds),
            _sum_optional(self.storage_wait_seconds, other.storage_wait_seconds),
            _sum_mapping(self.link_bytes, other.link_bytes),
            _sum_mapping(self.errors, other.errors),
            max(self.energy_gap_seconds, other.energy_gap_seconds),
            _least(self.first_working, other.first_working),
            _latest(self.last_in_state, other.last_in_state),
            _sum_optional(self.host_energy_joules, other.host_energy_joules),
            _sum_optional(self.host_energy_measured_seconds, other.host_energy_measured_seconds),
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
