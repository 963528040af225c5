"""What the node says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gpuwatch.model.metric import EMPTY, Labelled, metric, metrics_of


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
