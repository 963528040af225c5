"""Snapshots of a node with eight H100s at work, second by second, with the noise that real sensors have.

Every field that the NVIDIA source knows is there. Each device has its own job, whose steps show in utilization,
power, clocks and temperature; sensors drift and flicker in their own resolution (mW, whole degrees, 15 MHz),
counters grow with what the gauges say. The same seed gives the same snapshots.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from gpuwatch.devices.nvml_fields import RECOVERY_ACTIONS
from gpuwatch.model import (
    THROTTLES,
    Allocation,
    Device,
    DeviceUsage,
    HostReading,
    JobRow,
    Reading,
    RowKey,
    Snapshot,
    Usage,
)
from tests.sinks.snapshots import EPOCH, NOW, device, saved

DEVICES = 8
RATES = {"pcie_receive": 2e8, "pcie_transmit": 9e7, "nvlink_receive": 3e10, "nvlink_transmit": 3e10}
"""What goes over the links of a device that is busy, bytes per second."""
STEP_SECONDS = 41
"""A training step of each job; in the last part of it the job writes a checkpoint and the device waits."""


def _zeros(*names: str) -> dict[str, float]:
    return dict.fromkeys(names, 0.0)


@dataclass
class _Board:
    """One device: what its sensors say follows its load, and its counters follow them."""

    device: Device
    chance: random.Random
    load: float = 0.9
    celsius: float = 58.0
    watts: float = 640.0
    joules: float = 0.0
    seconds: float = 0.0
    busy: float = 0.0
    tensor: float = 0.0
    byte_seconds: float = 0.0
    cycles: float = 0.0
    states: dict[str, float] = field(default_factory=lambda: _zeros("working", "spinning", "idle", "unknown"))
    throttled: dict[str, float] = field(default_factory=lambda: _zeros(*THROTTLES))
    links: dict[str, float] = field(default_factory=lambda: _zeros(*RATES))

    def second(self, time: float) -> Reading:
        """One second of work, and what the device says at its end."""
        waits = (time + 5 * self.device.index) % STEP_SECONDS > STEP_SECONDS - 4
        aim = 0.05 if waits else 0.93
        self.load = min(1.0, max(0.0, 0.6 * self.load + 0.4 * aim + self.chance.gauss(0, 0.02)))
        self.watts += 0.7 * (115 + 560 * self.load - self.watts) + self.chance.gauss(0, 6)
        self.celsius += 0.05 * (28 + self.watts / 18 - self.celsius) + self.chance.gauss(0, 0.1)
        clock = 15e6 * round((1980e6 - 200e6 * max(0.0, self.load - 0.9) * self.chance.random()) / 15e6)
        reading = self._reading(time, clock, waits)
        self._count(reading, clock, waits)
        return reading

    def _reading(self, time: float, clock: float, waits: bool) -> Reading:
        used = 70e9 + 2**21 * round(self.chance.gauss(0, 40))
        return Reading(
            device=self.device.uid, time=time,
            utilization_ratio=round(self.load if waits else min(1.0, self.load + 0.06), 2),
            memory_utilization_ratio=round(0.5 * self.load, 2),
            encoder_ratio=0.0, decoder_ratio=0.0,
            sm_activity_ratio=0.9 * self.load + self.chance.gauss(0, 0.01),
            tensor_activity_ratio=0.45 * self.load + self.chance.gauss(0, 0.01),
            dram_activity_ratio=0.6 * self.load + self.chance.gauss(0, 0.01),
            memory_used_bytes=used, memory_total_bytes=85_520_809_984, memory_reserved_bytes=613_416_960,
            power_watts={
                ("instant", "device"): round(self.watts + self.chance.gauss(0, 9), 3),
                ("average", "device"): round(self.watts, 3),
            },
            power_limit_watts=700.0, energy_joules=self.joules,
            temperature_celsius={"gpu": round(self.celsius), "memory": round(self.celsius + 11)},
            clock_hz={"graphics": clock, "sm": clock, "memory": 2.619e9, "video": 1.545e9},
            throttle_seconds={name: self.throttled[name] for name in THROTTLES if name != "other"},
            ecc_errors={
                (kind, scope): 0.0 for kind in ("corrected", "uncorrected") for scope in ("volatile", "aggregate")
            },
            remapped_rows=_zeros("corrected", "uncorrected", "pending", "failure"),
            recovery_action={**_zeros(*RECOVERY_ACTIONS), "none": 1.0},
            fabric_state={"not_started": 0.0, "in_progress": 0.0, "completed": 1.0, "healthy": 1.0},
            pcie_bytes={"receive": self.links["pcie_receive"], "transmit": self.links["pcie_transmit"]},
            nvlink_bytes={"receive": self.links["nvlink_receive"], "transmit": self.links["nvlink_transmit"]},
        )  # fmt: skip

    def _count(self, reading: Reading, clock: float, waits: bool) -> None:
        self.seconds += 1.0
        self.joules += self.watts
        self.busy += reading.utilization_ratio or 0.0
        self.tensor += reading.tensor_activity_ratio or 0.0
        self.byte_seconds += reading.memory_used_bytes or 0.0
        self.cycles += 0.0 if waits else clock
        self.states["idle" if waits else "working"] += 1.0
        self.throttled["sw_power_cap"] += 0.02 * self.chance.random() if self.watts > 640 else 0.0
        for name, rate in RATES.items():
            self.links[name] += round(rate * self.load * self.chance.uniform(0.8, 1.2))

    def usage(self) -> DeviceUsage:
        """Where its time and energy went: all to its job, but for a while before."""
        return DeviceUsage(
            self.device.uid, self.seconds + 100.0, {"counter": self.joules + 9000.0}, self.seconds, 100.0, 0.0,
            self.joules, 9000.0, 0.0,
        )  # fmt: skip

    def row(self, job_id: str, started: int, time: float, seq: int) -> JobRow:
        """The counters of its job."""
        key = RowKey(job_id, started, self.device.uid)
        used = Usage(
            self.seconds, self.busy, self.byte_seconds, self.tensor, 0.0, dict(self.states),
            {"counter": self.joules}, dict(self.throttled), self.cycles, self.states["working"],
            self.states["idle"] * 0.8, dict(self.links), _zeros("ecc_corrected", "ecc_uncorrected", "xid"),
            0.0, started + 12.0, {"working": time, "idle": time - 17.0},
        )  # fmt: skip
        return JobRow(key, used, 1.0, "whole", True, seq, time)


class NodeAtWork:
    """Makes a snapshot for each second; `jobs` is how many the devices are divided among."""

    def __init__(self, devices: int = DEVICES, jobs: int = 1, seed: int = 1, start: float = NOW) -> None:
        chance = random.Random(seed)
        self._chance = chance
        self._boards = [
            _Board(
                device(f"GPU-{chance.getrandbits(32):08x}-{chance.getrandbits(16):04x}-5a1c-9e2d-{n:012x}", n),
                chance,
            )
            for n in range(devices)
        ]
        self._jobs = [str(4_800_000 + number * jobs // devices) for number in range(devices)]
        self._time = start
        self._started = int(start)
        self._seq = 0
        self._host = {"cpu": [1e6, 2e5, 9e6], "disk": [1e11, 2e11], "net": [1e12, 2e12, 1e14, 1e14]}

    def seconds(self, count: int) -> Iterator[Snapshot]:
        """The next snapshots."""
        for _ in range(count):
            yield self.second()

    def second(self) -> Snapshot:
        """The next one. Ticks are a little late, as real ones are."""
        self._time += 1.0
        self._seq += 1
        time = self._time + self._chance.uniform(0.0, 0.004)
        readings = [board.second(time) for board in self._boards]
        numbered = zip(self._jobs, self._boards, strict=True)
        rows = [board.row(job, self._started, time, self._seq) for job, board in numbered]
        return saved(Snapshot(
            "default", "gw0", time, self._seq, EPOCH, "8f7e",
            devices={board.device.uid: board.device for board in self._boards},
            readings={reading.device: reading for reading in readings},
            device_usage={board.device.uid: board.usage() for board in self._boards},
            allocations=tuple(Allocation(row.key.job_id, row.key.device, 1.0, "whole") for row in rows),
            rows={row.key: row for row in rows},
            host=self._host_reading(time),
        ))  # fmt: skip

    def ended(self, last: Snapshot) -> Snapshot:
        """A second later all jobs are over."""
        self._seq += 1
        rows = {key: replace(row, open=False, seq=self._seq) for key, row in last.rows.items()}
        return saved(replace(last, time=last.time + 1.0, seq=self._seq, rows=rows, allocations=()))

    def _host_reading(self, time: float) -> HostReading:
        for numbers, rates in zip(
            self._host.values(), ((40, 5, 50), (1e6, 5e7), (1e5, 2e5, 4e9, 4e9)), strict=True
        ):
            for place, rate in enumerate(rates):
                numbers[place] += round(rate * self._chance.uniform(0.5, 1.5), 2)
        cpu, disk, net = self._host.values()
        used = 1.4e11 + 4096 * round(self._chance.gauss(0, 50_000))
        load = 42 + self._chance.gauss(0, 1)
        return HostReading(
            time=time,
            cpu_seconds=dict(zip(("user", "system", "idle"), cpu, strict=True))
            | _zeros("nice", "iowait", "irq", "softirq", "steal"),
            cpu_count=128.0, load1=round(load, 2), load5=41.3, load15=40.9, boot_time_seconds=1_763_000_000.0,
            memory_total_bytes=1_081_900_000_000, memory_available_bytes=1.08e12 - used, memory_used_bytes=used,
            swap_used_bytes=0.0,
            filesystem_size_bytes={"/": 9e11, "/scratch": 7e12},
            filesystem_available_bytes={"/": 6e11, "/scratch": 5e12 - disk[1]},
            disk_read_bytes={"nvme0n1": disk[0], "nvme1n1": disk[0] / 2},
            disk_written_bytes={"nvme0n1": disk[1], "nvme1n1": disk[1] / 2},
            disk_io_time_seconds={"nvme0n1": cpu[1] / 9, "nvme1n1": cpu[1] / 17},
            network_receive_bytes={"eth0": net[0]}, network_transmit_bytes={"eth0": net[1]},
            network_receive_errors={"eth0": 0.0}, network_transmit_errors={"eth0": 0.0}, network_up={"eth0": 1.0},
            infiniband_receive_bytes={(f"mlx5_{n}", "1"): net[2] * (1 + n / 7) for n in range(4)},
            infiniband_transmit_bytes={(f"mlx5_{n}", "1"): net[3] * (1 + n / 9) for n in range(4)},
            infiniband_rate_bytes_per_second={(f"mlx5_{n}", "1"): 5e10 for n in range(4)},
            infiniband_errors={(f"mlx5_{n}", "1", "symbol_error"): 0.0 for n in range(4)},
            energy_joules={"package-0": cpu[0] * 3, "package-1": cpu[0] * 2.9},
        )  # fmt: skip
