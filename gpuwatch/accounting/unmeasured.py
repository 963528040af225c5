"""Running jobs whose devices nobody measures: `unmeasured`. Pure.

What looks like it and is not told: a job that began a moment ago, one without devices, one that no batch system
knows, a cluster in which no agent was ever heard (`usage = none`). When most agents are silent together it is the
source, the network or a clock, and nothing is decided of jobs.
"""

from __future__ import annotations

from typing import Literal

from gpuwatch.accounting import condition_words as words
from gpuwatch.accounting.case_now import RECENT_SECONDS, WORKED_SECONDS, Blind, CaseNow
from gpuwatch.accounting.cases import SKEW_SECONDS
from gpuwatch.accounting.watched import Watched
from gpuwatch.ledger.jobs import UNSEEN_SECONDS, Job
from gpuwatch.ledger.records import devices_of
from gpuwatch.model import Alert
from gpuwatch.schedulers.base import Record

UNMEASURED = "unmeasured"

MOSTLY = 0.5
"""A job is not measured where its state is unknown for more than this part of the window."""

CEASED = 0.8
HEARD = 0.5
"""Part of the agents of running jobs' nodes that have to be heard, so that silence means something."""


def is_silent(watched: Watched, now: float) -> bool:
    """Whether most agents of the nodes that jobs run on are not heard: then silence says nothing of a job."""
    nodes = {node for job in watched.jobs if job.state == "running" for node in job.nodes}
    known = [watched.nodes[node] for node in nodes if node in watched.nodes] or list(watched.nodes.values())
    heard = sum([now - UNSEEN_SECONDS <= seen <= now + SKEW_SECONDS for seen in known])
    return heard < HEARD * len(known)


def unmeasured(case: CaseNow, silent: bool) -> Alert | None:
    """No agent tells of it, or none can read its devices; `silent` where no agent tells of anything."""
    known = case.standing.get(UNMEASURED)
    records = _records(case.job)
    allocated = sum([devices_of(each) or 0.0 for each in records])
    if not case.watched.nodes or not allocated:
        return None
    if silent:
        return known
    limit = case.thresholds.unmeasured_seconds
    blind = _blind(case, allocated, records, known is not None)
    if blind is None or blind.seconds < limit:
        return None if known is None or _is_measured_again(case) else known
    if known is None and blind.seconds * blind.devices < case.floor_seconds:
        return None
    said = words.unmeasured(case, blind)
    severity: Literal["info", "warning"] = "warning" if blind.devices >= blind.of else "info"
    return case.alert(UNMEASURED, "device-hours", blind.seconds, limit, said, severity)


def _records(job: Job) -> list[Record]:
    """What the batch system says of the parts that run now."""
    if len(job.parts) <= 1:
        return [job.record] if job.record is not None else []
    records = [part.attempt.record for part in job.parts]
    return [each for each in records if each is not None and each.facts.ended is None]


def _blind(case: CaseNow, allocated: float, records: list[Record], was: bool) -> Blind | None:
    """What is not measured of it: all of it, or what is on nodes that say nothing."""
    lines, until = case.run.lines, min(case.now, case.job.last_seen)
    nodes = tuple(sorted({node for each in records for node in each.facts.nodes})) or case.job.nodes
    since = case.now - min(UNSEEN_SECONDS, case.thresholds.unmeasured_seconds)
    heard = [line for line in lines if line.open and since < line.last_seen <= case.now + SKEW_SECONDS]
    missing = allocated - sum([line.share for line in heard])
    if heard and missing < 0.5:
        return _unread(case, allocated, nodes, was)
    silent = tuple(sorted(set(nodes) - {line.node for line in heard}))
    if not silent:
        return None
    last = max([line.last_seen for line in lines if line.node in silent or not heard], default=0.0)
    seconds = max(0.0, until - max(last, float(case.run.started)))
    return Blind(seconds, missing if heard else allocated, silent, allocated)


def _unread(case: CaseNow, allocated: float, nodes: tuple[str, ...], was: bool) -> Blind | None:
    """For how long its devices could not be read, where that is most of the window."""
    earlier = case.earlier(case.thresholds.window_seconds)
    if case.snapshot is None or earlier is None:
        return None
    held, unknown = case.snapshot.held - earlier.held, case.snapshot.unknown - earlier.unknown
    if held <= 0.0 or unknown < MOSTLY * held * (CEASED if was else 1.0):
        return None
    return Blind(case.snapshot.unknown / allocated, allocated, nodes, allocated, unread=True)


def _is_measured_again(case: CaseNow) -> bool:
    """Whether its devices were measured for two minutes of the last ten; not known where nobody looked then."""
    earlier = case.earlier(RECENT_SECONDS)
    if case.snapshot is None or earlier is None:
        return False
    measured = (case.snapshot.held - case.snapshot.unknown) - (earlier.held - earlier.unknown)
    return measured >= WORKED_SECONDS
