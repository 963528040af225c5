"""What the agent must not lose before accounting has it: ended jobs, declarations, events. A file of JSON lines.

An entry is handed to the kernel when it is appended, so that it survives a kill, and is on the disk after the next
`sync`, which the agent's writer calls before it saves a state that has forgotten what the journal keeps. Forgotten
when acknowledged; bounded by bytes and age, and what is given up is counted. Only offsets are kept in memory.
"""

from __future__ import annotations

import json
import logging
import os
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from gpuwatch.errors import Unavailable
from gpuwatch.model import Labels

log = logging.getLogger("gpuwatch.agent")

LIMIT_BYTES = 100_000_000
LIMIT_SECONDS = 7 * 86400.0
LIMIT_UNSAVED = 10_000


class _Entry(NamedTuple):
    seq: int
    time: float
    offset: int
    length: int


class Journal:
    """Entries with growing sequence numbers. Not thread-safe: the agent's lock covers it."""

    def __init__(self, path: Path, limit_bytes: int = LIMIT_BYTES, limit_seconds: float = LIMIT_SECONDS) -> None:
        self._path = path
        self._limit_bytes = limit_bytes
        self._limit_seconds = limit_seconds
        self._entries: deque[_Entry] = deque()
        self._unsaved: deque[bytes] = deque()
        self._end = 0
        self._refused = self._unsynced = False
        self.dropped: dict[Labels, float] = {}
        self._read_index()

    def _read_index(self) -> None:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    self._drop("torn", 1)
                    break
                self._index(line)
        if self._path.stat().st_size > self._end:
            os.truncate(self._path, self._end)

    def _index(self, line: bytes) -> None:
        try:
            entry = json.loads(line)
            self._entries.append(_Entry(int(entry["seq"]), float(entry["time"]), self._end, len(line)))
        except (ValueError, KeyError, TypeError):
            self._drop("corrupt", 1)
        self._end += len(line)

    def _drop(self, reason: str, count: int) -> None:
        if count:
            self.dropped[reason] = self.dropped.get(reason, 0.0) + count

    @property
    def last_seq(self) -> int:
        """The highest sequence number it has; 0 where it is empty."""
        return max((entry.seq for entry in self._entries), default=0)

    def append(self, entry: Mapping[str, Any], now: float) -> None:
        """Keep an entry (with `seq` and `time`); on a full disk it waits in memory for the next `flush`."""
        self._unsaved.append(json.dumps(entry, separators=(",", ":")).encode() + b"\n")
        if len(self._unsaved) > LIMIT_UNSAVED:
            self._unsaved.popleft()
            self._drop("disk", 1)
        self.flush()
        self._expire(now)

    def flush(self) -> bool:
        """Write what could not be written before; False where the disk still refuses."""
        while self._unsaved:
            line = self._unsaved[0]
            try:
                self._write(line)
            except OSError as exc:
                if not self._refused:
                    log.error("journal cannot be written path=%s reason=%s", self._path, exc.strerror)
                self._refused = True
                return False
            self._refused = False
            self._unsaved.popleft()
            self._index(line)
        return True

    def _write(self, line: bytes) -> None:
        try:
            with self._path.open("ab") as file:
                file.write(line)
        except OSError:
            if self._path.exists():
                os.truncate(self._path, self._end)
            raise
        self._unsynced = True

    def sync(self) -> None:
        """Have all that was appended on the disk; for any thread, and without the lock, as it may take long."""
        if not self._unsynced:
            return
        self._unsynced = False
        try:
            with self._path.open("rb") as file:
                os.fdatasync(file.fileno())
        except OSError as exc:
            self._unsynced = True
            raise Unavailable(f"journal {str(self._path)!r}: cannot be synced; {exc.strerror}") from exc

    def entries(self, since: int, limit: int) -> Iterator[Mapping[str, Any]]:
        """At most `limit` entries with a sequence number above `since`, in order; also those not on disk yet."""
        wanted = [entry for entry in self._entries if entry.seq > since][:limit]
        if wanted:
            with self._path.open("rb") as file:
                for entry in wanted:
                    file.seek(entry.offset)
                    yield json.loads(file.read(entry.length))
        unsaved = (json.loads(line) for line in list(self._unsaved))
        yield from islice((entry for entry in unsaved if entry["seq"] > since), limit - len(wanted))

    def acknowledge(self, seq: int) -> None:
        """Forget entries up to and with `seq`; the file is rewritten when half of it is not needed any more."""
        while self._entries and self._entries[0].seq <= seq:
            self._entries.popleft()
        while self._unsaved and json.loads(self._unsaved[0])["seq"] <= seq:
            self._unsaved.popleft()
        self._compact()

    def _expire(self, now: float) -> None:
        while self._entries and now - self._entries[0].time > self._limit_seconds:
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
            os.truncate(self._path, 0)
            self._end = 0
            return
        temporary = self._path.with_suffix(".new")
        with self._path.open("rb") as source, temporary.open("wb") as target:
            source.seek(start)
            while block := source.read(1 << 20):
                target.write(block)
            target.flush()
            os.fdatasync(target.fileno())
        temporary.replace(self._path)
        self._entries = deque(entry._replace(offset=entry.offset - start) for entry in self._entries)
        self._end -= start
