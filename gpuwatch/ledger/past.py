"""What jobs came to, for those who look back: one row for each, out of records and charges, not of whole jobs.

A requeue continues a job, and parts of a job are one; an id that is used again is another job.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, true

from gpuwatch.ledger import campaign_store, queries, scopes, tables
from gpuwatch.ledger.audience import Audience
from gpuwatch.ledger.facts import journal_where
from gpuwatch.ledger.records import declared as declared_in
from gpuwatch.ledger.sql import among
from gpuwatch.schedulers.base import REQUEUES, RUNNING

Ending = Literal["completed", "timed out", "running", "unknown", "failed", "cancelled"]
"""How a job ended; `unknown` is a run of which nobody heard how."""

MOST = 5000
"""So many jobs are looked at, the latest."""

EARLY = 0.1
"""A declaration counts as made before the run until so much of it is over."""

COVERED = 0.95
"""The energy of a job counts where so much of its time was measured."""

_AT_ONCE = 5000
_HOURS = "device-hours"
_UID = "uid:"
_ENDINGS: dict[str, Ending] = {
    "COMPLETED": "completed", "TIMEOUT": "timed out", "DEADLINE": "timed out", "CANCELLED": "cancelled",
}  # fmt: skip
_TELLING = ("COMPLETED", "TIMEOUT", "DEADLINE", *sorted(REQUEUES))
_NEVER = 1e18
_SKEW = 600.0
_STOPPED = {128 + 2, 128 + 15}
_DIGITS = re.compile(r"\d+")
_WILD = re.compile(r"[*?\[\d]")


@dataclass(frozen=True, slots=True)
class PastJob:
    """What a job came to, as far as it is known; `device_seconds` are allocated, held where nobody allocates.

    Times are Unix seconds, `ended` None while it runs. `declared_seconds` is what was declared for it before it
    was far, `joules` what it used where nearly all was measured. `batch` names what was submitted together.
    `submitted` is None for a run that nobody submitted.
    """

    cluster: str
    job_id: str
    display: str
    name: str
    user: str
    account: str
    partition: str
    batch: str
    started: float
    ended: float | None
    seen: float
    ending: Ending
    device_seconds: float
    limit_seconds: float | None = None
    joules: float | None = None
    declared_seconds: float | None = None
    submitted: float | None = None

    @property
    def wall_seconds(self) -> float:
        """From its first start to its end, or to when it was last seen."""
        return max(0.0, (self.seen if self.ended is None else self.ended) - self.started)


@dataclass(frozen=True, slots=True)
class Kind:
    """Which jobs are meant; None: whichever. `name` is a pattern (`*`, `?`), or a name whatever its digits are.

    `uid` is the number of `user`, by which jobs outside of a batch system are known; that of a reader who asks for
    his own, or for `uid:N`, is known without.
    """

    user: str | None = None
    account: str | None = None
    partition: str | None = None
    campaign: str | None = None
    name: str | None = None
    since: float = 0.0
    uid: int | None = None

    def is_called(self, name: str) -> bool:
        """Whether a job of that name is one of them."""
        if self.name is None:
            return True
        if any(sign in self.name for sign in "*?["):
            return fnmatchcase(name, self.name)
        return normalised(name) == normalised(self.name)


def normalised(name: str) -> str:
    """A name with `#` for each number: what is run again and again is called by one name."""
    return _DIGITS.sub("#", name)


def numbered(user: str) -> int | None:
    """The number in `uid:N`, as users outside of a batch system are called; None for every other name."""
    digits = user.removeprefix(_UID)
    return int(digits) if digits != user and digits.isascii() and digits.isdigit() and len(digits) < 11 else None


def past_jobs(
    connection: Connection, audience: Audience, kind: Kind, now: float, most: int = MOST
) -> tuple[PastJob, ...]:
    """The jobs of a kind that the reader may see, the latest start first, `most` at most; those that run too."""
    said = tables.records.c
    exact = ((said.user, kind.user), (said.account, kind.account), (said.partition, kind.partition))
    members = _members(connection, kind.campaign, now)
    condition = and_(
        _visible(audience),
        func.coalesce(said.ended, said.seen) >= kind.since,
        *(column == word for column, word in exact if word is not None),
        *([among(said.job_id, members)] if members is not None else []),
        *_named(said.name, kind.name),
    )
    found = _recorded(connection, condition, said.started.desc(), most, now)
    begun = _begun(audience, kind, members)
    if begun is not None:
        found += _registered(connection, begun, most)
    wanted = [job for job in found if kind.is_called(job.name)]
    wanted.sort(key=lambda job: (-job.started, job.job_id))
    return tuple(wanted[:most])


def ended_of_user(connection: Connection, cluster: str, user: str, now: float, most: int) -> list[PastJob]:
    """The user's jobs that ended before `now` and did not fail, those that began last, `most` at most.

    `user` is `uid:N` where no batch system names one.
    """
    uid = numbered(user)
    if uid is not None:
        there = tables.runs.c
        begun = and_(there.uid == uid, there.cluster == cluster, there.time <= now)
        return [job for job in _registered(connection, begun, most) if job.ended is not None]
    said = tables.records.c
    # Not by the index of ends, which has everybody's.
    ended = func.coalesce(said.ended, _NEVER) <= now
    condition = and_(said.user == user, said.cluster == cluster, ended, said.state.in_(_TELLING))
    return _recorded(connection, condition, said.started.desc(), most, now)


def ended_of_cluster(connection: Connection, cluster: str, now: float, most: int) -> list[PastJob]:
    """The jobs of a cluster that ended last before `now` and did not fail."""
    said = tables.records.c
    condition = and_(said.cluster == cluster, said.ended <= now, said.state.in_(_TELLING))
    return _recorded(connection, condition, said.ended.desc(), most, now)


def with_details(connection: Connection, jobs: Iterable[PastJob]) -> tuple[PastJob, ...]:
    """The same with what they used of energy, and with what was declared for them."""
    known = list(jobs)
    ids = sorted({job.job_id for job in known})
    sums = _charged(connection, ids)
    declared = _declared(connection, ids)
    return tuple(_detailed(job, sums, declared) for job in known)


def _members(connection: Connection, campaign: str | None, now: float) -> list[str] | None:
    """The job ids of a campaign; None where none is asked for."""
    if campaign is None:
        return None
    ids = queries.declared_members(connection, [campaign]) | campaign_store.candidates(connection, [campaign])
    jobs = queries.jobs_of(connection, ids, now, by_device=False)
    return sorted({each for job in jobs if job.campaign == campaign for each in job.job_ids})


def _visible(audience: Audience) -> ColumnElement[bool]:
    said = tables.records.c
    if audience.everything:
        return true()
    mine = [said.user == audience.user]
    if audience.accounts:
        mine.append(said.account.in_(sorted(audience.accounts)))
    return and_(said.cluster == audience.cluster, said.user != "", or_(*mine))


def _named(column: Any, pattern: str | None) -> list[ColumnElement[bool]]:
    """What the database can leave out by the beginning of a name."""
    wild = _WILD.search(pattern or "")
    head = (pattern or "")[: wild.start() if wild else None]
    return [column.startswith(head, autoescape=True)] if head else []


_COLUMNS = (
    "cluster", "job_id", "submitted", "whole", "display", "name", "user", "account", "partition", "state",
    "started", "ended", "seen", "devices", "live_devices", "limit_seconds",
)  # fmt: skip


def _recorded(
    connection: Connection, condition: ColumnElement[bool], order: ColumnElement[Any], most: int, now: float
) -> list[PastJob]:
    """Jobs of a batch system that had devices; a part of one may be beyond the last that is read."""
    said = tables.records.c
    had = or_(said.devices > 0, said.live_devices > 0)
    query = select(*(said[name] for name in _COLUMNS)).where(condition, had, said.started <= now)
    parts: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for row in connection.execute(query.order_by(order).limit(most)):
        parts[row.cluster, row.whole].append(row)
    return [_job(chain) for rows in parts.values() for chain in _chains(rows)]


def _chains(rows: list[Any]) -> Iterator[list[Any]]:
    """The rows of each job among those that have its id or are parts of it."""
    if len(rows) == 1:
        yield rows
        return
    rows.sort(key=lambda row: (row.submitted, row.started))
    chain: list[Any] = []
    states: dict[str, str] = {}
    for row in rows:
        if row.job_id in states and states[row.job_id] not in REQUEUES:
            yield chain
            chain, states = [], {}
        chain.append(row)
        states[row.job_id] = row.state
    yield chain


def _job(rows: Sequence[Any]) -> PastJob:
    last = rows[0]
    runs, ended, seconds = _came_to(last)
    for row in rows[1:]:
        its_runs, its_end, its_seconds = _came_to(row)
        runs, ended, seconds = runs or its_runs, max(ended, its_end), seconds + its_seconds
        last = row if row.started > last.started else last
    return PastJob(
        last.cluster, last.job_id, last.display or last.job_id, last.name, last.user, last.account, last.partition,
        _batch(last.display, last.user, last.submitted), rows[0].started,
        None if runs else ended, last.seen, "running" if runs else _ENDINGS.get(last.state, "failed"), seconds,
        last.limit_seconds, submitted=float(rows[0].submitted),
    )  # fmt: skip


def _came_to(row: Any) -> tuple[bool, float, float]:
    """Whether a row runs, when it ended or was last seen, and its device-seconds."""
    until = row.seen if row.ended is None else row.ended
    devices = row.live_devices if row.devices is None else row.devices
    return row.ended is None and row.state in RUNNING, until, devices * max(0.0, until - row.started)


def _batch(display: str, user: str, submitted: int) -> str:
    """An array, or what one user submitted within an hour."""
    array, _, task = display.partition("_")
    return f"array {array}" if task and array.isdigit() else f"{user} {submitted // 3600}"


def _begun(audience: Audience, kind: Kind, members: Sequence[str] | None) -> ColumnElement[bool] | None:
    """Which runs of `gpuwatch run` are meant: they have neither account nor partition, and a number as user."""
    there = tables.runs.c
    uid = kind.uid
    if uid is None and kind.user is not None:
        uid = audience.uid if kind.user == audience.user else numbered(kind.user)
    if kind.account is not None or kind.partition is not None or (kind.user is not None and uid is None):
        return None
    asked = [there.time >= kind.since, *_named(there.name, kind.name)]
    if uid is not None:
        asked.append(there.uid == uid)
    if members is not None:
        asked.append(among(there.job_id, members))
    if not audience.everything:
        asked += [there.cluster == audience.cluster, there.uid == (-1 if audience.uid is None else audience.uid)]
    return and_(*asked)


def _registered(connection: Connection, condition: ColumnElement[bool], most: int) -> list[PastJob]:
    """Jobs of `gpuwatch run`, as far as they are charged."""
    there = tables.runs.c
    query = select(there.cluster, there.job_id, there.name, there.uid, there.time)
    query = query.where(there.kind == "run_started", condition).order_by(there.time.desc()).limit(most)
    begun = list(connection.execute(query))
    ids = sorted({row.job_id for row in begun})
    sums, ends = _charged(connection, ids), _exit_codes(connection, ids)
    return [_run(row, sums[key], ends) for row in begun if (key := (row.cluster, row.job_id)) in sums]


def _exit_codes(connection: Connection, ids: Sequence[str]) -> dict[tuple[str, str], int | None]:
    there = tables.runs.c
    found: dict[tuple[str, str], int | None] = {}
    for some in _portions(ids):
        query = select(there.cluster, there.job_id, there.exit_code)
        for row in connection.execute(query.where(there.kind == "run_ended", among(there.job_id, some))):
            found[row.cluster, row.job_id] = row.exit_code
    return found


def _run(row: Any, spans: Sequence[Any], ends: dict[tuple[str, str], int | None]) -> PastJob:
    begins, until = min(each.begins for each in spans), max(each.ends for each in spans)
    key, over = (row.cluster, row.job_id), not any(each.unfinished for each in spans)
    code = ends.get(key)
    ending: Ending = "completed" if code == 0 else "cancelled" if code in _STOPPED else "failed"
    if code is None:
        ending = "unknown"
    ended = until if key in ends or over else None
    return PastJob(
        row.cluster, row.job_id, row.job_id, row.name or "", f"uid:{row.uid}" if row.uid is not None else "", "",
        "", _batch("", f"uid:{row.uid}", int(row.time)), begins, ended, until,
        "running" if ended is None else ending, sum(each.charged_seconds or 0.0 for each in spans),
    )  # fmt: skip


_Sums = dict[tuple[str, str], list[Any]]


def _charged(connection: Connection, ids: Sequence[str]) -> _Sums:
    """What each attempt of some job ids was charged and measured, over its days and models."""
    there = tables.charges.c
    found: _Sums = defaultdict(list)
    key = (there.cluster, there.job_id, there.attempt)
    names = ("charged_seconds", "held_seconds", "covered_seconds", "energy_joules")
    sums = [func.sum(there[name]).label(name) for name in names]
    spans = [
        func.min(there.begins).label("begins"),
        func.max(there.ends).label("ends"),
        func.count().filter(~there.final).label("unfinished"),
    ]
    for some in _portions(ids):
        query = select(*key, *sums, *spans).where(among(there.job_id, some), there.current).group_by(*key)
        for row in connection.execute(query):
            found[row.cluster, row.job_id].append(row)
    return found


def _declared(connection: Connection, ids: Sequence[str]) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """When which device-seconds were declared for some job ids: at sockets, through the API, in comments."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    there, said = tables.journal.c, tables.records.c
    for some in _portions(ids):
        by_scope = and_(there.scope_kind == "job", among(there.scope, some))
        for key, entry in journal_where(connection, or_(among(there.job_id, some), by_scope)):
            for each in scopes.estimates_of(entry):
                if each.quantity == _HOURS and each.scope.kind == "job":
                    found[key.cluster, each.scope.name].append((each.declared_at, each.likely))
        wrote = or_(said.comment.contains("gpuwatch:"), said.admin_comment.contains("gpuwatch:"))
        query = select(said.cluster, said.job_id, said.submitted, said.comment, said.admin_comment)
        for row in connection.execute(query.where(among(said.job_id, some), wrote)):
            read = declared_in(row.comment or "", row.admin_comment or "")
            for amount in read.amounts if read is not None and read.scope is None else ():
                if amount.quantity == _HOURS:
                    found[row.cluster, row.job_id].append((float(row.submitted), amount.likely))
    return found


def _detailed(job: PastJob, sums: _Sums, declared: dict[tuple[str, str], list[tuple[float, float]]]) -> PastJob:
    key, until = (job.cluster, job.job_id), job.seen if job.ended is None else job.ended
    mine = [each for each in sums.get(key, ()) if job.started - 1 <= each.attempt <= until + 1]
    joules = sum(each.energy_joules or 0.0 for each in mine)
    covered = sum(each.covered_seconds or 0.0 for each in mine)
    whole = covered >= COVERED * job.device_seconds and joules > 0
    # What was declared before it was submitted is another job's, which had the same id.
    begin = -_NEVER if job.submitted is None else job.submitted - _SKEW
    early = [each for each in declared.get(key, ()) if begin <= each[0] <= job.started + EARLY * job.wall_seconds]
    first = min(early, default=None)
    return replace(job, joules=joules if whole else None, declared_seconds=first[1] if first else None)


def _portions(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(ids), _AT_ONCE):
        yield ids[first : first + _AT_ONCE]
