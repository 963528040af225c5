"""How long the processes of a job have waited for storage, as the kernel counts it for the job's control group.

`io.pressure` of a version 2 group says so ("pressure stall information"): its `full` line is the time in which all
processes of the group that had anything to do waited for a disk or a file system. A kernel without it, and a
version 1 group, have no such file, and nothing is known then.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

READ_SECONDS = 5.0
_FULL = re.compile(rb"^full .*\btotal=([0-9]{1,18})$", re.MULTILINE | re.ASCII)
_MOST_BYTES = 4096


def waited(group: str) -> float | None:
    """Seconds that a control group has waited for storage since it was made; None where it does not say."""
    try:
        with Path(f"{group}/io.pressure").open("rb") as file:
            found = _FULL.search(file.read(_MOST_BYTES))
    except OSError:
        return None
    return int(found[1]) / 1e6 if found else None


class StorageWaits:
    """Reads the jobs' control groups every few seconds. To be used in one thread."""

    def __init__(self) -> None:
        self._read = float("-inf")

    def due(self, now: float) -> bool:
        """Whether it is time to read them again; a clock that was set back does not put it off."""
        return not 0 <= now - self._read < READ_SECONDS

    def read(self, groups: Mapping[str, str], now: float) -> Mapping[str, float]:
        """Seconds by job, of those whose control groups (by job, as paths) say so; nothing between two reads."""
        if not self.due(now):
            return {}
        self._read = now
        found = {job_id: waited(group) for job_id, group in groups.items()}
        return {job_id: seconds for job_id, seconds in found.items() if seconds is not None}
