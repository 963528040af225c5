"""The alerts that come from what running jobs are measured to do, and from what accounts use today. Pure.

The file of each kind says what looks like it and is not told. What they have in common: what began is not over
before it has been otherwise for a while; where nothing is known, what stands stays; a job that waits, or is not
heard of, keeps its alerts until it has ended. All of them are warnings at most: nobody is woken for a job.

At most one alert says that a job does nothing: `no_start`, `hung`, `idle`, `stalled_progress`, in that order, and
after them `idle` of a part of its devices.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from gpuwatch.accounting.alert_policy import Thresholds
from gpuwatch.accounting.case_now import CaseNow, case_of
from gpuwatch.accounting.outliers import OUTLIER, outlying
from gpuwatch.accounting.rates_of_use import RATE, rates
from gpuwatch.accounting.resting import KINDS as RESTING
from gpuwatch.accounting.resting import partly_resting, rest_of, resting
from gpuwatch.accounting.slowness import STALLED, THROTTLED, stalled, throttled
from gpuwatch.accounting.unmeasured import UNMEASURED, is_silent, unmeasured
from gpuwatch.accounting.watched import Watched
from gpuwatch.ledger.jobs import Job
from gpuwatch.ledger.scopes import AlertKey, key_of
from gpuwatch.model import EMPTY, Alert, Scope

OF_JOBS = (*RESTING, STALLED, THROTTLED, OUTLIER, UNMEASURED)
KINDS = (*OF_JOBS, RATE)
"""The kinds of alerts that are made here."""


def conditions(
    watched: Watched, standing: Mapping[AlertKey, Alert], thresholds: Thresholds, floor_hours: float, now: float
) -> dict[AlertKey, Alert]:
    """The alerts that hold now, in the order of their keys; `standing` are those that held before."""
    before: dict[Scope, dict[str, Alert]] = defaultdict(dict)
    for key, alert in standing.items():
        if key.kind in OF_JOBS:
            before[key.scope][key.kind] = alert
    silent = is_silent(watched, now)
    found = list(rates(watched, standing, thresholds, now))
    for job in watched.jobs:
        known = before.get(job.scope, EMPTY)
        found += _of_job(job, watched, known, thresholds, floor_hours, now, silent)
    return {key_of(each): each for each in sorted(found, key=key_of)}


def _of_job(
    job: Job,
    watched: Watched,
    known: Mapping[str, Alert],
    thresholds: Thresholds,
    floor_hours: float,
    now: float,
    silent: bool,
) -> Iterator[Alert]:
    if job.state == "ended":
        return
    case = case_of(job, watched, thresholds, floor_hours, now, known) if job.state == "running" else None
    if case is None:
        yield from known.values()
        return
    look = watched.looks.get(case.key)
    for alert in (_nothing_done(case), throttled(case), outlying(case, look), unmeasured(case, silent)):
        if alert is not None:
            yield alert


def _nothing_done(case: CaseNow) -> Alert | None:
    rest = rest_of(case)
    return resting(case, rest) or stalled(case, rest) or partly_resting(case, case.watched.looks.get(case.key))
