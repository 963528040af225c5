"""What was charged and declared for some job ids, for those who look back at what jobs came to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, and_, func, or_, select

from gpuwatch.ledger import scopes, tables
from gpuwatch.ledger.facts import journal_where
from gpuwatch.ledger.records import declared as declared_in
from gpuwatch.ledger.sql import among

EARLY = 0.1
"""A declaration counts as made before the run until so much of it is over."""

_AT_ONCE = 5000
_HOURS = "device-hours"
_NEVER = 1e18
_SKEW = 600.0

Sums = dict[tuple[str, str], list[Any]]
"""Rows of sums over charges, one for each attempt, by cluster and job id."""


def charged_of(connection: Connection, ids: Sequence[str]) -> Sums:
    """What each attempt of some job ids was charged and measured, over its days and models."""
    there = tables.charges.c
    found: Sums = defaultdict(list)
    key = (there.cluster, there.job_id, there.attempt)
    names = ("charged_seconds", "held_seconds", "covered_seconds", "energy_joules")
    sums = [func.sum(there[name]).label(name) for name in names]
    spans = [
        func.min(there.begins).label("begins"),
        func.max(there.ends).label("ends"),
        func.count().filter(~there.final).label("unfinished"),
    ]
    for some in portions(ids):
        query = select(*key, *sums, *spans).where(among(there.job_id, some), there.current).group_by(*key)
        for row in connection.execute(query):
            found[row.cluster, row.job_id].append(row)
    return found


Declared = dict[tuple[str, str], list[tuple[float, float]]]
"""When which device-seconds were declared, by cluster and job id."""


def declared_in_journal(connection: Connection, ids: Sequence[str]) -> Declared:
    """What was declared for some job ids at sockets and through the API."""
    found: Declared = defaultdict(list)
    there = tables.journal.c
    for some in portions(ids):
        by_scope = and_(there.scope_kind == "job", among(there.scope, some))
        for key, entry in journal_where(connection, or_(among(there.job_id, some), by_scope)):
            for each in scopes.estimates_of(entry):
                if each.quantity == _HOURS and each.scope.kind == "job":
                    found[key.cluster, each.scope.name].append((each.declared_at, each.likely))
    return found


def declared_in_comment(comment: str | None, admin_comment: str | None) -> float | None:
    """The device-seconds that a job's comments declare for it; None: none."""
    read = declared_in(comment or "", admin_comment or "")
    for amount in read.amounts if read is not None and read.scope is None else ():
        if amount.quantity == _HOURS:
            return amount.likely
    return None


def declared_of(connection: Connection, ids: Sequence[str]) -> Declared:
    """What was declared for some job ids: at sockets, through the API, in comments."""
    found = declared_in_journal(connection, ids)
    said = tables.records.c
    for some in portions(ids):
        wrote = or_(said.comment.contains("gpuwatch:"), said.admin_comment.contains("gpuwatch:"))
        query = select(said.cluster, said.job_id, said.submitted, said.comment, said.admin_comment)
        for row in connection.execute(query.where(among(said.job_id, some), wrote)):
            amount = declared_in_comment(row.comment, row.admin_comment)
            if amount is not None:
                found[row.cluster, row.job_id].append((float(row.submitted), amount))
    return found


def first_declared(
    declared: Iterable[tuple[float, float]], submitted: float | None, started: float, wall_seconds: float
) -> float | None:
    """Of what was declared the first, if it was early; what came before it was submitted is another job's.

    That one had the same id.
    """
    begin = -_NEVER if submitted is None else submitted - _SKEW
    first = min((each for each in declared if begin <= each[0] <= started + EARLY * wall_seconds), default=None)
    return first[1] if first else None


def portions(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """As many ids as a statement takes, and the next ones."""
    for first in range(0, len(ids), _AT_ONCE):
        yield ids[first : first + _AT_ONCE]
