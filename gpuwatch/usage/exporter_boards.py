"""Readings of a board × who claims it → rows of counters, window after window. Pure but for the board it keeps.

What a board knows between two windows is all in `Board`: the same windows give the same rows, whether one process
reads them or many.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from gpuwatch import specs
from gpuwatch.meter import DeviceMeter, Holding, Meter, MeterSettings, Nature
from gpuwatch.meter.documents import meter_document, meter_of, of_document, row_document, row_of, usage_document
from gpuwatch.model import DeviceUsage, JobKey, JobRow, Reading, RowKey, Usage
from gpuwatch.usage.exporter_claims import Claim, Span
from gpuwatch.usage.exporter_names import Source
from gpuwatch.usage.windows import Window

VERSION = 1

LEAST_GAP_SECONDS = 7.5
MOST_GAP_SECONDS = 150.0
GAP_SPACINGS = 3.0
"""Two readings fit together where not more than two of those between them are missing."""

SILENT_SECONDS = 3600.0
"""A board that says nothing for longer is not metered any further."""

JUMP_FACTOR = 2.0
"""Exporters ask their devices by a clock of their own: a counter may be a little older than its scrape."""


@dataclass(slots=True)
class Board:
    """What is known of a board up to the end of a window. `seen` is when it last said something, Unix seconds."""

    source: Source
    seen: float
    gap_seconds: float = MOST_GAP_SECONDS
    rows: dict[RowKey, JobRow] = field(default_factory=dict)
    usage: DeviceUsage = field(default_factory=lambda: DeviceUsage(""))
    meter: DeviceMeter | None = None


@dataclass(slots=True)
class Standing:
    """All boards, and the epoch in which their counters count."""

    epoch: str
    boards: dict[str, Board] = field(default_factory=dict)


def gap_of(spacing_seconds: float | None, before: float, fixed: float = 0.0) -> float:
    """How far apart two readings may be, in seconds; `fixed` where the site says so, `before` where none tells."""
    if fixed:
        return fixed
    if spacing_seconds is None:
        return before
    return min(max(GAP_SPACINGS * spacing_seconds, LEAST_GAP_SECONDS), MOST_GAP_SECONDS)


def advance(
    board: Board,
    readings: Sequence[Reading],
    held: Sequence[Claim],
    unknown: Sequence[Span],
    running: Collection[JobKey],
    window: Window,
) -> list[JobRow]:
    """Account for a window; gives the rows that are not as they were. One that is over is told and forgotten."""
    uid = board.source.uid
    meter = Meter(MeterSettings(gap_seconds=board.gap_seconds, jump_factor=JUMP_FACTOR))
    known = {} if board.meter is None else {uid: board.meter}
    meter.resume({key: row.usage for key, row in board.rows.items()}, {uid: board.usage}, known, watched=True)
    before = dict(board.rows)
    by_time = {each.time: each for each in readings if board.meter is None or each.time > board.meter.time}
    for time in _times(board, by_time, held, unknown, window):
        _look(board, meter, time, by_time.get(time), held, unknown)
    if readings:
        board.seen = max(board.seen, readings[-1].time)
    if window.end - board.seen > SILENT_SECONDS and board.meter is not None:
        meter.finish()
        board.meter = None
    else:
        board.meter = meter.state().get(uid)
    board.usage = meter.devices[uid]
    _close(board, meter, running)
    changed = [row for key, row in board.rows.items() if row != before.get(key)]
    board.rows = {key: row for key, row in board.rows.items() if row.open}
    return changed


def _times(
    board: Board, readings: Collection[float], held: Sequence[Claim], unknown: Sequence[Span], window: Window
) -> list[float]:
    """When to look: at each reading, where somebody begins or ceases to hold, and often enough between."""
    last = board.meter.time if board.meter is not None else min(readings, default=None)
    if last is None or (window.end - board.seen > SILENT_SECONDS and not readings):
        return []
    spans = (*((each.since, each.until) for each in held), *unknown)
    borders = {at for span in spans for at in span}
    looks = {at for at in borders if last < at <= window.end} | set(readings)
    # Once more where the window before ended: who holds since then may have become known meanwhile.
    times = [last] if board.meter is not None else []
    for time in (*sorted(looks), None):
        # It is known who holds it all the while, though not what it does.
        while (window.end if time is None else time) - last > board.gap_seconds:
            last += board.gap_seconds
            times.append(last)
        if time is not None:
            times.append(time)
            last = time
    return times


def _look(
    board: Board,
    meter: Meter,
    time: float,
    reading: Reading | None,
    held: Sequence[Claim],
    unknown: Sequence[Span],
) -> None:
    uid = board.source.uid
    now = [claim for claim in held if claim.since <= time < claim.until]
    holdings = [Holding(claim.job, uid, claim.share, claim.basis) for claim in now]
    nobody_knows = {uid} if any(span.since <= time < span.until for span in unknown) else ()
    state = meter.state().get(uid)
    until_now = set(state.shares) if state is not None else set()
    if reading is not None and state is not None and reading.energy_joules == state.energy.counter.value:
        # The exporter has not asked the device since: this is not how much it drew meanwhile.
        reading = replace(reading, energy_joules=None)
    meter.advance(time, {uid: reading}, holdings, nobody_knows, {uid: _nature(board.source.model)}, wall=time)
    shares = meter.state()[uid].shares
    for holding in holdings:
        share = shares.get(holding.row, 0.0)
        basis = holding.basis if share >= holding.share else "holders"
        board.rows[holding.row] = JobRow(holding.row, Usage(), share, basis, True, 0, time)
    for key in until_now & board.rows.keys():
        board.rows[key] = replace(board.rows[key], last_seen=time)


def _close(board: Board, meter: Meter, running: Collection[JobKey]) -> None:
    """What a row has come to, and whether that is final: its job is over and no reading is awaited."""
    for key, row in board.rows.items():
        over = JobKey(key.job_id, key.started) not in running
        final = over and (board.meter is None or meter.settled(key))
        board.rows[key] = replace(row, usage=meter.rows.get(key, row.usage), open=not final)


def _nature(model: str) -> Nature:
    spec = specs.lookup(model)
    return Nature(model) if spec is None else Nature(model, spec.idle_watts, spec.watts)


def encode(standing: Standing) -> str:
    """A standing as text, packed; `decode` reads it."""
    document = {
        "version": VERSION,
        "epoch": standing.epoch,
        "boards": [_document(board) for board in standing.boards.values()],
    }
    return base64.b64encode(zlib.compress(json.dumps(document, separators=(",", ":")).encode(), 6)).decode("ascii")


def decode(text: str) -> Standing:
    """The standing that a text has; `ValueError` where it is not what was written, or of a later version."""
    try:
        # Its checksum is zlib's.
        document = json.loads(zlib.decompress(base64.b64decode(text, validate=True)))
        if document["version"] != VERSION:
            raise ValueError(f"its version is {document['version']!r}; this gpuwatch reads {VERSION}")
        boards = [_board(each) for each in document["boards"]]
        return Standing(str(document["epoch"]), {board.source.uid: board for board in boards})
    except (zlib.error, KeyError, TypeError, RecursionError) as exc:
        raise ValueError(f"it is not what was written: {exc}") from exc


def _document(board: Board) -> dict[str, Any]:
    return {
        "source": list(board.source),
        "seen": board.seen,
        "gap_seconds": board.gap_seconds,
        "rows": [row_document(row) for row in board.rows.values()],
        "usage": usage_document(board.usage),
        "meter": None if board.meter is None else meter_document(board.meter),
    }


def _board(document: dict[str, Any]) -> Board:
    rows = [row_of(each) for each in document["rows"]]
    return Board(
        Source(*document["source"]),
        document["seen"],
        document["gap_seconds"],
        {row.key: row for row in rows},
        of_document(DeviceUsage, document["usage"]),
        None if document["meter"] is None else meter_of(document["meter"]),
    )


class Times(NamedTuple):
    """Device-seconds of boards, and those of them whose holder is not known."""

    seconds: float
    unattributed_seconds: float


def times_of(boards: Iterable[Board]) -> Times:
    """How long boards have been metered, all together."""
    usages = [board.usage for board in boards]
    return Times(sum(each.seconds for each in usages), sum(each.unattributed_seconds for each in usages))
