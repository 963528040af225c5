"""Runs cut into chains of jobs, as long training is many jobs: what a forecast of a campaign is tried on. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import sha256

from gpuwatch.forecast.history import BacktestRun

MOST_LOST = 0.25
"""Up to so much of a job's work is lost as it ends, back to its last checkpoint, and done again by the next."""

Span = tuple[float, float, float]
"""A job of a chain: when it begins, and from when to when of the run that was cut it does the work; seconds."""


def cut(runs: Sequence[BacktestRun], jobs: int) -> tuple[BacktestRun, ...]:
    """Each run as a chain of so many jobs of equal work, of which some is lost between them.

    What is lost is drawn by the run's id, so that the same runs are cut the same way. The whole of a chain is one
    campaign; its progress falls back with each job, and it comes to more than the run did. Its time is that in
    which it held devices: nothing is used in pauses.
    """
    return tuple(_cut(run, jobs) for run in runs) if jobs > 1 else tuple(runs)


def _cut(run: BacktestRun, jobs: int) -> BacktestRun:
    spans = list(_spans(run, jobs))
    progress = [
        (begin + time - since, ratio)
        for begin, since, until in spans
        for time, ratio in run.progress
        if since < time - run.started <= until
    ]
    last = spans[-1]
    ended = run.started + last[0] + last[2] - last[1]
    return replace(run, progress=tuple((time, ratio) for time, ratio in progress), ended=ended, limit_seconds=None)


def _spans(run: BacktestRun, jobs: int) -> Iterator[Span]:
    length = (run.ended - run.started) / jobs
    begin, since = 0.0, 0.0
    for number in range(1, jobs + 1):
        until = length * number
        yield begin, since, until
        begin += until - since
        since = until - length * MOST_LOST * _drawn(f"{run.job_id} {number}")


def _drawn(word: str) -> float:
    """A number from 0 to 1 that a word always gives."""
    return int.from_bytes(sha256(word.encode()).digest()[:8], "big") / 2.0**64
