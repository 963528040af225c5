"""A cluster on a made-up day: jobs that do as they should, and jobs that do not, told pass by pass."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from gpuwatch.schedulers.base import Record
from gpuwatch.usage.base import Delivery
from tests.ledger.batch import HOUR, T0, record
from tests.ledger.deliveries import declared, delivery, progress, row

Does = Literal["well", "overruns", "idles", "hangs", "never starts", "hits its limit", "stalls"]
DOES: tuple[tuple[Does, int], ...] = (
    ("well", 200), ("overruns", 50), ("idles", 15), ("hangs", 10), ("never starts", 10), ("hits its limit", 10),
    ("stalls", 5),
)  # fmt: skip
"""How many of the 300 jobs do what."""

WATTS = {"working": 600.0, "idle": 70.0, "spinning": 110.0}


@dataclass(frozen=True, slots=True)
class Planned:
    """A job: when it begins and ends (hours of the day), what it declares and needs, device-hours."""

    job_id: str
    user: str
    account: str
    does: Does
    begins: float
    devices: int
    declares: float
    needs: float
    limit: float

    @property
    def ends(self) -> float:
        """When it is done, its user has had enough, or its limit ends it."""
        rests = {"idles": 4.0, "hangs": 4.0, "never starts": 3.0, "stalls": 6.0}
        return self.begins + min(self.limit, rests.get(self.does, self.needs / self.devices))

    def working_until(self) -> float:
        """Up to when it works, hours of the day."""
        works = {"idles": 1.0, "hangs": 1.0, "never starts": 0.0}
        return self.begins + works.get(self.does, 1e9)

    @property
    def rests(self) -> str:
        """What its devices do when it does not work."""
        return "spinning" if self.does == "hangs" else "idle"


def planned(seed: int = 7, users: int = 60) -> list[Planned]:
    """The 300 jobs of a day, five for each user: the same ones for the same seed."""
    rng = random.Random(seed)
    doing = [does for does, number in DOES for _ in range(number)]
    rng.shuffle(doing)
    found = []
    for number, does in enumerate(doing):
        declares = rng.choice((4.0, 8.0, 12.0))
        needs = declares * (
            rng.uniform(1.6, 2.2) if does in ("overruns", "hits its limit") else rng.uniform(0.6, 0.9)
        )
        devices = rng.choice((1, 2, 4))
        limit = 0.7 * needs / devices if does == "hits its limit" else 24.0
        user = number % users
        found.append(
            Planned(
                str(1000 + number), f"user{user:02}", f"lab{user % 6}", does, round(rng.uniform(0.1, 16.0), 2),
                devices, declares, needs, limit,
            )
        )  # fmt: skip
    return found


def records(jobs: list[Planned], hour: float) -> list[Record]:
    """What the batch system tells of those that have begun, an hour of the day."""
    found = []
    for job in jobs:
        if job.begins > hour:
            continue
        over = job.ends <= hour
        limited = over and job.does == "hits its limit"
        state = ("TIMEOUT" if limited else "COMPLETED") if over else "RUNNING"
        found.append(
            record(
                job.job_id, submitted=_started(job) - 60, state=state, started=T0 + job.begins * HOUR,
                ended=T0 + job.ends * HOUR if over else None, devices=float(job.devices), user=job.user,
                account=job.account, partition="gpu", limit_seconds=job.limit * HOUR, seen=T0 + hour * HOUR,
                nodes=(f"gw{int(job.job_id) % 40}",), name=f"train-{job.job_id}",
            )
        )  # fmt: skip
    return found


def told(jobs: list[Planned], hour: float, since: float) -> Delivery:
    """What agents tell of those that ran since the pass before."""
    lively = [job for job in jobs if job.begins < hour and job.ends > since]
    rows = [each for job in lively for each in _rows(job, min(hour, job.ends), job.ends <= hour)]
    said = [
        declared(
            f"device-hours={job.declares:g}", job.job_id, seq=int(job.job_id), started=_started(job),
            time=T0 + job.begins * HOUR + 5.0,
        )
        for job in lively
    ]  # fmt: skip
    events = [each for job in lively for each in _progress(job, min(hour, job.ends))]
    now = T0 + hour * HOUR
    return delivery(rows, said, events, now=now, seq=int(hour * 3600))


def _started(job: Planned) -> int:
    return round(T0 + job.begins * HOUR)


def _rows(job: Planned, hour: float, over: bool) -> Iterator[dict[str, Any]]:
    worked = max(0.0, min(hour, job.working_until()) - job.begins) * HOUR
    rested = max(0.0, hour - job.working_until()) * HOUR
    now = T0 + hour * HOUR
    last: dict[str, float] = {}
    if worked:
        last["working"] = min(now, T0 + job.working_until() * HOUR)
    if rested:
        last[job.rests] = now
    for number in range(job.devices):
        yield row(
            job.job_id, started=_started(job), uuid=f"GPU-{job.job_id}-{number}", open=not over, last_seen=now,
            basis="whole", held_seconds=worked + rested,
            busy_seconds=worked + (rested if job.does == "hangs" else 0.0),
            state_seconds={"working": worked, job.rests: rested},
            energy_joules={"counter": worked * WATTS["working"] + rested * WATTS[job.rests]},
            throttled_seconds={}, last_in_state=last, first_working=T0 + job.begins * HOUR if worked else None,
        )  # fmt: skip


def _progress(job: Planned, hour: float) -> Iterator[dict[str, Any]]:
    if job.does in ("never starts", "idles", "hangs"):
        return
    done = min(1.0, (hour - job.begins) * job.devices / job.needs)
    if job.does == "stalls":
        done = min(done, 0.3)
    step = int(1000 * done)
    # A step is reported when it is done.
    at = T0 + (job.begins + step / 1000 * job.needs / job.devices) * HOUR
    yield progress(step, 1000, job.job_id, started=_started(job), time=min(at, T0 + hour * HOUR))
