"""What pictures of many jobs are made of: burn-ups of a page of jobs, outcomes beside declarations, the record."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC

from sqlalchemy import Connection

from gpuwatch.accounting.burning import run_of
from gpuwatch.accounting.trial_keeping import finished_trial
from gpuwatch.forecast.projection import HOURS
from gpuwatch.forecast.trials import INTERVALS, LEVELS, STAGES, Mark, Trial
from gpuwatch.ledger import burnup_store, trial_store
from gpuwatch.ledger.jobs import Job
from gpuwatch.ledger.past import Kind, PastJob, past_jobs, with_details
from gpuwatch.model import BurnUp
from gpuwatch.web.api_documents import Document
from gpuwatch.web.operations import Question
from gpuwatch.web.parameters import time_of

MOST_POINTS = 24
"""Of so many points a burn-up is made that is a finger's breadth wide."""

OUTCOME_SECONDS = 90 * 86_400.0
"""How far back outcomes go where the request does not say."""


def burnups_document(connection: Connection, jobs: Sequence[Job], cursor: str | None) -> Document:
    """How each of some jobs came to what it used, thinned; without points where that is not kept."""
    kept = _kept(connection, jobs)
    return {
        "burnups": [
            {
                "job": job.scope.name,
                "cluster": job.cluster,
                "points": _thinned(kept.get((job.cluster, run_of(job)))),
            }
            for job in jobs
        ],
        "next": cursor,
    }


def _kept(connection: Connection, jobs: Iterable[Job]) -> Mapping[tuple[str, burnup_store.RunKey], BurnUp]:
    by_cluster: dict[str, list[burnup_store.RunKey]] = defaultdict(list)
    for job in jobs:
        by_cluster[job.cluster].append(run_of(job))
    return {
        (cluster, key): burnup
        for cluster, keys in by_cluster.items()
        for key, burnup in burnup_store.load_burnups(connection, cluster, keys).items()
    }


def _thinned(burnup: BurnUp | None) -> list[list[float]]:
    points = () if burnup is None else burnup.points
    step = max(1, -(-len(points) // MOST_POINTS))
    # From the last on, as that is what it comes to now.
    chosen = points[::-1][::step][::-1]
    return [[point.time, point.used] for point in chosen]


def outcomes(question: Question) -> Document:
    """What jobs came to that declared device-hours and ended by themselves, the latest first."""
    values, now = question.values, question.now
    far = max(0.0, now - OUTCOME_SECONDS)
    since = far if values["since"] is None else time_of("since", values["since"], UTC)
    named = {name: values[name] for name in ("user", "account", "partition", "campaign")}
    found = past_jobs(question.connection, question.viewer.audience, Kind(**named, since=since), now)
    over = [job for job in found if job.ended is not None and job.ending in ("completed", "timed out")]
    told = [_outcome(job) for job in with_details(question.connection, over) if job.declared_seconds]
    return {"since": since, "jobs": len(over), "outcomes": told[: values["limit"]]}


def _outcome(job: PastJob) -> Document:
    return {
        "job": job.job_id, "display": job.display, "name": job.name or None, "user": job.user or None,
        "account": job.account or None, "cluster": job.cluster, "started": job.started, "ended": job.ended,
        "ending": job.ending, "declared_device_seconds": job.declared_seconds,
        "device_seconds": job.device_seconds,
    }  # fmt: skip


def record(question: Question) -> Document:
    """How often what is forecast of device-hours held at this site: promised beside held, and nobody's name."""
    kept = trial_store.finished(question.connection, question.viewer.cluster, HOURS)
    trials = [trial for _, each in kept if (trial := finished_trial(each)) is not None and not trial.cut]
    return {
        "quantity": HOURS,
        "forecasts": sum(1 for _ in _marks(trials, None)),
        "intervals": [each for stage in (None, *STAGES) for each in _intervals(trials, stage)],
    }


def _intervals(trials: Sequence[Trial], stage: str | None) -> Iterator[Document]:
    told = list(_marks(trials, stage))
    for percent, ends in INTERVALS.items():
        low, high = (LEVELS.index(level) for level in ends)
        held = [mark.quantiles[low] <= final <= mark.quantiles[high] for mark, final in told]
        yield {
            "stage": stage, "promised": percent / 100, "held": sum(held) / len(held) if held else None,
            "forecasts": len(held),
        }  # fmt: skip


def _marks(trials: Iterable[Trial], stage: str | None) -> Iterator[tuple[Mark, float]]:
    """The forecasts that were made at a stage, at any where it is None, with what the run came to."""
    for trial in trials:
        for at, mark in trial.marks.items():
            if mark.quantiles and stage in (None, at):
                yield mark, trial.final
