"""A disk that fails at a chosen step of a spool, and what the tests of the spool have in common."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from random import Random

from gpuwatch.sinks.records import Backlog, Record
from gpuwatch.sinks.spool import Limits, Spool
from gpuwatch.sinks.spool_disk import Disk, Room

GENEROUS = 10**9


class FaultyDisk(Disk):
    """Makes every change on the real disk, in several steps; at the step `kill_at` and after it nothing is done.

    `error` is what every change raises, but for removing where `removes`; `full` refuses what needs room. What is
    not synced is remembered, so that `cut_power` can undo or mangle it.
    """

    def __init__(self, seed: int = 0) -> None:
        self.random = Random(seed)
        self.kill_at: int | None = None
        self.error: int | None = None
        self.full = self.memory = False
        self.space: Room | None = None
        self.holds: int | None = None
        self.steps = 0
        self._synced: dict[Path, bytes] = {}
        self._made: set[Path] = set()

    @property
    def dead(self) -> bool:
        """Whether the process that used it was killed."""
        return self.kill_at is not None and self.steps >= self.kill_at

    def _step(self) -> None:
        if self.dead:
            raise OSError(errno.EIO, "killed")
        if self.error is not None:
            raise OSError(self.error, os.strerror(self.error))
        self.steps += 1

    def _need(self, path: Path, end: int) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self.holds is not None:
            others = sum(each.stat().st_size for each in path.parent.iterdir() if each != path)
            if others + end > self.holds:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _note(self, path: Path) -> None:
        if path not in self._synced:
            self._synced[path] = path.read_bytes() if path.exists() else b""

    def make(self, directory: Path) -> None:
        if not directory.is_dir():
            self._step()
        super().make(directory)

    def create(self, path: Path, content: bytes) -> None:
        self._step()
        if not path.exists():
            self._made.add(path)
        self._note(path)
        super().create(path, b"")
        self._need(path, len(content))
        self._step()
        super().create(path, content[: self.random.randrange(len(content) + 1)])
        self._step()
        super().create(path, content)

    def put(self, path: Path, offset: int, content: bytes) -> None:
        self._step()
        self._note(path)
        super().put(path, offset, b"")
        if content:
            self._need(path, offset + len(content))
            self._step()
            super().put(path, offset, content[: self.random.randrange(len(content) + 1)])
            self._step()
            super().put(path, offset, content)

    def overwrite(self, path: Path, offset: int, content: bytes) -> None:
        # What is written without being synced can be seen all the same, and the real thing takes its time.
        for part in (content[: self.random.randrange(len(content) + 1)], content):
            self._step()
            with path.open("r+b") as file:
                file.seek(offset)
                file.write(part)

    def sync(self, path: Path) -> None:
        self._step()
        self._synced.pop(path, None)

    def replace(self, source: Path, target: Path) -> None:
        self._step()
        super().replace(source, target)

    def remove(self, path: Path) -> None:
        self._step()
        super().remove(path)

    def sync_directory(self, path: Path) -> None:
        self._step()
        self._made = {each for each in self._made if each.parent != path}

    def room(self, directory: Path) -> Room:
        return self.space or Room(10**12, 10**12)

    def in_memory(self, directory: Path) -> bool:
        return self.memory

    def cut_power(self) -> None:
        """What was not synced is lost, whole, half, or as zeros; a file whose name was not synced may be gone."""
        for path, synced in self._synced.items():
            if path.exists():
                path.write_bytes(self._mangled(synced, path.read_bytes()))
        for path in self._made:
            if self.random.random() < 0.5:
                path.unlink(missing_ok=True)
        self._synced.clear()
        self._made.clear()

    def _mangled(self, synced: bytes, written: bytes) -> bytes:
        if not written.startswith(synced):
            return synced if self.random.random() < 0.5 else written
        tail = written[len(synced) :]
        kept = tail[: self.random.randrange(len(tail) + 1)]
        return synced + self.random.choice([b"", tail, kept, kept + bytes(len(tail) - len(kept))])


class Clock:
    """Stands still until it is moved."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def lines(number: int, size: int = 1000) -> bytes:
    """A batch that can be told from others, and that is about as large when it is compressed."""
    return b"%d " % number + Random(number).randbytes(size)


def number_of(record: Record) -> int:
    """Which batch of `lines` a record is."""
    return int(record.lines.split(b" ", 1)[0])


def opened(directory: Path, *readers: str, limits: Limits = Limits(), disk: Disk | None = None) -> Spool:
    """A spool that was opened, on a disk with much room."""
    spool = Spool(directory, readers or ("a",), limits, disk or FaultyDisk())
    spool.open()
    return spool


def put(spool: Spool, *numbers: int, size: int = 1000) -> None:
    """Batches of one point each, their number being their time."""
    for number in numbers:
        spool.append(float(number), 1, lines(number, size))


def drained(backlog: Backlog, most_bytes: int = GENEROUS, dropped: Mapping[str, int] | None = None) -> list[int]:
    """The numbers of all batches that wait, which are dealt with after each reading."""
    numbers = []
    while records := backlog.read(most_bytes):
        numbers += [number_of(record) for record in records]
        backlog.done(records[-1].after, dropped or {})
    return numbers


def conserved(spool: Spool, *readers: str) -> bool:
    """Whether nothing is lost without being counted."""
    counts = [spool.counts(reader) for reader in readers or ("a",)]
    return all(
        each.taken == each.delivered + each.queued + sum(each.dropped.values()) and each.queued >= 0
        for each in counts
    )


def segments(directory: Path) -> list[Path]:
    """The files of segments, the oldest first."""
    return sorted(directory.glob("*.segment"))
