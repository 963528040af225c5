"""The saved state as a JSON document and back.

What a later program adds is dropped, what an earlier one did not write has its default; a file that an earlier
program could not go on from has a higher `VERSION`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, TypeVar

from gpuwatch.agent.sealed import seal
from gpuwatch.meter import Counter as HardwareCounter
from gpuwatch.meter import DeviceMeter, EnergyMeter, Integral, Pending, StorageWaits, Tally
from gpuwatch.model import DeviceUsage, JobRow, RowKey, Usage

VERSION = 1

T = TypeVar("T")


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
        "rows": [_row_document(row) for row in state.rows.values()],
        "devices": [_plain(usage) for usage in state.devices.values()],
        "meters": {uid: _meter_document(meter) for uid, meter in state.meters.items()},
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
        rows={row.key: row for row in map(_row, document.get("rows", ()))},
        devices={usage["device"]: of_document(DeviceUsage, usage) for usage in document.get("devices", ())},
        meters={uid: _meter(meter) for uid, meter in document.get("meters", {}).items()},
        registry=dict(document.get("registry", {})),
        models=dict(document.get("models", {})),
    )


def of_document(kind: type[T], document: Mapping[str, Any]) -> T:
    """A dataclass from what a document has of its fields; the others have their defaults."""
    names = [each.name for each in fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: document[name] for name in names if name in document})


def _plain(value: Usage | DeviceUsage) -> dict[str, Any]:
    plain = {each.name: getattr(value, each.name) for each in fields(value)}
    return {name: dict(each) if isinstance(each, Mapping) else each for name, each in plain.items()}


def _row_document(row: JobRow) -> dict[str, Any]:
    return {**{each.name: getattr(row, each.name) for each in fields(row)}, "usage": _plain(row.usage)}


_ROW = {"share": 0.0, "basis": "holders", "open": True, "seq": 0, "last_seen": 0.0}


def _row(document: Mapping[str, Any]) -> JobRow:
    job_id, started, uid, *_ = document["key"]
    key = RowKey(str(job_id), int(started), str(uid))
    return of_document(JobRow, {**_ROW, **document, "key": key, "usage": of_document(Usage, document["usage"])})


def _pairs(shares: Mapping[RowKey, float]) -> list[list[Any]]:
    return [[*row, amount] for row, amount in shares.items()]


def _shares(pairs: list[list[Any]]) -> dict[RowKey, float]:
    return {RowKey(str(job), int(started), str(uid)): float(amount) for job, started, uid, amount in pairs}


_SHARES = {"shares", "since", "throttle_since", "seconds", "integrated", "unmeasured", "dark"}


def _meter_document(value: Any) -> Any:
    """A meter as JSON: dataclasses as objects, shares (keyed by rows) as lists of pairs."""
    if not is_dataclass(value) or isinstance(value, type):
        return {name: asdict(each) for name, each in value.items()} if isinstance(value, dict) else value
    return {
        each.name: _pairs(getattr(value, each.name))
        if each.name in _SHARES
        else _meter_document(getattr(value, each.name))
        for each in fields(value)
    }


_READERS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(_SHARES, _shares),
    **dict.fromkeys(("power", "busy", "memory", "tensor"), lambda document: _value(Integral, document)),
    "counter": lambda document: _value(HardwareCounter, document),
    "pending": lambda document: _value(Pending, document),
    "energy": lambda document: _value(EnergyMeter, document),
    **dict.fromkeys(
        ("throttle", "counters"),
        lambda document: {name: _value(HardwareCounter, each) for name, each in document.items()},
    ),
    **dict.fromkeys(("links", "ecc"), lambda document: _value(Tally, document)),
    "xids": lambda document: _value(HardwareCounter, document),
    "storage": lambda document: _value(StorageWaits, document),
}


def _value(kind: type[T], document: Mapping[str, Any]) -> T:
    read = {name: _READERS[name](value) if name in _READERS else value for name, value in document.items()}
    return of_document(kind, read)


def _meter(document: Mapping[str, Any]) -> DeviceMeter:
    return _value(DeviceMeter, document)
