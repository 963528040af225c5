"""One device of the fake driver."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from tests.fake_nvml.layout import CALLS, FIELDS, PROCESSES, STEPS, DeviceState, Field, State
from tests.fake_nvml.mig import FakeSlice, hold, partition, set_activity

GIB = 2**30
GPU_IS_LOST = 15
NO_CLOCK = 2**32 - 1
CLOCKS = ("graphics", "sm", "memory", "video")
THROTTLE_FIELDS = {
    "sw_power_cap": 74,
    "sync_boost": 76,
    "sw_thermal": 269,
    "hw_thermal": 270,
    "hw_power_brake": 271,
}
ENERGY, POWER_AVERAGE, POWER_INSTANT = 83, 185, 186
UNSIGNED_INT, UNSIGNED_LONG_LONG = 1, 3
PACKED_AS = ("<d", "<I", "<Q", "<Q", "<q", "<i", "<H")
DEVICE_SCOPE, MODULE_SCOPE, ALL_LINKS = 0, 1, 2**32 - 1
LOOKUPS = ("HandleBy", "GetName", "GetUUID", "GetSerial", "GetPciInfo", "ComputeCapability")


class FakeDevice:
    """A healthy, idle accelerator until something is changed. Units are base units, as in `gpuwatch.model`."""

    def __init__(self, state: State, slot: int) -> None:
        self.slot = slot
        self._state = state
        self._device: DeviceState = state.devices[slot]
        self._identify()
        self._device.gpm, self._device.mig_slices = 1, 7
        self._memory_is_set = False
        self.memory(total=80 * GIB, reserved=GIB // 2)
        self.power_limit_watts = 700.0
        self.temperature_celsius = 34
        self.clocks(graphics=345e6, sm=345e6, memory=2619e6, video=765e6)
        self._device.power.since = time.monotonic()
        self.power_watts = 70.0
        for reason in THROTTLE_FIELDS:
            self.throttle(reason, 0.0)
        for field, kind in (
            (ENERGY, UNSIGNED_LONG_LONG),
            (POWER_AVERAGE, UNSIGNED_INT),
            (POWER_INSTANT, UNSIGNED_INT),
        ):
            self._entry(field).computed, self._entry(field).type = 1, kind

    def _identify(self) -> None:
        self.uuid = f"GPU-fa4e0000-0000-4000-8000-{self.slot:012x}"
        self.name = "NVIDIA H100 80GB HBM3"
        self.bus_id = f"00000000:{self.slot + 1:02X}:00.0"
        self.capability = (9, 0)
        self._device.serial = f"165000000000{self.slot}".encode()
        self._device.pci_device_id = 0x233010DE

    @property
    def uuid(self) -> str:
        """The identity of the device."""
        return bytes(self._device.uuid).decode()

    @uuid.setter
    def uuid(self, text: str) -> None:
        self._device.uuid = text.encode()

    @property
    def name(self) -> str:
        """The model as the driver names it."""
        return bytes(self._device.name).decode()

    @name.setter
    def name(self, text: str) -> None:
        self._device.name = text.encode()

    @property
    def bus_id(self) -> str:
        """The PCI address."""
        return bytes(self._device.bus_id).decode()

    @bus_id.setter
    def bus_id(self, text: str) -> None:
        self._device.bus_id = text.encode()

    @property
    def capability(self) -> tuple[int, int]:
        """The CUDA compute capability, which tells the architecture."""
        return self._device.capability_major, self._device.capability_minor

    @capability.setter
    def capability(self, version: tuple[int, int]) -> None:
        self._device.capability_major, self._device.capability_minor = version

    def load(self, utilization: float, *, memory: float = 0.0, encoder: float = 0.0, decoder: float = 0.0) -> None:
        """Set the utilization ratios; activity as a job with so much of it may have, see `activity`."""
        self.activity(sm=utilization, tensor=utilization / 2, dram=memory)
        self._device.gpu_percent, self._device.memory_percent = round(utilization * 100), round(memory * 100)
        self._device.encoder_percent, self._device.decoder_percent = round(encoder * 100), round(decoder * 100)

    def memory(self, *, total: int | None = None, reserved: int | None = None, used: int | None = None) -> None:
        """Set sizes in bytes; what is not given stays. Used memory is that of the processes until it is set."""
        self._memory_is_set = self._memory_is_set or used is not None
        for name, size in (("total", total), ("reserved", reserved), ("used", used)):
            if size is not None:
                setattr(self._device, f"memory_{name}", size)

    @contextmanager
    def _together(self) -> Iterator[None]:
        """Let the library see all changes made inside at once."""
        self._state.sequence += 1
        try:
            yield
        finally:
            self._state.sequence += 1

    @property
    def power_watts(self) -> float:
        """The power of the first step of the script."""
        return float(self._device.power.steps[0].watts)

    @power_watts.setter
    def power_watts(self, watts: float) -> None:
        self.power_script([(3600.0, watts)])

    def power_script(self, steps: Sequence[tuple[float, float]], mean_seconds: float = 1.0) -> None:
        """From now on repeat these (seconds, watts) for ever; energy used so far stays counted."""
        if not 0 < len(steps) <= STEPS:
            raise ValueError(f"fake_nvml: {len(steps)} steps; there is room for 1 to {STEPS}")
        now = time.monotonic()
        with self._together():
            power = self._device.power
            power.base_joules, power.since, power.mean_seconds = self._joules(now), now, mean_seconds
            power.step_count = len(steps)
            for index, (seconds, watts) in enumerate(steps):
                power.steps[index].seconds, power.steps[index].watts = seconds, watts

    def _joules(self, now: float) -> float:
        power = self._device.power
        steps = [(power.steps[i].seconds, power.steps[i].watts) for i in range(power.step_count)]
        period = sum(seconds for seconds, _ in steps)
        if not period:
            return float(power.base_joules)
        cycles, left = divmod(now - power.since, period)
        joules = power.base_joules + cycles * sum(seconds * watts for seconds, watts in steps)
        for seconds, watts in steps:
            joules += min(left, seconds) * watts
            left -= min(left, seconds)
        return float(joules)

    @property
    def energy_joules(self) -> float:
        """The energy counter; it grows with the power unless that is 0."""
        return self._joules(time.monotonic())

    @energy_joules.setter
    def energy_joules(self, joules: float) -> None:
        with self._together():
            self._device.power.base_joules, self._device.power.since = joules, time.monotonic()

    def reset_energy(self) -> None:
        """Let the energy counter begin again at 0, as a driver reload does."""
        self.energy_joules = 0.0

    @property
    def power_limit_watts(self) -> float:
        """The enforced limit."""
        return float(self._device.limit_mw) / 1000

    @power_limit_watts.setter
    def power_limit_watts(self, watts: float) -> None:
        self._device.limit_mw = round(watts * 1000)

    @property
    def temperature_celsius(self) -> int:
        """The core temperature."""
        return int(self._device.temperature)

    @temperature_celsius.setter
    def temperature_celsius(self, celsius: int) -> None:
        self._device.temperature = celsius

    def clocks(self, **hertz: float | None) -> None:
        """Set clocks by domain; None for a domain that the device does not have."""
        for domain, value in hertz.items():
            self._device.clocks_mhz[CLOCKS.index(domain)] = NO_CLOCK if value is None else round(value / 1e6)

    def _entry(self, field: int, scope: int = DEVICE_SCOPE) -> Field:
        for index in range(self._device.field_count):
            entry = self._device.fields[index]
            if (entry.id, entry.scope) == (field, scope):
                return self._device.fields[index]
        index = self._device.field_count
        if index == FIELDS:
            raise ValueError(f"fake_nvml: no room for field {field}; there is room for {FIELDS}")
        self._device.fields[index].id, self._device.fields[index].scope = field, scope
        self._device.field_count += 1
        return self._device.fields[index]

    def field(
        self, field: int, value: float, kind: int = UNSIGNED_LONG_LONG, *, scope: int = DEVICE_SCOPE
    ) -> None:
        """Answer a field id with a value of an nvmlValueType."""
        entry = self._entry(field, scope)
        entry.result, entry.computed, entry.type = 0, 0, kind
        packed = struct.pack(PACKED_AS[kind], value if kind == 0 else int(value))
        entry.bits = int.from_bytes(packed, "little")

    def fail_field(self, field: int, result: int, *, scope: int = DEVICE_SCOPE) -> None:
        """Let one field id carry an error; 0 mends it. An id never set is NOT_SUPPORTED."""
        self._entry(field, scope).result = result

    def retype_field(self, field: int, kind: int) -> None:
        """Say of a field's value that it is of another type, also of one that there is not yet."""
        self._entry(field).type = kind

    def ignore_scopes(self) -> None:
        """Answer every scope of a field as drivers did before there were scopes."""
        self._device.scopes_ignored = 1

    def activity(self, *, sm: float = 0.0, tensor: float = 0.0, dram: float = 0.0) -> None:
        """From now on so much of the time is active, as GPM sees it."""
        with self._together():
            set_activity(self._device.activity, (sm, tensor, dram))

    def without_gpm(self) -> None:
        """Be a device of before Hopper."""
        self._device.gpm = 0

    def mig(self, profiles: Sequence[str] | None, *, same_handles: bool = False) -> list[FakeSlice]:
        """Cut the device anew, as in `["3g.40gb", "1g.10gb"]`, or None for MIG mode off.

        Every slice is another than before, with another UUID, though ids are given again. Old handles are
        worthless, or with `same_handles` they mean the new slice in the old one's place.
        """
        with self._together():
            return partition(self._device, self.slot, profiles, same_handles)

    def most_slices(self, count: int) -> None:
        """Be a device that can be cut into so many; 0 for one that cannot be cut."""
        self._device.mig_slices = count

    def remapped_rows(
        self, *, corrected: int = 0, uncorrected: int = 0, pending: int = 0, failure: int = 0
    ) -> None:
        """Set what the older call says of remapped rows; the fields 142 to 145 are separate."""
        self._device.remapped[:] = [corrected, uncorrected, pending, failure]

    def fabric(self, state: int, *, status: int = 0, health: int = 0, summary: int = 0, version: int = 3) -> None:
        """Be part of an NVLink fabric; `version` is the newest structure that the driver knows."""
        self._device.fabric_version, self._device.fabric_state = version, state
        self._device.fabric_status, self._device.fabric_health = status, health
        self._device.fabric_summary = summary

    def throttle(self, reason: str, seconds: float) -> None:
        """Set the time for which the clocks were held down."""
        self.field(THROTTLE_FIELDS[reason], round(seconds * 1e9))

    def ecc(self, kind: str, scope: str, count: int) -> None:
        """Set an error total; `kind` corrected or uncorrected, `scope` volatile or aggregate."""
        self._device.ecc[("corrected", "uncorrected").index(kind)][("volatile", "aggregate").index(scope)] = count

    def processes(self, *running: tuple[int, int | None], graphics: bool = False) -> None:
        """Set the (pid, bytes) that run on the device; None for bytes that the driver does not know."""
        table, limit = (self._device.graphics if graphics else self._device.compute), PROCESSES
        if len(running) > limit:
            raise ValueError(f"fake_nvml: {len(running)} processes; there is room for {limit}")
        used = hold(table, running)
        if not graphics and not self._memory_is_set:
            self._device.memory_used = used
        setattr(self._device, "graphics_count" if graphics else "compute_count", len(running))

    def fail(self, call: str, result: int) -> None:
        """Let one call return `result` on this device; 0 mends it."""
        self._device.results[CALLS.index(call)] = result

    def lose(self, result: int = GPU_IS_LOST) -> None:
        """Let every call on this device fail, the lookup of its handle included."""
        self._device.lost = result

    def restore(self) -> None:
        """Bring a lost device back; its old handles stay worthless."""
        self._device.lost = 0
        self.forget_handles()

    def forget_handles(self) -> None:
        """Make the handles given out so far worthless."""
        self._device.incarnation += 1

    def hang(self, seconds: float, calls: Iterable[str] | None = None) -> None:
        """Let calls on this device not return for so long; by default all but those that look it up."""
        hanging = calls or [call for call in CALLS if not any(part in call for part in LOOKUPS)]
        self._device.hang_seconds = seconds
        self._device.hang_calls = sum(1 << CALLS.index(call) for call in hanging)

    def unhang(self) -> None:
        """Let the calls that hang return now."""
        self._device.hang_calls = 0

    def calls(self, call: str) -> int:
        """How often a call was made on this device."""
        return int(self._device.calls[CALLS.index(call)])

    @property
    def slept_seconds(self) -> float:
        """The latency that callers of this device have sat through."""
        return float(self._device.slept_ns) * 1e-9
