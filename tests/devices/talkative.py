"""A driver in Python that says everything NVML can say, with identities wherever it has room for one."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType, SimpleNamespace
from typing import Any

import pynvml

UUID = "GPU-3f2a9c1e-77b0-4d5e-9a61-0c2b4d6e8f10"
INSTANCES = ("MIG-c0ffee00-1234-5678-9abc-def012345678", f"MIG-{UUID}/3/0", "MIG-rack42-seat7")
DOMAIN, BUS = 0xABCD, 0xE7
PIDS = (3141592, 2718281)
CLUSTER = bytes(range(0xA0, 0xB0))
CLIQUE = 32766
SERIAL = "1650123456789"
PART = "900-21010-0000-000"
PARENT = "parent"


class Talkative:
    """Stands where the module pynvml stands; what it does not define is not supported, structures are pynvml's."""

    NVMLError = pynvml.NVMLError

    def __init__(self) -> None:
        self.identities_told: list[str] = []
        self.samples: list[Any] = []
        self.freed: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(pynvml, name)
        return _refused if isinstance(found, FunctionType) else found

    def nvmlDeviceGetCount(self) -> int:
        return 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:
        return PARENT

    def nvmlDeviceGetName(self, handle: Any) -> str:
        return f"NVIDIA H200 [{UUID.upper()} at 0000abcd:e7:00.0, {UUID[4:].replace('-', '')}]"

    def nvmlDeviceGetUUID(self, handle: Any) -> str:
        return UUID if handle == PARENT else INSTANCES[handle]

    def nvmlDeviceGetSerial(self, handle: Any) -> str:
        self.identities_told.append(SERIAL)
        return SERIAL

    def nvmlDeviceGetBoardPartNumber(self, handle: Any) -> str:
        self.identities_told.append(PART)
        return PART

    def nvmlDeviceGetMigMode(self, handle: Any) -> list[int]:
        return [1, 1]

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: Any) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: Any, index: int) -> Any:
        if index >= len(INSTANCES):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return index

    def nvmlDeviceGetGpuInstanceId(self, handle: Any) -> int:
        return 3 + int(handle)

    def nvmlDeviceGetComputeInstanceId(self, handle: Any) -> int:
        return 0

    def nvmlDeviceGetAttributes_v2(self, handle: Any) -> Any:
        return pynvml.c_nvmlDeviceAttributes(16, 1, 1, 0, 1, 0, 1, 1, 9984)

    def nvmlDeviceGetMemoryInfo(self, handle: Any, version: int | None = None) -> Any:
        return pynvml.c_nvmlMemory_v2_t(version or 0, 9984 << 20, 1 << 20, 9000 << 20, 983 << 20)

    def nvmlDeviceGetPciInfo_v3(self, handle: Any) -> Any:
        return pynvml.nvmlPciInfo_t(b"ABCD:E7:00.0", DOMAIN, BUS, 0, 0x233510DE, 0x18BE10DE, b"0000ABCD:E7:00.0")

    def nvmlDeviceGetComputeRunningProcesses_v3(self, handle: Any) -> list[Any]:
        return [
            SimpleNamespace(pid=pid, usedGpuMemory=1 << 30, gpuInstanceId=3, computeInstanceId=0) for pid in PIDS
        ]

    def nvmlDeviceGetGraphicsRunningProcesses_v3(self, handle: Any) -> list[Any]:
        return self.nvmlDeviceGetComputeRunningProcesses_v3(handle)[1:]

    def nvmlDeviceGetGpuFabricInfoV(self, handle: Any, reference: Any) -> None:
        info = reference._obj
        info.clusterUuid[:], info.cliqueId, info.state = list(CLUSTER), CLIQUE, 3

    def nvmlDeviceGetBrand(self, handle: Any) -> str:
        return b"\xff\xfe".decode()

    def nvmlGpmQueryDeviceSupport(self, handle: Any) -> Any:
        return pynvml.c_nvmlGpmSupport_t(1, 1)

    def nvmlGpmSampleAlloc(self) -> Any:
        self.samples.append(pynvml.c_nvmlGpmSample_t())
        return self.samples[-1]

    def nvmlGpmSampleFree(self, sample: Any) -> None:
        self.freed.append(sample)

    def nvmlGpmSampleGet(self, handle: Any, sample: Any) -> Any:
        return sample

    def nvmlGpmMigSampleGet(self, handle: Any, instance: int, sample: Any) -> Any:
        return sample

    def nvmlGpmMetricsGet(self, wanted: Any) -> None:
        for each in wanted.metrics[: wanted.numMetrics]:
            if each.metricId == 10:
                each.value = float("nan")
            elif each.metricId > 200:
                each.nvmlReturn = pynvml.NVML_ERROR_NOT_SUPPORTED
            else:
                each.value = each.metricId + 0.5


def _refused(*arguments: Any) -> Any:
    raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)


def everything(told: Any, take: Callable[[Any], None]) -> None:
    """Hand each key and each value of a JSON document, whole and at every depth, to `take`."""
    take(told)
    for part in [*told, *told.values()] if isinstance(told, dict) else told if isinstance(told, list) else ():
        everything(part, take)
