"""Energy of one device: the hardware's counter, else the integral of power, else that of a model of its power."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from gpuwatch.meter.shares import Shares, add, scaled
from gpuwatch.meter.signals import Counter, Integral


@dataclass(slots=True)
class Pending:
    """Share-seconds whose energy is not booked yet, with what the power integral says of them."""

    seconds: Shares = field(default_factory=dict)
    integrated: Shares = field(default_factory=dict)
    unmeasured: Shares = field(default_factory=dict)


class Energy(NamedTuple):
    """Energy that has become known: joules by holder and method, and share-seconds that have none."""

    joules: Shares
    method: str
    unmeasured: Shares


class Gaps(NamedTuple):
    """How long the power integral, and how long the counter, may stay without a reading."""

    power_seconds: float
    counter_seconds: float


NOTHING = Energy({}, "integrated", {})


@dataclass(slots=True)
class EnergyMeter:
    """Energy of one device: the counter where it has one, the power integral where not, a model where neither."""

    power: Integral = field(default_factory=Integral)
    modelled: Integral = field(default_factory=Integral)
    counter: Counter = field(default_factory=Counter)
    pending: Pending = field(default_factory=Pending)
    rejected: int = 0
    dark: Shares = field(default_factory=dict)
    """How long each row has been held since its energy was last known, seconds of the clock whatever its share."""

    def advance(
        self,
        now: float,
        watts: float | None,
        joules: float | None,
        held: Shares,
        fastest: float,
        gaps: Gaps,
        modelled: float | None = None,
    ) -> Energy:
        """What is now known about the time since the last call; nothing while a counter is awaited."""
        if watts is None and joules is None and self.power.time is None and self.counter.time is None:
            known, lost = self.modelled.advance(now, modelled, held, gaps.power_seconds)
            return Energy(known, "modelled" if known else "integrated", lost)
        self._end_model()
        add(self.pending.seconds, held)
        integrated, unmeasured = self.power.advance(now, watts, held, gaps.power_seconds)
        add(self.pending.integrated, integrated)
        add(self.pending.unmeasured, unmeasured)
        then = self.counter.time
        if joules is not None:
            rise = self.counter.rise(now, joules, fastest)
            self.rejected += rise is None and then is not None
            if rise is None or then is None:
                return self._book_integral(cut=True)
            return self._book_counter(now, watts, rise / (now - then) if now > then else 0.0)
        if self.counter.time is not None and now - self.counter.time <= gaps.counter_seconds:
            return NOTHING
        self.counter.time = None
        return self._book_integral(cut=False)

    def gaps(self, seconds: float, held: Shares, known: Energy) -> Shares:
        """Of the rows that have lost energy for good: how long they have been held on end without any.

        To be called after `advance`, with the `seconds` that it was about. In what a missing counter left behind,
        measured and unmeasured time are mixed: there all that is unmeasured counts as one.
        """
        for row in held:
            self.dark[row] = self.dark.get(row, 0.0) + seconds
        found = {}
        for row, amount in known.unmeasured.items():
            dark = self.dark.get(row, 0.0)
            found[row] = min(dark, amount) if row in known.joules else dark
        for row in known.joules:
            self.dark.pop(row, None)
        if len(self.dark) > len(held):
            waiting = (held, self.pending.seconds, self.power.since, self.modelled.since)
            self.dark = {row: dark for row, dark in self.dark.items() if any(row in each for each in waiting)}
        return found

    def finish(self) -> Energy:
        """What the power integral says of the time that still waits, and what nothing will ever say."""
        self._end_model()
        return self._book_integral(cut=True)

    def _book_counter(self, now: float, watts: float | None, mean: float) -> Energy:
        seconds, self.pending = self.pending.seconds, Pending()
        self.power = Integral(now, watts) if watts is not None else Integral()
        return Energy(scaled(mean, seconds), "counter", {})

    def _end_model(self) -> None:
        """The device is measured from now on: what the model still waits for will not come."""
        if self.modelled.time is not None:
            add(self.pending.unmeasured, self.modelled.since)
            self.modelled = Integral()

    def _book_integral(self, cut: bool) -> Energy:
        """`cut`: a counter begins here, so what the power integral still waits for will not come."""
        pending, self.pending = self.pending, Pending()
        if cut and self.power.since:
            add(pending.unmeasured, self.power.since)
            self.power = Integral()
        return Energy(pending.integrated, "integrated", pending.unmeasured)
