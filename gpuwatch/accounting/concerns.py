"""Whose an alert is: the owner of the job, the account it is charged to, the partition it runs in."""

from __future__ import annotations

import pwd
from functools import lru_cache

from gpuwatch.ledger.audience import owner_of
from gpuwatch.ledger.jobs import Campaign, Job
from gpuwatch.model import Concern


def concern_of(scope: Job | Campaign) -> Concern:
    """Of a campaign what is the same for all its jobs: one of several people is nobody's alone.

    A job that no batch system knows is that of the user id its node saw, by the name that has on this machine.
    """
    if isinstance(scope, Job):
        return _of_job(scope)
    those = [_of_job(job) for job in scope.jobs]
    alike = {
        field: found.pop() if len(found := {getattr(each, field) for each in those}) == 1 else ""
        for field in ("user", "account", "partition")
    }
    return Concern(**alike, name=scope.scope.name)


def _of_job(job: Job) -> Concern:
    owner = owner_of(job)
    user = owner.user or (_user_called(owner.uid) if owner.uid is not None else "")
    facts = job.record.facts if job.record is not None else None
    return Concern(user, owner.account or "", facts.partition if facts else "", job.name or "")


@lru_cache(1024)
def _user_called(uid: int) -> str:
    """The name of a user id; empty where this machine knows none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return ""
