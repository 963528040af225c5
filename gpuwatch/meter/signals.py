"""Signals over time: the integral of one that is sampled, and the rise of one that the hardware counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gpuwatch.meter.shares import Shares, add, scaled

# A counter that is updated in steps and read late may seem to count this much longer than it did.
SLACK_SECONDS = 2.0
# What a driver is asked for every 10 s is repeated meanwhile: who does not rise for longer stands still.
REPEAT_SECONDS = 12.0
# Counters that stay away for longer begin anew, and so do those who are charged for them.
AWAY_SECONDS = 60.0


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


@dataclass(slots=True)
class Tally:
    """Counters that a driver may repeat for a while before they move, and who has held the device meanwhile."""

    counters: dict[str, Counter] = field(default_factory=dict)
    since: Shares = field(default_factory=dict)
    time: float | None = None

    def advance(
        self, now: float, values: Mapping[str, float], held: Shares, fastest: float
    ) -> tuple[Mapping[str, float], Shares]:
        """How much each counter rose, and the share-seconds that this came in; nothing while they are repeated.

        `fastest` is the most that one can count in a second.
        """
        if not values:
            return self._miss(now, held)
        add(self.since, held)
        rises = {name: self._rise(name, now, value, fastest) for name, value in values.items()}
        known = {name: rise for name, rise in rises.items() if rise is not None}
        moved = any(known.values()) or not known
        if self.time is not None and not moved and now - self.time <= REPEAT_SECONDS:
            return {}, {}
        since, self.since, self.time = self.since, {}, now
        return known, since

    def _rise(self, name: str, now: float, value: float, fastest: float) -> float | None:
        counter = self.counters.get(name)
        if counter is None:
            counter = self.counters[name] = Counter()
        return counter.rise(now, value, fastest)

    def _miss(self, now: float, held: Shares) -> tuple[Mapping[str, float], Shares]:
        if self.time is None:
            return {}, {}
        add(self.since, held)
        if now - self.time > AWAY_SECONDS:
            self.counters, self.since, self.time = {}, {}, None
        return {}, {}
