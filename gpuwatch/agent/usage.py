"""The documents of the usage API: what is kept in the journal is what is sent (docs/usage-api.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gpuwatch.agent.registry import Said
from gpuwatch.model import JobKey, JobRow


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
        "clock_cycles": usage.clock_cycles,
        "clock_seconds": usage.clock_seconds,
        "storage_wait_seconds": usage.storage_wait_seconds,
        "link_bytes": dict(usage.link_bytes),
        "errors": dict(usage.errors),
        "energy_gap_seconds": usage.energy_gap_seconds,
        "first_working": usage.first_working,
        "last_in_state": dict(usage.last_in_state),
    }


def _progress_facts(job_id: str, key: JobKey | None, said: Said) -> dict[str, Any]:
    assert said.progress is not None
    return {
        "seq": said.seq,
        "time": said.progress.time,
        "kind": "progress",
        "job_id": job_id,
        "started": key.started if key else None,
        "step": said.progress.step,
        "total": said.progress.total,
        "start_step": said.progress.start_step,
    }


def usage_document(
    head: Mapping[str, Any],
    rows: Sequence[JobRow],
    entries: Sequence[Mapping[str, Any]],
    progress: Sequence[tuple[str, JobKey | None, Said]],
    model: Callable[[str], str],
    limit: int,
) -> dict[str, Any]:
    """The whole answer. More than `limit` journal entries come in several answers, oldest first, `more` set."""
    document: dict[str, Any] = {**head, "rows": [], "declarations": [], "events": []}
    if len(entries) > limit:
        entries = entries[:limit]
        document.update(more=True, seq=entries[-1]["seq"])
    else:
        document["rows"] = [row_facts(row, model(row.key.device)) for row in rows]
        document["events"] = [_progress_facts(*each) for each in progress]
    rooms = {"row": "rows", "declaration": "declarations", "event": "events"}
    for entry in entries:
        document[rooms[entry["type"]]].append(_untyped(entry))
    return document


def _untyped(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != "type"}
