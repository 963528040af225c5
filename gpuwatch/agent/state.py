"""The agent's state directory: a lock with its holder's pid, and the counters that survive a restart.

The state is one JSON file, replaced as a whole. Sequence numbers are reserved ahead in it, so that they grow
over a crash as well. A file that cannot be read is set aside, and a new epoch begins.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from gpuwatch.errors import Forbidden, Unavailable
from gpuwatch.meter import Counter as HardwareCounter
from gpuwatch.meter import DeviceMeter, EnergyMeter, Integral, Pending
from gpuwatch.model import DeviceUsage, JobRow, RowKey, Usage
from gpuwatch.service import PidLock

log = logging.getLogger("gpuwatch.agent")

VERSION = 1
SEQ_RESERVE = 10_000


def boot_id(procfs: str = "/proc") -> str:
    """The kernel's id of this boot; empty where it has none."""
    try:
        return Path(procfs, "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


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


class StateDirectory:
    """The locked directory. A context manager; leaving it unlocks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path / "state.json"
        self._lock: PidLock | None = None

    def __enter__(self) -> StateDirectory:
        what = f"state directory {str(self.path)!r}"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except PermissionError as exc:
            raise Forbidden(
                f"{what}: no permission to make it; set agent.state_directory (--state-directory)"
            ) from exc
        except OSError as exc:
            raise Unavailable(f"{what}: cannot be made; {exc.strerror}") from exc
        self._lock = PidLock(self.path / "lock", what)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def load(self, now_boot_id: str) -> State:
        """The saved state, or a new one with a new epoch."""
        try:
            document = json.loads(self._file.read_bytes())
            state = _from_document(document)
        except FileNotFoundError:
            return self._new(now_boot_id)
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            self._set_aside(exc)
            return self._new(now_boot_id)
        if state.boot_id != now_boot_id:
            # The monotonic clock began anew, and whoever held a device is gone.
            state.meters, state.boot_id = {}, now_boot_id
        return state

    def _new(self, now_boot_id: str) -> State:
        return State(epoch=secrets.token_hex(6), boot_id=now_boot_id)

    def _set_aside(self, exc: Exception) -> None:
        for number in range(100):
            aside = self._file.with_name(f"state.json.corrupt-{number}")
            if not aside.exists():
                break
        self._file.replace(aside)
        log.error("state cannot be read; a new epoch begins kept_as=%s reason=%s", aside.name, exc)

    def write(self, document: bytes) -> None:
        """Replace the saved state; raises `Unavailable` where the disk refuses, leaving the old one as it was."""
        temporary = self._file.with_suffix(".new")
        try:
            with temporary.open("wb") as file:
                file.write(document)
                file.flush()
                os.fdatasync(file.fileno())
            temporary.replace(self._file)
        except OSError as exc:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise Unavailable(f"state {str(self._file)!r}: cannot be saved; {exc.strerror}") from exc


def encode(state: State) -> bytes:
    """A state as it is written: what `StateDirectory.load` reads."""
    document = {
        "version": VERSION,
        "epoch": state.epoch,
        "boot_id": state.boot_id,
        "monotonic": state.monotonic,
        "seq": state.seq + SEQ_RESERVE,
        "rows": [_row_document(row) for row in state.rows.values()],
        "devices": [_plain(usage) for usage in state.devices.values()],
        "meters": {uid: _meter_document(meter) for uid, meter in state.meters.items()},
        "registry": state.registry,
    }
    return json.dumps(document, separators=(",", ":")).encode()


def _from_document(document: Mapping[str, Any]) -> State:
    if document["version"] != VERSION:
        raise ValueError(f"version {document['version']!r}, this program writes {VERSION}")
    return State(
        epoch=str(document["epoch"]),
        boot_id=str(document["boot_id"]),
        monotonic=float(document["monotonic"]),
        seq=int(document["seq"]),
        rows={row.key: row for row in map(_row, document["rows"])},
        devices={usage["device"]: DeviceUsage(**usage) for usage in document["devices"]},
        meters={uid: _meter(meter) for uid, meter in document["meters"].items()},
        registry=dict(document["registry"]),
    )


def _plain(value: Usage | DeviceUsage) -> dict[str, Any]:
    plain = {each.name: getattr(value, each.name) for each in fields(value)}
    return {name: dict(each) if isinstance(each, Mapping) else each for name, each in plain.items()}


def _row_document(row: JobRow) -> dict[str, Any]:
    return {**{each.name: getattr(row, each.name) for each in fields(row)}, "usage": _plain(row.usage)}


def _row(document: Mapping[str, Any]) -> JobRow:
    job_id, started, uid = document["key"]
    key = RowKey(str(job_id), int(started), str(uid))
    return JobRow(**{**document, "key": key, "usage": Usage(**document["usage"])})


def _pairs(shares: Mapping[RowKey, float]) -> list[list[Any]]:
    return [[*row, amount] for row, amount in shares.items()]


def _shares(pairs: list[list[Any]]) -> dict[RowKey, float]:
    return {RowKey(str(job), int(started), str(uid)): float(amount) for job, started, uid, amount in pairs}


_SHARES = {"shares", "since", "throttle_since", "seconds", "integrated", "unmeasured"}


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


def _integral(document: Mapping[str, Any]) -> Integral:
    return Integral(document["time"], document["value"], _shares(document["since"]))


def _energy(document: Mapping[str, Any]) -> EnergyMeter:
    pending = {name: _shares(document["pending"][name]) for name in ("seconds", "integrated", "unmeasured")}
    return EnergyMeter(
        _integral(document["power"]),
        HardwareCounter(**document["counter"]),
        Pending(**pending),
        document["rejected"],
    )


def _meter(document: Mapping[str, Any]) -> DeviceMeter:
    return DeviceMeter(
        time=document["time"],
        shares=_shares(document["shares"]),
        energy=_energy(document["energy"]),
        busy=_integral(document["busy"]),
        memory=_integral(document["memory"]),
        tensor=_integral(document["tensor"]),
        throttle={reason: HardwareCounter(**counter) for reason, counter in document["throttle"].items()},
        throttle_since=_shares(document["throttle_since"]),
        idle_watts=document["idle_watts"],
        whole=document.get("whole", 1.0),
        parent=document.get("parent"),
        driver=document.get("driver"),
    )
