"""What a replay of the ledger's history needs: every job that ended, in the order in which they ended.

A job is taken whole, with its requeues and parts. Failed and cancelled ones are among them, as a replay judges
what was forecast of each.
"""

from __future__ import annotations

import heapq
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, bindparam, or_, select

from gpuwatch.ledger import forecast_tables, tables
from gpuwatch.ledger.outcomes import COLUMNS, OVER, chains_of, held, is_over, run_ends
from gpuwatch.ledger.past import STOPPED, came_to
from gpuwatch.ledger.past_amounts import (
    Declared,
    charged_of,
    declared_in_comment,
    declared_in_journal,
    first_declared,
    portions,
)
from gpuwatch.ledger.sql import among

Points = Callable[[str, float], Iterable[Sequence[float | None]]]
"""Makes of a stored burn-up and when it began its points: time, device-seconds, joules, step and total."""

PORTION = 5000
"""So many records are read at once."""

_SKEW = 600.0
_SAID = (*COLUMNS, "nodes", "limit_seconds")
_Progress = Mapping[str, Sequence[tuple[float, float]]]


class EndedRun(NamedTuple):
    """A job that ended. Times are Unix seconds, `declared` device-seconds, declared early in its run.

    Of several attempts or parts `devices` is the mean number from the first start to the end, so that it came to
    `devices` times that. `state` is the batch system's word, None where nobody heard how it ended. `progress` has
    times, and what fraction of its steps it had made.
    """

    job_id: str
    user: str
    account: str
    name: str
    submitted: float
    started: float
    ended: float
    devices: float
    nodes: float | None
    limit_seconds: float | None
    declared: float | None
    state: str | None
    progress: tuple[tuple[float, float], ...]


def ended_runs(
    connection: Connection,
    cluster: str,
    since: float,
    until: float,
    most: int,
    points: Points,
    portion: int = PORTION,
) -> Iterator[EndedRun]:
    """The jobs that ended from `since` on and not after `until`, what ended first comes first.

    Where there are more than `most`, those that ended last. The connection is used until the last one is taken.
    """
    since = max(since, _since(connection, cluster, until, most))
    asked = _Asked(
        connection, cluster, {"since": since, "cluster": cluster, "until": until, "most": portion}, points
    )
    yield from heapq.merge(_jobs(asked), _runs(asked), key=lambda run: (run.ended, run.job_id))


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked for, and where; `values` are those of each query."""

    connection: Connection
    cluster: str
    values: Mapping[str, Any]
    points: Points

    def rows(self, query: Select[Any], place: Mapping[str, object]) -> Sequence[Any]:
        """The next rows after a place."""
        return self.connection.execute(query, {**self.values, **place}).all()

    def progress(self, ids: Sequence[str]) -> _Progress:
        """How far some job ids were by when, as far as they said so."""
        there = forecast_tables.burnups.c
        found: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for some in portions(ids):
            query = select(there.job_id, there.started, there.points).where(among(there.job_id, some))
            for job_id, started, text in self.connection.execute(query.where(there.cluster == self.cluster)):
                for time, _, _, step, total in self.points(text, started):
                    if time is not None and step is not None and total:
                        found[job_id].append((time, step / total))
        return found


def _since(connection: Connection, cluster: str, until: float, most: int) -> float:
    """When the last but so many ended; 0 where there are not so many."""
    said = tables.records.c
    ends = select(said.ended).where(
        said.cluster == cluster, said.ended <= until, said.ended > said.started, held()
    )
    return connection.scalar(ends.order_by(said.ended.desc()).offset(max(0, most - 1)).limit(1)) or 0.0


def _jobs(asked: _Asked) -> Iterator[EndedRun]:
    place: dict[str, object] = {"ended": asked.values["since"], "job_id": "", "submitted": -1}
    while rows := asked.rows(_page(), place):
        yield from _of_page(asked, rows)
        place = {name: getattr(rows[-1], name) for name in place}


@cache
def _page() -> Select[Any]:
    """Records that ended after a place in their order."""
    said = tables.records.c
    ended: Any = bindparam("ended")
    job_id: Any = bindparam("job_id")
    submitted: Any = bindparam("submitted")
    query = select(*(said[name] for name in _SAID)).where(
        said.cluster == bindparam("cluster"), said.ended >= ended, said.ended <= bindparam("until"),
        said.ended > said.started, held(),
        or_(said.ended > ended, said.job_id > job_id, (said.job_id == job_id) & (said.submitted > submitted)),
    )  # fmt: skip
    return query.order_by(said.ended, said.job_id, said.submitted).limit(bindparam("most"))


def _of_page(asked: _Asked, rows: Sequence[Any]) -> Iterator[EndedRun]:
    """The jobs that ended within it; one of several records ended with the last of them."""
    there = {_place(row) for row in rows}
    alone, several = chains_of(asked.connection, asked.cluster, rows, _SAID)
    chains: list[Sequence[Any]] = [(row,) for row in alone]
    chains += [
        each for each in several if is_over(each, asked.values["until"]) and max(map(_place, each)) in there
    ]
    chains.sort(key=lambda chain: max(map(_place, chain)))
    ids = sorted({row.job_id for chain in chains for row in chain})
    declared, progress = declared_in_journal(asked.connection, ids), asked.progress(ids)
    for chain in chains:
        yield _run_of(asked.cluster, chain, declared, progress)


def _place(row: Any) -> tuple[bool, float, str, int]:
    """Its place in the order of what is read; attempts of no time are not."""
    return row.ended > row.started, row.ended, row.job_id, row.submitted


def _run_of(cluster: str, chain: Sequence[Any], declared: Declared, progress: _Progress) -> EndedRun:
    last, submitted = chain[-1], float(chain[0].submitted)
    began, ended = min(row.started for row in chain), max(row.ended for row in chain)
    said = [*declared.get((cluster, last.job_id), ())]
    for row in chain:
        wrote = declared_in_comment(row.comment, row.admin_comment)
        said += [(float(row.submitted), wrote)] if wrote is not None else []
    seconds = sum(came_to(row)[2] for row in chain)
    return EndedRun(
        last.job_id, last.user, last.account, last.name, submitted, began, ended, seconds / (ended - began),
        float(len(json.loads(last.nodes))) or None, last.limit_seconds,
        first_declared(said, submitted, began, ended - began), last.state,
        _within({row.job_id for row in chain}, progress, began, ended),
    )  # fmt: skip


def _within(
    ids: Iterable[str], progress: _Progress, began: float, ended: float
) -> tuple[tuple[float, float], ...]:
    """What was said in the time of a job, as its number may be another's too; nodes' clocks differ a little."""
    told = (each for job_id in sorted(ids) for each in progress.get(job_id, ()))
    mine = (each for each in told if began - _SKEW <= each[0] <= ended + _SKEW)
    return tuple(sorted((min(max(began, time), ended), fraction) for time, fraction in mine))


def _runs(asked: _Asked) -> Iterator[EndedRun]:
    """Jobs of `gpuwatch run`, which nobody submitted."""
    place: dict[str, object] = {"ended": asked.values["since"], "job_id": ""}
    while rows := asked.rows(_runs_page(), place):
        ids = sorted({row.job_id for row in rows})
        charged, declared = charged_of(asked.connection, ids), declared_in_journal(asked.connection, ids)
        progress = asked.progress(ids)
        for row in rows:
            key = (asked.cluster, row.job_id)
            yield from _run(row, charged.get(key, ()), declared.get(key, ()), progress)
        place = {name: getattr(rows[-1], name) for name in place}


@cache
def _runs_page() -> Select[Any]:
    over = OVER.c
    after = or_(over.time > bindparam("ended"), over.job_id > bindparam("job_id"))
    query = run_ends().where(over.time >= bindparam("ended"), after)
    return query.order_by(None).order_by(over.time, over.job_id)


def _run(
    row: Any, spans: Sequence[Any], declared: Sequence[tuple[float, float]], progress: _Progress
) -> Iterator[EndedRun]:
    """One that is charged; it ended when its process did, and what it held may have been seen a moment later."""
    seconds = sum(each.charged_seconds or 0.0 for each in spans)
    began = min((each.begins for each in spans), default=row.ended)
    if seconds > 0 and row.ended > began:
        yield EndedRun(
            row.job_id, f"uid:{row.uid}" if row.uid is not None else "", "", row.name or "", row.begun, began,
            row.ended, seconds / (row.ended - began), None, None,
            first_declared(declared, None, began, row.ended - began), _state(row.exit_code),
            _within([row.job_id], progress, began, row.ended),
        )  # fmt: skip


def _state(exit_code: int | None) -> str | None:
    if exit_code is None:
        return None
    return "COMPLETED" if exit_code == 0 else "CANCELLED" if exit_code in STOPPED else "FAILED"
