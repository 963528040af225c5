"""Snapshots made by hand: one with something of everything, and big ones for limits and costs."""

from __future__ import annotations

from dataclasses import replace

from gpuwatch.model import (
    AgentHealth,
    Allocation,
    Declared,
    Device,
    DeviceUsage,
    Estimate,
    HostReading,
    JobKey,
    JobRow,
    Progress,
    Reading,
    RowKey,
    Scope,
    Snapshot,
    SourceHealth,
    Usage,
)

NOW = 1_764_000_000.0
STARTED = 1_763_999_000
EPOCH = "3f0c9a1b2c4d"


def device(uid: str = "GPU-0", index: int = 0) -> Device:
    """A whole GPU."""
    return Device(uid, "gw0", index, "nvidia", "NVIDIA H100 80GB HBM3", "gpu", "0000:18:00.0", None, "570.86.15")


def reading(uid: str = "GPU-0", time: float = NOW) -> Reading:
    """A reading that knows everything a GPU can say."""
    return Reading(
        device=uid,
        time=time,
        utilization_ratio=0.97,
        memory_utilization_ratio=0.41,
        encoder_ratio=0.0,
        decoder_ratio=0.0,
        sm_activity_ratio=0.83,
        tensor_activity_ratio=0.3125,
        dram_activity_ratio=0.5,
        memory_used_bytes=70_123_456_789,
        memory_total_bytes=85_520_809_984,
        memory_reserved_bytes=613_416_960,
        power_watts={("instant", "device"): 651.25, ("average", "device"): 640.5},
        power_limit_watts=700,
        energy_joules=9e9,
        temperature_celsius={"gpu": 61, "memory": 74},
        clock_hz={"sm": 1.98e9, "memory": 2.619e9},
        throttle_seconds={"sw_power_cap": 12.5, "hw_thermal": 0.0},
        ecc_errors={("corrected", "volatile"): 2, ("uncorrected", "aggregate"): 0},
        remapped_rows={"corrected": 1, "pending": 0},
        recovery_action={"none": 1},
        fabric_state={"completed": 1},
        xid_errors={"31": 1},
        xid_last_timestamp_seconds={"31": 1_763_999_950.25},
        pcie_bytes={"receive": 1e12, "transmit": 5e11},
        nvlink_bytes={"receive": 123_456_789_012_345, "transmit": 2**60},
        xgmi_bytes={"receive": 2**50, "transmit": 3 * 2**50},
        tensor_idle_seconds=0.25,
        runtime_uptime_seconds=3600.5,
        queued_programs=2,
        program_duration_seconds={"0.5": 0.125, "0.95": 0.5},
        transfer_latency_seconds={("host_to_device", "0.5"): 0.001},
        link_health=0,
        throttle_ratio=0.1,
    )


def usage(scale: float = 1.0) -> Usage:
    """Counters that know everything."""
    return Usage(
        held_seconds=1000.0 * scale,
        busy_seconds=870.2 * scale,
        memory_byte_seconds=4.1e13 * scale,
        tensor_seconds=310.0 * scale,
        energy_unmeasured_seconds=0.5 * scale,
        state_seconds={
            "working": 850.0 * scale,
            "spinning": 50.0 * scale,
            "idle": 99.5 * scale,
            "unknown": 0.5 * scale,
        },
        energy_joules={"counter": 512_345.6 * scale, "integrated": 1000.0 * scale},
        throttled_seconds={"sw_power_cap": 12.5 * scale},
    )


def row(
    job_id: str = "4711", uid: str = "GPU-0", *, open: bool = True, last_seen: float = NOW, started: int = STARTED
) -> JobRow:
    """The counters of a job on a device."""
    return JobRow(RowKey(job_id, started, uid), usage(), 1.0, "whole", open, 42, last_seen)


def declared(job_id: str = "4711") -> Declared:
    """What a job said of itself, and what it said of its campaign."""
    job, campaign = Scope("job", job_id), Scope("campaign", "llama-ft")
    return Declared(
        JobKey(job_id, STARTED),
        (
            Estimate(job, "device-hours", 3600.0, 7200.0, 9000.0, "s"),
            Estimate(job, "energy", 1.8e8, 1.8e8, 1.8e8, "J"),
            Estimate(campaign, "device-hours", 1e6, 1e6, 1e6, "s"),
        ),
        Progress(1200, 9000, 600, NOW),
        "llama-ft",
    )


def host() -> HostReading:
    """A node that knows most things."""
    return HostReading(
        time=NOW,
        cpu_seconds={"user": 12345.67, "system": 2345.0, "idle": 987654.3},
        cpu_count=64,
        load1=3.5,
        load5=3.25,
        load15=3.0,
        boot_time_seconds=1_763_000_000,
        memory_total_bytes=540_000_000_000,
        memory_available_bytes=400_000_000_000,
        filesystem_size_bytes={"/": 1e12, "/scratch data": 4e13},
        filesystem_available_bytes={"/": 5e11, "/scratch data": 1e13},
        disk_read_bytes={"nvme0n1": 1e11},
        network_receive_bytes={"eth0": 1e13},
        network_up={"eth0": 1, "eth1": 0},
        infiniband_receive_bytes={("mlx5_0", "1"): 3e15},
        infiniband_errors={("mlx5_0", "1", "symbol_error"): 0},
        disk_reads={"nvme0n1": 1e6},
        disk_read_seconds={"nvme0n1": 250.5},
        nfs_read_bytes={"/data": 5e12, "/home/*": 1e9},
        nfs_operations={("/data", "read"): 5_000_000, ("/data", "metadata"): 1000},
        nfs_response_seconds={("/data", "read"): 9000.25},
        lustre_read_bytes={"scratch": 7e13},
        lustre_request_wait_seconds={"scratch": 321.5},
        storage_mounts={"nfs": 2, "lustre": 1},
        energy_joules={"package-0": 1.5e9},
    )


def full() -> Snapshot:
    """A node with two devices, one of them lost, a job on each and one that ended, and a slice of the first."""
    slice_ = replace(device("MIG-1"), kind="mig", parent="GPU-0", pci=None, fraction=1 / 7)
    ended, gone = row("4710", open=False, last_seen=NOW - 899), row("4709", open=False, last_seen=NOW - 901)
    rows = [row(), row(uid="GPU-1"), ended, gone, row("user:ada", "MIG-1", started=STARTED + 7)]
    return Snapshot(
        cluster="default",
        node="gw0",
        time=NOW,
        seq=42,
        epoch=EPOCH,
        boot_id="8f7e",
        devices={"GPU-1": device("GPU-1", 1), "GPU-0": device(), "MIG-1": slice_},
        readings={"GPU-0": reading(), "MIG-1": Reading("MIG-1", NOW, memory_used_bytes=0)},
        device_usage={
            "GPU-0": DeviceUsage("GPU-0", 2000.0, {"counter": 600_000.0}, 1000.0, 900.0, 100.0, 5e5, 6e4, 4e4),
            "GPU-1": DeviceUsage("GPU-1", 2000.0, {}, 1000.0, 1000.0),
        },
        allocations=(
            Allocation("4711", "GPU-0", 0.5, "shard"),
            Allocation("4711", "GPU-0", 0.25, "shard"),
            Allocation("4711", "GPU-1", 1.0, "whole"),
            Allocation("user:ada", "MIG-1", 1.0, "mig"),
            Allocation("not-in-the-rows-yet", "MIG-1", 0.1, "holders"),
        ),
        rows={each.key: each for each in rows},
        declared={JobKey("4711", STARTED): declared(), JobKey("4709", STARTED): declared("4709")},
        host=host(),
        sources={
            "nvidia": SourceHealth("nvidia", True, 0.0042, NOW, {"power_watts": 3}),
            "local": SourceHealth("local", False, None, None, message="no right to look"),
        },
        agent=AgentHealth(0.0061, 2, 1, 1, 0.0, 0.0, 0.0, 1, {"age": 5}, {("progress", "accepted"): 7}),
    )


def node(devices: int = 8, jobs: int = 8, *, seq: int = 1, time: float = NOW) -> Snapshot:
    """A whole node at work: every device read and held."""
    uids = [f"GPU-{index:08x}-aaaa-bbbb-cccc-000000000000" for index in range(devices)]
    rows = [row(str(1000 + job), uids[job % devices], started=STARTED + job) for job in range(jobs)]
    return replace(
        full(),
        seq=seq,
        time=time,
        devices={uid: device(uid, index) for index, uid in enumerate(uids)},
        readings={uid: reading(uid, time) for uid in uids},
        device_usage={uid: DeviceUsage(uid, 2000.0, {"counter": 6e5}, 1000.0, 1000.0) for uid in uids},
        allocations=tuple(Allocation(each.key.job_id, each.key.device, 1.0, "whole") for each in rows),
        rows={each.key: each for each in rows},
        declared={},
    )


def saved(snapshot: Snapshot) -> Snapshot:
    """The same, with all that it knows of jobs on the disk."""
    rows = snapshot.rows.values()
    open_rows = tuple(each for each in rows if each.open)
    return replace(snapshot, saved=open_rows, saved_seq=max((each.seq for each in rows), default=-1))
