"""From a delivery, which anybody may have written, to a posting that the ledger can trust. Pure.

What cannot be right is left out and counted by reason; the rest of the delivery is taken.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from gpuwatch import declaration, hygiene
from gpuwatch.errors import DeclarationError, Rejected
from gpuwatch.ledger.ledger import (
    NOT_STARTED,
    Held,
    JournalEntry,
    JournalId,
    Posting,
    ProgressId,
    RowId,
    RunEvent,
    RunId,
    merge_entry,
    merge_held,
    merge_into,
    merge_progress,
    merge_run,
)
from gpuwatch.ledger.measures import LABELLED, LATEST, MEASURES, OPTIONAL, PLACES, Measures, merged
from gpuwatch.model import BASES, STATES, Progress
from gpuwatch.usage.base import Delivery

REASONS = ("declaration", "key", "label", "not_finite", "range", "type")
"""Why something is not taken."""

NOT_BY_NODES = frozenset({"api", "cli", "comment", "admin-comment"})
"""Ways of declaring that no node's agent can have: who came by them is known to accounting or a batch system."""

_CENTURY = 3.2e9
_LARGEST = 2**53
_LATEST = 2.0**32
"""No time is later, as in records: what is charged by the day must end."""
_LIMITS: Mapping[str, float] = {
    "memory_byte_seconds": _CENTURY * 2**44,
    "clock_cycles": _CENTURY * 2e10,
    "energy_joules": _CENTURY * 20_000,
    "host_energy_joules": _CENTURY * 20_000,
    "link_bytes": _CENTURY * 2**42,
    "errors": _LARGEST,
    "first_working": _LATEST,
}
"""The greatest value that is believed; a century of seconds where nothing else stands here."""
_PLAIN = ("held_seconds", "energy_unmeasured_seconds", *OPTIONAL, LATEST[0], "first_working")
_KEY_LENGTH = 256
_LABELS = 32
_SHORT = 512


class _Refused(Rejected):
    """Why a piece of a delivery is not taken: one of `REASONS`."""


def read(delivery: Delivery) -> Posting:
    """The posting of a delivery; raises `Rejected` where its node or epoch cannot be a key."""
    try:
        reader = _Reader(_key(delivery.cluster), _key(delivery.node), _key(delivery.epoch))
    except _Refused as exc:
        raise Rejected(f"{hygiene.log(delivery.origin)}: cluster, node or epoch cannot be a key; {exc}") from exc
    return reader.posting(delivery)


class _Reader:
    """Collects what one delivery brings. A piece may name an epoch of its own: the one it was counted in."""

    def __init__(self, cluster: str, node: str, epoch: str) -> None:
        self._node = (cluster, node)
        self._epoch = epoch
        self._rows = 0
        self._measures: dict[RowId, Measures] = {}
        self._held: dict[RowId, Held] = {}
        self._journal: dict[JournalId, JournalEntry] = {}
        self._progress: dict[ProgressId, Progress] = {}
        self._runs: dict[RunId, RunEvent] = {}
        self._rejected: Counter[str] = Counter()

    def posting(self, delivery: Delivery) -> Posting:
        for row in delivery.rows:
            self._take(self._row, row)
        for entry in delivery.declarations:
            self._take(self._declaration, entry)
        for event in delivery.events:
            self._take(self._event, event)
        return Posting(
            *self._node, self._epoch, delivery.seq, delivery.now, self._rows, self._measures, self._held,
            self._journal, self._progress, self._runs, dict(self._rejected),
        )  # fmt: skip

    def _take(self, read_one: Callable[[Mapping[str, Any]], None], piece: Mapping[str, Any]) -> None:
        try:
            if not isinstance(piece, Mapping):
                raise _Refused("type")
            read_one(piece)
        except _Refused as exc:
            self._rejected[str(exc)] += 1

    def _epoch_of(self, piece: Mapping[str, Any]) -> str:
        return self._epoch if piece.get("epoch") is None else _key(piece["epoch"])

    def _row(self, row: Mapping[str, Any]) -> None:
        job = _key(row.get("job_id")), _second(row.get("started"))
        key = RowId(*self._node, self._epoch_of(row), *job, _key(row.get("uuid")))
        held, measures = _held(row), _measures(row)
        if key in self._held:
            held, measures = merge_held(self._held[key], held), merged(self._measures[key], measures)
        self._held[key], self._measures[key] = held, measures
        self._rows += 1

    def _declaration(self, entry: Mapping[str, Any]) -> None:
        text = entry.get("text")
        if not isinstance(text, str) or not _encodable(text) or len(text) > declaration.MAX_TEXT_BYTES:
            raise _Refused("declaration")
        read_entry = JournalEntry(
            time=_number(entry.get("time"), _LATEST),
            job_id=None if entry.get("job_id") is None else _key(entry["job_id"]),
            started=_started(entry),
            channel=_channel(entry.get("channel")),
            uid=_optional_whole(entry.get("uid")),
            pid=_optional_whole(entry.get("pid")),
            text=text.replace("\0", hygiene.REPLACEMENT),  # which PostgreSQL has no place for
        )
        key = JournalId(*self._node, self._epoch_of(entry), _sequence(entry.get("seq")))
        merge_into(self._journal, {key: read_entry}, merge_entry)
        if parsed(text) is None:
            raise _Refused("declaration")

    def _event(self, event: Mapping[str, Any]) -> None:
        kind = event.get("kind")
        if kind == "progress":
            key, progress = self._progress_of(event)
            merge_into(self._progress, {key: progress}, merge_progress)
        elif kind in ("run_started", "run_ended"):
            run = RunId(*self._node, _key(event.get("job_id")), str(kind))
            merge_into(self._runs, {run: _run_event(event)}, merge_run)

    def _progress_of(self, event: Mapping[str, Any]) -> tuple[ProgressId, Progress]:
        key = ProgressId(*self._node, _key(event.get("job_id")), _started(event))
        step = _number(event.get("step"), _LARGEST)
        total = _number(event.get("total"), _LARGEST)
        if total <= 0:
            raise _Refused("range")
        start = step if event.get("start_step") is None else _number(event["start_step"], _LARGEST)
        time = _number(event.get("time"), _LATEST)
        best, lost = (
            None if event.get(name) is None else _number(event[name], _LARGEST) for name in ("best", "lost")
        )
        return key, Progress(step, total, start, time, best, lost, total, total)


def parsed(text: str) -> declaration.Declaration | None:
    """What a declaration says; None where it does not follow the grammar."""
    return _remembered(text) if len(text) <= _SHORT else _read_text(text)


def _read_text(text: str) -> declaration.Declaration | None:
    try:
        return declaration.parse(text)
    except DeclarationError:
        return None


# Each pass reads what is declared for all that runs, and scripts are submitted a thousand times.
_remembered = lru_cache(maxsize=4096)(_read_text)


def _held(row: Mapping[str, Any]) -> Held:
    model = row.get("model")
    basis = row.get("basis")
    share = _number(row.get("share"), 1.0 + 1e-9)
    if basis not in BASES:
        raise _Refused("label")
    if not isinstance(row.get("open"), bool) or not isinstance(model, str | None):
        raise _Refused("type")
    return Held(_number(row.get("last_seen"), _LATEST), share, basis, hygiene.label(model or ""), row["open"])


_PLAIN_PLACES = tuple((name, PLACES[name], _LIMITS.get(name, _CENTURY)) for name in _PLAIN)
_LABEL_PLACES: Mapping[str, tuple[Mapping[str, int], int | None, float]] = {
    **{
        name: (
            {label: PLACES[f"{name}_{label}"] for label in labels},
            # Reasons that nobody has heard of yet are reasons all the same.
            PLACES.get(f"{name}_other"),
            _LIMITS.get(name, _CENTURY),
        )
        for name, labels in LABELLED.items()
    },
    "last_in_state": ({state: PLACES[f"last_{state}"] for state in STATES}, None, _LATEST),
}
_NOTHING: tuple[float | None, ...] = tuple(0.0 if name in _PLAIN[:2] else None for name in MEASURES)


def _measures(row: Mapping[str, Any]) -> Measures:
    found = list(_NOTHING)
    for name, place, limit in _PLAIN_PLACES:
        value = row.get(name)
        if value is not None:
            found[place] = value if type(value) is float and 0.0 <= value <= limit else _number(value, limit)
    for name, (places, other, limit) in _LABEL_PLACES.items():
        series = row.get(name)
        if series:
            _read_series(series, places, other, limit, found)
        elif series is not None and not isinstance(series, Mapping):
            raise _Refused("type")
    return tuple(found)


def _read_series(
    series: object, places: Mapping[str, int], other: int | None, limit: float, found: list[float | None]
) -> None:
    if type(series) is not dict and not isinstance(series, Mapping):
        raise _Refused("type")
    if len(series) > _LABELS:
        raise _Refused("label")
    for label, value in series.items():
        place = places.get(label, other)
        if place is None:
            raise _Refused("label")
        if value is None:
            continue
        number = value if type(value) is float and 0.0 <= value <= limit else _number(value, limit)
        # Only the place for others may be filled before, by another label.
        found[place] = number if place != other or found[place] is None else number + (found[place] or 0.0)


def _run_event(event: Mapping[str, Any]) -> RunEvent:
    name = event.get("name")
    if not isinstance(name, str | None):
        raise _Refused("type")
    exit_code = event.get("exit_code")
    if exit_code is not None and (not _whole(exit_code) or abs(exit_code) > _LARGEST):
        raise _Refused("type")
    return RunEvent(
        time=_number(event.get("time"), _LATEST),
        name=None if name is None else hygiene.label(name),
        uid=_optional_whole(event.get("uid")),
        exit_code=exit_code,
    )


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _key(value: object) -> str:
    """A string that can stand in a key: short, printable."""
    if not isinstance(value, str) or not value or len(value) > _KEY_LENGTH or not value.isprintable():
        raise _Refused("key")
    return value


def _channel(value: object) -> str:
    channel = _key(value)
    if channel in NOT_BY_NODES:
        raise _Refused("label")
    return channel


def _number(value: object, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Refused("type")
    if isinstance(value, float) and not math.isfinite(value):
        raise _Refused("not_finite")
    if not 0 <= value <= high:
        raise _Refused("range")
    return float(value)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _second(value: object) -> int:
    if not _whole(value):
        raise _Refused("key")
    return int(_number(value, _LATEST))


def _sequence(value: object) -> int:
    if not _whole(value):
        raise _Refused("key")
    return int(_number(value, _LARGEST))


def _started(piece: Mapping[str, Any]) -> int:
    return NOT_STARTED if piece.get("started") is None else _second(piece["started"])


def _optional_whole(value: object) -> int | None:
    if value is None:
        return None
    if not _whole(value):
        raise _Refused("type")
    return int(_number(value, _LARGEST))
