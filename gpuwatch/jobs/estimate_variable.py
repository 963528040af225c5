"""What jobs declare by `GPUWATCH_ESTIMATE` in the environment of their processes, where that may be read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

from gpuwatch.errors import Unavailable
from gpuwatch.jobs import proc
from gpuwatch.jobs.base import Variable
from gpuwatch.jobs.slurm_environment import ESTIMATE, environment

SOON_SECONDS = 5.0
BEGINNING_SECONDS = 60.0
LATER_SECONDS = 60.0
REFUSED_SECONDS = 600.0
_MOST_ASKED = 4
_MOST_PROCESSES = 16


@dataclass(slots=True)
class _Asked:
    """What is known of a job: since when, when its processes are asked again, what one said."""

    since: float
    again: float
    said: Variable | None = None


class EstimateVariables:
    """Asks the first processes of each job until one has the variable. Not thread-safe.

    `belongs` tells by the other variables of a process whether it is what it seems to be.
    """

    def __init__(
        self, procfs: str, belongs: Callable[[str, Mapping[str, str]], bool] = lambda job_id, found: True
    ) -> None:
        self._procfs = procfs
        self._belongs = belongs
        self._asked: dict[str, _Asked] = {}

    def read(self, jobs: Mapping[str, Iterable[int]], now: float) -> dict[str, Variable]:
        """What is known of these jobs; a few of those of which nothing is known yet are asked."""
        self._asked = {job_id: self._asked.get(job_id) or _Asked(now, now) for job_id in jobs}
        due = (job_id for job_id, each in self._asked.items() if each.said is None and each.again <= now)
        for job_id in islice(due, _MOST_ASKED):
            self._ask(job_id, jobs[job_id], self._asked[job_id], now)
        return {job_id: each.said for job_id, each in self._asked.items() if each.said is not None}

    def _ask(self, job_id: str, pids: Iterable[int], asked: _Asked, now: float) -> None:
        refused = answered = 0
        for pid in islice(pids, _MOST_PROCESSES):
            try:
                found = environment(self._procfs, pid)
                uid = proc.uid(self._procfs, pid)
            except Unavailable:
                refused += 1
                continue
            answered += 1
            if found and ESTIMATE in found and self._belongs(job_id, found):
                asked.said = Variable(found[ESTIMATE], uid, pid)
                return
        young = now - asked.since < BEGINNING_SECONDS
        asked.again = now + (SOON_SECONDS if young else LATER_SECONDS)
        if refused and not answered:
            asked.again = now + REFUSED_SECONDS
