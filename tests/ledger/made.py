"""Jobs made by hand, for the pure parts of the ledger that read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gpuwatch.ledger.facts import Line
from gpuwatch.ledger.jobs import Job, Run
from gpuwatch.model import Progress, Scope, Usage
from tests.ledger.batch import T0


def used(states: Mapping[str, float], **changed: Any) -> Usage:
    """The usage of a device whose states are these, in seconds."""
    return Usage(held_seconds=sum(states.values()), state_seconds=dict(states), **changed)


def line(usage: Usage, uuid: str = "GPU-0", **changed: Any) -> Line:
    """What an agent saw of a whole device from `T0` to 1000 s later."""
    values: dict[str, Any] = {
        "started": T0, "node": "gw0", "epoch": "0123456789ab", "uuid": uuid, "devices": 1,
        "last_seen": T0 + 1000.0, "share": 1.0, "open": True, "model": "H100", "usage": usage, **changed,
    }  # fmt: skip
    return Line(**values)


def run(lines: Sequence[Line] = (), **changed: Any) -> Run:
    """A run of 1000 s with what agents saw of it."""
    values: dict[str, Any] = {
        "started": T0, "last_seen": T0 + 1000.0, "usage": sum((each.usage for each in lines), Usage()),
        "lines": tuple(lines), **changed,
    }  # fmt: skip
    return Run(**values)


def progress(step: float, at: float, start_step: float = 0.0) -> Progress:
    """A report of so many of 1000 steps, so many seconds after `T0`."""
    return Progress(step, 1000.0, start_step, T0 + at)


def job(*runs: Run, name: str = "7", **changed: Any) -> Job:
    """A job of these runs that runs still."""
    known = [each.allocated_seconds for each in runs if each.allocated_seconds is not None]
    values: dict[str, Any] = {
        "scope": Scope("job", name), "cluster": "default", "job_id": name,
        "started": min((each.started for each in runs), default=T0),
        "last_seen": max((each.last_seen for each in runs), default=T0 + 1000.0), "state": "running",
        "nodes": tuple(sorted({each.node for one in runs for each in one.lines})),
        "devices": tuple(sorted({each.uuid for one in runs for each in one.lines})), "models": ("H100",),
        "usage": sum((each.usage for each in runs), Usage()), "runs": runs,
        "allocated_seconds": sum(known) if known else None, **changed,
    }  # fmt: skip
    return Job(**values)
