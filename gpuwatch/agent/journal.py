"""What the agent must not lose before accounting has it: ended jobs, declarations, events. A file of JSON lines.

An entry is handed to the kernel when it is appended, so that it survives a kill, and is on the disk after the next
`sync`, which the agent's writer calls before it saves a state that has forgotten what the journal keeps. Forgotten
when acknowledged; bounded by bytes and by age. At any time since it was opened: taken = delivered + queued +
Σ dropped. Only offsets are kept in memory; each line has a checksum.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from gpuwatch.agent.disk import Disk
from gpuwatch.agent.sealed import HEAD, seal, unseal
from gpuwatch.agent.state import unused
from gpuwatch.errors import Unavailable
from gpuwatch.model import Labels

log = logging.getLogger("gpuwatch.agent")

LIMIT_BYTES = 100_000_000
LIMIT_SECONDS = 7 * 86400.0
LIMIT_UNSAVED = 10_000
# Longer than any entry: what is longer is not ours, and is not read into memory at once.
LONGEST_LINE = 1 << 20


class _Entry(NamedTuple):
    seq: int
    seen: float
    offset: int
    length: int


class Journal:
    """Entries with growing sequence numbers. Not thread-safe, but for `sync`: the agent's lock covers it."""

    def __init__(
        self,
        path: Path,
        limit_bytes: int = LIMIT_BYTES,
        limit_seconds: float = LIMIT_SECONDS,
        disk: Disk | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._limit_bytes = limit_bytes
        self._limit_seconds = limit_seconds
        self._disk = disk or Disk()
        self._clock = clock
        self._entries: deque[_Entry] = deque()
        self._unsaved: deque[bytes] = deque()
        self._end = 0
        self._refused = False
        self.taken = self.delivered = 0
        self.dropped: dict[Labels, float] = {}
        self._open()
        # What a life that was killed appended may not be on the disk yet.
        self._unsynced = bool(self._entries)

    @property
    def queued(self) -> int:
        """How many entries nobody has acknowledged yet."""
        return len(self._entries) + len(self._unsaved)

    def _open(self) -> None:
        try:
            self._read_index()
        except FileNotFoundError:
            return
        except OSError as exc:
            self._set_aside(exc.strerror or str(exc))
            return
        if "corrupt" in self.dropped and not self._entries:
            self._set_aside("there is nothing of a journal in it")

    def _set_aside(self, reason: str) -> None:
        aside = unused(self._path, "corrupt")
        try:
            self._disk.replace(self._path, aside)
        except OSError as exc:
            where = f"journal {str(self._path)!r}"
            raise Unavailable(f"{where}: cannot be read ({reason}), nor set aside; {exc.strerror}") from exc
        log.error("journal cannot be read; begun anew kept_as=%s reason=%s", aside.name, reason)
        self._entries.clear()
        self._end, self.taken = 0, int(sum(self.dropped.values()))

    def _read_index(self) -> None:
        with self._path.open("rb") as file:
            while line := file.readline(LONGEST_LINE):
                if self._index(line):
                    self.taken += 1
                else:
                    self._rescue(line)

    def _index(self, line: bytes) -> bool:
        """Note where an entry is; False where the line is not one."""
        try:
            entry = unseal(line.removesuffix(b"\n"))
            found = _Entry(int(entry["seq"]), self._clock(), self._end, len(line))
        except (ValueError, KeyError, TypeError):
            return False
        self._entries.append(found)
        self._end += len(line)
        return True

    def _rescue(self, line: bytes) -> None:
        """A line that is no entry may have some in it, where the end of the one before was destroyed."""
        junk, *others = line.split(HEAD)
        for piece in (junk, *(HEAD + each for each in others)):
            if self._index(piece):
                self.taken += 1
                continue
            begun = piece.startswith(HEAD) or HEAD.startswith(piece)
            torn = piece and begun and not line.endswith(b"\n") and line.endswith(piece)
            if piece.strip(b"\0\n"):
                self.taken += 1
                self._drop("torn" if torn else "corrupt", 1)
            # A torn end is written over.
            self._end += 0 if torn else len(piece)

    def _drop(self, reason: str, count: int) -> None:
        if count:
            self.dropped[reason] = self.dropped.get(reason, 0.0) + count

    @property
    def last_seq(self) -> int:
        """The highest sequence number it has; 0 where it is empty."""
        return max((entry.seq for entry in self._entries), default=0)

    def append(self, entry: Mapping[str, Any]) -> None:
        """Keep an entry (with its `seq`); on a full disk it waits in memory for the next `flush`."""
        self._unsaved.append(seal(entry) + b"\n")
        self.taken += 1
        if len(self._unsaved) > LIMIT_UNSAVED:
            self._unsaved.popleft()
            self._drop("disk", 1)
        self.flush()
        self._expire(self._clock())

    def flush(self) -> bool:
        """Write what could not be written before; False where the disk still refuses."""
        while self._unsaved:
            line = self._unsaved[0]
            try:
                # Always at the end of what is whole: a half-written line is written over.
                self._disk.put(self._path, self._end, line)
            except OSError as exc:
                if not self._refused:
                    log.error("journal cannot be written path=%s reason=%s", self._path, exc.strerror)
                self._refused = True
                return False
            self._refused, self._unsynced = False, True
            self._unsaved.popleft()
            self._index(line)
        return True

    def sync(self) -> None:
        """Have all that was appended on the disk; for any thread, and without the lock, as it may take long."""
        if not self._unsynced:
            return
        self._unsynced = False
        try:
            self._disk.sync(self._path)
            self._disk.sync_directory(self._path.parent)
        except OSError as exc:
            self._unsynced = True
            raise Unavailable(f"journal {str(self._path)!r}: cannot be synced; {exc.strerror}") from exc

    def entries(self, since: int, upto: int, limit: int | None = None) -> Iterator[Mapping[str, Any]]:
        """At most `limit` entries with numbers above `since` and up to `upto`, in order; also those in memory."""
        return islice(self._between(since, upto), limit)

    def latest(self, most: int, seconds: float) -> Sequence[Mapping[str, Any]]:
        """At most `most` entries: those that were written not more than `seconds` before the newest, in order."""
        newest = list(self._entries)[-most:]
        try:
            found = list(self.entries(newest[0].seq - 1, newest[-1].seq)) if newest else []
        except OSError as exc:
            log.error("journal cannot be read path=%s reason=%s", self._path, exc.strerror)
            return ()
        return [each for each in found if found[-1].get("time", 0.0) - each.get("time", 0.0) <= seconds]

    def _between(self, since: int, upto: int) -> Iterator[Mapping[str, Any]]:
        wanted = [entry for entry in self._entries if since < entry.seq <= upto]
        if wanted:
            with self._path.open("rb") as file:
                yield from self._readable(file, wanted)
        waiting = (unseal(line.removesuffix(b"\n")) for line in list(self._unsaved))
        yield from (entry for entry in waiting if since < entry["seq"] <= upto)

    def _readable(self, file: BinaryIO, wanted: Iterable[_Entry]) -> Iterator[Mapping[str, Any]]:
        for entry in wanted:
            file.seek(entry.offset)
            try:
                yield unseal(file.read(entry.length).removesuffix(b"\n"))
            except ValueError:
                self._entries.remove(entry)
                self._drop("corrupt", 1)

    def acknowledge(self, seq: int) -> None:
        """Forget entries up to and with `seq`; the file is rewritten when half of it is not needed any more."""
        while self._entries and self._entries[0].seq <= seq:
            self._entries.popleft()
            self.delivered += 1
        while self._unsaved and unseal(self._unsaved[0].removesuffix(b"\n"))["seq"] <= seq:
            self._unsaved.popleft()
            self.delivered += 1
        self._compact()

    def _expire(self, now: float) -> None:
        # Its age is what this process has seen of it: a wrong wall clock would give up a week at once.
        while self._entries and now - self._entries[0].seen > self._limit_seconds:
            self._entries.popleft()
            self._drop("age", 1)
        while self._entries and self._end - self._entries[0].offset > self._limit_bytes:
            self._entries.popleft()
            self._drop("bytes", 1)
        self._compact()

    def _compact(self) -> None:
        start = self._entries[0].offset if self._entries else self._end
        if start == 0 or (self._entries and start < self._end / 2):
            return
        try:
            self._rewrite(start)
        except OSError as exc:
            log.warning("journal cannot be compacted path=%s reason=%s", self._path, exc.strerror)

    def _rewrite(self, start: int) -> None:
        if not self._entries:
            self._disk.put(self._path, 0, b"")
            self._end = 0
            return
        temporary = self._path.with_suffix(".new")
        try:
            self._disk.copy(self._path, start, temporary)
            self._disk.replace(temporary, self._path)
        except OSError:
            with suppress(OSError):
                self._disk.remove(temporary)
            raise
        self._entries = deque(entry._replace(offset=entry.offset - start) for entry in self._entries)
        self._end -= start
        # What is appended from here on is in the new file: its name must be on the disk as well.
        self._unsynced = True
