"""What of an attempt's work was lost, by how it ended and by where the next one took up. Pure.

The one rule of it, for `gpuwatch waste` and for chains: the steps that were kept had been done, at an even rate,
by a certain time; what came after is lost. Steps that an attempt went back itself count at its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gpuwatch.ledger.jobs import Job, Run
from gpuwatch.model import Progress

LOSING = frozenset({
    "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "LAUNCH_FAILED", "DEADLINE", "REQUEUED", "PREEMPTED",
    "REVOKED", "TIMEOUT",
})  # fmt: skip
"""Outcomes of an attempt that lose what was done since its last report of progress."""

RESUMED = frozenset({"TIMEOUT"})
"""Those of them that lose nothing known without a report: many jobs run until the limit and then go on."""

STOPPED = frozenset({0, 128 + 2, 128 + 15})
"""Exit codes of a run that did not fail: it ended well, or somebody stopped it."""


class Loss(NamedTuple):
    """From when on the work of an attempt is lost, Unix seconds; `bounded`: that is from its begin, at most."""

    since: float
    bounded: bool


def losses(job: Job, runs: Sequence[Run]) -> list[Loss | None]:
    """What each run of a job lost; None for one that lost nothing, and for one that runs."""
    following = (*runs[1:], None)
    return [
        loss_of(run, after.progress if after else None, outcome_of(job, run, after is None))
        for run, after in zip(runs, following, strict=True)
    ]


def outcome_of(job: Job, run: Run, is_last: bool = True) -> str:
    """How a run ended, by the batch system's word, else by the job's exit code; empty where nobody knows."""
    if run.outcome or not is_last:
        return run.outcome
    if job.state != "ended" or job.record is not None or job.exit_code is None:
        return ""
    return "COMPLETED" if job.exit_code == 0 else "" if job.exit_code in STOPPED else "FAILED"


def loss_of(run: Run, resumed: Progress | None, outcome: str) -> Loss | None:
    """What a run that ended so lost; `resumed` is the progress of the one that took up its work, if any did."""
    told = run.progress
    took_up_earlier = told is not None and resumed is not None and resumed.start_step < told.step
    if outcome not in LOSING and not took_up_earlier:
        return None
    if told is None:
        return None if outcome in RESUMED else Loss(float(run.started), True)
    return Loss(kept_until(run, told, resumed), False)


def kept_until(run: Run, told: Progress, resumed: Progress | None = None) -> float:
    """When the work that was kept had been done, Unix seconds: at the last report, or earlier."""
    reported = min(max(told.time, float(run.started)), run.last_seen)
    if told.made <= 0:
        return reported
    kept = told.step if resumed is None else min(told.step, resumed.start_step)
    return run.started + max(0.0, kept - told.start_step) / told.made * (reported - run.started)


def lost_ratio(run: Run, told: Progress, resumed: Progress | None, outcome: str) -> float:
    """The fraction of a run's time that was lost, that of the steps that it went back itself included."""
    span = run.last_seen - run.started
    if span <= 0:
        return 0.0
    loss = loss_of(run, resumed, outcome)
    if loss is not None:
        return (run.last_seen - loss.since) / span
    reported = min(max(told.time, float(run.started)), run.last_seen)
    return (reported - kept_until(run, told)) / span
