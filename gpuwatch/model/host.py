"""What the node says of itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    disk_reads: Labelled = metric(
        "gpuwatch_host_disk_reads_completed_total", "Reads that a disk has ended.", "device", kind="counter", low=0
    )
    disk_writes: Labelled = metric(
        "gpuwatch_host_disk_writes_completed_total",
        "Writes that a disk has ended.",
        "device",
        kind="counter",
        low=0,
    )
    disk_read_seconds: Labelled = metric(
        "gpuwatch_host_disk_read_time_seconds_total",
        "Time that reads took, each for itself; its rate over that of the reads is their latency.",
        "device",
        kind="counter", low=0,
    )  # fmt: skip
    disk_write_seconds: Labelled = metric(
        "gpuwatch_host_disk_write_time_seconds_total",
        "Time that writes took, each for itself.",
        "device",
        kind="counter", low=0,
    )  # fmt: skip
    disk_weighted_seconds: Labelled = metric(
        "gpuwatch_host_disk_io_time_weighted_seconds_total",
        "Time of all I/O in flight or queued; its rate is the length of the queue.",
        "device",
        kind="counter", low=0,
    )  # fmt: skip
    nfs_read_bytes: Labelled = metric(
        "gpuwatch_host_nfs_read_bytes_total",
        "Bytes that NFS servers sent, by mount point; those of persons are added up (`/home/*`).",
        "mountpoint",
        kind="counter", low=0,
    )  # fmt: skip
    nfs_write_bytes: Labelled = metric(
        "gpuwatch_host_nfs_write_bytes_total",
        "Bytes that NFS servers took, by mount point.",
        "mountpoint",
        kind="counter", low=0,
    )  # fmt: skip
    nfs_operations: Labelled = metric(
        "gpuwatch_host_nfs_operations_requests_total",
        "Requests to NFS servers, by operation: read, write, metadata (all else).",
        "mountpoint", "operation",
        kind="counter", low=0,
    )  # fmt: skip
    nfs_queue_seconds: Labelled = metric(
        "gpuwatch_host_nfs_operations_queue_time_seconds_total",
        "Time that requests waited on this node before they were sent.",
        "mountpoint", "operation",
        kind="counter", low=0,
    )  # fmt: skip
    nfs_response_seconds: Labelled = metric(
        "gpuwatch_host_nfs_operations_response_time_seconds_total",
        "Time from sending a request to its answer: network and server.",
        "mountpoint", "operation",
        kind="counter", low=0,
    )  # fmt: skip
    nfs_request_seconds: Labelled = metric(
        "gpuwatch_host_nfs_operations_request_time_seconds_total",
        "Time that requests took in all, from their making to their end.",
        "mountpoint", "operation",
        kind="counter", low=0,
    )  # fmt: skip
    nfs_major_timeouts: Labelled = metric(
        "gpuwatch_host_nfs_operations_major_timeouts_total",
        "Requests that no server answered in time.",
        "mountpoint", "operation",
        kind="counter", low=0,
    )  # fmt: skip
    lustre_read_bytes: Labelled = metric(
        "gpuwatch_host_lustre_read_bytes_total",
        "Bytes that programs read, also from the node's cache, by Lustre file system.",
        "filesystem",
        kind="counter", low=0,
    )  # fmt: skip
    lustre_write_bytes: Labelled = metric(
        "gpuwatch_host_lustre_write_bytes_total",
        "Bytes that programs wrote, by Lustre file system.",
        "filesystem",
        kind="counter", low=0,
    )  # fmt: skip
    lustre_operations: Labelled = metric(
        "gpuwatch_host_lustre_operations_total",
        "Operations of programs, by kind: read, write, metadata.",
        "filesystem", "operation",
        kind="counter", low=0,
    )  # fmt: skip
    lustre_requests: Labelled = metric(
        "gpuwatch_host_lustre_requests_total",
        "Requests to the file system's servers.",
        "filesystem",
        kind="counter", low=0,
    )  # fmt: skip
    lustre_request_wait_seconds: Labelled = metric(
        "gpuwatch_host_lustre_request_wait_seconds_total",
        "Time that requests waited for their answer; its rate over that of the requests is their latency.",
        "filesystem",
        kind="counter", low=0,
    )  # fmt: skip
    storage_mounts: Labelled = metric(
        "gpuwatch_host_storage_mounts",
        "Network file systems that are mounted, by type (nfs, lustre).",
        "type",
        low=0,
    )
    storage_mounts_left_out: Labelled = metric(
        "gpuwatch_host_storage_mounts_left_out",
        "Those of which nothing is shown, since there are more than `host.storage.max_mounts`.",
        "type",
        low=0,
    )
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
        "gpuwatch_host_energy_joules_total",
        "Energy by domain since the agent began: package-0, dram-0, psys (has both), cpu-0, module-0, chassis.",
        "domain",
        kind="counter", low=0,
    )  # fmt: skip
    energy_divided_joules: Labelled = metric(
        "gpuwatch_host_divided_energy_joules_total",
        "Energy of the host since the agent began, as it was divided: to jobs, and what stays with the node.",
        "to",
        kind="counter", low=0,
    )  # fmt: skip
    power_watts: Labelled = metric(
        "gpuwatch_host_power_watts",
        "Power by meter: ipmi is the whole chassis, others are named as their energy.",
        "source",
        low=0,
    )
    rejected: Mapping[str, int] = EMPTY
    """Values that a source did not believe, by reason, since it was last read."""


def merge_host(time: float, parts: Iterator[HostReading]) -> HostReading:
    """One reading of the node from what its sources each know; where two know the same, the later wins."""
    known = {
        name: value
        for part in parts
        for name, _ in metrics_of(HostReading)
        if (value := getattr(part, name)) is not None and value != EMPTY
    }
    return HostReading(time=time, **known)
