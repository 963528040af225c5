"""What jobs held and when, out of the charges: by the batch system's word, else by what agents saw."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, select

from gpuwatch.ledger import tables
from gpuwatch.ledger.periods import Span
from gpuwatch.ledger.sql import among

_DAY = 86_400.0
_LATEST = 1e11
_AMOUNTS = ("held_seconds", "allocated_seconds", "energy_joules", "host_joules", "facility_joules", "carbon_grams")


def spans(
    connection: Connection,
    begins: float,
    ends: float,
    campaigns: Mapping[tuple[str, str], str | None] | None = None,
    edition: int | None = None,
    job_ids: Iterable[str] | None = None,
) -> Iterator[Span]:
    """What was held on the days of [begins, ends), a span for each job, day and model.

    `campaigns` says to which campaign a job (cluster, job id) belongs. A running job's span ends when it was last
    seen. `edition` asks for figures as they were before later restatements, `job_ids` for those jobs alone.
    """
    there = tables.charges.c
    within = [there.day >= math.floor(begins / _DAY) - 1] if begins > 0 else []
    within += [there.day <= math.floor(ends / _DAY) + 1] if ends < _LATEST else []
    within += [among(there.job_id, job_ids)] if job_ids is not None else []
    query = select(tables.charges).where(there.ends > begins, there.begins < ends, _of_edition(edition), *within)
    for row in connection.execution_options(yield_per=10_000).execute(query):
        yield _span(row, campaigns)


def _of_edition(edition: int | None) -> Any:
    there = tables.charges.c
    if edition is None:
        return there.current
    later = tables.charges.alias("later")
    same = [later.c[name] == there[name] for name in ("job_id", "cluster", "attempt", "day", "model")]
    following = select(later.c.edition).where(*same, later.c.edition > there.edition, later.c.edition <= edition)
    return (there.edition <= edition) & ~following.exists()


def _span(row: Any, campaigns: Mapping[tuple[str, str], str | None] | None) -> Span:
    job, seconds = (row.cluster, row.job_id), row.ends - row.begins
    mapping = row._mapping
    amounts = {name: mapping[name] for name in _AMOUNTS if mapping[name] is not None}
    if row.cost is not None:
        amounts[f"cost:{row.currency}"] = row.cost
    return Span(
        job, row.begins, row.ends, _rate(row.charged_seconds, seconds), _rate(row.cpu_seconds, seconds),
        row.user or None, row.account or None, row.partition or None,
        campaigns.get(job) if campaigns is not None else None, None, amounts,
    )  # fmt: skip


def _rate(amount: float | None, seconds: float) -> float | None:
    return None if amount is None else amount / seconds if seconds > 0 else 0.0
