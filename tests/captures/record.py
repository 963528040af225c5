"""Record what the NVIDIA devices of this machine answer: `python -m tests.captures.record [FOLDER]`.

Only getters are called. Identities (UUID, pids) are masked, serial numbers never read. Each answer has the time
it took: `seconds` on the wall and `cpu_seconds` of this thread, both the median of several calls.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
import time
from collections.abc import Callable
from ctypes import Structure
from pathlib import Path
from typing import Any

import pynvml

from gpuwatch.devices.nvml import VALUE_TYPES

REPEATS = 15
FIRST_PID = 1001
MASKED_UUID = "GPU-00000000-0000-0000-0000-{:012d}"
FIELD_IDS = range(1, 320)

QUESTIONS: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("nvmlDeviceGetCudaComputeCapability", ()),
    ("nvmlDeviceGetArchitecture", ()),
    ("nvmlDeviceGetPersistenceMode", ()),
    ("nvmlDeviceGetMigMode", ()),
    ("nvmlDeviceGetPciInfo_v3", ()),
    ("nvmlDeviceGetUtilizationRates", ()),
    ("nvmlDeviceGetEncoderUtilization", ()),
    ("nvmlDeviceGetDecoderUtilization", ()),
    ("nvmlDeviceGetMemoryInfo", ()),
    ("nvmlDeviceGetMemoryInfo_v2", ()),
    ("nvmlDeviceGetPowerUsage", ()),
    ("nvmlDeviceGetEnforcedPowerLimit", ()),
    ("nvmlDeviceGetTotalEnergyConsumption", ()),
    ("nvmlDeviceGetTemperature", (0,)),
    ("nvmlDeviceGetTemperatureV", (0,)),
    *(("nvmlDeviceGetClockInfo", (domain,)) for domain in range(4)),
    *(("nvmlDeviceGetTotalEccErrors", (kind, scope)) for kind in (0, 1) for scope in (0, 1)),
    ("nvmlDeviceGetCurrentClocksEventReasons", ()),
    ("nvmlDeviceGetRemappedRows", ()),
    ("nvmlDeviceGetComputeRunningProcesses_v3", ()),
    ("nvmlDeviceGetGraphicsRunningProcesses_v3", ()),
)


def record(index: int) -> dict[str, Any]:
    """What device `index` of the initialised driver answers to what gpuwatch asks, and a little more."""
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    calls: dict[str, list[dict[str, Any]]] = {}
    for name, args in QUESTIONS:
        calls.setdefault(name, []).append({"args": list(args)} | _answer(_question(name, handle, args)))
    return {
        "schema": 1,
        "vendor": "nvidia",
        "model": pynvml.nvmlDeviceGetName(handle),
        "driver": pynvml.nvmlSystemGetDriverVersion(),
        "uuid": MASKED_UUID.format(index),
        "calls": calls,
        "fields": {str(field): _field(handle, field) for field in FIELD_IDS},
    }


def file_name(capture: dict[str, Any]) -> str:
    """Where a recording belongs."""
    model = re.sub(r"[^a-z0-9]+", "-", capture["model"].lower().removeprefix("nvidia ")).strip("-")
    return f"{capture['vendor']}-{model}__{capture['driver']}.json"


def _question(name: str, handle: Any, args: tuple[int, ...]) -> Callable[[], Any]:
    if name == "nvmlDeviceGetMemoryInfo_v2":
        return lambda: pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    call = getattr(pynvml, name)
    return lambda: call(handle, *args)


def _answer(question: Callable[[], Any]) -> dict[str, Any]:
    walls, cpus = [], []
    result, value = 0, None
    for _ in range(REPEATS):
        wall, cpu = time.perf_counter(), time.thread_time()
        try:
            result, value = 0, question()
        except pynvml.NVMLError as error:
            result, value = error.value, None
        walls.append(time.perf_counter() - wall)
        cpus.append(time.thread_time() - cpu)
    answer = {"return": result, "seconds": _median(walls), "cpu_seconds": _median(cpus)}
    return answer if result else answer | {"value": _plain(value)}


def _median(seconds: list[float]) -> float:
    return round(statistics.median(seconds), 7)


def _plain(value: Any) -> Any:
    if isinstance(value, Structure):
        return {name: _plain(getattr(value, name)) for name, *_ in value._fields_}
    if isinstance(value, list | tuple):
        if value and hasattr(value[0], "pid"):
            return [_process(number, each) for number, each in enumerate(value)]
        return [_plain(each) for each in value]
    return value


def _process(number: int, process: Any) -> dict[str, int | None]:
    return {"pid": FIRST_PID + number, "usedGpuMemory": process.usedGpuMemory}


def _field(handle: Any, field: int) -> dict[str, Any]:
    def ask() -> Any:
        (answer,) = pynvml.nvmlDeviceGetFieldValues(handle, [(field, 0)])
        if answer.nvmlReturn:
            raise pynvml.NVMLError(answer.nvmlReturn)
        return [answer.valueType, getattr(answer.value, VALUE_TYPES[answer.valueType])]

    answer = _answer(ask)
    if "value" in answer:
        answer["type"], answer["value"] = answer["value"]
    return answer


def main(folder: Path) -> None:
    """Write one file for each kind of device here."""
    pynvml.nvmlInit()
    written = set()
    for index in range(pynvml.nvmlDeviceGetCount()):
        capture = record(index)
        path = folder / file_name(capture)
        if path not in written:
            path.write_text(json.dumps(capture, indent=1) + "\n", encoding="utf-8")
            print(path)
            written.add(path)
    pynvml.nvmlShutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
