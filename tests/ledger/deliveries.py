"""Deliveries for tests, as the agents' usage API words them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpuwatch.usage.base import Delivery

T0 = 1_764_000_000
EPOCH = "0123456789ab"
ORIGIN = "http://127.0.0.1:9838"


def row(job_id: str = "run-1", **changed: Any) -> dict[str, Any]:
    """A row of counters of a job that held one device for 100 s, `changed` where a test says so."""
    return {
        "job_id": job_id, "started": T0, "uuid": "GPU-0", "model": "H100", "seq": 10, "open": True,
        "last_seen": T0 + 100.0, "share": 1.0, "basis": "holders",
        "held_seconds": 100.0, "busy_seconds": 80.0, "memory_byte_seconds": 1e12, "tensor_seconds": None,
        "energy_unmeasured_seconds": 0.0, "state_seconds": {"working": 90.0, "idle": 10.0},
        "energy_joules": {"counter": 36_000.0}, "throttled_seconds": {"sw_power_cap": 2.0},
        **changed,
    }  # fmt: skip


def declared(text: str, job_id: str | None = "run-1", **changed: Any) -> dict[str, Any]:
    """A declaration made at the socket as the job began."""
    return {
        "seq": 5, "time": T0 + 1.0, "job_id": job_id, "started": T0, "channel": "socket", "uid": 1000,
        "pid": 4242, "text": text, **changed,
    }  # fmt: skip


def progress(step: float, total: float = 1000, job_id: str = "run-1", **changed: Any) -> dict[str, Any]:
    """A progress report, made when the row of `row()` was last seen."""
    return {
        "seq": 6, "time": T0 + 100.0, "kind": "progress", "job_id": job_id, "started": T0, "step": step,
        "total": total, "start_step": 0, **changed,
    }  # fmt: skip


def run_started(job_id: str = "run-1", name: str = "llama-ft", **changed: Any) -> dict[str, Any]:
    """The begin of a run."""
    return {
        "seq": 1, "time": T0 - 1.0, "kind": "run_started", "job_id": job_id, "name": name, "uid": 1000, **changed,
    }  # fmt: skip


def run_ended(job_id: str = "run-1", exit_code: int | None = 0, **changed: Any) -> dict[str, Any]:
    """The end of a run."""
    return {
        "seq": 9, "time": T0 + 101.0, "kind": "run_ended", "job_id": job_id, "exit_code": exit_code, **changed,
    }  # fmt: skip


def delivery(
    rows: Sequence[Any] = (), declarations: Sequence[Any] = (), events: Sequence[Any] = (), **changed: Any
) -> Delivery:
    """A delivery of node gw0."""
    values: dict[str, Any] = {
        "cluster": "default", "node": "gw0", "epoch": EPOCH, "seq": 10, "now": T0 + 100.0, "origin": ORIGIN,
        **changed,
    }  # fmt: skip
    return Delivery(rows=rows, declarations=declarations, events=events, **values)
