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

from gpuwatch.ledger import campaign_store, queries, tables
from gpuwatch.ledger.audience import Audience
from gpuwatch.ledger.past_amounts import Declared, Sums, charged_of, declared_of, first_declared, portions
from gpuwatch.ledger.sql import among
from gpuwatch.schedulers.base import REQUEUES, RUNNING

Ending = Literal["completed", "timed out", "running", "unknown", "failed", "cancelled"]
"""How a job ended; `unknown` is a run of which nobody heard how."""

MOST = 5000
"""So many jobs are looked at, the latest."""

COVERED = 0.95
"""The energy of a job counts where so much of its time was measured."""

_UID = "uid:"
_ENDINGS: dict[str, Ending] = {
    "COMPLETED": "completed", "TIMEOUT": "timed out", "DEADLINE": "timed out", "CANCELLED": "cancelled",
}  # fmt: skip
STOPPED = frozenset({128 + 2, 128 + 15})
"""Exit codes of a run that somebody stopped."""

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


def with_details(connection: Connection, jobs: Iterable[PastJob]) -> tuple[PastJob, ...]:
    """The same with what they used of energy, and with what was declared for them."""
    known = list(jobs)
    ids = sorted({job.job_id for job in known})
    sums = charged_of(connection, ids)
    declared = declared_of(connection, ids)
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
    return [_job(chain) for rows in parts.values() for chain in chains_in(rows)]


def chains_in(rows: list[Any]) -> Iterator[list[Any]]:
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
    runs, ended, seconds = came_to(last)
    for row in rows[1:]:
        its_runs, its_end, its_seconds = came_to(row)
        runs, ended, seconds = runs or its_runs, max(ended, its_end), seconds + its_seconds
        last = row if row.started > last.started else last
    return PastJob(
        last.cluster, last.job_id, last.display or last.job_id, last.name, last.user, last.account, last.partition,
        batch_of(last.display, last.user, last.submitted), rows[0].started,
        None if runs else ended, last.seen, "running" if runs else _ENDINGS.get(last.state, "failed"), seconds,
        last.limit_seconds, submitted=float(rows[0].submitted),
    )  # fmt: skip


def came_to(row: Any) -> tuple[bool, float, float]:
    """Whether a record's row runs, when it ended or was last seen, and its device-seconds."""
    until = row.seen if row.ended is None else row.ended
    devices = row.live_devices if row.devices is None else row.devices
    return row.ended is None and row.state in RUNNING, until, devices * max(0.0, until - row.started)


def batch_of(display: str, user: str, submitted: int) -> str:
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
    sums, ends = charged_of(connection, ids), _exit_codes(connection, ids)
    return [_run(row, sums[key], ends) for row in begun if (key := (row.cluster, row.job_id)) in sums]


def _exit_codes(connection: Connection, ids: Sequence[str]) -> dict[tuple[str, str], int | None]:
    there = tables.runs.c
    found: dict[tuple[str, str], int | None] = {}
    for some in portions(ids):
        query = select(there.cluster, there.job_id, there.exit_code)
        for row in connection.execute(query.where(there.kind == "run_ended", among(there.job_id, some))):
            found[row.cluster, row.job_id] = row.exit_code
    return found


def _run(row: Any, spans: Sequence[Any], ends: dict[tuple[str, str], int | None]) -> PastJob:
    begins, until = min(each.begins for each in spans), max(each.ends for each in spans)
    key, over = (row.cluster, row.job_id), not any(each.unfinished for each in spans)
    code = ends.get(key)
    ending: Ending = "completed" if code == 0 else "cancelled" if code in STOPPED else "failed"
    if code is None:
        ending = "unknown"
    ended = until if key in ends or over else None
    return PastJob(
        row.cluster, row.job_id, row.job_id, row.name or "", f"uid:{row.uid}" if row.uid is not None else "", "",
        "", batch_of("", f"uid:{row.uid}", int(row.time)), begins, ended, until,
        "running" if ended is None else ending, sum(each.charged_seconds or 0.0 for each in spans),
    )  # fmt: skip


def _detailed(job: PastJob, sums: Sums, declared: Declared) -> PastJob:
    key, until = (job.cluster, job.job_id), job.seen if job.ended is None else job.ended
    mine = [each for each in sums.get(key, ()) if job.started - 1 <= each.attempt <= until + 1]
    joules = sum(each.energy_joules or 0.0 for each in mine)
    covered = sum(each.covered_seconds or 0.0 for each in mine)
    whole = covered >= COVERED * job.device_seconds and joules > 0
    first = first_declared(declared.get(key, ()), job.submitted, job.started, job.wall_seconds)
    return replace(job, joules=joules if whole else None, declared_seconds=first)
