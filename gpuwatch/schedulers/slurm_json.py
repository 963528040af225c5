"""The JSON of Slurm's commands, as rows of the names that their text has; of Slurm 22.05 and of 24.11.

Numbers are numbers, or objects that tell whether they are set and infinite; states are words or lists of them.
An answer is read job by job: that of a large cluster is larger than what is made of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gpuwatch.errors import Rejected
from gpuwatch.schedulers import slurm_sacct
from gpuwatch.schedulers.base import Record
from gpuwatch.schedulers.slurm_rows import Row
from gpuwatch.schedulers.slurm_sacct import Reading

MAX_CHARACTERS = 2**26
"""The longest text of one job, with its steps."""

_BITS = re.compile(r"0x[0-9A-Fa-f]{1,1000001}")
_BLANK = " \t\r\n,"
_NO_VALUES = (2**32 - 2, 2**64 - 2)


def jobs(chunks: Iterable[str]) -> Iterator[Mapping[str, Any]]:
    """The objects of the list `jobs` in a JSON document that comes in pieces; `Rejected` where there is none."""
    text = _Text(iter(chunks))
    text.skip_to('"jobs"')
    while text.first() != ":":  # a word in another place, as the command that was given
        text.skip_to('"jobs"')
    text.skip_to("[")
    decoder = json.JSONDecoder()
    while (first := text.first()) != "]":
        if first != "{":
            raise Rejected(f"JSON of Slurm: {first!r} where a job or the end of the list should be")
        yield text.decode(decoder)


def sacct_records(chunks: Iterable[str], reading: Reading) -> Iterator[Record | Rejected]:
    """The jobs of `sacct --json`; `Rejected` (not raised) for one that cannot be read."""
    for job in jobs(chunks):
        try:
            found = slurm_sacct.record(sacct_row(job), reading)
        except Rejected as exc:
            yield exc
            continue
        if found is not None:
            yield found


def sacct_row(job: Mapping[str, Any]) -> Row:
    """A job of `sacct --json`, under the names of sacct's fields."""
    time, comment = _part(job, "time"), _part(job, "comment")
    resources, required = _part(job, "tres"), _part(job, "required")
    return {
        "jobidraw": number(job.get("job_id")),
        "jobid": _display(job, _part(job, "array"), _part(job, "het")),
        "state": _ended_as(_part(job, "state").get("current")),
        "submit": number(time.get("submission")), "start": number(time.get("start")),
        "end": number(time.get("end")), "elapsedraw": number(time.get("elapsed")),
        "suspended": number(time.get("suspended")), "timelimitraw": number(time.get("limit")),
        "exitcode": _exit_code(job),
        "restarts": number(job.get("restart_cnt")),
        "reqcpus": number(required.get("CPUs")),
        "alloctres": tres(resources.get("allocated")), "reqtres": tres(resources.get("requested")),
        "nodelist": word(job.get("nodes")), "partition": word(job.get("partition")),
        "qos": word(job.get("qos")), "account": word(job.get("account")),
        "user": word(job.get("user")) or word(_part(job, "association").get("user")),
        "jobname": word(job.get("name")), "comment": word(comment.get("job")),
        "admincomment": word(comment.get("administrator")),
    }  # fmt: skip


def squeue_row(job: Mapping[str, Any]) -> Row:
    """A job of `squeue --json`, under the names of sacct's fields. `start` of one that waits is when it may."""
    array = {"job_id": job.get("array_job_id"), "task_id": job.get("array_task_id"),
             "task": job.get("array_task_string")}  # fmt: skip
    het = {"job_id": job.get("het_job_id"), "job_offset": job.get("het_job_offset")}
    allocated = word(job.get("tres_alloc_str"))
    return {
        "jobidraw": number(job.get("job_id")), "jobid": _display(job, array, het),
        "state": state(job.get("job_state")),
        "submit": number(job.get("submit_time")), "start": number(job.get("start_time")),
        "resized": _set(number(job.get("resize_time"))),
        "timelimitraw": number(job.get("time_limit")), "restarts": number(job.get("restart_cnt")),
        "alloccpus": number(job.get("cpus")), "reqcpus": number(job.get("cpus")),
        "alloctres": allocated, "reqtres": word(job.get("tres_req_str")),
        "nodelist": word(job.get("nodes")), "partition": word(job.get("partition")),
        "qos": word(job.get("qos")), "account": word(job.get("account")), "user": word(job.get("user_name")),
        "jobname": word(job.get("name")), "comment": word(job.get("comment")),
        "admincomment": word(job.get("admin_comment")),
        "gresdetail": ";".join(word(each) for each in _list(job.get("gres_detail"))),
    }  # fmt: skip


def number(value: object) -> str:
    """A number in the form of sacct's text, empty where it is not set, `UNLIMITED` where it is infinite."""
    if isinstance(value, Mapping):
        if value.get("infinite") is True:
            return "UNLIMITED"
        return number(value.get("number")) if value.get("set") is True else ""
    if isinstance(value, bool) or value is None or value in _NO_VALUES:
        return ""
    if isinstance(value, int | float):
        return f"{value:.0f}" if 0 <= value < 2**63 else ""
    return word(value)


def state(value: object) -> str:
    """The state: the first of a list, the others being flags; `PENDING` of one that waits to run again."""
    return word(_list(value)[0]) if _list(value) else word(value)


def _exit_code(job: Mapping[str, Any]) -> str:
    """Unknown where it is SUCCESS though the job failed: Slurm 22.05 tells so of any code."""
    found = exit_code(job.get("exit_code"))
    return "" if found == "0:0" and state(_part(job, "state").get("current")) == "FAILED" else found


def _ended_as(value: object) -> str:
    """The state of an attempt: one that was requeued is `PENDING` with a flag, though this attempt has ended."""
    flags = [word(each) for each in _list(value)]
    found = [flag for flag in flags if flag in ("REQUEUED", "RESIZING")]
    return found[0] if found and flags[0] == "PENDING" else state(value)


def exit_code(value: object) -> str:
    """`STATUS:SIGNAL`; a number alone is as wait(2) has it."""
    if not isinstance(value, Mapping) or "return_code" not in value:
        raw = number(value)
        return f"{int(raw) >> 8}:{int(raw) & 127}" if raw.isascii() and raw.isdecimal() else ""
    signal = _part(value, "signal")
    status = number(value.get("return_code"))
    return f"{status or 0}:{number(signal.get('id')) or number(signal.get('signal_id')) or 0}"


def tres(value: object) -> str:
    """A list of resources as the text that sacct prints."""
    if isinstance(value, str):
        return value
    found = []
    for each in _list(value):
        if isinstance(each, Mapping) and (amount := number(each.get("count"))):
            kind, name = word(each.get("type")), word(each.get("name"))
            found.append(f"{kind}/{name}={amount}" if name else f"{kind}={amount}")
    return ",".join(found)


def word(value: object) -> str:
    """Text, empty for null."""
    return value if isinstance(value, str) else "" if value is None else str(value)[:1000]


def _set(moment: str) -> str:
    return "" if moment == "0" else moment


def _display(job: Mapping[str, Any], array: Mapping[str, Any], het: Mapping[str, Any]) -> str:
    """The id as users see it. An array that waits has no task, but the list of them."""
    raw = number(job.get("job_id"))
    leader = number(array.get("job_id"))
    if leader not in ("", "0"):
        task_id = array.get("task_id")
        task, waiting = number(task_id), word(array.get("task"))
        if waiting and not waiting.isdecimal():
            return f"{leader}_[{_tasks(waiting, array)}]"
        return f"{leader}_{task}" if task else leader
    whole, offset = number(het.get("job_id")), number(het.get("job_offset"))
    return f"{whole}+{offset or 0}" if whole not in ("", "0") else raw


def _tasks(waiting: str, array: Mapping[str, Any]) -> str:
    """`5-9%2` of the bits `0x3E0` and the limit on how many run at once; other texts as they are."""
    if _BITS.fullmatch(waiting) is None:
        return waiting.strip("[]")
    bits = f"{int(waiting, 16):b}"[::-1]
    spans = ((run.start(), run.end() - 1) for run in re.finditer("1+", bits))
    limit = number(_part(_part(_part(array, "limits"), "max"), "running").get("tasks"))
    found = ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
    return found if limit in ("", "0") else f"{found}%{limit}"


def _part(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name)
    return found if isinstance(found, Mapping) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


class _Text:
    """What has come of a document and is not read yet."""

    def __init__(self, chunks: Iterator[str]) -> None:
        self._chunks = chunks
        self._rest = ""

    def skip_to(self, mark: str) -> None:
        """Behind the next `mark`."""
        while (at := self._rest.find(mark)) < 0:
            self._rest = self._rest[-len(mark) :]
            self._more()
        self._rest = self._rest[at + len(mark) :]

    def first(self) -> str:
        """The next character that means something; it stays."""
        while not (rest := self._rest.lstrip(_BLANK)):
            self._rest = ""
            self._more()
        self._rest = rest
        return rest[0]

    def decode(self, decoder: json.JSONDecoder) -> Mapping[str, Any]:
        """The object that begins here."""
        while True:
            try:
                found, end = decoder.raw_decode(self._rest)
            except RecursionError as exc:
                raise Rejected("JSON of Slurm: nested too deeply") from exc
            except ValueError as exc:
                self._double(exc)
            else:
                self._rest = self._rest[end:]
                return found  # type: ignore[no-any-return]

    def _double(self, cause: ValueError) -> None:
        """Twice as much text, so that a long object is not begun anew for each of its pieces."""
        before = len(self._rest)
        if before > MAX_CHARACTERS:
            raise Rejected(f"JSON of Slurm: a job of more than {MAX_CHARACTERS} characters") from cause
        while len(self._rest) < 2 * before and self._fill():
            pass
        if len(self._rest) == before:
            raise Rejected("JSON of Slurm: it ends early, or is none") from cause

    def _more(self) -> None:
        if not self._fill():
            raise Rejected("JSON of Slurm: it ends early, or is none")

    def _fill(self) -> bool:
        chunk = next(self._chunks, None)
        self._rest += chunk or ""
        return chunk is not None
