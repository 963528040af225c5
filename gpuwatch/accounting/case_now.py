"""A running job as the judgements of what it does now see it, and the alert that one of them makes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

from gpuwatch.accounting.alert_policy import Thresholds
from gpuwatch.accounting.cases import SKEW_SECONDS
from gpuwatch.accounting.concerns import concern_of
from gpuwatch.accounting.watched import Snapshot, Watched, before, run_key, snapshot_of
from gpuwatch.ledger.burnup_store import RunKey
from gpuwatch.ledger.jobs import Job, Run
from gpuwatch.model import Alert, BurnUp, BurnUpPoint

RECENT_SECONDS = 600.0
"""What was done since so long ago decides whether something has ceased."""

WORKED_SECONDS = 120.0
"""So long a job has to have worked lately that it is taken to work again."""

_WORKING_ON = 3
_SOME_WORK = 0.1
"""Or between so many snapshots in a row, one device for this part of the time."""


class Steps(NamedTuple):
    """When a job was first seen at the step it is at, and the longest time between two steps before that."""

    last: float
    longest_gap: float
    step: float
    total: float


class Rest(NamedTuple):
    """For how long at least no device of a run worked, and what that comes to in device-seconds.

    `worked`: whether any ever did. `spins`: whether it was seen spinning a moment ago. `unseen` devices are
    allocated, and no agent tells of them.
    """

    seconds: float
    since: float
    lost: float
    worked: bool
    spins: bool
    share: float
    devices: int
    nodes: tuple[str, ...]
    last_seen: float
    unseen: float


class Blind(NamedTuple):
    """For how long how many devices were not measured, on which nodes, and of how many it is a part.

    `unread`: their agents are heard, and cannot read them.
    """

    seconds: float
    devices: float
    nodes: tuple[str, ...]
    of: float
    unread: bool = False


@dataclass(frozen=True, slots=True)
class CaseNow:
    """One running job, what is known of it, and the alerts of these kinds that it had before."""

    job: Job
    run: Run
    key: RunKey
    watched: Watched
    thresholds: Thresholds
    floor_seconds: float
    """Device-seconds below which nothing is told."""
    now: float
    standing: Mapping[str, Alert]
    snapshot: Snapshot | None

    def earlier(self, seconds: float) -> Snapshot | None:
        """What the run had used so many seconds before agents last told of it; None: nobody looked by then."""
        if self.snapshot is None:
            return None
        return before(self.watched.snapshots.get(self.key, ()), self.snapshot.seen - seconds)

    def alert(
        self,
        kind: str,
        quantity: str,
        value: float,
        declared: float,
        said: tuple[str, tuple[str, ...]],
        severity: Literal["info", "warning"] = "warning",
    ) -> Alert:
        """An alert that holds now; since when it does is kept."""
        known = self.standing.get(kind)
        since = known.since if known is not None and known.quantity == quantity else self.now
        text, details = said
        return Alert(
            kind, self.job.scope, quantity, severity, since, value, declared, text, details,
            concern=concern_of(self.job),
        )  # fmt: skip

    def steps(self) -> Steps | None:
        """What its progress reports say; None where it reported fewer than two steps."""
        burnup = self.watched.burnups.get((self.job.job_id, self.job.started))
        return steps_of(self.job, burnup, self.now) if burnup is not None else None


def case_of(
    job: Job,
    watched: Watched,
    thresholds: Thresholds,
    floor_hours: float,
    now: float,
    standing: Mapping[str, Alert],
) -> CaseNow | None:
    """The job as it is judged; None where it never ran."""
    key = run_key(job)
    if key is None:
        return None
    run = job.runs[-1]
    return CaseNow(
        job, run, key, watched, thresholds, floor_hours * 3600.0, now, standing, snapshot_of(run)
    )  # fmt: skip


def worked_again(case: CaseNow, share: float, devices: int) -> bool:
    """Whether it works again, for more than a moment: for two of the last ten minutes, or on and on with some.

    Where nobody looked ten minutes ago that is not known yet.
    """
    earlier = case.earlier(RECENT_SECONDS)
    if earlier is None or case.snapshot is None:
        return False
    worked = case.snapshot.working - earlier.working
    return worked >= WORKED_SECONDS * share or _works_on(case, share / devices if devices > 0 else 1.0)


def _works_on(case: CaseNow, each: float) -> bool:
    """Whether it did some work between all of the last snapshots: one of its devices is enough."""
    last = case.watched.snapshots.get(case.key, ())[-_WORKING_ON - 1 :]
    return len(last) > _WORKING_ON and all(
        after.working - before.working >= _SOME_WORK * min(1.0, each) * (after.seen - before.seen)
        for before, after in pairwise(last)
    )


def steps_of(job: Job, burnup: BurnUp, now: float) -> Steps | None:
    """When it made its last step, by accounting's sight and by its own report, and how long others took."""
    told = [each for each in burnup.points if each.step is not None and each.time <= now + SKEW_SECONDS]
    if not told or told[-1].total is None or told[-1].step is None:
        return None
    news = told[:1] + [after for earlier, after in pairwise(told) if after.step != earlier.step]
    if len(news) < 2:
        return None
    gaps = [after.time - earlier.time for earlier, after in pairwise(news)]
    last = _last(job, news[-1], news[-2])
    return Steps(last, max(gaps), told[-1].step, told[-1].total)


def _last(job: Job, first: BurnUpPoint, before: BurnUpPoint) -> float:
    """When a step was made that was first seen with a point: when it was reported, where only once."""
    progress = job.progress
    if progress is not None and progress.step == first.step and progress.time >= before.time:
        return min(first.time, progress.time)
    return first.time


def steps_lately(case: CaseNow, seconds: float) -> bool:
    """Whether it surely made a step within so many seconds: by its last points, as most jobs step all the time."""
    burnup = case.watched.burnups.get((case.job.job_id, case.job.started))
    if burnup is None or not burnup.points:
        return False
    last, since = burnup.points[-1], case.now - seconds
    for point in reversed(burnup.points):
        if point.time <= since:
            return False
        if point.step is not None and point.step != last.step:
            return True
    return False
