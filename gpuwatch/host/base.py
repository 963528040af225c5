"""The contract of a host source: one method; the agent's sampler adds deadline, health and counters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from gpuwatch.errors import Unavailable
from gpuwatch.model import HostReading


class Disbelieved(Unavailable):
    """There were values, and none to believe; `rejected` counts them by reason."""

    def __init__(self, message: str, rejected: Mapping[str, int]) -> None:
        super().__init__(message)
        self.rejected = rejected


class HostSource(Protocol):
    """One subsystem of the node. The constructor takes `(settings, site)` as a device source's does.

    `read` is called in a thread of the source's own, never twice at once. It returns a `HostReading` with the
    fields it knows and leaves the others unknown; it raises `errors.Unavailable` where it knows nothing,
    `Disbelieved` where that is for what it was told, and `errors.Absent` where the node has nothing to read.
    A method `report`, where there is one, is asked by `gpuwatch check` as that of a device source is.
    """

    def read(self, now: float) -> HostReading:
        """What this subsystem says now."""
        ...
