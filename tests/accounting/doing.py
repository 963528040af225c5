"""Running jobs by what they do now, for the tests of the alerts on that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from gpuwatch.accounting.alert_policy import Thresholds
from gpuwatch.accounting.conditions import conditions
from gpuwatch.accounting.watched import Snapshot, Watched, run_key, snapshot_of
from gpuwatch.ledger.jobs import Job
from gpuwatch.ledger.scopes import AlertKey
from gpuwatch.model import Alert, BurnUp, BurnUpPoint, Progress, Usage
from tests.ledger import batch
from tests.ledger.batch import T0
from tests.ledger.made import job, line, run

MINUTE, HOUR = 60.0, 3600.0
AGE = 6 * HOUR
NOW = T0 + AGE
THRESHOLDS = Thresholds()


def usage(
    devices: float = 8.0,
    age: float = AGE,
    worked_ago: float | None = 0.0,
    idle_ago: float | None = 0.0,
    spun_ago: float | None = None,
    spinning: float = 0.0,
    **changed: Any,
) -> Usage:
    """Devices held for so long, that worked, idled and spun last so long ago; at rest since they last worked."""
    at = T0 + age
    rest = devices * (age if worked_ago is None else worked_ago)
    states = {"working": devices * age - rest, "spinning": spinning, "idle": rest - spinning}
    times = {"working": worked_ago, "idle": idle_ago, "spinning": spun_ago}
    last = {state: at - ago for state, ago in times.items() if ago is not None}
    values: dict[str, Any] = {
        "held_seconds": devices * age,
        "state_seconds": {name: value for name, value in states.items() if value > 0},
        "energy_joules": {"counter": 300.0 * devices * age}, "last_in_state": last,
        "first_working": None if worked_ago is None else T0 + 30.0, **changed,
    }  # fmt: skip
    return Usage(**values)


def doing(
    devices: int = 8, name: str = "7", nodes: int = 1, age: float = AGE, seen_ago: float = 0.0, **changed: Any
) -> Job:
    """A job on some nodes of so many devices each; what is not of its usage is of the job."""
    of_job = {key: changed.pop(key) for key in _OF_JOB if key in changed}
    share = changed.pop("share", float(devices))
    lines = [
        line(
            usage(share, age, **changed), "", node=f"gw{node}", devices=devices, share=share,
            last_seen=T0 + age - seen_ago,
        )
        for node in range(nodes)
    ]  # fmt: skip
    return of_lines(*lines, name=name, age=age, **of_job)


_OF_JOB = ("state", "record", "progress", "job_id", "parts", "scope", "tags")


def of_lines(*lines: Any, name: str = "7", age: float = AGE, **of_job: Any) -> Job:
    """A job of these lines."""
    return job(run(lines, last_seen=T0 + age), name=name, **of_job)


def allocated(devices: float = 8.0, nodes: tuple[str, ...] = ("gw0",), **changed: Any) -> Any:
    """What the batch system says of it now."""
    values = {"devices": devices, "nodes": nodes, "seen": NOW, **changed}
    return batch.running("7", **values)


def watched(*jobs: Job, **changed: Any) -> Watched:
    """They, and nothing else."""
    return Watched(jobs=jobs, **changed)


def earlier(each: Job, seconds: float, **spent: Any) -> Snapshot:
    """What the job had used so long ago, less than now by what is said."""
    now = snapshot_of(each.runs[-1])
    assert now is not None
    share = sum(one.share for one in each.runs[-1].lines)
    held = spent.pop("held", seconds * share)
    less = {name: getattr(now, name) - value for name, value in spent.items()}
    return now._replace(seen=now.seen - seconds, held=now.held - held, **less)


def snapshots(each: Job, *those: Snapshot) -> Mapping[Any, tuple[Snapshot, ...]]:
    """Snapshots of one job."""
    key = run_key(each)
    assert key is not None
    return {key: those}


def stepping(each: Job, *steps: tuple[float, float], total: float = 1000.0) -> Mapping[Any, BurnUp]:
    """The burn-up of a job that was at these steps so many seconds before now."""
    points = tuple(BurnUpPoint(NOW - ago, 8.0 * (AGE - ago), None, step, total) for ago, step in steps)
    return {(each.job_id, each.started): BurnUp(float(each.started), points)}


def reported(step: float, ago: float, total: float = 1000.0) -> Progress:
    """A report made so long ago."""
    return Progress(step, total, 0.0, NOW - ago)


def told(
    *jobs: Job,
    now: float = NOW,
    standing: Iterable[Alert] = (),
    floor_hours: float = 1.0,
    thresholds: Thresholds = THRESHOLDS,
    **changed: Any,
) -> dict[AlertKey, Alert]:
    """What holds of these jobs."""
    before = {AlertKey(each.kind, each.scope, each.quantity): each for each in standing}
    return conditions(watched(*jobs, **changed), before, thresholds, floor_hours, now)


def kinds(*jobs: Job, **changed: Any) -> list[str]:
    """The kinds of what holds of these jobs."""
    return [each.kind for each in told(*jobs, **changed)]


def only(*jobs: Job, **changed: Any) -> Alert:
    """The only one that holds."""
    (found,) = told(*jobs, **changed).values()
    return found


def thresholds(**changed: Any) -> Thresholds:
    """Others than by default."""
    return THRESHOLDS.model_copy(update=changed)


def since(alert: Alert, ago: float) -> Alert:
    """The same alert, raised so long ago."""
    return replace(alert, since=NOW - ago)
