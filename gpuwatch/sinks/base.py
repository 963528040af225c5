"""The contract of a sink."""

from __future__ import annotations

from typing import Protocol

from gpuwatch.model import Snapshot


class Sink(Protocol):
    """Takes snapshots. The constructor takes `(settings, site)` as a device source's does.

    `take` is called in the agent's main loop after every tick: it stores a reference or queues, and returns
    at once; it does no I/O and does not raise.
    """

    def take(self, snapshot: Snapshot) -> None:
        """The newest snapshot."""
        ...

    def close(self) -> None:
        """Flush what is cheap to flush, within a second."""
        ...
