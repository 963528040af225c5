"""A disk that fails at a chosen step: by a kill in the middle, a power cut after it, or an error of the system."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from random import Random

from gpuwatch.agent.disk import Disk


class Killed(OSError):
    """Everything after the step at which the process was killed: nothing reaches the disk any more."""


class FaultyDisk(Disk):
    """Makes every change on the real disk, in several steps; `kill_at` counts them down.

    `error` is what every change raises; `full` refuses what needs room. What is not synced is remembered, so that
    `cut_power` can undo or mangle it.
    """

    def __init__(self, seed: int = 0) -> None:
        self.random = Random(seed)
        self.kill_at: int | None = None
        self.error: int | None = None
        self.full = False
        self.steps = 0
        self._synced: dict[Path, bytes] = {}
        self._unsynced: set[Path] = set()
        self._names: dict[Path, bytes | None] = {}

    @property
    def dead(self) -> bool:
        """Whether the process that used it was killed."""
        return self.kill_at is not None and self.steps >= self.kill_at

    def revive(self) -> None:
        """The next process comes."""
        self.kill_at = None

    def _step(self) -> None:
        if self.dead:
            raise Killed(5, "killed")
        if self.error is not None:
            raise OSError(self.error, os.strerror(self.error))
        self.steps += 1

    def _room(self) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _partly(self, path: Path, offset: int, content: bytes) -> None:
        """One step cuts, the next writes a part, the last the rest: a kill leaves any of them."""
        self._note(path)
        self._room()
        self._step()
        super().put(path, offset, b"")
        self._step()
        super().put(path, offset, content[: self.random.randrange(len(content) + 1)])
        self._step()
        super().put(path, offset, content)

    def _note(self, path: Path) -> None:
        if path not in self._unsynced:
            self._unsynced.add(path)
            self._synced[path] = path.read_bytes() if path.exists() else b""

    def _note_name(self, path: Path) -> None:
        self._names.setdefault(path, path.read_bytes() if path.exists() else None)

    def write(self, path: Path, content: bytes) -> None:
        # A file that is not there yet: the one that had the name before may have another.
        self._room()
        self._step()
        path.unlink(missing_ok=True)
        self._partly(path, 0, content)
        self._step()
        self._unsynced.discard(path)

    def put(self, path: Path, offset: int, content: bytes) -> None:
        self._partly(path, offset, content)

    def overwrite(self, path: Path, content: bytes) -> None:
        self._step()
        super().overwrite(path, content)

    def copy(self, source: Path, start: int, target: Path) -> None:
        self.write(target, source.read_bytes()[start:])

    def sync(self, path: Path) -> None:
        self._step()
        self._unsynced.discard(path)

    def replace(self, source: Path, target: Path) -> None:
        self._step()
        self._note_name(source)
        self._note_name(target)
        super().replace(source, target)
        if source in self._unsynced:
            self._unsynced.discard(source)
            self._unsynced.add(target)
            self._synced[target] = self._synced[source]
        else:
            self._unsynced.discard(target)

    def link(self, source: Path, target: Path) -> None:
        self._step()
        self._note_name(target)
        super().link(source, target)

    def remove(self, path: Path) -> None:
        self._step()
        self._note_name(path)
        super().remove(path)

    def sync_directory(self, path: Path) -> None:
        self._step()
        self._names.clear()

    def cut_power(self) -> None:
        """What was not synced is lost, whole, half, or as zeros; names may be those of before."""
        for path in sorted(self._unsynced):
            if path.exists():
                path.write_bytes(self._mangled(self._synced[path], path.read_bytes()))
        if self._names and self.random.random() < 0.5:
            for path, content in self._names.items():
                path.unlink(missing_ok=True)
                if content is not None:
                    path.write_bytes(content)
        self._unsynced.clear()
        self._names.clear()

    def _mangled(self, synced: bytes, written: bytes) -> bytes:
        pairs = enumerate(zip(synced, written, strict=False))
        same = next((place for place, (old, new) in pairs if old != new), min(len(synced), len(written)))
        tail = self.random.choice([synced, written])[same:]
        kept = tail[: self.random.randrange(len(tail) + 1)]
        return synced[:same] + self.random.choice([b"", tail, kept, kept + bytes(len(tail) - len(kept))])
