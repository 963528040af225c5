"""What waits for time-series stores, on disk: segment files, and a cursor for each reader.

A batch is on the disk when `append` returns, and stays until every reader has passed it, or a limit is reached:
then the oldest segment goes as a whole and is counted. Where the disk takes nothing, batches wait in memory, and
are written once it does. SQLite would not do: a full disk lets it delete nothing, but a segment can be unlinked.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, Lock

from gpuwatch.errors import Locked
from gpuwatch.sinks import spool_format as form
from gpuwatch.sinks.records import Backlog, Place
from gpuwatch.sinks.spool_disk import DirectoryLock, Disk
from gpuwatch.sinks.spool_queue import Batch, Counts, Queue, Reader, Segment
from gpuwatch.sinks.spool_reading import Cursor, Reading
from gpuwatch.sinks.spool_recovery import LARGEST_BYTES, Recovery, asides, cursor_path, segment_path, set_aside

log = logging.getLogger("gpuwatch.sinks")

SEGMENT_BYTES = 2**20
SEGMENT_SECONDS = 900.0
"""A file holds no more time than this, as a limit of age is kept by whole files."""

MEMORY_LIMIT_BYTES = 64 * 2**20
SHARE = 0.05
"""Of a file system in memory: how much of it is taken. Of any other: how much of it is left free."""

FREE_BYTES = 100 * 2**20
"""So much is left free where `SHARE` of the file system would be more."""

CLOSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may wait: bytes and age on disk, and bytes in memory where the disk does not take it."""

    bytes: int = 512 * 2**20
    age_seconds: float = 7 * 86400.0
    memory_bytes: int = 8 * 2**20


class Spool:
    """`append`, `counts` and `close` are for any thread, each backlog is for one of its own."""

    def __init__(
        self,
        directory: Path,
        readers: Sequence[str],
        limits: Limits = Limits(),
        disk: Disk | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._limits = limits
        self.most_bytes = limits.bytes  # `open` makes it smaller on a file system in memory
        self._disk = disk or Disk()
        self._clock, self._monotonic = clock, monotonic
        self._queue = Queue(readers)
        self._cursors = {name: Cursor(cursor_path(directory, name), self._disk) for name in readers}
        # Never held while the disk works.
        self._changed = Condition()
        self._writing = Lock()
        self._lock: DirectoryLock | None = None
        self._next_seq = 1
        self._usable = self._refused = False
        self._unremoved: set[Path] = set()
        # Bytes of segments that were given up for others, and are not taken again.
        self._place = 0

    def open(self) -> None:
        """Take the directory and find what is in it. Raises `Locked` where another process has it."""
        try:
            self._take_directory()
            recovery = Recovery(
                self._directory,
                self._queue,
                self._disk,
                self._clock(),
                self._monotonic(),
                self._limits.age_seconds,
            )
            recovery.run()
        except OSError as exc:
            self._refuse(exc)
            return
        self._usable = True
        self._next_seq = recovery.next_seq
        for name, generation in recovery.generations.items():
            self._cursors[name].found(generation)
        self._save_cursors()
        self._clear()

    def _take_directory(self) -> None:
        with suppress(OSError):
            self._disk.make(self._directory)
        try:
            self._lock = DirectoryLock(self._directory)
        except OSError as exc:
            log.warning("spool cannot be locked directory=%s reason=%s", self._directory, exc.strerror)
        with suppress(OSError):
            if self._limits.bytes == Limits().bytes and self._disk.in_memory(self._directory):
                total = self._disk.room(self._directory).total or MEMORY_LIMIT_BYTES / SHARE
                self.most_bytes = min(self._limits.bytes, MEMORY_LIMIT_BYTES, int(total * SHARE))

    @property
    def degraded(self) -> bool:
        """Whether batches wait in memory, as the disk does not take them."""
        return self._refused

    def append(self, time: float, points: int, lines: bytes) -> None:
        """One batch of `points` lines, the newest of `time` (Unix seconds); on the disk when this returns."""
        with self._writing:
            self._append(time, points, lines)

    def _append(self, time: float, points: int, lines: bytes) -> None:
        seq, self._next_seq = self._next_seq, self._next_seq + 1
        batch = Batch(seq, time, points, form.encode(seq, time, points, lines), self._monotonic())
        if len(batch.content) + form.SEGMENT_HEAD_BYTES > min(self.most_bytes, LARGEST_BYTES):
            self._drop_new(batch)
            return
        self._expire(batch)
        if not (self._flush() and self._written(batch, new=True)):
            self._keep(batch)
        with self._changed:
            self._changed.notify_all()
        self._save_cursors()
        self._clear()

    def _drop_new(self, batch: Batch) -> None:
        log.error("batch is larger than the spool points=%d bytes=%d", batch.points, len(batch.content))
        with self._changed:
            self._queue.take(batch.points)
            for reader in self._queue.readers.values():
                reader.drop("bytes", batch.points)

    def _keep(self, batch: Batch) -> None:
        with self._changed:
            self._queue.take(batch.points)
            self._queue.keep(batch)
            while self._queue.memory and self._queue.in_memory > self._limits.memory_bytes:
                self._queue.drop_batch("memory")

    def _flush(self) -> bool:
        """Write what waits in memory; False where the disk still refuses."""
        while self._queue.memory:
            batch = self._queue.memory[0]
            if self._queue.passed_by_all(batch.seq):
                with self._changed:
                    self._queue.release()
            elif not self._written(batch, new=False):
                return False
        return True

    def _written(self, batch: Batch, new: bool) -> bool:
        """Put a batch on the disk, in place of the oldest where it is full; False where it is not to be had."""
        freed, enough = 0, len(batch.content) + 2 * SEGMENT_BYTES
        while True:
            try:
                segment, end = self._write(batch)
            except OSError as exc:
                size = self._free() if exc.errno == errno.ENOSPC and freed <= enough else 0
                if not size:
                    self._refuse(exc)
                    return False
                freed += size
                continue
            with self._changed:
                if new:
                    self._queue.take(batch.points)
                self._queue.put(segment, end, batch)
                if not new:
                    self._queue.release()
            self._accept()
            self._trim()
            return True

    def _trim(self) -> None:
        while self._queue.on_disk > self.most_bytes and len(self._queue.segments) > 1:
            if not self._drop_oldest("bytes"):
                return

    def _write(self, batch: Batch) -> tuple[Segment, int]:
        if self._queue.closed or not (self._usable or self._adopted()):
            raise OSError(errno.ENODEV, "the directory cannot be used")
        segment = self._queue.open
        largest = max(4096, min(SEGMENT_BYTES, self.most_bytes // 8))
        if segment is None or segment.end + len(batch.content) > largest or _is_long(segment, batch):
            return self._write_first(batch)
        try:
            self._disk.put(segment.path, segment.end, batch.content)
            self._disk.sync(segment.path)
        except OSError as exc:
            with suppress(OSError):
                self._disk.put(segment.path, segment.end, b"")
            if exc.errno != errno.ENOSPC:
                # Whatever is wrong with this file need not be so with the next.
                self._queue.open = None
            raise
        return segment, segment.end + len(batch.content)

    def _write_first(self, batch: Batch) -> tuple[Segment, int]:
        path = segment_path(self._directory, batch.seq)
        content = form.segment_head(batch.seq) + batch.content
        try:
            self._disk.make(self._directory)
            self._disk.create(path, content)
            self._disk.sync(path)
            self._disk.sync_directory(self._directory)
        except OSError:
            with suppress(OSError):
                self._disk.remove(path)
            raise
        segment = Segment(path, batch.seq, batch.seq, batch.seq - 1, 0, batch.time, batch.seen)
        return segment, len(content)

    def _adopted(self) -> bool:
        """Whether a directory that was not there to begin with is now, and has nothing in it that is older."""
        with suppress(OSError, Locked):
            self._disk.make(self._directory)
            self._lock = self._lock or DirectoryLock(self._directory)
            if not any(name.endswith((".segment", ".cursor")) for name in self._disk.names(self._directory)):
                self._usable = True
        return self._usable

    def _refuse(self, exc: OSError) -> None:
        if not self._refused:
            log.error("spool cannot be written; kept in memory path=%s reason=%s", self._directory, exc.strerror)
        self._refused = True

    def _accept(self) -> None:
        if self._refused:
            log.warning("spool is written again path=%s", self._directory)
        self._refused = False

    def _expire(self, batch: Batch) -> None:
        """Give up what is too old, and what there is no room for any more."""
        # Its age is what this process has seen of it: a wrong wall clock would give up a week at once.
        young = batch.seen - self._limits.age_seconds
        while self._queue.segments and self._queue.segments[0].seen < young and self._drop_oldest("age"):
            pass
        with self._changed:
            while self._queue.memory and self._queue.memory[0].seen < young:
                self._queue.drop_batch("age")
        if not self._refused:
            self._leave_room(len(batch.content) + form.SEGMENT_HEAD_BYTES)

    def _leave_room(self, size: int) -> None:
        """What would take of the file system what is to be left free takes the place of the oldest instead."""
        try:
            room = self._disk.room(self._directory)
        except OSError:
            return
        if room.free - size >= min(FREE_BYTES, int(room.total * SHARE)):
            self._place = 0
            return
        while self._place < size and (freed := self._free()):
            self._place += freed
        self._place = max(0, self._place - size)

    def _free(self) -> int:
        """Free some of the disk, and say how many bytes: what was set aside for damage first, then the oldest."""
        for name in asides(self._disk, self._directory):
            path = self._directory / name
            with suppress(OSError):
                size = self._disk.status(path).st_size
                self._disk.remove(path)
                if size:
                    return size
        return self._drop_oldest("bytes")

    def _drop_oldest(self, reason: str) -> int:
        """Give up a segment as a whole; how many bytes that freed, 0 where it cannot be removed, and so stays."""
        with self._changed:
            if not self._queue.segments:
                return 0
            segment = self._queue.segments[0]
            segment.going = True
        try:
            self._disk.remove(segment.path)
        except OSError:
            segment.going = False
            return 0
        with self._changed:
            if self._queue.segments and self._queue.segments[0] is segment:
                self._queue.drop_segment(reason)
        log.warning("oldest segment of the spool dropped path=%s reason=%s", segment.path, reason)
        return segment.end

    def _removed(self, path: Path) -> bool:
        try:
            self._disk.remove(path)
        except OSError as exc:
            if path not in self._unremoved:
                log.error("segment of the spool cannot be removed path=%s reason=%s", path, exc.strerror)
            self._unremoved.add(path)
            return False
        self._unremoved.discard(path)
        return True

    def _save_cursors(self) -> None:
        for reader in self._queue.readers.values():
            self._save(reader)

    def _save(self, reader: Reader) -> None:
        def place() -> Place:
            with self._changed:
                return self._queue.place(reader)

        if self._usable and not self._queue.closed:
            self._cursors[reader.name].save(place)

    def _clear(self) -> None:
        """Remove what all readers have passed; what was damaged is set aside."""
        if self._queue.closed:
            return
        with self._changed:
            passed = list(self._queue.pop_passed())
        for path in list(self._unremoved):
            self._removed(path)
        for segment in passed:
            if segment.damaged:
                set_aside(self._disk, segment.path, "corrupt")
            else:
                self._removed(segment.path)

    def _passed(self, reader: Reader) -> None:
        self._save(reader)
        self._clear()

    def backlog(self, reader: str) -> Backlog:
        """What one of the readers has not dealt with."""
        return Reading(self._queue, self._queue.readers[reader], self._changed, self._disk, self._passed)

    def counts(self, reader: str) -> Counts:
        """What became of what one of the readers was to get."""
        with self._changed:
            return self._queue.counts(self._queue.readers[reader])

    def close(self) -> None:
        """Wake who waits and let the directory go; after this nothing changes on disk."""
        # An append that hangs on a disk must not keep the agent from ending.
        if self._writing.acquire(timeout=CLOSE_SECONDS):
            try:
                self._flush()
                self._save_cursors()
            finally:
                self._writing.release()
        with self._changed:
            self._queue.closed = True
            for reader in self._queue.readers.values():
                reader.settle()
            self._changed.notify_all()
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def _is_long(segment: Segment, batch: Batch) -> bool:
    return abs(batch.time - segment.first_time) > SEGMENT_SECONDS
