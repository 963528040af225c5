"""Why one job is slower than another: what was measured unlike, ranked by how much of it that can explain. Pure.

Compared are device-seconds for a step, or for the whole job where one of the two reports no steps. They add up:
idle, spinning, lost and unmeasured time, and time at work, which is cycles divided by the clock. What lies within
one of these explains no more than it does. What is measured is no cause: one thing may be behind several.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from gpuwatch.accounting import comparing_facts as facts
from gpuwatch.accounting.comparing_sides import Difference, Side, side_of
from gpuwatch.accounting.condition_words import clock, percent
from gpuwatch.accounting.views import JobView
from gpuwatch.ledger.jobs import Job

ALIKE = 0.02
"""Two jobs that differ by a smaller part are as fast as each other."""

LEAST_SHARE = 0.02
"""What explains a smaller part of a difference is not told, nor a hundredth of what the second job took."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two jobs beside each other. `first` and `second` are what each took for a step, or in all, device-seconds;
    `walls` the seconds of both. `parts` add up to the difference, each with what lies within it; `beside` differs
    too, and by nothing that was measured can it be said how much of the difference it is.

    `unmeasured` names what cannot be compared.
    """

    jobs: tuple[Job, Job]
    per: Literal["step", "job"]
    first: float
    second: float
    walls: tuple[float, float]
    steps: tuple[float | None, float | None]
    parts: tuple[Difference, ...]
    beside: tuple[Difference, ...]
    unmeasured: tuple[str, ...]

    @property
    def times(self) -> float | None:
        """How many times what the second took the first took; None where it took nothing."""
        return self.first / self.second if self.second > 0 else None

    @property
    def alike(self) -> bool:
        """Whether they are as fast as each other."""
        return abs(self.first - self.second) <= ALIKE * self.second

    def share(self, difference: Difference) -> float | None:
        """What part of the difference it can explain, at most; below 0: it works the other way."""
        if self.alike or difference.explains is None:
            return None
        return difference.explains / (self.first - self.second)


def compared(first: JobView, second: JobView) -> Comparison:
    """The first job beside the second one."""
    sides = side_of(first), side_of(second)
    by_step = all(side.steps is not None for side in sides)
    one, two = (side.per(side.steps if by_step and side.steps else 1.0) for side in sides)
    return Comparison(
        (first.job, second.job),
        "step" if by_step else "job",
        one.seconds,
        two.seconds,
        (one.wall, two.wall),
        (sides[0].steps, sides[1].steps),
        _ranked(one, two),
        tuple(facts.beside(one, two)),
        tuple(facts.unmeasured(one, two)),
    )


def _ranked(one: Side, two: Side) -> tuple[Difference, ...]:
    """The parts of the difference, the largest first, each followed by what lies within it."""
    least = LEAST_SHARE * max(abs(one.seconds - two.seconds), two.seconds / 2)
    parts = [each for each in (*_resting(one, two), *_work(one, two)) if abs(each[0].explains or 0.0) >= least]
    parts.sort(key=lambda each: -abs(each[0].explains or 0.0))
    return tuple(each for part in parts for each in part)


def _resting(one: Side, two: Side) -> Iterator[list[Difference]]:
    idle = _part("idle", "idle", one, two, one.idle, two.idle)
    waited = facts.storage(one, two, idle.explains or 0.0)
    yield [idle, *([waited] if waited is not None else [])]
    yield [_part("spinning", "busy at idle power (spinning)", one, two, one.spinning, two.spinning)]
    lost = _part("lost", "work lost to failures and restarts", one, two, one.lost, two.lost)
    counts = one.attempts, two.attempts
    runs = Difference("attempts", "attempts", f"{counts[0]}", f"{counts[1]}", None, True, *counts)
    yield [lost, *([runs] if one.attempts != two.attempts else [])]
    yield [_part("unknown", "not measured", one, two, one.unknown, two.unknown)]


def _part(kind: str, label: str, one: Side, two: Side, first: float, second: float) -> Difference:
    words = percent(one.share(first)), percent(two.share(second))
    return Difference(kind, label, *words, first - second, False, first, second)


def _work(one: Side, two: Side) -> Iterator[list[Difference]]:
    """Time at work: by the clock, where both are known, and by the cycles that it takes."""
    if one.clock is None or two.clock is None:
        whole = Difference(
            "working", "time at work", facts.taken(one.working), facts.taken(two.working),
            one.working - two.working, False, one.working, two.working,
        )  # fmt: skip
        more = whole.explains or 0.0
        yield [whole, *facts.throttles(one, two, more), *facts.models(one, two, more)]
        return
    slower = one.working * (1.0 - one.clock / two.clock)
    clocks = Difference(
        "clock", "clock at work", clock(one.clock), clock(two.clock), slower, False, one.clock, two.clock
    )
    yield [clocks, *facts.throttles(one, two, slower)]
    cycles = one.working * one.clock, two.working * two.clock
    more = (cycles[0] - cycles[1]) / two.clock
    work = Difference(
        "cycles", "work: cycles of the devices", facts.counted(cycles[0]), facts.counted(cycles[1]), more, False,
        *cycles,
    )  # fmt: skip
    yield [work, *facts.models(one, two, more)]
