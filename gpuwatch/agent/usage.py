"""The documents of the usage API: what is kept in the journal is what is sent (docs/usage-api.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gpuwatch.agent.registry import Said
from gpuwatch.meter.documents import row_facts
from gpuwatch.model import JobKey, JobRow


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
        "best": said.progress.best,
        "lost": said.progress.lost,
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
