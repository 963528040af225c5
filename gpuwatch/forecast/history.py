"""A run that is over, as a backtest is given it. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BacktestRun:
    """When a run began and ended (Unix seconds), on how many devices, what was declared (device-seconds), how far
    it was when: `progress` has (Unix seconds, fraction of the whole), in the order of time. None: unknown.

    Nothing is known of one `cluster` on another.
    """

    job_id: str
    user: str
    account: str
    name: str
    submitted: float
    started: float
    ended: float
    devices: float
    nodes: float | None = None
    limit_seconds: float | None = None
    declared: float | None = None
    state: str = ""
    progress: tuple[tuple[float, float], ...] = ()
    cluster: str = ""

    @property
    def final(self) -> float:
        """Device-seconds that it came to."""
        return self.devices * (self.ended - self.started)
