"""When the runs of a statement were: wall time, how much ran at once, by day, and the way to the total. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import tzinfo

from gpuwatch.ledger.charges import days_between
from gpuwatch.reports.pieces import Piece, RunPart
from gpuwatch.reports.statement import Day

POINTS = 240
STOPPED = frozenset({"failed", "cancelled", "timed out", "requeued"})
"""Outcomes of runs that did not end by themselves and well."""


def bounds(runs: Iterable[RunPart]) -> tuple[float | None, float | None]:
    """The first begin and the last end."""
    found = list(runs)
    return min((run.begins for run in found), default=None), max((run.ends for run in found), default=None)


def covered(runs: Iterable[RunPart]) -> float:
    """Seconds in which one run at least was there."""
    total, until = 0.0, float("-inf")
    for run in sorted(runs):
        total += max(0.0, run.ends - max(until, run.begins))
        until = max(until, run.ends)
    return total


def _steps(runs: Iterable[RunPart]) -> Iterator[tuple[float, float]]:
    """At which times how many devices more, or fewer, were held."""
    changes: dict[float, float] = defaultdict(float)
    for run in runs:
        if run.ends > run.begins:
            devices = run.device_seconds / (run.ends - run.begins)
            changes[run.begins] += devices
            changes[run.ends] -= devices
    yield from sorted(changes.items())


def most_at_once(runs: Sequence[RunPart]) -> float | None:
    """The most devices that were held at one time, by even rates; None where nothing was."""
    now = most = 0.0
    for _, change in _steps(runs):
        now += change
        most = max(most, now)
    return most or None


def burn_up(runs: Sequence[RunPart]) -> tuple[tuple[float, float], ...]:
    """Device-seconds used by each time at which anything began or ended, thinned to a few hundred."""
    points: list[tuple[float, float]] = []
    used = devices = 0.0
    for time, change in _steps(runs):
        if points:
            used += devices * (time - points[-1][0])
        points.append((time, used))
        devices += change
    every = max(1, -(-len(points) // POINTS))
    kept = points[::every]
    return tuple(kept if not points or kept[-1] == points[-1] else [*kept, points[-1]])


def days(pieces: Sequence[Piece], zone: tzinfo) -> tuple[Day, ...]:
    """Device-seconds by day: as they were charged, else evenly over each run."""
    found: dict[int, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for piece in pieces:
        for number, outcome, seconds in _of(piece, zone):
            place = 2 if piece.tagged.debugging else int(outcome in STOPPED)
            found[number][place] += seconds
    return tuple(Day(number, *found[number]) for number in sorted(found))


def _of(piece: Piece, zone: tzinfo) -> Iterator[tuple[int, str, float]]:
    if piece.days:
        yield from ((day, outcome, seconds) for (day, outcome), seconds in piece.days.items())
        return
    for run in piece.runs:
        span = run.ends - run.begins
        for day in days_between(run.begins, run.ends, zone) if span > 0 else ():
            yield day.number, run.outcome, run.device_seconds * (day.ends - day.begins) / span
