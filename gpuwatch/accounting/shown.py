"""Which scopes accounting exports: the latest, so many and no more. Pure."""

from __future__ import annotations

from gpuwatch import hygiene
from gpuwatch.ledger.queries import Campaign, Current, Job
from gpuwatch.model import Scope

MAX_SCOPES = 1000
"""How many scopes are exported, the latest first; the rest is counted."""

FOREMOST = 100
"""How many scopes the landing page has."""


def labels_of(scope: Scope) -> tuple[str, str]:
    """A scope as two labels."""
    return hygiene.label(scope.kind), hygiene.label(scope.name)


def shown(current: Current) -> tuple[tuple[Job | Campaign, ...], int]:
    """The scopes that are exported, and how many are not."""
    latest = sorted(current.scopes, key=lambda each: (each.last_seen, each.scope), reverse=True)
    distinct: dict[tuple[str, str], Job | Campaign] = {}
    for each in latest:
        if len(distinct) == MAX_SCOPES:
            break
        distinct.setdefault(labels_of(each.scope), each)
    return tuple(distinct.values()), len(latest) - len(distinct)


def foremost(current: Current) -> tuple[Job | Campaign, ...]:
    """The scopes on the landing page: those that run first, the latest start first."""
    return tuple(sorted(current.scopes, key=lambda each: (each.state == "ended", -each.started))[:FOREMOST])


def jobs_in(scope: Job | Campaign) -> tuple[Job, ...]:
    """The jobs that a scope is."""
    return scope.jobs if isinstance(scope, Campaign) else (scope,)
