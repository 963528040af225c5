"""One of two jobs that are compared: what it took, in parts that add up, and what else was measured. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from gpuwatch.accounting.views import JobView
from gpuwatch.ledger.jobs import Job
from gpuwatch.ledger.lost_work import losses
from gpuwatch.ledger.records import devices_of
from gpuwatch.ledger.waste import Parts, waste_of

_MEASURED_STATES = ("working", "spinning", "idle")


class Difference(NamedTuple):
    """Something measured of both, as words and in base units; `explains` are device-seconds, at most.

    None: nobody can say how many. `within`: it lies within the part before it, and adds nothing to that.
    """

    kind: str
    label: str
    first: str
    second: str
    explains: float | None = None
    within: bool = False
    first_value: float | None = None
    second_value: float | None = None


@dataclass(frozen=True, slots=True)
class Side:
    """What a job took, device-seconds: `seconds` are the sum of the five that follow. `wall` are seconds.

    `throttled` and `storage_wait` (device-seconds) lie within it; None and missing is what is not known.
    """

    job: Job
    seconds: float
    working: float
    idle: float
    spinning: float
    lost: float
    unknown: float
    wall: float
    steps: float | None
    clock: float | None
    watts: float | None
    memory_bytes: float | None
    tensor: float | None
    storage_wait: float | None
    throttled: Mapping[str, float]
    link_bytes: Mapping[str, float]
    errors: Mapping[str, float]
    devices: float
    attempts: int

    def share(self, part: float) -> float:
        """A part of what it took."""
        return part / self.seconds if self.seconds > 0 else 0.0

    def per(self, steps: float) -> Side:
        """The same for one of so many steps; what is a mean, or a count of the whole, stays."""
        times = 1.0 / steps
        return replace(
            self, seconds=self.seconds * times, working=self.working * times, idle=self.idle * times,
            spinning=self.spinning * times, lost=self.lost * times, unknown=self.unknown * times,
            wall=self.wall * times,
            storage_wait=None if self.storage_wait is None else self.storage_wait * times,
            throttled={name: each * times for name, each in self.throttled.items()},
            link_bytes={name: each * times for name, each in self.link_bytes.items()},
        )  # fmt: skip


def side_of(view: JobView) -> Side:
    """What is to be compared of a job."""
    job, usage, parts = view.job, view.job.usage, parts_of_job(view.job)
    held, measured = usage.held_seconds, usage.held_seconds - usage.energy_unmeasured_seconds
    return Side(
        job, parts.total, parts.working, parts.idle, parts.spinning, parts.lost, parts.unknown,
        sum(run.last_seen - run.started for run in job.runs) or job.wall_seconds,
        steps_of(job),
        usage.clock_cycles / usage.clock_seconds if usage.clock_cycles and usage.clock_seconds else None,
        usage.joules / measured if usage.energy_joules and measured >= 0.5 * held > 0 else None,
        _mean(usage.memory_byte_seconds, held), _mean(usage.tensor_seconds, held), usage.storage_wait_seconds,
        {str(name): each for name, each in usage.throttled_seconds.items()},
        {str(name): each for name, each in usage.link_bytes.items()},
        {str(name): each for name, each in usage.errors.items()},
        _devices(job), max(1, len(job.runs)),
    )  # fmt: skip


def steps_of(job: Job) -> float | None:
    """The steps that the job made over all its runs, those that were done twice once; None without reports."""
    told = [run.progress for run in job.runs if run.progress is not None]
    told = told or ([job.progress] if job.progress is not None else [])
    if not told:
        return None
    made = max(each.step for each in told) - min(each.start_step for each in told)
    return made if made > 0 else None


def parts_of_job(job: Job) -> Parts:
    """Where its device-seconds went; of a job whose runs are not told apart by device as its whole usage says."""
    if any(run.lines for run in job.runs):
        return waste_of(job)
    known = [job.usage.state_seconds.get(state, 0.0) for state in _MEASURED_STATES]
    charged, measured = job.device_seconds, sum(known)
    fit = min(1.0, charged / measured) if measured > 0 else 0.0
    working, spinning, idle = (each * fit for each in known)
    unknown = max(0.0, charged - working - spinning - idle)
    lost = min(working + unknown, _lost(job))
    of_work = min(working, lost)
    return Parts(working - of_work, spinning, idle, lost, unknown - (lost - of_work))


def _lost(job: Job) -> float:
    seconds = 0.0
    for run, loss in zip(job.runs, losses(job, job.runs), strict=True):
        span = run.last_seen - run.started
        if loss is not None and span > 0:
            seconds += run.device_seconds * max(0.0, run.last_seen - loss.since) / span
    return seconds


def _mean(integral: float | None, held: float) -> float | None:
    return integral / held if integral is not None and held > 0 else None


def _devices(job: Job) -> float:
    told = devices_of(job.record) if job.record is not None else None
    return told or float(len(job.devices)) or 1.0
