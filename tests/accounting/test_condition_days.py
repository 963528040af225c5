"""Jobs minute by minute for hours: healthy ones are never told of, others once, and not to and fro."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from gpuwatch.accounting.conditions import conditions
from gpuwatch.accounting.watched import Watched
from gpuwatch.accounting.watching import Snapshots
from gpuwatch.ledger.jobs import Job
from gpuwatch.model import BurnUp, BurnUpPoint, Progress, Usage, grown
from tests.accounting.doing import HOUR, MINUTE, THRESHOLDS, of_lines
from tests.ledger.batch import T0
from tests.ledger.made import line

TICK = 10.0
PASS = 60.0

Does = Callable[[float], str]
"""What all of a job's devices do at a time, seconds after its begin."""


@dataclass
class Life:
    """A job of 8 devices on one node, and what was measured of it so far."""

    does: Does
    step_seconds: float | None = None
    name: str = "7"
    at: float = 0.0
    states: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    first: float | None = None
    steps: float = 0.0
    told: Progress | None = None
    burnup: BurnUp = BurnUp(float(T0))

    def go_on(self, seconds: float) -> None:
        """Measured at each tick."""
        for _ in range(round(seconds / TICK)):
            self.at += TICK
            state = self.does(self.at)
            self.states[state] = self.states.get(state, 0.0) + 8 * TICK
            self.last[state] = T0 + self.at
            if state == "working":
                self.first = self.first or T0 + self.at
                if self.step_seconds is not None:
                    self.steps += TICK / self.step_seconds
                    if self.told is None or int(self.steps) > self.told.step:
                        self.told = Progress(float(int(self.steps)), 1e9, 0.0, T0 + self.at)

    def job(self) -> Job:
        """As the ledger has it now."""
        held = 8 * self.at
        throttled = {"sw_power_cap": 0.95 * held, "hw_thermal": 0.01 * held}
        usage = Usage(
            held_seconds=held, state_seconds=dict(self.states), last_in_state=dict(self.last),
            first_working=self.first, energy_joules={"counter": 400.0 * held}, throttled_seconds=throttled,
        )  # fmt: skip
        seen = T0 + self.at
        step, total = (self.told.step, self.told.total) if self.told is not None else (None, None)
        self.burnup = grown(self.burnup, BurnUpPoint(seen, held, None, step, total))
        row = line(usage, "", devices=8, share=8.0, last_seen=seen)
        return of_lines(row, name=self.name, age=self.at, progress=self.told)


def changes(life: Life, hours: float) -> list[tuple[float, str]]:
    """What was raised (`+`) and resolved (`-`) when, in minutes."""
    snapshots, standing = Snapshots(THRESHOLDS), conditions(Watched(), {}, THRESHOLDS, 1.0, T0)
    found: list[tuple[float, str]] = []
    while life.at < hours * HOUR:
        life.go_on(PASS)
        job = life.job()
        snapshots.take([job])
        burnups = {(job.job_id, job.started): life.burnup}
        seen = Watched((job,), burnups, snapshots.of, nodes={"gw0": T0 + life.at})
        active = conditions(seen, standing, THRESHOLDS, 1.0, T0 + life.at)
        found += [(life.at / MINUTE, f"+{key.kind}") for key in active.keys() - standing.keys()]
        found += [(life.at / MINUTE, f"-{key.kind}") for key in standing.keys() - active.keys()]
        standing = active
    return found


def every(period: float, pause: float, state: str = "idle", warm: float = 0.0) -> Does:
    """At work, but for a pause at the end of each period."""
    return lambda at: state if at < warm or (at % period) > period - pause else "working"


HEALTHY: Mapping[str, Any] = {
    "steady": Life(every(HOUR, 0.0), 30.0),
    "checkpoints-of-5-minutes": Life(every(HOUR, 5 * MINUTE), 30.0),
    "evaluations-of-25-minutes": Life(every(3 * HOUR, 25 * MINUTE), 30.0),
    "waits-for-data": Life(every(MINUTE, 40.0), 60.0),
    "compiles-for-20-minutes": Life(every(HOUR, 0.0, warm=20 * MINUTE), 30.0),
    "steps-of-20-minutes": Life(every(HOUR, 0.0), 20 * MINUTE),
    "steps-that-grow-longer": Life(lambda at: "working", 600.0),
    "a-notebook-used-every-20-minutes": Life(every(20 * MINUTE, 19 * MINUTE), None, "user:ada"),
    "spins-between-steps": Life(every(2 * MINUTE, 50.0, "spinning"), 60.0),
    "small-kernels": Life(lambda at: "working" if at % 900 < 20 else "spinning", 5.0),
    "unmeasured-at-times": Life(every(HOUR, 20 * MINUTE, "unknown"), 60.0),
}


@pytest.mark.parametrize("life", HEALTHY.values(), ids=HEALTHY.keys())
def test_nobody_is_told_of_a_healthy_job(life: Life) -> None:
    """Of all of its hours."""
    assert [] == changes(life, 7)


def stops(at: float, state: str, until: float = 1e9) -> Does:
    """At work, but for this time."""
    return lambda now: state if at <= now < until else "working"


SICK: Mapping[str, Any] = {
    "idle-for-good": (Life(stops(2 * HOUR, "idle"), 60.0), [(150.0, "+idle")]),
    "hangs-for-good": (Life(stops(2 * HOUR, "spinning"), 60.0), [(135.0, "+hung")]),
    "never-begins": (Life(lambda at: "idle"), [(30.0, "+no_start")]),
    "begins-late": (Life(every(HOUR, 0.0, warm=2 * HOUR)), [(30.0, "+no_start"), (122.0, "-no_start")]),
    "works-again": (Life(stops(2 * HOUR, "idle", 4 * HOUR)), [(150.0, "+idle"), (242.0, "-idle")]),
    "a-blip-every-40-minutes": (Life(every(40 * MINUTE, 39.5 * MINUTE)), [(31.0, "+idle")]),
    "spins-or-idles": (
        Life(lambda at: "working" if at < HOUR else "spinning" if at % 600 < 300 else "idle"), [(75.0, "+hung")],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("life", "found"), SICK.values(), ids=SICK.keys())
def test_a_sick_job_is_told_of_once(life: Life, found: list[tuple[float, str]]) -> None:
    """When it is so for long enough, and until it is otherwise for a while."""
    assert found == changes(life, 5)


def test_steps_that_cease_while_it_works_are_told_once() -> None:
    """Half an hour after the last one."""
    life = Life(lambda at: "working", 60.0)
    first = changes(life, 2)
    life.step_seconds = None

    assert ([], ["+stalled_progress"]) == (first, [what for _, what in changes(life, 4)])
