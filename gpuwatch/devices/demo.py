"""Simulated accelerators: nothing of the pipeline is pretended but the silicon.

Load comes from real processes that open a device through the demo's driver directory (`demo_driver`). Given
the same times and loads, the same device says the same: the noise is a function of its uid and the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, exp
from pathlib import Path
from zlib import crc32

from pydantic import BaseModel, ConfigDict, Field

from gpuwatch.devices.demo_driver import Holder, holders
from gpuwatch.errors import Unavailable
from gpuwatch.model import Device, Process, Reading, Site

MODEL = "Demo Accelerator 80GB"
LIMIT_WATTS = 700.0
IDLE_WATTS = 70.0
CONTEXT_WATTS = 30.0
SPIN_WATTS = 10.0
FULL_WATTS = 660.0
MEMORY_BYTES = 80 * 2**30
RESERVED_BYTES = 600 * 2**20

# Bytes a second at full load: batches come in, results go out, gradients go round.
PCIE_RECEIVE, PCIE_TRANSMIT, NVLINK = 2.4e9, 0.3e9, 90e9

STEP_SECONDS = 0.25
POWER_LAG_SECONDS = 0.2
THERMAL_LAG_SECONDS = 15.0
THROTTLE_ABOVE_CELSIUS = 85.0
THROTTLE_BELOW_CELSIUS = 82.0
THROTTLE_FACTOR = 0.7
# A wall clock that leaps is not time in which a device drew power.
LONGEST_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Activity:
    """What the processes of a device make it do: ratios, and the power it goes to."""

    utilization: float = 0.0
    sm: float = 0.0
    tensor: float = 0.0
    dram: float = 0.0
    clock_hz: float = 345e6
    watts: float = IDLE_WATTS
    traffic: float = 0.0


def noise(uid: str, second: int, of: str) -> float:
    """A number from -1 to 1 that is always the same for the same device, second and purpose."""
    return crc32(f"{uid} {second} {of}".encode()) / 2**31 - 1


def activity_of(uid: str, second: int, present: Sequence[Holder]) -> Activity:
    """What a device does for the processes that have it open."""
    if not present:
        return Activity(watts=IDLE_WATTS + 2 * noise(uid, second, "watts"))
    watts = IDLE_WATTS + CONTEXT_WATTS + 3 * noise(uid, second, "watts")
    phases = {holder.load.phase for holder in present}
    computing = sum(holder.load.intensity for holder in present if holder.load.phase == "compute")
    if computing > 0:
        wobble = 1 + 0.03 * noise(uid, second, "load")
        level = min(1.0, computing) * wobble
        return Activity(
            utilization=min(1.0, 0.97 + 0.03 * noise(uid, second, "utilization")),
            sm=min(1.0, 0.88 * level),
            tensor=min(1.0, 0.58 * level),
            dram=min(1.0, 0.47 * level),
            clock_hz=1980e6,
            watts=min(LIMIT_WATTS, watts + (FULL_WATTS - watts) * level),
            traffic=min(1.0, level),
        )
    if "hang" in phases:
        return Activity(1.0, sm=0.24, clock_hz=1980e6, watts=watts + SPIN_WATTS)
    if "stall" in phases:
        return Activity(0.02, sm=0.01, tensor=0.0, dram=0.02, clock_hz=1980e6, watts=watts + SPIN_WATTS)
    return Activity(clock_hz=1200e6, watts=watts)


class Silicon:
    """One simulated device: power lags load, temperature lags power, a hot one holds its clocks down."""

    def __init__(self, uid: str, hot: bool = False) -> None:
        self.uid = uid
        self.joules = 0.0
        self.uptime_seconds = 0.0
        self.throttled_seconds = 0.0
        self.traffic_seconds = 0.0
        self.watts = self.average_watts = IDLE_WATTS
        self.throttled = False
        self.hot = hot
        self.celsius = self._rest_celsius
        self.activity = Activity()
        self._time: float | None = None

    def advance(self, now: float, present: Sequence[Holder]) -> None:
        """Let the device run until `now` under what its processes do."""
        since, self._time = now if self._time is None else self._time, now
        seconds = min(max(0.0, now - since), LONGEST_SECONDS)
        steps = ceil(seconds / STEP_SECONDS)
        drawn: list[float] = []
        for step in range(steps):
            second = int(now - seconds + step * seconds / steps)
            self.activity = activity_of(self.uid, second, present)
            self._step(seconds / steps)
            drawn.append(self.watts)
        last = drawn[-ceil(1 / STEP_SECONDS) :]
        if last:
            self.average_watts = sum(last) / len(last)
        else:
            self.activity = activity_of(self.uid, int(now), present)

    @property
    def clock_hz(self) -> float:
        """The clock, held down while the device is too hot."""
        return self.activity.clock_hz * (THROTTLE_FACTOR if self._held_down else 1.0)

    @property
    def _held_down(self) -> bool:
        return self.throttled and self.activity.tensor > 0

    @property
    def _rest_celsius(self) -> float:
        return self._target_celsius(IDLE_WATTS)

    def _target_celsius(self, watts: float) -> float:
        return 38 + 0.087 * watts if self.hot else 28 + 0.062 * watts

    def _step(self, seconds: float) -> None:
        target = self.activity.watts * (THROTTLE_FACTOR if self._held_down else 1.0)
        before = self.watts
        self.watts += (target - self.watts) * (1 - exp(-seconds / POWER_LAG_SECONDS))
        self.joules += (before + self.watts) / 2 * seconds
        warmer = self._target_celsius(self.watts) - self.celsius
        self.celsius += warmer * (1 - exp(-seconds / THERMAL_LAG_SECONDS))
        self.uptime_seconds += seconds
        self.traffic_seconds += self.activity.traffic * seconds
        self.throttled_seconds += seconds if self._held_down else 0.0
        self.throttled = self.celsius > (THROTTLE_BELOW_CELSIUS if self.throttled else THROTTLE_ABOVE_CELSIUS)

    def reading(self, now: float, present: Sequence[Holder]) -> Reading:
        """What the device says of itself."""
        activity = self.activity
        held = sum(holder.load.memory_bytes for holder in present)
        return Reading(
            device=self.uid,
            time=now,
            utilization_ratio=activity.utilization,
            memory_utilization_ratio=min(1.0, activity.dram * 0.8),
            sm_activity_ratio=activity.sm,
            tensor_activity_ratio=activity.tensor,
            dram_activity_ratio=activity.dram,
            memory_used_bytes=min(held, MEMORY_BYTES - RESERVED_BYTES),
            memory_total_bytes=MEMORY_BYTES,
            memory_reserved_bytes=RESERVED_BYTES,
            power_watts={("average", "device"): self.average_watts, ("instant", "device"): self.watts},
            power_limit_watts=LIMIT_WATTS,
            energy_joules=self.joules,
            temperature_celsius={"gpu": self.celsius, "memory": self.celsius + 6},
            clock_hz={"sm": self.clock_hz, "memory": 2619e6},
            throttle_seconds={"sw_thermal": self.throttled_seconds, "sw_power_cap": 0.0},
            ecc_errors=self._ecc_errors(),
            pcie_bytes=self._bytes(PCIE_RECEIVE, PCIE_TRANSMIT),
            nvlink_bytes=self._bytes(NVLINK, NVLINK),
            processes=tuple(Process(holder.pid, holder.load.memory_bytes) for holder in present),
        )

    def _bytes(self, receive: float, transmit: float) -> dict[str | tuple[str, ...], float]:
        """What has gone over a link, by its rates at full load."""
        return {
            "transmit": float(int(transmit * self.traffic_seconds)),
            "receive": float(int(receive * self.traffic_seconds)),
        }

    def _ecc_errors(self) -> dict[str | tuple[str, ...], float]:
        corrected = float(self.uptime_seconds // 45) if self.hot else 0.0
        return {
            ("corrected", "volatile"): corrected,
            ("corrected", "aggregate"): corrected,
            ("uncorrected", "volatile"): 0.0,
            ("uncorrected", "aggregate"): 0.0,
        }


class DemoDevices:
    """Accelerators that are simulated under the load of real processes."""

    class Settings(BaseModel):
        """How many devices, where processes open them, which one runs hot and which one gets lost."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        driver_directory: Path = Path("/run/gpuwatch/demo")
        devices: int = Field(default=8, ge=1, le=64)
        hot_device: int | None = 6
        lost_device: int | None = 5
        lost_every_seconds: float = Field(default=120.0, gt=0)
        lost_seconds: float = Field(default=20.0, ge=0)

    def __init__(self, settings: Settings, site: Site) -> None:
        self._settings = settings
        self._procfs = site.procfs
        self._devices = tuple(
            Device(
                uid=f"demo:{index}",
                node=site.node,
                index=index,
                vendor="demo",
                model=MODEL,
                pci=f"0000:{0x10 + index:02x}:00.0",
                driver="demo",
            )
            for index in range(settings.devices)
        )
        self._silicon = {
            device.uid: Silicon(device.uid, device.index == settings.hot_device) for device in self._devices
        }
        self._began: float | None = None

    def scan(self, now: float) -> Sequence[Device]:
        """All devices, also the one that is lost now."""
        self._began = now if self._began is None else self._began
        return self._devices

    def read(self, device: Device, now: float) -> Reading:
        """One reading under what the device's processes do; `Unavailable` while the device is lost."""
        silicon = self._silicon.get(device.uid)
        if silicon is None:
            raise Unavailable(f"{device.uid}: no such device; there is {', '.join(self._silicon)}")
        if device.index == self._settings.lost_device and self._lost(now):
            raise Unavailable(f"{device.uid}: device is lost; the demo gives it back in a few seconds")
        present = holders(self._settings.driver_directory, device.index, self._procfs)
        silicon.advance(now, present)
        return silicon.reading(now, present)

    def close(self) -> None:
        """Nothing is held."""

    def _lost(self, now: float) -> bool:
        """Towards the end of each period since the first scan: whoever looks sees the device work first."""
        every = self._settings.lost_every_seconds
        since = now - (now if self._began is None else self._began)
        return since % every >= every - self._settings.lost_seconds
