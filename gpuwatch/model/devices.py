"""What an accelerator is, and what it says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gpuwatch.model.metric import EMPTY, Labelled, metric


@dataclass(frozen=True, slots=True)
class Site:
    """Where a process runs: names for its values, and the roots of procfs and sysfs (fixtures change them)."""

    cluster: str = "default"
    node: str = "localhost"
    procfs: str = "/proc"
    sysfs: str = "/sys"


@dataclass(frozen=True, slots=True)
class Device:
    """One accelerator, or a slice of one (`parent` is then the uid of the whole, `fraction` its part).

    `session` counts how often the driver was opened anew since the agent started.
    """

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
    session: int = 0


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
    modelled_watts: float | None = None
    """What a model says it draws, where nothing measures it; metered as `modelled`, never exported as power."""
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
        "gpuwatch_device_remapped_rows",
        "Memory rows replaced by spares (corrected, uncorrected); pending and failure are 0 or 1.",
        "state",
        low=0,
    )
    recovery_action: Labelled = metric(
        "gpuwatch_device_recovery_action",
        "1 for the recovery that the driver asks for, 0 for the others.",
        "state",
        low=0, high=1,
    )  # fmt: skip
    fabric_state: Labelled = metric(
        "gpuwatch_device_fabric_state",
        "1 for the state of the NVLink fabric, 0 for the others; healthy stands beside them where it is known.",
        "state",
        low=0, high=1,
    )  # fmt: skip
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
        "Bytes over PCIe by direction (transmit, receive), as the device counts them.",
        "direction",
        kind="counter",
        low=0,
    )
    nvlink_bytes: Labelled = metric(
        "gpuwatch_device_nvlink_bytes_total",
        "Bytes over NVLink by direction (transmit, receive), over all links.",
        "direction",
        kind="counter", low=0,
    )  # fmt: skip
    xgmi_bytes: Labelled = metric(
        "gpuwatch_device_xgmi_bytes_total",
        "Bytes over XGMI by direction (transmit, receive), over all links.",
        "direction",
        kind="counter", low=0,
    )  # fmt: skip
    tensor_idle_seconds: float | None = metric(
        "gpuwatch_device_tensor_idle_seconds", "How long the tensor units have done nothing.", low=0
    )
    runtime_uptime_seconds: float | None = metric(
        "gpuwatch_device_runtime_uptime_seconds",
        "How long the runtime of the process that uses the device has been up.",
        low=0,
    )
    queued_programs: float | None = metric(
        "gpuwatch_device_queued_programs", "Programs that wait to be run by the device.", low=0
    )
    program_duration_seconds: Labelled = metric(
        "gpuwatch_device_program_duration_seconds",
        "How long programs ran on the device since its runtime began, by quantile.",
        "q",
        low=0,
    )
    transfer_latency_seconds: Labelled = metric(
        "gpuwatch_device_transfer_latency_seconds",
        "How long transfers of the process that uses the device took since it began, by kind and quantile; "
        "at the first of its devices on the node.",
        "transfer", "q",
        low=0,
    )  # fmt: skip
    link_health: float | None = metric(
        "gpuwatch_device_link_health",
        "The worst of the links to other chips: 0 good, 1 to 5 passing errors, 6 to 9 lasting ones, 10 unusable.",
        low=0, high=10,
    )  # fmt: skip
    throttle_ratio: float | None = metric(
        "gpuwatch_device_throttle_ratio", "How far the device is held down now.", low=0, high=1
    )
    processes: tuple[Process, ...] | None = None
    """Processes that have the device open; None where the driver would not say, empty where it has none."""
    rejected: Mapping[str, int] = EMPTY
    """What the source itself did not believe of what it was told, by reason; counted with what is out of range."""
