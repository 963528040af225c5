"""How running jobs came to where they are, in memory from pass to pass, and on disk where it is worth writing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection

from gpuwatch.accounting import cases
from gpuwatch.forecast.burnup import first_in_each_bucket
from gpuwatch.ledger import burnup_store
from gpuwatch.ledger.burnup_store import Projected, RunKey
from gpuwatch.ledger.jobs import Job
from gpuwatch.model import BurnUp


def run_of(job: Job) -> RunKey:
    """What the burn-up of a job is called."""
    return job.job_id, job.started


@dataclass(slots=True)
class BurnUps:
    """The burn-ups of jobs that run (`now`), and what those projected that are over (`projected`)."""

    now: dict[RunKey, BurnUp] = field(default_factory=dict)
    projected: dict[RunKey, Projected] = field(default_factory=dict)
    _kept: dict[RunKey, BurnUp] = field(default_factory=dict)
    _last: dict[RunKey, BurnUp] = field(default_factory=dict)
    _over: dict[RunKey, Projected] = field(default_factory=dict)
    _due: Mapping[RunKey, BurnUp] = field(default_factory=dict)

    def grow(self, connection: Connection, cluster: str, jobs: Iterable[Job], now: float) -> None:
        """Take what running jobs used by now; those that are new are looked for in the ledger first."""
        running = {run_of(job): job for job in jobs}
        new = running.keys() - self.now.keys()
        if new:
            found = burnup_store.load_burnups(connection, cluster, new)
            self.now |= found
            self._kept |= found
        for key, job in running.items():
            self.now[key] = cases.grown_by(job, self.now.get(key), now)

    def end(self, jobs: Iterable[Job]) -> None:
        """Jobs are over: what their burn-ups projected is what others are corrected by."""
        for job in jobs:
            self._end(job)
        while len(self.projected) > burnup_store.MOST_PROJECTED:
            del self.projected[next(iter(self.projected))]

    def _end(self, job: Job) -> None:
        key = run_of(job)
        before = self.now.pop(key, None)
        kept = self._kept.pop(key, None)
        if before is None:
            return
        burnup = cases.grown_by(job, before)
        progress = cases.progress_of(job)
        told = cases.told_by(job, burnup.points, progress.total if progress is not None else None)
        if found := first_in_each_bucket(*told):
            self._over[key] = self.projected[key] = found
        if burnup != kept:
            self._last[key] = burnup

    def forget_others(self, jobs: Iterable[Job]) -> None:
        """Nothing but these runs: others are lost, or have got another begin."""
        for key in self.now.keys() - set(map(run_of, jobs)):
            del self.now[key]
            self._kept.pop(key, None)

    def keep(self, connection: Connection, cluster: str, now: float) -> None:
        """Write what is worth it, in the caller's transaction."""
        due = {key: each for key, each in self.now.items() if burnup_store.is_due(each, self._kept.get(key))}
        burnup_store.save_burnups(connection, cluster, {**due, **self._last}, now)
        burnup_store.save_projected(connection, cluster, self._over)
        self._due = due

    def kept(self) -> None:
        """What was written is in the ledger."""
        self._kept |= self._due
        self._due = {}
        self._last.clear()
        self._over.clear()
