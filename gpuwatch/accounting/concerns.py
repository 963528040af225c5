"""Whose an alert is: the owner of the job, the account it is charged to, the partition it runs in."""

from __future__ import annotations

import pwd
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache

from gpuwatch.ledger.audience import owner_of
from gpuwatch.ledger.jobs import Campaign, Job
from gpuwatch.model import Concern


def concern_of(scope: Job | Campaign) -> Concern:
    """Of a campaign whoever and whatever has more than half of it: who joins one takes nothing from its owner.

    A job that no batch system knows is that of the user id its node saw, by the name that has on this machine.
    """
    if isinstance(scope, Job):
        return _of_job(scope)
    those = [(_of_job(job), job.device_seconds) for job in scope.jobs]
    most = {field: _most(those, field) for field in ("user", "account", "partition")}
    return Concern(**most, name=scope.scope.name)


def _most(those: Sequence[tuple[Concern, float]], field: str) -> str:
    """The value that has more than half of the device-seconds; of jobs that have none yet, of the jobs."""
    whole = sum(seconds for _, seconds in those)
    weights: dict[str, float] = defaultdict(float)
    for concern, seconds in those:
        weights[getattr(concern, field)] += seconds if whole > 0 else 1.0
    value, weight = max(weights.items(), key=lambda each: each[1])
    return value if weight > 0.5 * (whole if whole > 0 else len(those)) else ""


def _of_job(job: Job) -> Concern:
    owner = owner_of(job)
    user = owner.user or (_user_called(owner.uid) if owner.uid is not None else "")
    facts = job.record.facts if job.record is not None else None
    return Concern(user, owner.account or "", facts.partition if facts else "", job.name or "")


def forget_names() -> None:
    """Ask the machine again who is called what: somebody may be new."""
    _user_called.cache_clear()


@lru_cache(1024)
def _user_called(uid: int) -> str:
    """The name of a user id; empty where this machine knows none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return ""
