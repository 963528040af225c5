"""What ended jobs came to, for forecasts: the latest of many users at once, and what ended since it was read last.

A job is taken whole, with its requeues and parts, once all of it is over. Failed jobs are left out: they say what
failing takes. One that was ended by its limit or by somebody is `cut`: it would have come to more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from sys import intern
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, bindparam, func, or_, select

from gpuwatch.ledger import tables
from gpuwatch.ledger.past import COVERED, STOPPED, batch_of, chains_in, normalised, numbered
from gpuwatch.ledger.past_amounts import (
    Declared,
    charged_of,
    declared_in_comment,
    declared_in_journal,
    first_declared,
    portions,
)
from gpuwatch.ledger.sql import among

OF_USER, OF_CLUSTER = 200, 2000
"""So many of the latest are kept of each user, and of a cluster."""

TELLING = ("COMPLETED", "TIMEOUT", "DEADLINE", "CANCELLED")
"""States of a job in which it came to something, or to so much and more."""

COLUMNS = (
    "job_id", "submitted", "whole", "display", "name", "user", "account", "state", "started", "ended", "devices",
    "live_devices", "comment", "admin_comment",
)  # fmt: skip
"""What is read of a record."""

Known = Callable[[str, int], bool]
"""Whether a job is known, by its id and when it was submitted."""

_CUT = frozenset({"TIMEOUT", "DEADLINE", "CANCELLED"})
_USERS_AT_ONCE = 50
_MOST_TIMES = 8


class EndedJob(NamedTuple):
    """What a job came to. They sort by when they ended, then by id: no two are equal.

    Amounts are device-seconds and joules; `wall` is in seconds, from the first start to the end. `begun`, when it
    was submitted, tells jobs apart that had the same id. `name` has `#` for numbers, `batch` is what was submitted
    together. `declared` was declared early in its run, `joules` are known where nearly all was measured.
    """

    ended: float
    job_id: str
    begun: float
    user: str
    account: str
    name: str
    batch: str
    declared: float | None
    final: float
    cut: bool
    joules: float | None
    wall: float


def latest_of_users(
    connection: Connection, cluster: str, users: Collection[str], until: float, most: int = OF_USER
) -> dict[str, list[EndedJob]]:
    """The jobs of each user that ended last, not after `until`, what ended first comes first.

    Users are `uid:N` where no batch system names one.
    """
    found: dict[str, list[EndedJob]] = {}
    numbers = {user: uid for user in users if (uid := numbered(user)) is not None}
    for user, uid in numbers.items():
        found[user] = _runs(connection, cluster, _of_uid(), {"uid": uid, "until": until, "most": most})
    named = sorted(set(users) - numbers.keys())
    for first in range(0, len(named), _USERS_AT_ONCE):
        found |= _of_users(connection, cluster, named[first : first + _USERS_AT_ONCE], until, most)
    return {user: sorted(jobs)[-most:] for user, jobs in found.items()}


def latest_of_cluster(
    connection: Connection, cluster: str, until: float, most: int = OF_CLUSTER
) -> list[EndedJob]:
    """The jobs of a cluster that ended last, not after `until`; what ended first comes first."""
    values = {"after": 0.0, "until": until}

    def read(limit: int) -> Sequence[Any]:
        return _rows(connection, cluster, _of_cluster(), {**values, "most": limit})

    jobs = _enough(connection, cluster, read, until, most, most)
    jobs += _runs(connection, cluster, _of_all(), {**values, "most": most})
    return sorted(jobs)[-most:]


def ended_between(
    connection: Connection, cluster: str, after: float, until: float, most: int, known: Known = lambda *_: False
) -> list[EndedJob] | None:
    """The jobs that ended after one time and not after another, but for those that are known.

    None where they are more than `most`: then it is better to read the latest.
    """
    values = {"after": after, "until": until, "most": most + 1}
    rows = _rows(connection, cluster, _of_cluster(), values)
    runs = _runs(connection, cluster, _of_all(), values)
    if len(rows) > most or len(runs) > most:
        return None
    new = [row for row in rows if not known(row.job_id, row.submitted)]
    return sorted(jobs_of_rows(connection, cluster, new, until) + runs)


def _of_users(
    connection: Connection, cluster: str, users: Sequence[str], until: float, most: int
) -> dict[str, list[EndedJob]]:
    """The same of a few users, whose rows are read one after the other and made into jobs together."""

    def reader(user: str) -> Callable[[int], Sequence[Any]]:
        values = {"user": user, "until": until}
        return lambda limit: _rows(connection, cluster, _of_user(), {**values, "most": limit})

    rows = {user: reader(user)(most) for user in users}
    together = [row for some in rows.values() for row in some]
    found: dict[str, list[EndedJob]] = {user: [] for user in users}
    for job in jobs_of_rows(connection, cluster, together, until):
        found[job.user].append(job)
    for user in users:
        if len(found[user]) < most <= len(rows[user]):
            found[user] = _enough(connection, cluster, reader(user), until, most, 2 * most)
    return found


def _enough(
    connection: Connection,
    cluster: str,
    read: Callable[[int], Sequence[Any]],
    until: float,
    most: int,
    limit: int,
) -> list[EndedJob]:
    """So many jobs where there are so many: those of many parts have many rows."""
    while True:
        rows = read(limit)
        jobs = jobs_of_rows(connection, cluster, rows, until)
        if len(jobs) >= most or len(rows) < limit or limit >= _MOST_TIMES * most:
            return jobs
        limit *= 2


def jobs_of_rows(connection: Connection, cluster: str, rows: Sequence[Any], until: float) -> list[EndedJob]:
    """The jobs that some rows are of, as far as they were over by then and tell something."""
    alone, several = chains_of(connection, cluster, rows, COLUMNS)
    chains: list[Sequence[Any]] = [(row,) for row in alone]
    chains += [chain for chain in several if is_over(chain, until) and chain[-1].state in TELLING]
    ids = sorted({row[0] for chain in chains for row in chain})
    declared = declared_in_journal(connection, ids)
    energy = _energy(connection, cluster, ids)
    return [_job(cluster, chain, declared, energy) for chain in chains]


def chains_of(
    connection: Connection, cluster: str, rows: Sequence[Any], columns: Sequence[str]
) -> tuple[list[Any], list[list[Any]]]:
    """The rows that are all there is of a job, and those of each other job, what began last at the end."""
    shared = _of_several(connection, cluster, sorted({row.whole for row in rows}))
    alone = [row for row in rows if row.whole not in shared] if shared else list(rows)
    read = {(row.job_id, row.submitted) for row in rows if row.whole in shared}
    parts: dict[str, list[Any]] = defaultdict(list)
    for row in _parts(connection, cluster, sorted(shared), columns):
        parts[row.whole].append(row)
    several = [sorted(chain, key=_began) for some in parts.values() for chain in chains_in(some)]
    return alone, [chain for chain in several if any((row.job_id, row.submitted) in read for row in chain)]


def _began(row: Any) -> tuple[float, int]:
    return row.started, row.submitted


def is_over(chain: Sequence[Any], until: float) -> bool:
    """Whether all of a job had ended by then, as far as is known."""
    return all(row.ended is not None and row.ended <= until for row in chain)


def _of_several(connection: Connection, cluster: str, wholes: Sequence[str]) -> set[str]:
    """Which of some jobs have several records."""
    said = tables.records.c
    found: set[str] = set()
    for some in portions(wholes):
        query = select(said.whole).where(among(said.whole, some), said.cluster == cluster)
        found.update(connection.scalars(query.group_by(said.whole).having(func.count() > 1)))
    return found


def _parts(connection: Connection, cluster: str, wholes: Sequence[str], columns: Sequence[str]) -> Iterator[Any]:
    said = tables.records.c
    for some in portions(wholes):
        condition = (among(said.whole, some), said.cluster == cluster, said.started.is_not(None), held())
        yield from connection.execute(select(*(said[name] for name in columns)).where(*condition))


def held() -> Any:
    """The condition that a record had devices."""
    said = tables.records.c
    return or_(said.devices > 0, said.live_devices > 0)


def _rows(connection: Connection, cluster: str, query: Select[Any], values: Mapping[str, object]) -> Sequence[Any]:
    return connection.execute(query, {"cluster": cluster, **values}).all()


@cache
def _of_user() -> Select[Any]:
    said = tables.records.c
    return _latest_first().where(said.user == bindparam("user"))


@cache
def _of_cluster() -> Select[Any]:
    return _latest_first().where(tables.records.c.ended > bindparam("after"))


def _latest_first() -> Select[Any]:
    said = tables.records.c
    query = select(*(said[name] for name in COLUMNS)).where(
        said.cluster == bindparam("cluster"), said.ended <= bindparam("until"), said.ended > said.started,
        said.state.in_(TELLING), held(),
    )  # fmt: skip
    return query.order_by(said.ended.desc(), said.job_id.desc()).limit(bindparam("most"))


_Energy = dict[str, list[tuple[int, float, float]]]


def _energy(connection: Connection, cluster: str, ids: Sequence[str]) -> _Energy:
    """The attempts of some job ids that were measured: when they began, joules, device-seconds with a measure."""
    there = tables.charges.c
    found: _Energy = defaultdict(list)
    for some in portions(ids):
        query = select(
            there.job_id, there.attempt, func.sum(there.energy_joules), func.sum(there.covered_seconds)
        ).where(among(there.job_id, some), there.cluster == cluster, there.current, there.energy_joules > 0)
        for job_id, attempt, joules, covered in connection.execute(
            query.group_by(there.job_id, there.attempt)
        ).all():
            found[job_id].append((attempt, joules, covered or 0.0))
    return found


def _job(cluster: str, chain: Sequence[Any], declared: Declared, energy: _Energy) -> EndedJob:
    """A job of one record, as nearly all are, or of several, the last of which began last."""
    said: list[tuple[float, float]] = []
    ids: set[str] = set()
    first, seconds, until = chain[0], 0.0, 0.0
    begun, since = first[1], first[8]
    for row in chain:
        # By its place, as a hundred thousand rows are read at once.
        job_id, submitted, _, display, name, user, account, state, began, ended, devices, live, *words = row
        since, until = min(since, began), max(until, ended)
        seconds += (live if devices is None else devices) * max(0.0, ended - began)
        if (words[0] or words[1]) and (amount := declared_in_comment(*words)) is not None:
            said.append((float(submitted), amount))
        ids.add(job_id)
    said += declared.get((cluster, job_id), ())
    return EndedJob(
        until, job_id, float(begun), intern(user), intern(account), intern(normalised(name)),
        batch_of(display, user, submitted), first_declared(said, begun, since, until - since) if said else None,
        seconds, state in _CUT, _joules(energy, ids, since, until, seconds), until - since,
    )  # fmt: skip


def _joules(energy: _Energy, ids: Iterable[str], began: float, ended: float, seconds: float) -> float | None:
    """The joules of a job that was measured for nearly all of its device-seconds."""
    joules = covered = 0.0
    for job_id in ids:
        for attempt, amount, measured in energy.get(job_id, ()):
            if began - 1 <= attempt <= ended + 1:
                joules, covered = joules + amount, covered + measured
    return joules if joules > 0 and covered >= COVERED * seconds else None


def _runs(
    connection: Connection, cluster: str, query: Select[Any], values: Mapping[str, object]
) -> list[EndedJob]:
    """Jobs of `gpuwatch run` that ended and did not fail, as far as they are charged."""
    rows = _rows(connection, cluster, query, values)
    ids = sorted({row.job_id for row in rows})
    charged, declared = charged_of(connection, ids), declared_in_journal(connection, ids)
    found = []
    for row in rows:
        spans = charged.get((cluster, row.job_id), ())
        seconds = sum(each.charged_seconds or 0.0 for each in spans)
        if seconds > 0:
            found.append(_run(row, spans, seconds, declared.get((cluster, row.job_id), ())))
    return found


def _run(row: Any, spans: Sequence[Any], seconds: float, declared: Sequence[tuple[float, float]]) -> EndedJob:
    begins, until = min(each.begins for each in spans), max(each.ends for each in spans)
    joules = sum(each.energy_joules or 0.0 for each in spans)
    covered = sum(each.covered_seconds or 0.0 for each in spans)
    user = f"uid:{row.uid}" if row.uid is not None else ""
    return EndedJob(
        row.ended, row.job_id, row.begun, intern(user), "", intern(normalised(row.name or "")),
        batch_of("", user, int(row.begun)), first_declared(declared, None, begins, until - begins), seconds,
        row.exit_code != 0, joules if joules > 0 and covered >= COVERED * seconds else None, until - begins,
    )  # fmt: skip


OVER, BEGUN = tables.runs.alias("over"), tables.runs.alias("begun")
"""The end of a run, and its begin."""


def run_ends() -> Select[Any]:
    """The ends of runs, those that were last first: `cluster`, `until` and `most` are to be given."""
    over, begun = OVER.c, BEGUN.c
    query = select(
        over.job_id, over.time.label("ended"), over.exit_code, begun.time.label("begun"), begun.name, begun.uid
    ).where(
        over.job_id == begun.job_id, over.cluster == begun.cluster, over.node == begun.node,
        over.kind == "run_ended", begun.kind == "run_started", over.cluster == bindparam("cluster"),
        over.time <= bindparam("until"),
    )  # fmt: skip
    return query.order_by(over.time.desc(), over.job_id.desc()).limit(bindparam("most"))


@cache
def _of_uid() -> Select[Any]:
    return _telling(run_ends()).where(BEGUN.c.uid == bindparam("uid"))


@cache
def _of_all() -> Select[Any]:
    return _telling(run_ends()).where(OVER.c.time > bindparam("after"))


def _telling(query: Select[Any]) -> Select[Any]:
    code = OVER.c.exit_code
    return query.where(or_(code.is_(None), code.in_([0, *sorted(STOPPED)])))
