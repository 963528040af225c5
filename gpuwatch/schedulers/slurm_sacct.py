"""What `sacct` keeps of each job, as records; from its own text, from a file, and from its JSON (`slurm_json`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import TypeVar

from gpuwatch.errors import Rejected
from gpuwatch.model import EMPTY
from gpuwatch.schedulers import slurm_rows, slurm_text, slurm_tres
from gpuwatch.schedulers.base import RUNNING, WAITING, Facts, Live, Record, RecordId
from gpuwatch.schedulers.slurm_rows import Row

FIELDS = (
    "JobIDRaw", "JobID", "State", "Submit", "Start", "End", "ElapsedRaw", "Suspended", "TimelimitRaw", "ExitCode",
    "Restarts", "AllocCPUS", "ReqCPUS", "AllocTRES", "ReqTRES", "NodeList", "Partition", "QOS", "Account", "User",
    "JobName", "Comment", "AdminComment",
)  # fmt: skip
"""What accounting asks for, of that what the installed Slurm knows; free text last."""

DELIMITER = "\x1f"
"""Between the fields of accounting's own queries: what nobody types into a name."""

_SLACK = 1.0
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Reading:
    """How answers are to be read: whose they are, and by which table devices count (`slurm_tres.count`).

    `zone` is that of local times. `accounted` says that the cluster's TRES have devices: a job whose TRES name
    none then has none, else it is not known. `seen` is when it was asked; None: for each record its last time.
    """

    cluster: str
    table: Mapping[str, float] = EMPTY
    zone: tzinfo = UTC
    accounted: bool = False
    seen: float | None = None


def records(
    lines: Iterable[str], names: Sequence[str], reading: Reading, delimiter: str = "|"
) -> Iterator[Record | Rejected]:
    """The jobs in the rows of a table without header; steps are left out; what is wrong is yielded as `Rejected`.

    `names` are sacct's own (`slurm_rows.names_of`), in the order of the columns, in small letters.
    """
    for row in slurm_rows.rows(lines, names, delimiter):
        if isinstance(row, Rejected):
            yield row
            continue
        try:
            found = record(row, reading)
        except Rejected as exc:
            yield exc
            continue
        if found is not None:
            yield found


def record(row: Row, reading: Reading) -> Record | None:
    """One row, None where it is a step; `Rejected` where it has no id, no time of submission or no state."""
    display = row.get("jobid", "") or row.get("jobidraw", "")
    if "." in display or "." in row.get("jobidraw", ""):
        return None
    doubts: list[str] = []
    job = slurm_text.job_id(display)
    raw = _raw(row, job, display)
    state = slurm_text.state(row.get("state", ""))
    if not state:
        raise Rejected(f"job {display[:60]!r}: it has no state")
    life = _life(row, state, reading.zone, doubts)
    submitted = _submitted(row, life, display, reading.zone)
    if life.started is not None and life.started < submitted:
        # A job that was resized has a record for each size, "submitted" then; all have the first one's start.
        life = _Life(min(submitted, life.ended or submitted), life.ended)
    seen = reading.seen if reading.seen is not None else max(submitted, life.started or 0.0, life.ended or 0.0)
    facts = _facts(row, _Job(state, life, seen, raw, display, job), reading, doubts)
    key = RecordId(reading.cluster, raw, int(submitted))
    return Record(key, facts, _live(row, seen))


@dataclass(frozen=True, slots=True)
class _Life:
    started: float | None
    ended: float | None


@dataclass(frozen=True, slots=True)
class _Job:
    """What is known of a row before its less important fields are read."""

    state: str
    life: _Life
    seen: float
    raw: str
    display: str
    id: slurm_text.JobId


def _raw(row: Row, job: slurm_text.JobId, display: str) -> str:
    """The id by which nodes know it; without JobIDRaw what is displayed, which differs for tasks of arrays."""
    if raw := row.get("jobidraw", "").strip():
        return slurm_text.job_id(raw).job
    return job.job if job.tasks > 1 or "[" in display else display.strip()


def _submitted(row: Row, life: _Life, display: str, zone: tzinfo) -> float:
    found = slurm_text.moment(row.get("submit", ""), zone)
    if found is None:
        found = slurm_text.moment(row.get("eligible", ""), zone) or life.started
    if found is None:
        raise Rejected(f"job {display[:60]!r}: neither Submit nor Start is known")
    return found


def _life(row: Row, state: str, zone: tzinfo, doubts: list[str]) -> _Life:
    """Start and end. They win over Elapsed, which lacks what was suspended; without an end it stands in."""
    started = slurm_text.moment(row.get("start", ""), zone)
    ended = slurm_text.moment(row.get("end", ""), zone)
    elapsed = _elapsed(row, doubts)
    if state in WAITING:
        return _Life(None, None)  # its start is what the scheduler plans
    if state in RUNNING:
        return _Life(started, None)
    if started is not None and ended is not None and ended < started:
        doubts.append("it ends before it starts")
        return _Life(None, ended)
    if started == ended and slurm_text.nothing(row.get("nodelist", "-")):
        return _Life(None, ended)  # cancelled while it waited
    if started is not None and ended is None and elapsed is not None:
        doubts.append("no end; start and Elapsed tell")
        return _Life(started, started + elapsed)
    _compare(started, ended, elapsed, row, doubts)
    return _Life(started, ended)


def _compare(
    started: float | None, ended: float | None, elapsed: float | None, row: Row, doubts: list[str]
) -> None:
    if started is None or ended is None or elapsed is None:
        return
    suspended = _or_none(lambda: slurm_text.seconds(row.get("suspended", ""), 1), doubts) or 0.0
    if abs(ended - started - elapsed) > _SLACK and abs(ended - started - elapsed - suspended) > _SLACK:
        doubts.append(f"Elapsed is {elapsed:g} s, from start to end {ended - started:g} s")


def _elapsed(row: Row, doubts: list[str]) -> float | None:
    text = row.get("elapsedraw") or row.get("elapsed", "")
    return _or_none(lambda: slurm_text.seconds(text, 1), doubts)


def _facts(row: Row, job: _Job, reading: Reading, doubts: list[str]) -> Facts:
    begun = job.life.started is not None
    text = (row.get("alloctres", "") if begun else "") or ("" if begun else row.get("reqtres", ""))
    found = slurm_tres.count(text, _detail(row), reading.table)
    amounts = _or(lambda: slurm_tres.tres(text), EMPTY, [])
    devices, rule = found.devices, found.rule
    if devices is None and reading.accounted and text and not found.doubt:
        devices, rule = 0.0, "generic"
    if found.doubt:
        doubts.append(found.doubt)
    cpus = amounts.get("cpu")
    if cpus is None:
        cpus = _cpus(row, begun)
    return Facts(
        seen=job.seen, state=job.state, started=job.life.started, ended=job.life.ended,
        devices=devices, rule=rule, cpus=cpus, billing=amounts.get("billing"),
        nodes=_or(lambda: slurm_text.node_list(row.get("nodelist", "")), (), doubts),
        whole=job.id.job if job.id.offset else job.raw, display=job.display.strip(),
        name=row.get("jobname", ""), user=row.get("user", ""), account=row.get("account", ""),
        partition=row.get("partition", ""), qos=row.get("qos", ""),
        limit_seconds=_limit(row, doubts),
        restarts=_number(row.get("restarts", "")),
        exit_code=_or_none(lambda: slurm_text.exit_code(row.get("exitcode", "")), doubts)
        if job.life.ended is not None else None,
        tasks=job.id.tasks, doubt="; ".join(doubts),
    )  # fmt: skip


def _detail(row: Row) -> tuple[str, ...]:
    """Generic resources of the whole job, as Slurm before 20.11 kept them."""
    text = row.get("allocgres", "")
    return (text,) if text and not text[0].isdigit() else ()


def _cpus(row: Row, begun: bool) -> float | None:
    text = row.get("alloccpus") or row.get("ncpus", "")
    found = _number(text if begun else row.get("reqcpus", ""))
    return None if found is None else float(found)


def _limit(row: Row, doubts: list[str]) -> float | None:
    text = row.get("timelimitraw") or row.get("timelimit", "")
    return _or_none(lambda: slurm_text.seconds(text), doubts)


def _live(row: Row, seen: float) -> Live | None:
    comment, admin_comment = row.get("comment", ""), row.get("admincomment", "")
    return Live(seen, comment, admin_comment) if comment or admin_comment else None


def _number(text: str) -> int | None:
    word = text.strip()
    return int(word) if word.isascii() and word.isdecimal() and len(word) < 10 else None


def _or(read: Callable[[], _T], otherwise: _T, doubts: list[str]) -> _T:
    """What a field says; where it cannot be read that is a doubt, and the record stays."""
    try:
        return read()
    except Rejected as exc:
        doubts.append(str(exc))
        return otherwise


def _or_none(read: Callable[[], _T | None], doubts: list[str]) -> _T | None:
    return _or(read, None, doubts)
