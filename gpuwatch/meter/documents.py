"""The meter's part of what is kept, as JSON documents and back, and a row as the usage API tells it.

What a later program adds is dropped, what an earlier one did not write has its default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any, TypeVar

from gpuwatch.meter.device import DeviceMeter
from gpuwatch.meter.energy import EnergyMeter, Pending
from gpuwatch.meter.signals import Counter, Integral, Tally
from gpuwatch.meter.storage import StorageWaits
from gpuwatch.model import DeviceUsage, JobRow, RowKey, Usage

T = TypeVar("T")


def of_document(kind: type[T], document: Mapping[str, Any]) -> T:
    """A dataclass from what a document has of its fields; the others have their defaults."""
    names = [each.name for each in fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: document[name] for name in names if name in document})


def usage_document(value: Usage | DeviceUsage) -> dict[str, Any]:
    """Totals as a document; `of_document` reads them."""
    plain = {each.name: getattr(value, each.name) for each in fields(value)}
    return {name: dict(each) if isinstance(each, Mapping) else each for name, each in plain.items()}


def row_document(row: JobRow) -> dict[str, Any]:
    """A row as it is kept; `row_of` reads it."""
    return {**{each.name: getattr(row, each.name) for each in fields(row)}, "usage": usage_document(row.usage)}


_ROW = {"share": 0.0, "basis": "holders", "open": True, "seq": 0, "last_seen": 0.0}


def row_of(document: Mapping[str, Any]) -> JobRow:
    """A row as it was kept."""
    job_id, started, uid, *_ = document["key"]
    key = RowKey(str(job_id), int(started), str(uid))
    return of_document(JobRow, {**_ROW, **document, "key": key, "usage": of_document(Usage, document["usage"])})


def _pairs(shares: Mapping[RowKey, float]) -> list[list[Any]]:
    return [[*row, amount] for row, amount in shares.items()]


def _shares(pairs: list[list[Any]]) -> dict[RowKey, float]:
    return {RowKey(str(job), int(started), str(uid)): float(amount) for job, started, uid, amount in pairs}


_SHARES = {"shares", "since", "throttle_since", "seconds", "integrated", "unmeasured", "dark"}


def meter_document(value: Any) -> Any:
    """A meter as it is kept: dataclasses as objects, shares (keyed by rows) as lists of pairs."""
    if not is_dataclass(value) or isinstance(value, type):
        return {name: asdict(each) for name, each in value.items()} if isinstance(value, dict) else value
    return {
        each.name: _pairs(getattr(value, each.name))
        if each.name in _SHARES
        else meter_document(getattr(value, each.name))
        for each in fields(value)
    }


_READERS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(_SHARES, _shares),
    **dict.fromkeys(
        ("power", "modelled", "busy", "memory", "tensor"), lambda document: _value(Integral, document)
    ),
    "counter": lambda document: _value(Counter, document),
    "pending": lambda document: _value(Pending, document),
    "energy": lambda document: _value(EnergyMeter, document),
    **dict.fromkeys(
        ("throttle", "counters"),
        lambda document: {name: _value(Counter, each) for name, each in document.items()},
    ),
    **dict.fromkeys(("links", "ecc"), lambda document: _value(Tally, document)),
    "xids": lambda document: _value(Counter, document),
    "storage": lambda document: _value(StorageWaits, document),
}


def _value(kind: type[T], document: Mapping[str, Any]) -> T:
    read = {name: _READERS[name](value) if name in _READERS else value for name, value in document.items()}
    return of_document(kind, read)


def meter_of(document: Mapping[str, Any]) -> DeviceMeter:
    """A meter as it was kept."""
    return _value(DeviceMeter, document)


def row_facts(row: JobRow, model: str) -> dict[str, Any]:
    """A row of counters as the API sends it."""
    usage = row.usage
    return {
        "seq": row.seq,
        "job_id": row.key.job_id,
        "started": row.key.started,
        "uuid": row.key.device,
        "model": model,
        "open": row.open,
        "last_seen": row.last_seen,
        "share": row.share,
        "basis": row.basis,
        "held_seconds": usage.held_seconds,
        "busy_seconds": usage.busy_seconds,
        "memory_byte_seconds": usage.memory_byte_seconds,
        "tensor_seconds": usage.tensor_seconds,
        "energy_unmeasured_seconds": usage.energy_unmeasured_seconds,
        "state_seconds": dict(usage.state_seconds),
        "energy_joules": dict(usage.energy_joules),
        "throttled_seconds": dict(usage.throttled_seconds),
        "host_energy_joules": usage.host_energy_joules,
        "host_energy_measured_seconds": usage.host_energy_measured_seconds,
        "clock_cycles": usage.clock_cycles,
        "clock_seconds": usage.clock_seconds,
        "storage_wait_seconds": usage.storage_wait_seconds,
        "link_bytes": dict(usage.link_bytes),
        "errors": dict(usage.errors),
        "energy_gap_seconds": usage.energy_gap_seconds,
        "first_working": usage.first_working,
        "last_in_state": dict(usage.last_in_state),
    }
