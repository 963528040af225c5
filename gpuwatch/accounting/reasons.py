"""Why a job uses more than was declared for it: what was measured of it, the largest part first. Pure.

A reason is what is seen, not what it is due to: more work than was planned looks like none of these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from gpuwatch.accounting.amounts import amount, digits
from gpuwatch.accounting.forecast_words import moment
from gpuwatch.ledger.jobs import Campaign, Job
from gpuwatch.ledger.lost_work import losses
from gpuwatch.model import BurnUp, BurnUpPoint

LEAST_SHARE = 0.05
"""A part of the time that is smaller explains nothing."""

SLOWER = 1.2
LEAST_POINTS = 4
"""A pace is one of so many points at least, and slower where it takes so many times what it took before."""

_FAULTS = {
    "hw_thermal": "heat", "sw_thermal": "heat", "hw_power_brake": "a power brake",
    "sw_power_cap": "the power limit",
}  # fmt: skip


class Slower(NamedTuple):
    """From `since` on (Unix seconds) a step takes so many times the device-seconds that it took before."""

    since: float
    times: float
    each: float
    """Device-seconds for a step since then."""


def reasons(scope: Job | Campaign, burnup: BurnUp | None = None, planned: float | None = None) -> list[str]:
    """Sentences; `planned` is what was declared, device-seconds. Nothing where nothing of it was measured."""
    found = [
        *_lost(scope),
        *_resting(scope),
        *(_slower(scope, burnup, planned) if isinstance(scope, Job) and burnup is not None else ()),
        *_throttled(scope),
    ]
    return [text for _, text in sorted(found, key=lambda each: -each[0])]


def slower_since(points: Sequence[BurnUpPoint]) -> Slower | None:
    """When the pace of a burn-up changed for the worse: where it is farthest below a straight line to its end."""
    known = [each for each in points if each.step is not None]
    whole = _pace(known) if len(known) >= 2 * LEAST_POINTS - 1 else None
    if whole is None:
        return None
    start = known[0]
    below = [whole * ((each.step or 0.0) - (start.step or 0.0)) - (each.used - start.used) for each in known]
    places = range(LEAST_POINTS - 1, len(known) - LEAST_POINTS + 1)
    at = max(places, key=lambda place: below[place])
    before, after = _pace(known[: at + 1]), _pace(known[at:])
    if before is None or after is None or after < SLOWER * before or before <= 0:
        return None
    return Slower(known[at].time, after / before, after)


def _steps(points: Sequence[BurnUpPoint]) -> float:
    return (points[-1].step or 0.0) - (points[0].step or 0.0)


def _pace(points: Sequence[BurnUpPoint]) -> float | None:
    steps = _steps(points)
    return (points[-1].used - points[0].used) / steps if steps > 0 else None


Weighed = tuple[float, str]
"""A reason, with the part of the time that it explains."""


def _slower(job: Job, burnup: BurnUp, planned: float | None) -> Iterator[Weighed]:
    found = slower_since(burnup.points)
    if found is None:
        return
    text = f"slower since {moment(found.since)}: a step takes {digits(found.times)} times what it took before"
    total = job.progress.total if job.progress is not None else 0.0
    if planned and total > 0:
        text += f", and {digits(found.each * total / planned)} times what was declared"
    yield 1.0 - 1.0 / found.times, text


def _lost(scope: Job | Campaign) -> Iterator[Weighed]:
    jobs = scope.jobs if isinstance(scope, Campaign) else (scope,)
    seconds, restarts = 0.0, 0
    for job in jobs:
        restarts += len(job.runs) - 1
        for run, loss in zip(job.runs, losses(job, job.runs), strict=True):
            span = run.last_seen - run.started
            if loss is not None and span > 0:
                seconds += run.device_seconds * max(0.0, run.last_seen - loss.since) / span
    share = _share(seconds, scope.device_seconds)
    times = "once" if restarts == 1 else f"{restarts} times"
    begun = f"began again {times}, and " if restarts else ""
    if share >= LEAST_SHARE:
        yield share, f"{begun}lost {amount('device-hours', seconds)} of its work ({_percent(share)})"


def _resting(scope: Job | Campaign) -> Iterator[Weighed]:
    states = scope.usage.state_seconds
    for state, words in (("idle", "idle"), ("spinning", "busy by its own word at idle power")):
        share = _share(states.get(state, 0.0), scope.usage.held_seconds)
        if share >= LEAST_SHARE:
            hours = amount("device-hours", states.get(state, 0.0))
            yield share, f"its devices were {words} {_percent(share)} of the time ({hours})"


def _throttled(scope: Job | Campaign) -> Iterator[Weighed]:
    for reason, words in _FAULTS.items():
        share = _share(scope.usage.throttled_seconds.get(reason, 0.0), scope.usage.held_seconds)
        if share >= LEAST_SHARE:
            # Clocks that are held down cost a part of the time in which they are.
            yield 0.2 * share, f"clocks were held down by {words} {_percent(share)} of the time ({reason})"


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0


def _percent(share: float) -> str:
    return f"{100 * min(share, 1.0):.0f} %"
