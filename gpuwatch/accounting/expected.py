"""What jobs may come to that run and declare nothing, by what the ledger has of their like."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable

from sqlalchemy import Connection

from gpuwatch.estimates.expectations import OF_CLUSTER, OF_USER, Experience, Run, speaks_for_himself
from gpuwatch.ledger import past
from gpuwatch.ledger.jobs import Job
from gpuwatch.ledger.records import devices_of
from gpuwatch.model import Expectation

_HOURS = "device-hours"


def expectations_of(connection: Connection, jobs: Iterable[Job], now: float) -> dict[tuple[str, str], Expectation]:
    """What to expect of each, by cluster and name of the job: none of one that ended or declares device-hours."""
    wanted: dict[str, list[tuple[str, Run]]] = defaultdict(list)
    for job in jobs:
        run = run_of(job)
        if run is not None:
            wanted[job.cluster].append((job.scope.name, run))
    found: dict[tuple[str, str], Expectation] = {}
    for cluster, runs in wanted.items():
        experience = experience_of(connection, cluster, {run.user for _, run in runs}, now)
        for name, run in runs:
            expectation = experience.expectation(run)
            if expectation is not None:
                found[cluster, name] = expectation
    return found


def experience_of(connection: Connection, cluster: str, users: Collection[str], now: float) -> Experience:
    """What came before `now`: of each user the latest, and the latest of all where one has few."""
    by_user = {user: past.ended_of_user(connection, cluster, user, now, OF_USER) for user in sorted(users)}
    if all(map(speaks_for_himself, by_user.values())):
        return Experience(by_user, ())
    return Experience(by_user, past.ended_of_cluster(connection, cluster, now, OF_CLUSTER))


def run_of(job: Job) -> Run | None:
    """The job as it is expected; None for one that ended, declares device-hours, or is nobody's."""
    facts = job.record.facts if job.record is not None else None
    user = (facts.user if facts else "") or (f"uid:{job.uid}" if job.uid is not None else "")
    if job.state == "ended" or not user or _HOURS in job.estimates:
        return None
    devices = devices_of(job.record) if job.record is not None else None
    limit = facts.limit_seconds if facts else None
    ends = None if devices is None or limit is None else devices * limit
    before = sum(run.device_seconds for run in job.runs[:-1])
    account = facts.account if facts else ""
    return Run(
        job.scope, user, account, job.name or "", job.device_seconds, None if ends is None else ends + before
    )
