"""A file that holds place on the ledger's disk: given up when the disk is full, so that accounting can go on.

SQLite needs place even to delete. With the reserve given up the next transaction has some, and a site some time.
"""

from __future__ import annotations

import logging
import os
import threading
from contextlib import suppress
from pathlib import Path

log = logging.getLogger("gpuwatch.ledger")


class Reserve:
    """A file of `wanted` bytes that are really taken. Any thread may use it."""

    def __init__(self, path: Path, wanted: int) -> None:
        self._path = path
        self._wanted = wanted
        self._lock = threading.Lock()

    def size(self) -> int:
        """How many bytes are held."""
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    def keep(self) -> None:
        """Take the place where it is not held; where the disk has not twice as much, another time."""
        with self._lock, suppress(OSError):
            if self.size() == self._wanted or self._free() < 2 * self._wanted:
                return
            try:
                self._take()
            except OSError:
                self._path.unlink(missing_ok=True)
                raise
            log.info("disk reserve made path=%s bytes=%d", self._path, self._wanted)

    def _free(self) -> int:
        disk = os.statvfs(self._path.parent)
        return disk.f_bavail * disk.f_frsize

    def _take(self) -> None:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        try:
            os.posix_fallocate(descriptor, 0, self._wanted)
        finally:
            os.close(descriptor)

    def release(self) -> None:
        """Give the place up: the disk is full."""
        with self._lock:
            held = self.size()
            with suppress(OSError):
                self._path.unlink()
            if held:
                log.error("the disk is full; its reserve is given up path=%s bytes=%d", self._path, held)
