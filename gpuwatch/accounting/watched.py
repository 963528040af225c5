"""What is read of running jobs for the alerts that tell what they do now, and compared over time. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gpuwatch.ledger.burnup_store import RunKey
from gpuwatch.ledger.jobs import Job, Run
from gpuwatch.model import EMPTY, BurnUp

FAULTS = ("hw_thermal", "sw_thermal", "hw_power_brake")
"""Reasons for clocks held down that are a fault of the room or the machine. A device at its power limit is not
one: many a training run is there all of the time; nor is one that is kept at the clock of others."""


class Snapshot(NamedTuple):
    """What a run had used when agents told of it at `seen`: device-seconds, joules. Rises in every part."""

    seen: float
    held: float
    working: float
    spinning: float
    unknown: float
    faults: tuple[float, ...]
    """By `FAULTS`."""
    joules: float
    energy_seconds: float
    """Held time of which the energy is known."""
    storage_wait: float | None


class Outlier(NamedTuple):
    """A device whose clock at work is lower than that of its job's others, over `seconds`. Watts, Hz, ratios."""

    node: str
    uuid: str
    far: float
    """How far below the others, of what is farthest: 0 is as they are, 1 nothing at all."""
    clock: float
    others_clock: float
    watts: float | None
    others_watts: float | None
    work: float
    others_work: float
    others: int
    seconds: float


class RestingDevice(NamedTuple):
    """A device that did not work for `seconds`, while others of its job did; `lost` are device-seconds."""

    node: str
    uuid: str
    seconds: float
    lost: float


class DeviceLook(NamedTuple):
    """What a slow look found at a job's devices: the farthest outlier first; those at rest, of so many devices."""

    outliers: tuple[Outlier, ...] = ()
    resting: tuple[RestingDevice, ...] = ()
    devices: int = 0


class AccountUse(NamedTuple):
    """What an account used today of a quantity, beside what it did not exceed on nine of ten days before.

    Base units; `unit` is a currency where it is money. `days` with any use are known; None: too few of them.
    """

    account: str
    quantity: str
    unit: str
    today: float
    usual: float | None
    days: int


@dataclass(frozen=True, slots=True)
class Watched:
    """What there is to judge by. `snapshots` are those of each run, the oldest first; `nodes` says when each
    agent of the cluster was last heard; `looked` are the runs whose devices were read one by one, `compared` those
    whose devices could be compared.

    `rates` are of the day that began at `day_begins` in the site's time zone.
    """

    jobs: tuple[Job, ...] = ()
    burnups: Mapping[RunKey, BurnUp] = EMPTY
    snapshots: Mapping[RunKey, Sequence[Snapshot]] = EMPTY
    looks: Mapping[RunKey, DeviceLook] = EMPTY
    looked: Collection[RunKey] = frozenset()
    compared: Collection[RunKey] = frozenset()
    nodes: Mapping[str, float] = EMPTY
    rates: tuple[AccountUse, ...] = ()
    day_begins: float = 0.0
    open_ended: tuple[str, ...] = ()


def run_key(job: Job) -> RunKey | None:
    """What snapshots and looks at devices are kept by; None where it never ran."""
    return (job.job_id, job.runs[-1].started) if job.runs else None


def snapshot_of(run: Run) -> Snapshot | None:
    """What the run has used now; None where no agent told of it."""
    if not run.lines:
        return None
    usage = run.usage
    states, throttled = usage.state_seconds, usage.throttled_seconds
    return Snapshot(
        max([line.last_seen for line in run.lines]),
        usage.held_seconds,
        states.get("working", 0.0),
        states.get("spinning", 0.0),
        states.get("unknown", 0.0),
        tuple([throttled.get(reason, 0.0) for reason in FAULTS]) if throttled else _NO_FAULTS,
        usage.joules if usage.energy_joules else 0.0,
        usage.held_seconds - usage.energy_unmeasured_seconds if usage.energy_joules else 0.0,
        usage.storage_wait_seconds,
    )


_NO_FAULTS = tuple(0.0 for _ in FAULTS)


def before(snapshots: Sequence[Snapshot], time: float) -> Snapshot | None:
    """The latest snapshot that is not after a time."""
    return next((each for each in reversed(snapshots) if each.seen <= time), None)
