"""What became of a pod: when it began and ceased to hold its node's devices, and in what state; pure.

A device is given out when the node admits the pod, long before an image is there, and is free again when the last
container has ended: a pod that hangs while it is taken down holds it still.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gpuwatch.model import EMPTY

Document = Mapping[str, Any]

# Why the node or the cluster ended it (pod.status.reason, or the reason of the condition DisruptionTarget).
_REASONS = {
    "Evicted": "PREEMPTED",
    "Preempting": "PREEMPTED",
    "PreemptionByScheduler": "PREEMPTED",
    "EvictionByEvictionAPI": "PREEMPTED",
    "TerminationByKubelet": "PREEMPTED",
    "DeletionByTaintManager": "NODE_FAIL",
    "DeletionByPodGC": "NODE_FAIL",
    "NodeLost": "NODE_FAIL",
    "NodeShutdown": "NODE_FAIL",
    "Shutdown": "NODE_FAIL",
    "Terminated": "NODE_FAIL",
    "DeadlineExceeded": "TIMEOUT",
}


@dataclass(frozen=True, slots=True)
class Life:
    """Times are Unix seconds. `started` is None while it holds nothing, `ended` while it still does."""

    state: str
    started: float | None = None
    ended: float | None = None
    exit_code: int | None = None
    doubt: str = ""


def life(pod: Document) -> Life:
    """What became of a pod, by what the API server has of it."""
    metadata, status = table(pod, "metadata"), table(pod, "status")
    phase = text(status, "phase")
    statuses = [*_statuses(status)]
    ends = [each for each in (_terminated(one) for one in statuses) if each]
    started = _started(pod)
    over = phase in ("Succeeded", "Failed")
    deleted = moment(text(metadata, "deletionTimestamp"))
    down = deleted is not None and any(rows(status, "containerStatuses")) and len(ends) == len(statuses)
    if not over and not down:
        doubt = "its node does not answer" if phase == "Unknown" else ""
        return Life("PENDING" if started is None else "RUNNING", started, None, None, doubt)
    ended = _ended(ends, status, started)
    if ended is not None and started is not None:
        ended = max(ended, started)
    return Life(_state(pod, phase, deleted, ended), started, ended, _exit_code(ends))


def moment(written: str) -> float | None:
    """A time as Kubernetes writes it, in Unix seconds; None where it is none."""
    try:
        found = datetime.fromisoformat(written)
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def table(document: Document, key: str) -> Document:
    """The table below a key, empty where there is none."""
    found = document.get(key)
    return found if isinstance(found, dict) else EMPTY


def text(document: Document, key: str) -> str:
    """The text below a key, empty where there is none."""
    found = document.get(key)
    return found if isinstance(found, str) else ""


def rows(document: Document, key: str) -> Iterator[Document]:
    """The tables in the list below a key."""
    found = document.get(key)
    yield from (each for each in found if isinstance(each, dict)) if isinstance(found, list) else ()


def _started(pod: Document) -> float | None:
    """When the node took it: its start time, or while the node has not said so, when it was sent there."""
    status = table(pod, "status")
    if (started := moment(text(status, "startTime"))) is not None:
        return started
    if not text(table(pod, "spec"), "nodeName"):
        return None
    scheduled = next((each for each in rows(status, "conditions") if each.get("type") == "PodScheduled"), EMPTY)
    return moment(text(scheduled, "lastTransitionTime"))


def _ended(ends: list[Document], status: Document, started: float | None) -> float | None:
    """When the last container ended; where one does not say, or none ever ran, when the pod changed last."""
    times = [moment(text(each, "finishedAt")) for each in ends]
    if not times or None in times:
        times.append(_last_change(status) or started)
    return max((at for at in times if at is not None), default=None)


def _statuses(status: Document) -> Iterator[Document]:
    for kind in ("initContainerStatuses", "containerStatuses"):
        yield from rows(status, kind)


def _terminated(status: Document) -> Document:
    return table(table(status, "state"), "terminated")


def _last_change(status: Document) -> float | None:
    times = (moment(text(each, "lastTransitionTime")) for each in rows(status, "conditions"))
    return max((at for at in times if at is not None), default=None)


def _exit_code(ends: list[Document]) -> int | None:
    """That of the first container to fail, else 0; None where none says."""
    codes = [
        (text(each, "finishedAt"), code)
        for each in ends
        if isinstance(code := each.get("exitCode"), int) and not isinstance(code, bool)
    ]
    failed = sorted(each for each in codes if each[1] != 0)
    return failed[0][1] if failed else (0 if codes else None)


def _state(pod: Document, phase: str, deleted: float | None, ended: float | None) -> str:
    metadata, status = table(pod, "metadata"), table(pod, "status")
    if phase == "Succeeded":
        return "COMPLETED"
    target = next((each for each in rows(status, "conditions") if each.get("type") == "DisruptionTarget"), EMPTY)
    reasons = (text(status, "reason"), text(target, "reason") if target.get("status") == "True" else "")
    for reason in reasons:
        if reason in _REASONS:
            return _REASONS[reason]
    grace = metadata.get("deletionGracePeriodSeconds")
    asked = None if deleted is None else deleted - (grace if isinstance(grace, int) else 0)
    if asked is not None and (ended is None or ended >= asked):
        return "CANCELLED"
    killed = any(text(_terminated(each), "reason") == "OOMKilled" for each in _statuses(status))
    return "OUT_OF_MEMORY" if killed else "FAILED"
