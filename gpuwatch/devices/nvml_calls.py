"""The questions to NVML that have a call of their own, and which of them are asked at which read."""

from __future__ import annotations

from collections.abc import Mapping
from ctypes import byref
from typing import Any

from gpuwatch.devices.nvml import Alternatives, Call, Handle, Result, Values
from gpuwatch.model import Process

MEMORY_V2 = 0x02000028


def _utilization(api: Any, handle: Handle, values: Values) -> None:
    rates = api.nvmlDeviceGetUtilizationRates(handle)
    values["utilization_ratio"] = rates.gpu / 100
    values["memory_utilization_ratio"] = rates.memory / 100


def _encoder(api: Any, handle: Handle, values: Values) -> None:
    values["encoder_ratio"] = api.nvmlDeviceGetEncoderUtilization(handle)[0] / 100


def _decoder(api: Any, handle: Handle, values: Values) -> None:
    values["decoder_ratio"] = api.nvmlDeviceGetDecoderUtilization(handle)[0] / 100


def _memory(api: Any, handle: Handle, values: Values) -> None:
    memory = api.nvmlDeviceGetMemoryInfo(handle, version=MEMORY_V2)
    values["memory_used_bytes"] = memory.used
    values["memory_total_bytes"] = memory.total
    values["memory_reserved_bytes"] = memory.reserved


def _memory_v1(api: Any, handle: Handle, values: Values) -> None:
    memory = api.nvmlDeviceGetMemoryInfo(handle)
    values["memory_used_bytes"] = memory.used
    values["memory_total_bytes"] = memory.total


def _temperature(api: Any, handle: Handle, values: Values) -> None:
    celsius = api.nvmlDeviceGetTemperatureV(handle, 0)
    values.setdefault("temperature_celsius", {})["gpu"] = celsius


def _temperature_v1(api: Any, handle: Handle, values: Values) -> None:
    celsius = api.nvmlDeviceGetTemperature(handle, 0)
    values.setdefault("temperature_celsius", {})["gpu"] = celsius


def _clock(number: int, domain: str) -> Call:
    def call(api: Any, handle: Handle, values: Values) -> None:
        megahertz = api.nvmlDeviceGetClockInfo(handle, number)
        values.setdefault("clock_hz", {})[domain] = megahertz * 1e6

    return call


def processes(api: Any, handle: Handle, values: Values) -> None:
    """Who computes on the device; a process in two places on it is one."""
    memory: dict[int, int | None] = {}
    for each in api.nvmlDeviceGetComputeRunningProcesses_v3(handle):
        held, more = memory.get(each.pid, 0), each.usedGpuMemory
        memory[each.pid] = None if held is None or more is None else held + more
    values["processes"] = tuple(Process(pid, held) for pid, held in memory.items())


def total_energy(api: Any, handle: Handle, values: Values) -> None:
    """The energy counter by its own call."""
    values["energy_joules"] = api.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000


def power_usage(window: str) -> Call:
    """The call that gives power over a window that depends on the architecture."""

    def call(api: Any, handle: Handle, values: Values) -> None:
        values["power_watts"] = {(window, "device"): api.nvmlDeviceGetPowerUsage(handle) / 1000}

    return call


def _power_limit(api: Any, handle: Handle, values: Values) -> None:
    values["power_limit_watts"] = api.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000


def _ecc(kind: int, scope: int) -> Call:
    labels = ("corrected", "uncorrected")[kind], ("volatile", "aggregate")[scope]

    def call(api: Any, handle: Handle, values: Values) -> None:
        count = api.nvmlDeviceGetTotalEccErrors(handle, kind, scope)
        values.setdefault("ecc_errors", {})[labels] = count

    return call


def remapped_rows(api: Any, handle: Handle, values: Values) -> None:
    """Memory rows that were replaced, by the call for drivers that do not have them as fields."""
    states = ("corrected", "uncorrected", "pending", "failure")
    values["remapped_rows"] = dict(zip(states, api.nvmlDeviceGetRemappedRows(handle), strict=True))


FABRIC_STATES: Mapping[int, str] = {1: "not_started", 2: "in_progress", 3: "completed"}
COMPLETED = 3
HEALTHY, SUMMARIES = 1, frozenset({1, 2, 3})
# Two bits each, 1 = true: degraded bandwidth, route recovery, unhealthy route, access timeout recovery.
HEALTH_SHIFTS = (0, 2, 4, 6)
CONFIGURATION_SHIFT, CONFIGURATION_MASK, CONFIGURATION_SOUND = 8, 0xF, frozenset({0, 1})


def _fabric(structure: str) -> Call:
    def call(api: Any, handle: Handle, values: Values) -> None:
        info = getattr(api, structure)()
        api.nvmlDeviceGetGpuFabricInfoV(handle, byref(info))
        if info.state not in FABRIC_STATES:
            raise api.NVMLError(Result.NOT_SUPPORTED)
        states = {name: float(info.state == number) for number, name in FABRIC_STATES.items()}
        healthy = _fabric_is_healthy(info)
        if healthy is not None:
            states["healthy"] = float(healthy)
        values["fabric_state"] = states

    return call


def _fabric_is_healthy(info: Any) -> bool | None:
    """None while the driver does not know; the error of a completed registration counts as unhealthy."""
    if info.state == COMPLETED and info.status != 0:
        return False
    summary = getattr(info, "healthSummary", 0)
    if summary in SUMMARIES:
        return bool(summary == HEALTHY)
    mask = info.healthMask
    if mask == 0:
        return None
    sound = (mask >> CONFIGURATION_SHIFT & CONFIGURATION_MASK) in CONFIGURATION_SOUND
    return sound and not any(mask >> shift & 3 == 1 for shift in HEALTH_SHIFTS)


MEMORY: Alternatives = (_memory, _memory_v1)
FAST_CALLS: tuple[Alternatives, ...] = (
    (_utilization,),
    MEMORY,
    (_temperature, _temperature_v1),
    (_clock(1, "sm"),),
)
"""Questions of each read: what changes from one second to the next, and costs 2 to 6 µs."""

Slot = tuple[Alternatives, ...]
"""Questions that are asked in one read, one slot after another."""

SLOW_SLOTS: tuple[Slot, ...] = (
    ((_power_limit,),),
    ((_encoder,), (_decoder,)),
    ((_ecc(0, 0),), (_ecc(0, 1),)),
    ((_ecc(1, 0),), (_ecc(1, 1),)),
    ((_clock(0, "graphics"),), (_clock(2, "memory"),)),
    ((_clock(3, "video"),), (_fabric("c_nvmlGpuFabricInfo_v3_t"), _fabric("c_nvmlGpuFabricInfo_v2_t"))),
)
