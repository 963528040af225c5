"""What jobs had used minute by minute: fine while it is fresh, thinned as it grows old, bounded on the disk.

A point is a running total, so that dropping points loses detail and never an amount. By the day everything is kept
for ever in `charges`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, delete, exists, func, select

from gpuwatch.ledger import tables
from gpuwatch.ledger.jobs import Part
from gpuwatch.ledger.sql import Insert, among, greatest, run_many
from gpuwatch.model import STATES, Usage

FINE_DAYS, COARSE_DAYS = 2, 60
"""A point a minute is kept for so many days, and one in ten minutes."""


class Point(NamedTuple):
    """What a job id had used when it was seen: device-seconds held and working, joules (None: none measured)."""

    seen: float
    held_seconds: float
    working_seconds: float
    joules: float | None


BYTES_EACH = 200
"""What a point takes on the disk, about, with its index."""

_COARSE_MINUTES = 10
_DAY_MINUTES = 1440
_KEY = ("job_id", "cluster", "minute")
_SUMS = ("held_seconds", *(f"{state}_seconds" for state in STATES))
_AT_ONCE = 5000


def add_points(connection: Connection, jobs: Mapping[tuple[str, str], Iterable[Part]]) -> None:
    """Keep what the job ids have used now, by (cluster, job id), as the point of the minute they were seen in."""
    rows = [row for (cluster, job_id), parts in jobs.items() if (row := _row(cluster, job_id, parts)) is not None]
    run_many(connection, _upsert, rows)


def _row(cluster: str, job_id: str, parts: Iterable[Part]) -> tuple[object, ...] | None:
    lines = [line for part in parts for line in part.lines]
    if not lines:
        return None
    seen = max(line.last_seen for line in lines)
    usage = sum((line.usage for line in lines[1:]), lines[0].usage)
    return (job_id, cluster, int(seen // 60), seen, *_values(usage))


def _values(usage: Usage) -> tuple[float | None, ...]:
    return (
        usage.held_seconds,
        *(usage.state_seconds.get(state, 0.0) for state in STATES),
        usage.busy_seconds,
        sum(usage.throttled_seconds.values()),
        usage.energy_unmeasured_seconds,
        usage.joules if usage.energy_joules else None,
    )


def _upsert(insert: Insert) -> Any:
    new, there = insert(tables.history), tables.history.c
    grown = [name for name in there.keys() if name not in _KEY]  # noqa: SIM118
    return new.on_conflict_do_update(
        index_elements=list(tables.history.primary_key),
        set_={name: greatest(there[name], new.excluded[name]) for name in grown},
    )


def curves(connection: Connection, job_ids: Iterable[str]) -> dict[tuple[str, str], list[Point]]:
    """The history of job ids by (cluster, job id), the oldest point first."""
    wanted = sorted(set(job_ids))
    there = tables.history.c
    found: dict[tuple[str, str], list[Point]] = defaultdict(list)
    for first in range(0, len(wanted), _AT_ONCE):
        query = select(
            there.cluster, there.job_id, there.seen, there.held_seconds, there.working_seconds, there.energy_joules
        )
        chosen = among(there.job_id, wanted[first : first + _AT_ONCE])
        for row in connection.execute(query.where(chosen).order_by(there.job_id, there.minute)):
            found[row.cluster, row.job_id].append(Point(*row[2:]))
    return found


def together(curves: Sequence[Sequence[Point]]) -> list[Point]:
    """The history of a job out of those of its parts: of each the last point that was seen by then."""
    known = [each for each in curves if each]
    if len(known) <= 1:
        return list(known[0]) if known else []
    latest: dict[int, Point] = {}
    found: list[Point] = []
    for point, part in sorted((each, part) for part, those in enumerate(known) for each in those):
        latest[part] = point
        joules = [each.joules for each in latest.values() if each.joules is not None]
        found.append(
            Point(
                point.seen,
                sum(each.held_seconds for each in latest.values()),
                sum(each.working_seconds for each in latest.values()),
                sum(joules) if joules else None,
            )
        )
    return found


def thin(connection: Connection, cluster: str, now: float, limit_bytes: float = float("inf")) -> int:
    """Drop what is too old to be kept so fine, and the oldest of what is above the limit; how many points.

    Nothing is older than the latest point makes it: a clock that jumps ahead drops nothing.
    """
    there = tables.history.c
    minute = int(min(now, latest_seen(connection, cluster)) // 60)
    fine, coarse = minute - FINE_DAYS * _DAY_MINUTES, minute - COARSE_DAYS * _DAY_MINUTES
    dropped = connection.execute(
        delete(tables.history).where(there.cluster == cluster, there.minute < coarse)
    ).rowcount
    dropped += connection.execute(
        delete(tables.history).where(
            there.cluster == cluster,
            there.minute.between(coarse, fine - 1),
            there.minute % _COARSE_MINUTES != _COARSE_MINUTES - 1,
            _later_in_its_ten(),
        )
    ).rowcount
    return dropped + _drop_above(connection, limit_bytes)


def latest_seen(connection: Connection, cluster: str) -> float:
    """The minute of a cluster's latest point, Unix seconds by the clocks of its nodes; 0 where there is none."""
    there = tables.history.c
    latest = select(there.minute).where(there.cluster == cluster).order_by(there.minute.desc()).limit(1)
    return 60.0 * (connection.scalar(latest) or 0)


def _later_in_its_ten() -> Any:
    """Whether the same ten minutes have a later point of the job."""
    there, other = tables.history.c, tables.history.alias("other")
    following = there.minute - there.minute % _COARSE_MINUTES + _COARSE_MINUTES
    return exists().where(
        and_(
            other.c.job_id == there.job_id,
            other.c.cluster == there.cluster,
            other.c.minute > there.minute,
            other.c.minute < following,
        )
    )


def _drop_above(connection: Connection, limit_bytes: float) -> int:
    """Drop the oldest points until the rest fits, hour by hour."""
    there = tables.history.c
    if limit_bytes == float("inf") or _size(connection) <= limit_bytes:
        return 0
    number = connection.scalar(select(func.count()).select_from(tables.history)) or 0
    dropped = 0
    while (number - dropped) * BYTES_EACH > limit_bytes:
        oldest = connection.scalar(select(func.min(there.minute)))
        if oldest is None:
            break
        dropped += connection.execute(delete(tables.history).where(there.minute < oldest + 60)).rowcount
    return dropped


def _size(connection: Connection) -> int:
    """What the points take at most: to count fifty million takes seconds, and most ledgers are smaller."""
    if connection.dialect.name == "postgresql":
        return int(connection.scalar(select(func.pg_total_relation_size("history"))) or 0)
    pages, each = (connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("page_count", "page_size"))
    return int(pages or 0) * int(each or 0)
