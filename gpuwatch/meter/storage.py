"""Time in which jobs waited for storage, as their control groups count it, for their rows on one device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gpuwatch.meter.shares import Shares, add
from gpuwatch.meter.signals import Counter


@dataclass(slots=True)
class StorageWaits:
    """Each job's counter as it was last read, and how long the job has held the device since."""

    counters: dict[str, Counter] = field(default_factory=dict)
    since: Shares = field(default_factory=dict)

    def advance(self, now: float, waits: Mapping[str, float], held: Shares, holders: Shares) -> Shares:
        """Share-seconds of waiting by row, never more than were held.

        `waits` has the counters, in seconds and by job, that were read for this look; `holders` hold from now on.
        """
        if not waits and not self.counters:
            return {}
        add(self.since, {row: amount for row, amount in held.items() if row.job_id in self.counters})
        held_by = {row.job_id for row in holders}
        waited: Shares = {}
        for job_id in waits.keys() & {*self.counters, *held_by}:
            waited |= self._rise(now, job_id, waits[job_id])
        if not self.counters.keys() <= held_by:
            self.counters = {job_id: each for job_id, each in self.counters.items() if job_id in held_by}
            self.since = {row: amount for row, amount in self.since.items() if row.job_id in held_by}
        return waited

    def _rise(self, now: float, job_id: str, seconds: float) -> Shares:
        counter = self.counters.setdefault(job_id, Counter())
        then = counter.time
        rise = counter.rise(now, seconds, fastest=1.0)
        mine = {row: self.since.pop(row) for row in list(self.since) if row.job_id == job_id}
        if rise is None or then is None or now <= then:
            return {}
        part = min(1.0, rise / (now - then))
        return {row: part * amount for row, amount in mine.items()}
