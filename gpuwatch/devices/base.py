"""The contract of a device source.

A source does not keep time, retry, count or check ranges: the agent's sampler does. It answers, or raises.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gpuwatch.model import Device, Reading


class DeviceSource(Protocol):
    """Devices of one vendor on this node.

    The constructor takes `(settings, site)`: a validated instance of the class's own `Settings` (a pydantic
    model, the plugin's table in the configuration) and the `Site`. It must not fail for want of hardware.

    `scan` and `read` raise `errors.Unavailable` for what may work later (the message is shown to the
    operator, so it says what is missing) and `errors.RestartRequired` where only a new process can help. `scan`
    raises `errors.Absent` where the node has no device of this vendor: that is then no fault of anything.

    A source whose first `read` of a moment answers for all its devices says so by `together = True`: they are then
    read in one thread, one after the other.

    A source may have `report()`: what it reads from where, and what it cannot and why, after devices were read; a
    sequence of `Probe`, for `gpuwatch check`.

    Threads: `scan` and `close` are called in one thread. `read` is called in a thread of the device's own, in
    which its slices are read after it: never twice at once for one board, but for several boards at once, and
    while `scan` runs.
    A call may hang; it is then waited for by nobody and its late answer is dropped.
    """

    def scan(self, now: float) -> Sequence[Device]:
        """The devices there are now. Called at start, every few seconds while reads fail, else every minute."""
        ...

    def read(self, device: Device, now: float) -> Reading:
        """One reading; what the device does not support is absent, what it refuses entirely is an error."""
        ...

    def close(self) -> None:
        """Release the driver; called once, also after errors."""
        ...
