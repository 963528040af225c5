"""What is found in a spool's directory when it is opened. Whatever it is, the spool begins with what can be read.

A segment that cannot be read at all, or that another version wrote, is set aside under a name of its own and never
removed with the others; one of which a part was destroyed is set aside once its good records were passed.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import zlib
from contextlib import suppress
from itertools import count
from pathlib import Path
from urllib.parse import quote

from gpuwatch.sinks import spool_format as form
from gpuwatch.sinks.spool_disk import Disk
from gpuwatch.sinks.spool_queue import Queue, Segment

log = logging.getLogger("gpuwatch.sinks")

SUFFIX, CURSOR = ".segment", ".cursor"
LARGEST_BYTES = 64 * 2**20
"""No segment is larger: what is, is not ours, and is not read into memory."""

MOST_ASIDE = 4
"""How many damaged segments are kept for whoever wants to see what happened."""

LEAST_SECONDS = 3600.0
"""How long what is found is kept at least: the clock that says how old it is may be wrong."""

_ASIDE = re.compile(r"\d{16}\.segment\.corrupt-\d+")
_NAME = re.compile(r"\d{16}\.segment")


def _number(name: str) -> int:
    number = int(name[:16])
    return number if number <= form.LAST_NUMBER else 0


def segment_path(directory: Path, number: int) -> Path:
    """The file of a segment."""
    return directory / f"{number:016}{SUFFIX}"


def cursor_path(directory: Path, reader: str) -> Path:
    """The file that says how far a reader is."""
    name = quote(reader, safe="")
    if len(name) > 200:
        name = f"{name[:190]}-{zlib.crc32(reader.encode()):08x}"
    return directory / f"{name}{CURSOR}"


def set_aside(disk: Disk, path: Path, kind: str) -> None:
    """Give a file a name under which it is in nobody's way; the oldest damaged ones are not kept for ever."""
    free = (path.with_name(f"{path.name}.{kind}-{number}") for number in count())
    aside = next(each for each in free if not os.path.lexists(each))
    try:
        disk.replace(path, aside)
    except OSError as exc:
        log.error("part of the spool cannot be set aside path=%s reason=%s", path, exc.strerror)
        return
    log.error("part of the spool set aside path=%s kept_as=%s", path, aside.name)
    for name in asides(disk, path.parent)[:-MOST_ASIDE]:
        with suppress(OSError):
            disk.remove(path.with_name(name))


def asides(disk: Disk, directory: Path) -> list[str]:
    """The segments that were set aside for damage, the oldest first; not those of another version."""
    try:
        return sorted(name for name in disk.names(directory) if _ASIDE.fullmatch(name))
    except OSError:
        return []


class Recovery:
    """One look at the directory, which fills a queue. Raises `OSError` where it cannot be listed."""

    def __init__(
        self, directory: Path, queue: Queue, disk: Disk, wall: float, monotonic: float, age_seconds: float
    ) -> None:
        self._directory, self._queue, self._disk = directory, queue, disk
        self._wall, self._monotonic = wall, monotonic
        self._oldest_believed = max(0.0, age_seconds - min(LEAST_SECONDS, age_seconds / 2))
        self.next_seq = 1
        self.generations: dict[str, int] = {}

    def run(self) -> None:
        """Read cursors and segments."""
        names = self._disk.names(self._directory)
        segments = sorted(name for name in names if _NAME.fullmatch(name))
        # Also what was set aside had a number.
        self.next_seq = 1 + max(map(_number, filter(_NAME.match, names)), default=0)
        self._read_cursors(names, list(map(_number, segments)))
        for name in segments:
            self._load(self._directory / name, newest=name == segments[-1])

    def _read_cursors(self, names: list[str], numbers: list[int]) -> None:
        wanted = {cursor_path(self._directory, name).name: name for name in self._queue.readers}
        for file in names:
            if not file.endswith(CURSOR):
                continue
            if file in wanted:
                self._read_cursor(wanted[file], self._directory / file, numbers)
            else:
                self._remove(self._directory / file)

    def _read_cursor(self, name: str, path: Path, numbers: list[int]) -> None:
        try:
            slot = form.decode_cursor(self._disk.read(path, 0, 2 * form.SLOT_BYTES))
        except OSError as exc:
            log.warning("cursor of the spool cannot be read path=%s reason=%s", path, exc.strerror)
            set_aside(self._disk, path, "corrupt")
            return
        if slot is None:
            log.warning("cursor of the spool cannot be believed; begun with the oldest path=%s", path)
            return
        generation, segment, seq = slot
        self.generations[name] = generation
        self.next_seq = max(self.next_seq, seq)
        if numbers and segment not in numbers and seq > max(numbers):
            # It was written beside other segments: what is here might never have been delivered.
            log.warning("cursor of the spool is beyond all there is; begun with the oldest path=%s", path)
            return
        self._queue.readers[name].next = seq

    def _load(self, path: Path, newest: bool) -> None:
        try:
            status = self._disk.status(path)
            ours = stat.S_ISREG(status.st_mode) and status.st_size <= LARGEST_BYTES
            if not ours or int(path.name[:16]) > form.LAST_NUMBER:
                set_aside(self._disk, path, "corrupt")
                return
            data = self._disk.read(path, 0, status.st_size)
        except OSError as exc:
            log.error("segment of the spool cannot be read path=%s reason=%s", path, exc.strerror)
            self._count_damage(1, form.LAST_NUMBER)
            set_aside(self._disk, path, "corrupt")
            return
        version = form.version_of(data)
        if version is not None and version > form.VERSION:
            log.error("segment of the spool was written by a newer version path=%s version=%d", path, version)
            set_aside(self._disk, path, "version")
            return
        if form.half_made(data, int(path.name[:16])):
            self._remove(path)
        else:
            self._index(path, data, newest, max(0.0, self._wall - status.st_mtime))

    def _index(self, path: Path, data: bytes, newest: bool, age: float) -> None:
        seen = self._monotonic - min(age, self._oldest_believed)
        number, before = int(path.name[:16]), self._queue.newest_on_disk
        segment = Segment(path, number, 0, before, form.SEGMENT_HEAD_BYTES, 0.0, seen)
        segment.damaged = form.version_of(data) is None
        begin = form.SEGMENT_HEAD_BYTES
        if segment.damaged:  # also of its beginning some bytes may be missing
            begin = min(begin, form.next_head(data, 0))
        for piece in form.pieces(data, begin):
            if piece.head is None or not piece.whole:
                if newest and piece.end == len(data) and form.torn(data[piece.begin :]):
                    self._cut(path, piece.begin)
                    break
                self._damage(segment, piece)
            elif piece.head.seq > segment.last:
                self._record(segment, piece.head)
            segment.end = piece.end
        if segment.first:
            self._queue.found(segment)
            self._queue.open = segment if newest and not segment.damaged else None
        elif segment.damaged or segment.end > form.SEGMENT_HEAD_BYTES:
            # Nothing that is not elsewhere as well can be read in it.
            self._count_damage(int(len(data) <= form.SEGMENT_HEAD_BYTES), number)
            set_aside(self._disk, path, "corrupt")
        else:
            self._remove(path)

    def _record(self, segment: Segment, head: form.Head) -> None:
        segment.first, segment.last = segment.first or head.seq, head.seq
        segment.first_time = segment.first_time if segment.first != head.seq else head.time
        self.next_seq = max(self.next_seq, head.seq + 1)
        for reader in self._queue.readers.values():
            left = segment.left.setdefault(reader.name, 0)
            if head.seq >= reader.next:
                reader.time = reader.time if reader.queued else head.time
                reader.taken += head.points
                reader.queued += head.points
                segment.left[reader.name] = left + head.points

    def _damage(self, segment: Segment, piece: form.Piece) -> None:
        segment.damaged = True
        if piece.head is None:
            self._count_damage(1, max(segment.last + 1, segment.number))
        elif piece.head.seq > segment.last:
            self.next_seq = max(self.next_seq, piece.head.seq + 1)
            self._count_damage(piece.head.points, piece.head.seq)

    def _count_damage(self, points: int, seq: int) -> None:
        for reader in self._queue.readers.values():
            if points and reader.next <= seq:
                reader.taken += points
                reader.dropped["corrupt"] = reader.dropped.get("corrupt", 0) + points

    def _remove(self, path: Path) -> None:
        with suppress(OSError):
            self._disk.remove(path)

    def _cut(self, path: Path, end: int) -> None:
        log.info("segment of the spool ends in a record that was not finished; cut path=%s", path)
        with suppress(OSError):
            self._disk.put(path, end, b"")
