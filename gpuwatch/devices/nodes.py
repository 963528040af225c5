"""Device nodes that came after this process, and that its device cgroup therefore refuses.

systemd looks up `DeviceAllow=` once, when a unit starts. What a driver registers later is refused with EPERM,
whatever the file's mode, until the unit is started again.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from gpuwatch.errors import RestartRequired

_C = ctypes.CDLL(None, use_errno=True)


def refusal(path: Path) -> int:
    """The error number with which reading is refused, 0 where it is not; the device is not opened."""
    return 0 if _C.access(os.fsencode(path), os.R_OK) == 0 else ctypes.get_errno()


class DeviceNodes:
    """The nodes below `directory` that match `patterns`; those that are refused from the start are left alone."""

    def __init__(
        self, patterns: Iterable[str], directory: Path = Path("/dev"), refusal: Callable[[Path], int] = refusal
    ) -> None:
        self._patterns = tuple(patterns)
        self._directory = directory
        self._refusal = refusal
        self._from_the_start = self._refused()

    def _refused(self) -> frozenset[Path]:
        paths = (path for pattern in self._patterns for path in self._directory.glob(pattern))
        return frozenset(path for path in paths if self._refusal(path) == errno.EPERM)

    def demand_open(self, source: str) -> None:
        """Raise `RestartRequired` where a node is refused that was not there, or not refused, at the start."""
        late = sorted(self._refused() - self._from_the_start)
        if late:
            raise RestartRequired(
                f"{source}: {late[0]} is refused to this process, since its driver was loaded later; a new "
                "process is let to it"
            )
