"""The counters of jobs as points: exactly, for the ledger is read back from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from gpuwatch.model import EMPTY, JobRow, RowKey, Snapshot, points
from gpuwatch.sinks.line_protocol import EXACT, TEXT, Field, Series

_NUMBERS = tuple((name, Field(field, EXACT)) for name, field in points.ROW_NUMBERS.items())
_LABELLED = tuple(
    (name, label, Field(points.labelled(field, label), EXACT))
    for name, (field, labels) in points.ROW_LABELLED.items()
    for label in labels
)
_OPEN = Field(points.ROW_OPEN, EXACT)
_BASIS, _MODEL = (Field(name, TEXT) for name in points.ROW_WORDS)

EARLY = 0.99


class Due(NamedTuple):
    """A row that is to be pushed, and the model of its device; empty where that is not known."""

    row: JobRow
    model: str


class _Pushed(NamedTuple):
    seq: int
    time: float
    model: str


class JobPoints:
    """Knows which rows were pushed, and when; forgets those that are no longer in a snapshot."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._pushed: dict[RowKey, _Pushed] = {}
        self._seen = -1

    def due(self, snapshot: Snapshot, last: bool = False) -> Iterator[Due]:
        """Rows that changed: open ones every `seconds`, ended ones at once, and with `last` all."""
        for row in self._saved(snapshot):
            key = row.key
            before = self._pushed.get(key)
            if before is not None and (before.seq == row.seq or self._early(row, before, snapshot.time, last)):
                continue
            device = snapshot.devices.get(key.device)
            model = device.model if device is not None else before.model if before is not None else ""
            self._pushed[key] = _Pushed(row.seq, snapshot.time, model)
            yield Due(row, model)
        if len(self._pushed) > len(snapshot.rows):
            self._pushed = {key: each for key, each in self._pushed.items() if key in snapshot.rows}

    def _saved(self, snapshot: Snapshot) -> Iterator[JobRow]:
        """The rows that no crash takes anything back of; else the next life would count a second once more."""
        yield from snapshot.saved
        seen, self._seen = self._seen, snapshot.saved_seq
        for row in snapshot.rows.values():
            # Ended ones were pushed when they were saved; there may be thousands.
            if not row.open and seen < row.seq <= snapshot.saved_seq:
                yield row

    def _early(self, row: JobRow, before: _Pushed, time: float, last: bool) -> bool:
        # A tick that comes a little early is that of its second; and a clock that was set back is no reason to
        # wait until it has caught up.
        return row.open and not last and 0.0 <= time - before.time < EARLY * self._seconds


def job_series(snapshot: Snapshot, key: RowKey, epoch: str) -> Series:
    """What the points of a row belong to."""
    values = (snapshot.cluster, snapshot.node, key.job_id, str(key.started), key.device, epoch)
    return Series(points.JOB, tuple(zip(points.JOB_TAGS, values, strict=True)))


def job_fields(facts: Mapping[str, Any]) -> dict[Field, float | str]:
    """A row of counters, as the usage API tells it; what was never measured is not there."""
    known: dict[Field, float | str | None] = {field: facts.get(name) for name, field in _NUMBERS}
    known |= {field: facts.get(name, EMPTY).get(label) for name, label, field in _LABELLED}
    known |= {_OPEN: float(facts["open"]), _BASIS: facts["basis"], _MODEL: facts["model"] or None}
    return {field: value for field, value in known.items() if value is not None}


def key_of(facts: Mapping[str, Any]) -> RowKey:
    """Whose row it is that the usage API tells."""
    return RowKey(facts["job_id"], facts["started"], facts["uuid"])
