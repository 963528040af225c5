"""The contract of a host source: one method; the agent's sampler adds deadline, health and counters."""

from __future__ import annotations

from typing import Protocol

from gpuwatch.model import HostReading


class HostSource(Protocol):
    """One subsystem of the node. The constructor takes `(settings, site)` as a device source's does.

    `read` is called in a thread of the source's own, never twice at once. It returns a `HostReading` with the
    fields it knows and leaves the others unknown; it raises `errors.Unavailable` where it knows nothing.
    """

    def read(self, now: float) -> HostReading:
        """What this subsystem says now."""
        ...
