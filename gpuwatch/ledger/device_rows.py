"""Readings that alerts need beside the jobs themselves: devices one by one, agents, what accounts used by day.

They are the few columns that are needed, and no objects: there may be a hundred thousand devices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, bindparam, case, func, select

from gpuwatch.ledger import tables
from gpuwatch.ledger.sql import among

DeviceRow = tuple[
    str, str, str, str, str, int, float, float, float, float, float, float, float, float, float, float | None,
    float | None,
]  # fmt: skip
"""job id, node, epoch, uuid, model; started, last seen, share; seconds held, seconds with energy, joules measured,
seconds working, at rest (idle or spinning), cycles at work, seconds at work whose clock is known (0: never told);
when last seen working and at rest (None: never)."""


def device_rows(
    connection: Connection, cluster: str, job_ids: Sequence[str], since: float, until: float
) -> Iterator[DeviceRow]:
    """What jobs hold now, device by device, as far as agents told between the two times; in order of their keys.

    Energy that is a model's is no measurement.
    """
    there = tables.usage.c
    query = _devices().where(among(there.job_id, job_ids))
    rows: Any = connection.execute(query, {"its_cluster": cluster, "since": since, "until": until})
    return iter(rows)


@cache
def _devices() -> Any:
    there = tables.usage.c
    counter, integrated = there.energy_joules_counter, there.energy_joules_integrated
    known = (counter.is_not(None)) | (integrated.is_not(None))
    idle, spinning = there.last_idle, there.last_spinning
    return (
        select(
            there.job_id, there.node, there.epoch, there.uuid, there.model, there.started, there.last_seen,
            there.share, there.held_seconds,
            case((known, there.held_seconds - there.energy_unmeasured_seconds), else_=0.0),
            _known(counter) + _known(integrated),
            _known(there.state_seconds_working),
            _known(there.state_seconds_idle) + _known(there.state_seconds_spinning),
            _known(there.clock_cycles), _known(there.clock_seconds), there.last_working,
            case((idle >= spinning, idle), else_=func.coalesce(spinning, idle)),
        )
        .where(
            there.open, there.cluster == bindparam("its_cluster"),
            there.last_seen.between(bindparam("since"), bindparam("until")),
        )
        .order_by(there.job_id, there.started, there.cluster, there.node, there.epoch, there.uuid)
    )  # fmt: skip


def _known(column: Any) -> Any:
    return func.coalesce(column, 0.0)


def agents_heard(connection: Connection, cluster: str) -> dict[str, float]:
    """When the agent of each node last said anything, by its own clock."""
    there = tables.nodes.c
    query = select(there.node, there.seen).where(there.cluster == cluster)
    return {row.node: row.seen for row in connection.execute(query)}


AccountDay = tuple[str, int, str, float | None, float | None, float | None]
"""Account, day, currency; device-seconds charged, joules, money."""


def account_days(connection: Connection, cluster: str, first: int, last: int) -> list[AccountDay]:
    """What accounts came to on the days from `first` to `last`, by currency."""
    there = tables.daily.c
    sums = [func.sum(each) for each in (there.charged_seconds, there.energy_joules, there.cost)]
    query = select(there.account, there.day, there.currency, *sums).group_by(
        there.account, there.day, there.currency
    )
    its = query.where(there.cluster == cluster, there.day.between(first, last), there.account != "")
    return [(*row,) for row in connection.execute(its)]
