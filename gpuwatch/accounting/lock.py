"""One accounting process for a ledger: two would be right twice, and tell everybody everything twice."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from gpuwatch.errors import Locked, Unavailable


class LedgerLock:
    """A lock file beside the ledger; the kernel frees it however the process ends."""

    def __init__(self, ledger: Path) -> None:
        self._path = ledger.with_name(ledger.name + ".lock")
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as exc:
            raise Unavailable(f"ledger lock {str(self._path)!r}: cannot be opened; {exc.strerror}") from exc
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            holder = os.pread(self._file, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._file)
            raise Locked(f"ledger {str(ledger)!r}: another accounting has it; process {holder}") from exc
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another process have the ledger."""
        os.close(self._file)
