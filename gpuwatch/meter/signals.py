"""Signals over time: the integral of one that is sampled, and the rise of one that the hardware counts."""

from __future__ import annotations

from dataclasses import dataclass, field

from gpuwatch.meter.shares import Shares, add, scaled

# A counter that is updated in steps and read late may seem to count this much longer than it did.
SLACK_SECONDS = 2.0


@dataclass(slots=True)
class Integral:
    """A signal's last known value, and who held the device since then in share-seconds."""

    time: float | None = None
    value: float = 0.0
    since: Shares = field(default_factory=dict)

    def advance(self, now: float, value: float | None, held: Shares, gap_seconds: float) -> tuple[Shares, Shares]:
        """Amounts by holder that are now known, and share-seconds that will never be."""
        if value is None and self.time is None:
            return {}, held
        add(self.since, held)
        late = self.time is None or now - self.time > gap_seconds
        if value is None:
            return ({}, self._restart(None, 0.0)) if late else ({}, {})
        if late or self.time is None:
            return {}, self._restart(now, value)
        mean = (self.value + value) / 2
        return scaled(mean, self._restart(now, value)), {}

    def _restart(self, now: float | None, value: float) -> Shares:
        since, self.since = self.since, {}
        self.time, self.value = now, value
        return since


@dataclass(slots=True)
class Counter:
    """A counter of the hardware: its last value and when it was read. It may be reset; it may lie."""

    time: float | None = None
    value: float = 0.0

    def rise(self, now: float, value: float, fastest: float) -> float | None:
        """How much it counted since the last value; None where there was none or the answer is not believed.

        `fastest` is the most it can count in a second. A value below the last one means that it began anew.
        """
        before, then = self.value, self.time
        self.time, self.value = now, value
        if then is None:
            return None
        rise = value - before if value >= before else value
        return rise if rise <= fastest * (now - then + SLACK_SECONDS) else None
