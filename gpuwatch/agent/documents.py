"""The saved state as a JSON document and back.

What a later program adds is dropped, what an earlier one did not write has its default; a file that an earlier
program could not go on from has a higher `VERSION`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gpuwatch.agent.sealed import seal
from gpuwatch.meter import DeviceMeter
from gpuwatch.meter.documents import (
    meter_document,
    meter_of,
    of_document,
    row_document,
    row_of,
    usage_document,
)
from gpuwatch.model import DeviceUsage, JobRow, RowKey

VERSION = 1


@dataclass(slots=True)
class State:
    """What is saved: the counters of jobs that are not over, and all that it takes to go on from them."""

    epoch: str
    boot_id: str
    monotonic: float = 0.0
    seq: int = 0
    rows: dict[RowKey, JobRow] = field(default_factory=dict)
    devices: dict[str, DeviceUsage] = field(default_factory=dict)
    meters: dict[str, DeviceMeter] = field(default_factory=dict)
    registry: dict[str, Any] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)


def encode(state: State, version: int = VERSION) -> bytes:
    """A state as it is written: what `StateDirectory.load` reads."""
    document = {
        "version": version,
        "epoch": state.epoch,
        "boot_id": state.boot_id,
        "monotonic": state.monotonic,
        "seq": state.seq,
        "rows": [row_document(row) for row in state.rows.values()],
        "devices": [usage_document(usage) for usage in state.devices.values()],
        "meters": {uid: meter_document(meter) for uid, meter in state.meters.items()},
        "registry": state.registry,
        "models": state.models,
    }
    return seal(document)


def decode(document: Mapping[str, Any]) -> State:
    """A state as it was written by this program, an earlier, or a later one of the same version."""
    return State(
        epoch=str(document["epoch"]),
        boot_id=str(document["boot_id"]),
        monotonic=float(document.get("monotonic", 0.0)),
        seq=int(document["seq"]),
        rows={row.key: row for row in map(row_of, document.get("rows", ()))},
        devices={usage["device"]: of_document(DeviceUsage, usage) for usage in document.get("devices", ())},
        meters={uid: meter_of(meter) for uid, meter in document.get("meters", {}).items()},
        registry=dict(document.get("registry", {})),
        models=dict(document.get("models", {})),
    )
