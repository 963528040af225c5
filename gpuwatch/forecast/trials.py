"""What was forecast of a run while it ran, beside what it came to: what a record is kept of, and scored by. Pure.

Amounts are in base units (device-seconds, joules, seconds).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from typing import Literal, NamedTuple

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
"""The quantiles of every forecast: the median, and the ends of intervals of 50, 80 and 90 %."""

INTERVALS: Mapping[int, tuple[float, float]] = {50: (0.25, 0.75), 80: (0.1, 0.9), 90: (0.05, 0.95)}
"""Between which quantiles an interval of so many percent lies."""

Stage = Literal["submit", "0.1", "0.25", "0.5", "0.75"]
STAGES: tuple[Stage, ...] = ("submit", "0.1", "0.25", "0.5", "0.75")
"""How much of what is declared, or expected, is used: a forecast is judged as it was when each was reached."""

SHARES: Mapping[Stage, float] = {"submit": 0.0, "0.1": 0.1, "0.25": 0.25, "0.5": 0.5, "0.75": 0.75}

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""The probabilities of an overrun at which it may be called one."""

POLLS = 10
"""So often an overrun may be called while what is declared is used; from then on it is a fact."""

FAILED_STATES = frozenset({"FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "LAUNCH_FAILED"})
"""Endings that say what failing takes, and nothing about where a run goes that does not fail."""

UNHEARD = "UNKNOWN"
"""How a run ended of which nobody heard it."""

CUT_STATES = FAILED_STATES | {"CANCELLED", "KILLED", "TIMEOUT", "DEADLINE", "PREEMPTED", "REVOKED", UNHEARD}
"""Endings after which nobody knows where a run would have come to."""


class Mark(NamedTuple):
    """A forecast as it was at a stage: `quantiles` are in the order of `LEVELS`, empty for a rule without them.

    `places` are the raw quantiles that they were before they were corrected, as is done for runs of its `kind`
    (`forecast.calibration`).
    """

    used: float
    quantiles: tuple[float, ...]
    p_over: float | None = None
    places: tuple[float, ...] = LEVELS
    kind: str = ""

    def place(self, final: float) -> float:
        """Which raw quantile it was that a run came to; in the middle of what lies beyond the outermost."""
        if final < self.quantiles[0]:
            return self.places[0] / 2
        if final > self.quantiles[-1]:
            return (1.0 + self.places[-1]) / 2
        least = max(self.quantiles[0], 1e-9)
        amounts = [log(max(each, least)) for each in self.quantiles]
        above = bisect_left(amounts, log(max(final, least)))
        if above == 0:
            return self.places[0]
        low, high = amounts[above - 1], amounts[above]
        inside = (log(max(final, least)) - low) / (high - low) if high > low else 1.0
        return self.places[above - 1] + inside * (self.places[above] - self.places[above - 1])


class Call(NamedTuple):
    """The first time that an overrun was called: what was used by then, and the probability that was stated.

    `stated` is None for a rule that states none.
    """

    used: float
    stated: float | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """One run: what was declared (or expected), what was forecast at which stage, which calls, what it came to.

    A stage that the run did not reach is not in `marks`. `calls` are by threshold; a rule that has none but its
    own is under 0. `cut` says that it was ended by its limit or by somebody, and would have come to more: it is
    right to say of it that it came to `final` or more.
    """

    user: str
    declared: float
    final: float
    marks: Mapping[Stage, Mark]
    calls: Mapping[float, Call]
    cut: bool = False

    def is_over(self, tolerance: float) -> bool:
        """Whether it came to more than what was declared and the tolerance above it."""
        return self.final > self.declared * (1.0 + tolerance)


def at_end(calls: Mapping[float, Call], declared: float, final: float, tolerance: float) -> dict[float, Call]:
    """The calls of a run that is over: an overrun that nobody called became one when the tolerance was used up."""
    over = declared * (1.0 + tolerance)
    return {**(dict.fromkeys(THRESHOLDS, Call(over, 1.0)) if final > over else {}), **calls}


def stage_of(share: float) -> Stage:
    """The last stage that is reached where so much of what is declared is used."""
    return [stage for stage in STAGES if SHARES[stage] <= share][-1]
