"""What a recording of the NVIDIA driver asks: getters alone, none of which blocks. To record more, add a line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ctypes import byref
from typing import Any

from gpuwatch.devices import nvml

Question = tuple[str, tuple[int, ...]]
"""A C function of NVML that takes a handle, and the numbers that it takes besides."""

ALL_LINKS = 0xFFFFFFFF

SYSTEM_QUESTIONS = (
    "nvmlSystemGetNVMLVersion",
    "nvmlSystemGetCudaDriverVersion_v2",
    "nvmlSystemGetConfComputeState",
)

MEMORY_AND_PROCESSES: tuple[Question, ...] = (
    ("nvmlDeviceGetMemoryInfo", ()),
    ("nvmlDeviceGetMemoryInfo_v2", ()),
    ("nvmlDeviceGetComputeRunningProcesses_v3", ()),
    ("nvmlDeviceGetGraphicsRunningProcesses_v3", ()),
    ("nvmlDeviceGetMPSComputeRunningProcesses_v3", ()),
)
QUESTIONS: tuple[Question, ...] = (
    ("nvmlDeviceGetArchitecture", ()),
    ("nvmlDeviceGetCudaComputeCapability", ()),
    ("nvmlDeviceGetBrand", ()),
    ("nvmlDeviceGetVirtualizationMode", ()),
    ("nvmlDeviceGetPersistenceMode", ()),
    ("nvmlDeviceGetComputeMode", ()),
    ("nvmlDeviceGetEccMode", ()),
    ("nvmlDeviceGetMigMode", ()),
    ("nvmlDeviceGetMaxMigDeviceCount", ()),
    ("nvmlDeviceGetPciInfo_v3", ()),
    ("nvmlDeviceGetCurrPcieLinkGeneration", ()),
    ("nvmlDeviceGetCurrPcieLinkWidth", ()),
    ("nvmlDeviceGetUtilizationRates", ()),
    ("nvmlDeviceGetEncoderUtilization", ()),
    ("nvmlDeviceGetDecoderUtilization", ()),
    *MEMORY_AND_PROCESSES,
    ("nvmlDeviceGetPowerUsage", ()),
    ("nvmlDeviceGetEnforcedPowerLimit", ()),
    ("nvmlDeviceGetPowerManagementLimitConstraints", ()),
    ("nvmlDeviceGetTotalEnergyConsumption", ()),
    ("nvmlDeviceGetTemperature", (0,)),
    ("nvmlDeviceGetTemperatureV", (0,)),
    ("nvmlDeviceGetMarginTemperature", ()),
    *(("nvmlDeviceGetClockInfo", (domain,)) for domain in range(4)),
    *(("nvmlDeviceGetMaxClockInfo", (domain,)) for domain in range(4)),
    ("nvmlDeviceGetPerformanceState", ()),
    ("nvmlDeviceGetCurrentClocksEventReasons", ()),
    ("nvmlDeviceGetSupportedClocksEventReasons", ()),
    *(("nvmlDeviceGetTotalEccErrors", (kind, scope)) for kind in (0, 1) for scope in (0, 1)),
    ("nvmlDeviceGetRemappedRows", ()),
    ("nvmlDeviceGetRemappedRows_v2", ()),
    *(("nvmlDeviceGetNvLinkState", (link,)) for link in range(18)),
    ("nvmlDeviceGetGpuFabricInfoV", (2,)),
    ("nvmlDeviceGetGpuFabricInfoV", (3,)),
    ("nvmlGpmQueryDeviceSupport", ()),
    ("nvmlGpmQueryIfStreamingEnabled", ()),
)
MIG_QUESTIONS: tuple[Question, ...] = (
    ("nvmlDeviceGetGpuInstanceId", ()),
    ("nvmlDeviceGetComputeInstanceId", ()),
    ("nvmlDeviceGetAttributes_v2", ()),
    *MEMORY_AND_PROCESSES,
    ("nvmlDeviceGetUtilizationRates", ()),
    ("nvmlDeviceGetPowerUsage", ()),
    ("nvmlDeviceGetTotalEnergyConsumption", ()),
)
FIELDS: tuple[tuple[int, int], ...] = (
    *((number, 0) for number in range(1, 321)),
    *((number, scope) for number in (185, 186, 191) for scope in (1, 2, 3)),
    *((number, ALL_LINKS) for number in (138, 139, 202, 204)),
)
"""Every value id with the scope that it has without choice; power and energy by scope; NVLink over all links."""

GPM_METRICS: tuple[tuple[int, ...], ...] = (
    (2, 5, 10),
    (1, 3, 4, 6, 7, 8, 9, 11, 12, 13, 20, 21, 60, 61, *range(30, 38), 100, 101, *range(248, 261)),
)
"""What gpuwatch asks in one call, and what else is asked in another, which an older driver may refuse."""


def _memory_v2(api: Any, handle: nvml.Handle) -> Any:
    return api.nvmlDeviceGetMemoryInfo(handle, version=api.nvmlMemory_v2)


def _fabric(api: Any, handle: nvml.Handle, number: int) -> Any:
    info = getattr(api, f"c_nvmlGpuFabricInfo_v{number}_t")()
    api.nvmlDeviceGetGpuFabricInfoV(handle, byref(info))
    return info


def _remapped_rows_v2(api: Any, handle: nvml.Handle) -> Any:
    info = api.c_nvmlRemappedRowsInfo_v2_t()
    api.nvmlDeviceGetRemappedRows_v2(handle, byref(info))
    return info


SPELLED_OTHERWISE: Mapping[str, Callable[..., Any]] = {
    "nvmlDeviceGetMemoryInfo_v2": _memory_v2,
    "nvmlDeviceGetGpuFabricInfoV": _fabric,
    "nvmlDeviceGetRemappedRows_v2": _remapped_rows_v2,
}
"""Functions that pynvml does not offer under their own name, or not without a structure to fill."""


def ask(api: Any, handle: nvml.Handle, question: Question) -> Any:
    """What pynvml returns for a question; a function that pynvml lacks is missing like one the driver lacks."""
    call, arguments = question
    asked = SPELLED_OTHERWISE.get(call)
    if asked is not None:
        return asked(api, handle, *arguments)
    if not hasattr(api, call):
        raise api.NVMLError(nvml.Result.FUNCTION_NOT_FOUND)
    return getattr(api, call)(handle, *arguments)
