"""What `squeue` knows of the jobs that wait and run, and `scontrol` of the devices that they hold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from gpuwatch.errors import Rejected
from gpuwatch.model import EMPTY
from gpuwatch.schedulers import slurm_json, slurm_rows, slurm_sacct, slurm_text, slurm_tres
from gpuwatch.schedulers.base import RUNNING, WAITING, Live, Record
from gpuwatch.schedulers.slurm_rows import Row
from gpuwatch.schedulers.slurm_sacct import Reading
from gpuwatch.schedulers.slurm_tres import Generic

DELIMITER = slurm_sacct.DELIMITER

_COLUMNS = {
    "JobID": "jobidraw", "JobArrayID": "jobid", "State": "state", "SubmitTime": "submit", "StartTime": "start",
    "EndTime": "end", "ResizeTime": "resized", "TimeLimit": "timelimit", "RestartCnt": "restarts",
    "NumCPUs": "alloccpus", "tres-alloc": "alloctres", "NodeList": "nodelist", "Partition": "partition",
    "QOS": "qos", "Account": "account", "UserName": "user", "Name": "jobname", "Comment": "comment",
    "admin_comment": "admincomment",
}  # fmt: skip
"""squeue's names of what is asked, and sacct's of the same."""

FORMAT = ",".join(f"{name}:{DELIMITER}" for name in _COLUMNS)
"""For `--Format`: each field in full, with the delimiter behind it."""

NAMES = tuple(_COLUMNS.values())

_HOLDING = frozenset({"CONFIGURING", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED"})
_HELD_BACK = frozenset({"REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"})
_NO_JOB = frozenset({"REVOKED"})
_NULL = frozenset({"(null)", "N/A"})
_INDEXED = frozenset({*slurm_tres.DEVICES, "shard", "mps"})

_JOB = re.compile(r"JobId=(\d{1,18}) ")
_NODES = re.compile(r" {4,}Nodes=(\S+) CPU_IDs=\S* Mem=\S* GRES=(\S*)\s*")


@dataclass(frozen=True, slots=True)
class Detail:
    """The generic resources of a job: all of them, and the indices of its devices by node."""

    parts: tuple[Generic, ...]
    indices: Mapping[str, tuple[int, ...]]


Known = dict[tuple[str, ...], Record]
"""Records by the cells of their rows: what runs on is told in the same words each time."""


def records(
    lines: Iterable[str], reading: Reading, before: Known | None = None, after: Known | None = None
) -> Iterator[Record | Rejected]:
    """The jobs of `squeue --Format FORMAT --noheader --states=all`, also those that ended a moment ago.

    One that was resized is told as slurmdbd has it, which begins a record with each size of a job. Rows that
    are in `before`, from an answer read the same way, are not read again; `after` is filled for the next time.
    """
    for row in slurm_rows.rows((_unpadded(line) for line in lines), NAMES, DELIMITER):
        if isinstance(row, Rejected):
            yield row
            continue
        cells = tuple(row.values())
        known = before.get(cells) if before else None
        for found in _record(row, reading) if known is None else (_seen(known, reading.seen),):
            if after is not None and isinstance(found, Record):
                after[cells] = found
            yield found


def _seen(record: Record, seen: float | None) -> Record:
    """The same, told again at `seen`."""
    if seen is None:
        return record
    live = record.live and Live(seen, record.live.comment, record.live.admin_comment)
    return Record(record.key, replace(record.facts, seen=seen), live)


def json_records(chunks: Iterable[str], reading: Reading) -> Iterator[Record | Rejected]:
    """The same of `squeue --json`, with the indices of devices, whose nodes are in the order of the node list."""
    for job in slurm_json.jobs(chunks):
        row = slurm_json.squeue_row(job)
        for found in _record(row, reading):
            if isinstance(found, Record) and row["gresdetail"]:
                yield with_detail(found, detail(_by_node(found, row["gresdetail"])), reading)
            else:
                yield found


def details(lines: Iterable[str]) -> Iterator[tuple[str, Detail]]:
    """Job ids and what they hold, of `scontrol --details show job`. What cannot be read is left out."""
    job, nodes = "", dict[str, str]()
    for line in lines:
        if (match := _JOB.match(line)) is not None:
            if job and nodes:
                yield job, detail(nodes)
            job, nodes = match[1], {}
        elif (match := _NODES.fullmatch(line)) is not None:
            try:
                nodes |= dict.fromkeys(slurm_text.node_list(match[1]), match[2])
            except Rejected:
                continue
    if job and nodes:
        yield job, detail(nodes)


def detail(nodes: Mapping[str, str]) -> Detail:
    """What the GRES texts of a job's nodes come to; one that cannot be read is left out."""
    parts: list[Generic] = []
    indices: dict[str, tuple[int, ...]] = {}
    for node, text in nodes.items():
        try:
            found = slurm_tres.gres(text)
        except Rejected:
            continue
        parts += found
        held = {index for part in found if part.name in _INDEXED for index in part.indices}
        if held:
            indices[node] = tuple(sorted(held))
    return Detail(tuple(parts), indices)


def with_detail(record: Record, found: Detail, reading: Reading) -> Record:
    """The record with its devices' indices; they count where the TRES do not, and contradict where they do."""
    counted = slurm_tres.of_gres(found.parts, reading.table)
    live = record.live or Live(record.facts.seen)
    live = replace(live, devices=counted.devices, indices=found.indices or EMPTY)
    facts = record.facts
    if facts.devices is not None and counted.devices is not None and abs(facts.devices - counted.devices) > 1e-6:
        facts = replace(facts, doubt="; ".join(filter(None, (facts.doubt, f"GRES say {counted.devices:g}"))))
    return replace(record, facts=facts, live=live)


def _record(row: Row, reading: Reading) -> Iterator[Record | Rejected]:
    row = {name: "" if cell in _NULL else cell for name, cell in row.items()}
    state = slurm_text.state(row["state"])
    state = "RUNNING" if state in _HOLDING else "PENDING" if state in _HELD_BACK else state
    if state in _NO_JOB:
        return
    cells = {**row, "state": state, "reqtres": row.get("reqtres") or row["alloctres"], "reqcpus": row["alloccpus"]}
    if (resized := row.get("resized", "")) and state not in WAITING:
        if slurm_text.nothing(resized):
            return  # Slurm 22.05 prints INVALID for the time, without which this is no record of slurmdbd's
        cells["submit"] = resized
    if state in RUNNING | WAITING:
        cells["end"] = ""  # when it would end by its limit
    elif slurm_text.nothing(row["alloctres"]) or slurm_text.nothing(row.get("end", "")):
        return  # sacct knows more of it
    try:
        found = slurm_sacct.record(cells, reading)
    except Rejected as exc:
        yield exc
        return
    if found is not None and not _ends_later(found):
        yield found


def _ends_later(record: Record) -> bool:
    """Of a job that is being requeued squeue tells when the next attempt would end; sacct knows of this one."""
    return record.facts.ended is not None and record.facts.ended > record.facts.seen


def _unpadded(line: str) -> str:
    """Without the delimiter behind the last field."""
    return line.removesuffix(DELIMITER)


def _by_node(record: Record, text: str) -> dict[str, str]:
    found = text.split(";")
    return dict(zip(record.facts.nodes, found, strict=False)) if len(found) == len(record.facts.nodes) else {}
