"""Jobs that wait in the queue and have not begun: what is to come of a campaign beside what runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

from sqlalchemy import ColumnElement, Connection, func, select

from gpuwatch.ledger import tables
from gpuwatch.ledger.jobs import LOST_SECONDS
from gpuwatch.ledger.sql import among
from gpuwatch.schedulers.base import WAITING, Facts

MOST = 1000
"""So many of a cluster's are looked at, in the order of their ids."""


def waiting_for(
    connection: Connection, cluster: str, campaigns: Collection[str], now: float
) -> dict[str, list[Facts]]:
    """What the batch system says of jobs that wait, by the campaign that they say they belong to.

    Where there are more than `MOST` the others are counted by `tasks_waiting`.
    """
    if not campaigns:
        return {}
    said = tables.records.c
    query = select(
        said.campaign,
        said.seen,
        said.state,
        said.devices,
        said.live_devices,
        said.name,
        said.user,
        said.account,
        said.limit_seconds,
        said.tasks,
    ).where(*_waits(cluster, campaigns, now))
    found: dict[str, list[Facts]] = defaultdict(list)
    for row in connection.execute(query.order_by(said.job_id, said.submitted).limit(MOST)):
        devices = row.live_devices if row.devices is None else row.devices
        found[row.campaign].append(
            Facts(
                row.seen, row.state, devices=devices, name=row.name, user=row.user, account=row.account,
                limit_seconds=row.limit_seconds, tasks=row.tasks,
            )
        )  # fmt: skip
    return dict(found)


def tasks_waiting(connection: Connection, cluster: str, campaigns: Collection[str], now: float) -> dict[str, int]:
    """How many tasks wait for each campaign, all of them."""
    said = tables.records.c
    query = select(said.campaign, func.sum(said.tasks)).where(*_waits(cluster, campaigns, now))
    return {name: int(tasks) for name, tasks in connection.execute(query.group_by(said.campaign))}


def _waits(cluster: str, campaigns: Collection[str], now: float) -> tuple[ColumnElement[bool], ...]:
    said = tables.records.c
    return (
        among(said.campaign, sorted(campaigns)), said.cluster == cluster, said.started.is_(None),
        said.ended.is_(None), said.state.in_(sorted(WAITING)), said.seen >= now - LOST_SECONDS,
        func.coalesce(said.devices, said.live_devices, 1.0) > 0.0,
    )  # fmt: skip
