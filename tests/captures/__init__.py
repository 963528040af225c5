"""Recordings of real accelerators, one masked file each: `<vendor>-<model>__<driver>.json`.

Made by `python -m tests.captures.record` on a machine that has the hardware. Every file becomes a test case by
itself: `play` loads it into the fake driver, and the tests compare what gpuwatch reads with what was recorded.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.fake_nvml import FakeDevice
from tests.fake_nvml.layout import CALLS

FOLDER = Path(__file__).parent

Capture = Mapping[str, Any]


def captures() -> list[Path]:
    """The recordings that are committed."""
    return sorted(FOLDER.glob("*__*.json"))


def read(path: Path) -> Capture:
    """One recording."""
    loaded: Capture = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def play(capture: Capture, device: FakeDevice, fields: Iterable[int]) -> None:
    """Let a fake device answer as the recorded one did, and to these fields."""
    for call, answers in capture["calls"].items():
        results = {answer["return"] for answer in answers}
        if call in CALLS and 0 not in results:
            device.fail(call, max(results))
    device.name = capture["model"]
    _play_values(capture["calls"], device)
    for field in fields:
        answer = capture["fields"].get(str(field), {"return": 3})
        if answer["return"] == 0:
            device.field(field, answer["value"], answer["type"])
        else:
            device.field(field, 0)
            device.fail_field(field, answer["return"])


def _play_values(calls: Mapping[str, list[dict[str, Any]]], device: FakeDevice) -> None:
    known = {
        (call, *answer["args"]): answer["value"]
        for call, answers in calls.items()
        for answer in answers
        if answer["return"] == 0
    }
    percent = known.get(("nvmlDeviceGetUtilizationRates",), {"gpu": 0, "memory": 0})
    encoder, decoder = (known.get((f"nvmlDeviceGet{unit}Utilization",), [0])[0] for unit in ("Encoder", "Decoder"))
    device.load(percent["gpu"] / 100, memory=percent["memory"] / 100, encoder=encoder / 100, decoder=decoder / 100)
    if memory := known.get(("nvmlDeviceGetMemoryInfo_v2",)):
        device.memory(total=memory["total"], reserved=memory["reserved"], used=memory["used"])
    elif memory := known.get(("nvmlDeviceGetMemoryInfo",)):
        device.memory(total=memory["total"], reserved=0, used=memory["used"])
    device.capability = tuple(known.get(("nvmlDeviceGetCudaComputeCapability",), (0, 0)))
    device.power_watts = known.get(("nvmlDeviceGetPowerUsage",), 0) / 1000
    device.power_limit_watts = known.get(("nvmlDeviceGetEnforcedPowerLimit",), 0) / 1000
    new, old = (known.get((f"nvmlDeviceGetTemperature{v}", 0)) for v in ("V", ""))
    device.temperature_celsius = next((each for each in (new, old) if each is not None), 0)
    for number, domain in enumerate(("graphics", "sm", "memory", "video")):
        megahertz = known.get(("nvmlDeviceGetClockInfo", number))
        device.clocks(**{domain: None if megahertz is None else megahertz * 1e6})
    for kind, type_ in enumerate(("corrected", "uncorrected")):
        for number, scope in enumerate(("volatile", "aggregate")):
            device.ecc(type_, scope, known.get(("nvmlDeviceGetTotalEccErrors", kind, number), 0))
    running = known.get(("nvmlDeviceGetComputeRunningProcesses_v3",), [])
    device.processes(*((each["pid"], each["usedGpuMemory"]) for each in running))
