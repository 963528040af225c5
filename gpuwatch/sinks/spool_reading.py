"""How one reader reads a spool: its backlog, and the cursor that says on disk how far it is."""

from __future__ import annotations

import errno
import logging
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Condition, Lock
from typing import NamedTuple

from gpuwatch.sinks import spool_format as form
from gpuwatch.sinks.records import Place, Record
from gpuwatch.sinks.spool_disk import Disk
from gpuwatch.sinks.spool_queue import Ahead, Batch, Queue, Reader, Segment, place_of

log = logging.getLogger("gpuwatch.sinks")

_AT_ONCE = 1000
_PAUSE_SECONDS = 1.0
_PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EAGAIN)
"""Errors that say nothing of a file."""


class Cursor:
    """Two slots that are written in turn: one of them is whole, whatever happens, and a full disk takes both."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self._path, self._disk = path, disk
        self._lock = Lock()
        self._saved: Place | None = None
        self._made = self._refused = False
        self._generation = 0

    def found(self, generation: int) -> None:
        """The file is there, and this is its newest slot."""
        self._generation, self._made = generation, True

    def save(self, place: Callable[[], Place]) -> None:
        """Have where the reader is now on the disk. For any thread; what the disk refuses is tried next time."""
        with self._lock:
            now = place()
            if now == self._saved:
                return
            try:
                self._write(form.encode_cursor(self._generation + 1, now.segment, now.segment + now.offset))
            except OSError as exc:
                self._made = self._made and exc.errno != errno.ENOENT
                if not self._refused:
                    log.error("cursor of the spool cannot be written path=%s reason=%s", self._path, exc.strerror)
                self._refused = True
                return
            self._saved, self._refused = now, False
            self._generation += 1

    def _write(self, slot: bytes) -> None:
        if self._made:
            self._disk.overwrite(self._path, (self._generation + 1) % 2 * form.SLOT_BYTES, slot)
            return
        self._disk.create(self._path, slot + slot)
        self._disk.sync(self._path)
        self._disk.sync_directory(self._path.parent)
        self._made = True


class _Part(NamedTuple):
    """What a reader has not passed of a segment, as it was a moment ago."""

    segment: Segment
    begin: int
    end: int
    last: int


class _Shown(NamedTuple):
    """Records, and what the queue has to know of them; `ahead` may have one more. Damaged: some are lost."""

    records: list[Record]
    ahead: list[Ahead]
    damaged: bool


class Reading:
    """A `Backlog`. Segments are read and unpacked without the lock."""

    def __init__(
        self, queue: Queue, reader: Reader, changed: Condition, disk: Disk, passed: Callable[[Reader], None]
    ) -> None:
        self._queue, self._reader, self._changed = queue, reader, changed
        self._disk, self._passed = disk, passed

    def read(self, most_bytes: int) -> Sequence[Record]:
        """The oldest records of one segment, or of those in memory."""
        while True:
            with self._changed:
                upto, part, batches = self._waiting()
            shown = self._of_disk(part, upto, most_bytes) if part else _of_memory(batches, most_bytes)
            if shown is None:
                return ()
            with self._changed:
                if self._reader.next != upto:
                    continue  # what was read has been dropped meanwhile
                if shown.records or part is None:
                    self._queue.saw(self._reader, shown.ahead, len(shown.records))
                    if part is not None:
                        part.segment.damaged |= shown.damaged
                    return shown.records
                if part.segment.going:
                    return ()
                self._queue.give_up(self._reader, part.segment, part.last + 1)

    def _waiting(self) -> tuple[int, _Part | None, list[Batch]]:
        upto = self._reader.next
        segment = self._queue.segment_of(upto)
        if segment is None:
            return upto, None, self._queue.batches_of(self._reader)[:_AT_ONCE]
        number, offset = self._reader.begin
        first = 0 if segment.damaged else form.SEGMENT_HEAD_BYTES
        begin = offset if number == segment.number else first
        return upto, _Part(segment, begin, segment.end, segment.last), []

    def _of_disk(self, part: _Part, upto: int, most_bytes: int) -> _Shown | None:
        """None where it could not be read this time."""
        try:
            data = self._disk.read(part.segment.path, part.begin, part.end - part.begin)
        except OSError as exc:
            if exc.errno in _PASSING:
                with self._changed:
                    self._changed.wait(_PAUSE_SECONDS)
                return None
            log.error("segment of the spool cannot be read path=%s reason=%s", part.segment.path, exc.strerror)
            return _Shown([], [], damaged=True)
        return _unpacked(data, part, upto, most_bytes)

    def done(self, after: Place, dropped: Mapping[str, int]) -> None:
        """Remembered on disk when this returns, where the disk takes it."""
        with self._changed:
            self._queue.pass_(self._reader, after.segment + after.offset, dropped)
        self._passed(self._reader)

    def wait(self, seconds: float) -> bool:
        """At once where there is something, or the spool is closed."""
        with self._changed:
            self._changed.wait_for(self._awaited, seconds)
            return not self._queue.closed and self._queue.waits(self._reader)

    def _awaited(self) -> bool:
        return self._queue.closed or self._queue.waits(self._reader)


def _unpacked(data: bytes, part: _Part, upto: int, most_bytes: int) -> _Shown:
    shown, size = _Shown([], [], damaged=False), 0
    damaged = len(data) < part.end - part.begin
    for piece in form.pieces(data, 0):
        head = piece.head
        if head is None or not piece.whole:
            damaged = True
            continue
        if head.seq < upto:
            continue
        try:
            lines = form.lines_of(data[piece.begin : piece.end])
        except zlib.error:
            damaged = True
            continue
        shown.ahead.append(Ahead(head.seq, head.time, head.points, part.begin + piece.end))
        size += len(lines)
        if shown.records and size > most_bytes:
            break
        after = place_of(part.segment.number, head.seq + 1)
        shown.records.append(Record(head.time, head.points, lines, after))
    return shown._replace(damaged=damaged)


def _of_memory(batches: Sequence[Batch], most_bytes: int) -> _Shown:
    shown, size = _Shown([], [], damaged=False), 0
    for batch in batches:
        lines = form.lines_of(batch.content)
        shown.ahead.append(Ahead(batch.seq, batch.time, batch.points, None))
        size += len(lines)
        if shown.records and size > most_bytes:
            break
        shown.records.append(Record(batch.time, batch.points, lines, place_of(batch.seq, batch.seq + 1)))
    return shown
