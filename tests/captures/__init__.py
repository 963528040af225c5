"""Recordings of real accelerators, one masked file each: `<vendor>-<model>[-mig][-<load>]__<driver>.json`.

Made by `gpuwatch check --capture` on a machine that has the hardware. Every file here is a test case by itself:
`play` loads it into the fake driver, and what gpuwatch makes of that is compared with the recording, and with the
golden beside it (`X.golden.json`), which `pytest tests/devices/test_nvidia_captures.py --update-golden` writes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from gpuwatch.devices.capture import SCHEMA, in_mig_mode
from gpuwatch.devices.interview import value_of
from gpuwatch.model import Device, Reading, Site, Snapshot
from gpuwatch.sinks.prometheus import PrometheusSink
from tests.fake_nvml import FakeDevice
from tests.fake_nvml.layout import CALLS

FOLDER = Path(__file__).parent
NOT_SUPPORTED, UNKNOWN = 3, 999
ENERGIES = ((83, 0), (191, 0), (191, 1))
DRIFT_JOULES = 10_000

Capture = Mapping[str, Any]


def captures(folder: Path = FOLDER) -> list[Path]:
    """The recordings in a folder, by default those that are committed."""
    return sorted(path for path in folder.glob("*__*.json") if not path.name.endswith(".golden.json"))


def golden_of(path: Path) -> Path:
    """Where the golden of a recording is."""
    return path.with_name(f"{path.stem}.golden.json")


def read(path: Path) -> Capture:
    """One recording."""
    loaded: Capture = json.loads(path.read_text(encoding="utf-8"))
    if loaded["schema"] != SCHEMA:
        raise ValueError(f"{path}: schema {loaded['schema']!r} is not known; there is {SCHEMA}")
    return loaded


def value(capture: Capture, call: str, *arguments: int) -> Any:
    """What a call returned, None where it did not succeed."""
    return value_of(capture["calls"], call, *arguments)


def field(capture: Capture, number: int, scope: int = 0) -> Mapping[str, Any]:
    """The answer to a field; NOT_SUPPORTED where it was not asked."""
    found = (each for each in capture["fields"] if (each["id"], each["scope"]) == (number, scope))
    return next(found, {"return": NOT_SUPPORTED})


def play(capture: Capture, device: FakeDevice, fields: Iterable[tuple[int, int]]) -> None:
    """Let a fake device answer as the recorded one did, and to these fields, each an id and a scope."""
    device.name = capture["model"]
    for call, answers in capture["calls"].items():
        results = {UNKNOWN if answer["return"] is None else answer["return"] for answer in answers}
        if call in CALLS and 0 not in results:
            device.fail(call, max(results))
    for player in PLAYERS:
        player(capture, device)
    for number, scope in fields:
        _play_field(field(capture, number, scope), number, scope, device)


def _play_field(answer: Mapping[str, Any], number: int, scope: int, device: FakeDevice) -> None:
    if answer["return"] == 0:
        device.field(number, answer["value"], answer["type"], scope=scope)
    else:
        device.field(number, 0, scope=scope)
        device.fail_field(number, UNKNOWN if answer["return"] is None else answer["return"], scope=scope)


def _play_identity(capture: Capture, device: FakeDevice) -> None:
    device.capability = tuple(value(capture, "nvmlDeviceGetCudaComputeCapability") or (0, 0))
    if capture["uuid"]:
        device.uuid = capture["uuid"]
    if pci := value(capture, "nvmlDeviceGetPciInfo_v3"):
        device.bus_id = pci["busId"]


def _play_load(capture: Capture, device: FakeDevice) -> None:
    percent = value(capture, "nvmlDeviceGetUtilizationRates") or {"gpu": 0, "memory": 0}
    units = {
        unit: (value(capture, f"nvmlDeviceGet{unit.capitalize()}Utilization") or [0])[0] / 100
        for unit in ("encoder", "decoder")
    }
    device.load(percent["gpu"] / 100, memory=percent["memory"] / 100, **units)


def _play_memory(capture: Capture, device: FakeDevice) -> None:
    if memory := value(capture, "nvmlDeviceGetMemoryInfo_v2"):
        device.memory(total=memory["total"], reserved=memory["reserved"], used=memory["used"])
    elif memory := value(capture, "nvmlDeviceGetMemoryInfo"):
        device.memory(total=memory["total"], reserved=0, used=memory["used"])


def _play_electricity(capture: Capture, device: FakeDevice) -> None:
    device.power_watts = (value(capture, "nvmlDeviceGetPowerUsage") or 0) / 1000
    device.power_limit_watts = (value(capture, "nvmlDeviceGetEnforcedPowerLimit") or 0) / 1000
    device.energy_joules = (value(capture, "nvmlDeviceGetTotalEnergyConsumption") or 0) / 1000


def _play_temperature_and_clocks(capture: Capture, device: FakeDevice) -> None:
    told = [value(capture, f"nvmlDeviceGetTemperature{version}", 0) for version in ("V", "")]
    device.temperature_celsius = next((each for each in told if each is not None), 0)
    for number, domain in enumerate(("graphics", "sm", "memory", "video")):
        megahertz = value(capture, "nvmlDeviceGetClockInfo", number)
        device.clocks(**{domain: None if megahertz is None else megahertz * 1e6})


def _play_ecc(capture: Capture, device: FakeDevice) -> None:
    for kind, type_ in enumerate(("corrected", "uncorrected")):
        for number, scope in enumerate(("volatile", "aggregate")):
            device.ecc(type_, scope, value(capture, "nvmlDeviceGetTotalEccErrors", kind, number) or 0)


def _play_processes(capture: Capture, device: FakeDevice) -> None:
    for name, graphics in (("Compute", False), ("Graphics", True)):
        running = value(capture, f"nvmlDeviceGet{name}RunningProcesses_v3") or []
        device.processes(*((each["pid"], each["usedGpuMemory"]) for each in running), graphics=graphics)


def _play_health(capture: Capture, device: FakeDevice) -> None:
    if rows := value(capture, "nvmlDeviceGetRemappedRows"):
        device.remapped_rows(**dict(zip(("corrected", "uncorrected", "pending", "failure"), rows, strict=True)))
    for version in (2, 3):
        if told := value(capture, "nvmlDeviceGetGpuFabricInfoV", version):
            facts = {"status": told["status"], "health": told["healthMask"], "version": version}
            device.fabric(told["state"], summary=told.get("healthSummary", 0), **facts)


def _play_activity(capture: Capture, device: FakeDevice) -> None:
    if not capture["gpm"]:
        device.without_gpm()
    else:
        device.activity(**_activity(capture["gpm"]))


def _activity(gpm: Mapping[str, Any]) -> dict[str, float]:
    answers = [answer for metrics in gpm.get("metrics", ()) for answer in metrics.get("values", ())]
    told = {answer["id"]: answer["value"] for answer in answers if isinstance(answer.get("value"), float)}
    return {name: told.get(number, 0.0) / 100 for number, name in ((2, "sm"), (5, "tensor"), (10, "dram"))}


def _play_slices(capture: Capture, device: FakeDevice) -> None:
    device.most_slices(value(capture, "nvmlDeviceGetMaxMigDeviceCount") or 0)
    if not in_mig_mode(capture):
        return
    for told, each in zip(capture["mig"], device.mig(["1g.1gb"] * len(capture["mig"])), strict=True):
        running = value(told, "nvmlDeviceGetComputeRunningProcesses_v3") or []
        each.processes(*((process["pid"], process["usedGpuMemory"]) for process in running))
        if told["gpm"]:
            each.activity(**_activity(told["gpm"]))
        attributes = value(told, "nvmlDeviceGetAttributes_v2") or {}
        memory = value(told, "nvmlDeviceGetMemoryInfo_v2") or value(told, "nvmlDeviceGetMemoryInfo") or {}
        each.become(
            uuid=told["uuid"],
            name=told["model"],
            gpu_instance=value(told, "nvmlDeviceGetGpuInstanceId"),
            compute_instance=value(told, "nvmlDeviceGetComputeInstanceId"),
            gpu_slices=attributes.get("gpuInstanceSliceCount"),
            compute_slices=attributes.get("computeInstanceSliceCount"),
            memory_total=memory.get("total"),
            memory_used=memory.get("used"),
        )


PLAYERS: Sequence[Callable[[Capture, FakeDevice], None]] = (
    _play_identity,
    _play_load,
    _play_processes,
    _play_memory,
    _play_electricity,
    _play_temperature_and_clocks,
    _play_ecc,
    _play_health,
    _play_activity,
    _play_slices,
)
"""Each sets one thing of the fake device; where the fake learns something new, its player is added here."""


def golden_text(capture: Capture, devices: Sequence[Device], readings: Mapping[str, Reading]) -> str:
    """What gpuwatch makes of a recording: its devices, their readings, and their lines on the page of metrics."""
    settled = {uid: _settled(capture, reading) for uid, reading in readings.items()}
    told = [
        {
            "device": {name: part for name, part in asdict(device).items() if name != "node"},
            "reading": _plain(settled[device.uid]),
        }
        for device in devices
    ]
    lines = _metric_lines(devices, settled)
    return json.dumps({"devices": told, "metrics": lines}, indent=1, ensure_ascii=False) + "\n"


def _settled(capture: Capture, reading: Reading) -> Reading:
    """The reading without what the fake adds as it goes on: joules that are no field, digits of activity."""
    ratios = {
        name: None if ratio is None else round(ratio, 4)
        for name in ("sm_activity_ratio", "tensor_activity_ratio", "dram_activity_ratio")
        for ratio in [getattr(reading, name)]
    }
    reading = replace(reading, **ratios)
    if reading.energy_joules is None or any(field(capture, *key)["return"] == 0 for key in ENERGIES):
        return reading
    joules = (value(capture, "nvmlDeviceGetTotalEnergyConsumption") or 0) / 1000
    assert 0 <= reading.energy_joules - joules < DRIFT_JOULES
    return replace(reading, energy_joules=joules)


def _plain(reading: Reading) -> dict[str, Any]:
    """A reading as JSON, without what is unknown; labels of a series joined by commas."""
    told: dict[str, Any] = {}
    for name in reading.__dataclass_fields__:
        found = getattr(reading, name)
        if isinstance(found, Mapping):
            found = {",".join([labels] if isinstance(labels, str) else labels): found[labels] for labels in found}
        if found is not None and found != {}:
            told[name] = [asdict(each) for each in found] if name == "processes" else found
    return told


def _metric_lines(devices: Sequence[Device], readings: Mapping[str, Reading]) -> list[str]:
    by_uid = {device.uid: device for device in devices}
    sink = PrometheusSink(PrometheusSink.Settings(), Site(), clock=lambda: 0.0)
    sink.take(Snapshot("", "", 0.0, 1, "", "", devices=by_uid, readings=readings))
    return [line for line in sink.render().decode().splitlines() if line.startswith("gpuwatch_device_")]
