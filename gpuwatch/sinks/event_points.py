"""What happened and what was declared as points: never who it was, for agents tell of jobs alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gpuwatch.model import JobKey, Progress, Snapshot, points
from gpuwatch.sinks.line_protocol import EXACT, TEXT, Field, Series

_ABOUT_PEOPLE = frozenset(("name", "uid", "pid", "user", "account"))
_NOT_FIELDS = frozenset(("type", "kind", "time", *points.EVENT_WORDS, *points.EVENT_NUMBERS)) | _ABOUT_PEOPLE


@dataclass(frozen=True, slots=True)
class Event:
    """Something of a kind that happened at a time, in Unix seconds."""

    kind: str
    time: float
    fields: Mapping[Field, float | str]


def event_series(snapshot: Snapshot, kind: str) -> Series:
    """What the points of events of a kind belong to."""
    return Series(
        points.EVENT, tuple(zip(points.EVENT_TAGS, (snapshot.cluster, snapshot.node, kind), strict=True))
    )


def event_of(entry: Mapping[str, Any]) -> Event:
    """An entry of the agent's journal; what InfluxDB has no field for stands in the text as `key=value`."""
    declared = entry["type"] == points.DECLARATION
    words = {name: entry[name] for name in points.EVENT_WORDS if isinstance(entry.get(name), str)}
    others = (f"{name}={_word(value)}" for name, value in entry.items() if _is_other(name, value))
    text = [*str(words.get("text", "")).split(), *(() if declared else others)]
    fields: dict[Field, float | str] = {
        Field(name, TEXT): value for name, value in {**words, "text": " ".join(text)}.items() if value
    }
    for name in points.EVENT_NUMBERS:
        number = entry.get(name)
        if isinstance(number, int | float):
            fields[Field(name, EXACT)] = float(number)
    return Event(points.DECLARATION if declared else str(entry["kind"]), float(entry["time"]), fields)


def _is_other(name: str, value: object) -> bool:
    return name not in _NOT_FIELDS and value is not None


def _word(value: object) -> str:
    return "_".join(str(value).split())


class ProgressPoints:
    """Knows what progress was pushed of each job; forgets those that are no longer in a snapshot."""

    def __init__(self) -> None:
        self._pushed: dict[JobKey, Progress] = {}

    def changed(self, snapshot: Snapshot) -> Iterator[Event]:
        """The newest progress of each job that reported some since this was last asked for."""
        found = {job: each.progress for job, each in snapshot.declared.items() if each.progress is not None}
        before, self._pushed = self._pushed, found
        for job, progress in sorted(found.items()):
            if progress != before.get(job):
                yield _progress(job, progress)


def _progress(job: JobKey, progress: Progress) -> Event:
    numbers = {
        "started": float(job.started), "step": progress.step, "total": progress.total,
        "start_step": progress.start_step, "best": progress.best, "lost": progress.lost,
    }  # fmt: skip
    fields: dict[Field, float | str] = {Field("job_id", TEXT): job.job_id}
    fields |= {Field(name, EXACT): value for name, value in numbers.items() if value is not None}
    return Event(points.PROGRESS, progress.time, fields)
