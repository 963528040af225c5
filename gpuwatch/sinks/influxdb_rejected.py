"""The lines that a server will never take, kept in a file of limited size for whoever wants to know why."""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime
from pathlib import Path

log = logging.getLogger("gpuwatch.sinks")

MOST_BYTES = 2**20
LINE_LENGTH = 4096


class RejectedLines:
    """A file that is begun anew when it is full; the one before is kept as `NAME.1`."""

    def __init__(self, path: Path, most_bytes: int = MOST_BYTES) -> None:
        self._path, self._most_bytes = path, most_bytes
        self._failed = False

    def add(self, now: float, reason: str, detail: str, line: bytes) -> None:
        """Append a line with when and why; where the disk does not take it, that is logged once."""
        shown = line if len(line) <= LINE_LENGTH else line[:LINE_LENGTH] + "…".encode()
        when = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
        entry = f'{when} reason={reason} detail="{detail}" '.encode("utf-8", "replace") + shown + b"\n"
        try:
            self._append(entry)
        except OSError as exc:
            if not self._failed:
                log.warning("rejected lines are not kept file=%s reason=%s", self._path, exc.strerror)
            self._failed = True
        else:
            self._failed = False

    def _append(self, entry: bytes) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        try:
            os.write(descriptor, entry)
            full = os.fstat(descriptor).st_size > self._most_bytes
        finally:
            os.close(descriptor)
        if full:
            self._path.replace(self._path.with_name(self._path.name + ".1"))
