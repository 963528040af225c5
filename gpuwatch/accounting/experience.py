"""What ended jobs came to, kept from pass to pass: of each user with jobs that run the latest, and of the cluster.

Only what ended since is read in a pass; once a day, or where clocks or a batch system's history jump, all of it is
read anew. What is held then is what a reader that was just made would hold.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence

from sqlalchemy import Connection, select

from gpuwatch.forecast.outcomes import Outcome
from gpuwatch.ledger import tables
from gpuwatch.ledger.burnup_store import Projected, RunKey
from gpuwatch.ledger.outcomes import (
    OF_CLUSTER,
    OF_USER,
    EndedJob,
    ended_between,
    latest_of_cluster,
    latest_of_users,
)
from gpuwatch.model import EMPTY

SETTLED_SECONDS = 300.0
"""How long after its end a job counts: by then agents have told of its energy."""

OVERLAP_SECONDS = 3600.0
"""An end is read that is told so much late; after an outage of the batch system all is that ended in it."""

RENEWAL_SECONDS = 86_400.0
"""So often all is read anew, and forgotten what belongs to users of whom nothing runs any more."""

AT_ONCE = 50_000
"""Where more ended since the last look, all is read anew."""


class OutcomeReader:
    """The latest outcomes of one cluster; one thread uses it.

    Of users it remembers only when their latest ended: what those came to is with whoever was told of them.
    `renewals` counts how often all was read anew: then what `look` returns is all there is to know, and takes the
    place of what it returned before.
    """

    def __init__(
        self, cluster: str, of_user: int = OF_USER, of_cluster: int = OF_CLUSTER, at_once: int = AT_ONCE
    ) -> None:
        self._cluster, self._at_once = cluster, at_once
        self._of_user, self._of_cluster = of_user, of_cluster
        self._users: dict[str, array[float]] = {}
        self._together: list[EndedJob] = []
        self._handed: set[int] = set()
        self._passed_over: set[int] = set()
        self._looked = self._renewed = 0.0
        self._polled: Mapping[str, float] = {}
        self.renewals = 0

    def look(
        self,
        connection: Connection,
        users: Collection[str],
        now: float,
        projected: Mapping[RunKey, Projected] = EMPTY,
    ) -> Iterator[Outcome]:
        """What is new since the last look, in the order in which it ended; nothing is returned twice.

        Each is made as it is taken, as there may be a hundred thousand.
        `users` are those of whom jobs run, `uid:N` where no batch system names them. Of one that is asked for the
        first time the latest are read. `projected` is what the burn-ups of jobs said that are over.
        """
        until = now - SETTLED_SECONDS
        polled = _polled(connection, self._cluster)
        since = self._since(until, polled)
        new, together = None, None
        if since is not None:
            new = ended_between(connection, self._cluster, since, until, self._at_once, self._is_known)
        if new is None:
            together = latest_of_cluster(connection, self._cluster, until, self._of_cluster)
        fresh = set(users) - (set() if new is None else self._users.keys())
        brought = latest_of_users(connection, self._cluster, fresh, until, self._of_user)
        # Only now, as what fails above is asked for again.
        if together is not None:
            self._begin_anew(together, until)
        entered = together or [job for job in new or () if self._enters(job)]
        self._users |= {user: array("d", [job.ended for job in jobs]) for user, jobs in brought.items()}
        self._looked, self._polled = until, polled
        jobs = self._handing([*entered, *(job for jobs in brought.values() for job in jobs)])
        return (_outcome(job, projected.get((job.job_id, int(job.ended - job.wall)), ())) for job in jobs)

    def ends_of_user(self, user: str) -> Sequence[float]:
        """When the latest of a user ended, what ended first comes first."""
        return self._users.get(user, ())

    def of_cluster(self) -> Sequence[Outcome]:
        """The latest of the cluster, what ended first comes first."""
        return [_outcome(job) for job in self._together]

    def _since(self, until: float, polled: Mapping[str, float]) -> float | None:
        """From when on ends are not known yet; None: all is to be read anew."""
        if not self._renewed or until < self._looked - OVERLAP_SECONDS or polled.keys() - self._polled.keys():
            return None
        if abs(until - self._renewed) > RENEWAL_SECONDS:
            return None
        # What ended while a batch system could not be asked is told once its history goes on.
        moved = [self._polled[name] for name, to in polled.items() if to != self._polled[name]]
        since = min(self._looked, until, *moved) - OVERLAP_SECONDS
        return since if until - since <= RENEWAL_SECONDS else None

    def _begin_anew(self, together: list[EndedJob], until: float) -> None:
        self._users, self._handed, self._passed_over = {}, set(), set()
        self._together, self._renewed = together, until
        self.renewals += 1

    def _is_known(self, job_id: str, begun: float) -> bool:
        key = hash((job_id, begun))
        return key in self._handed or key in self._passed_over

    def _enters(self, job: EndedJob) -> bool:
        """Whether it is one of the latest of its user, or of all, and was not before."""
        if self._is_known(job.job_id, job.begun):
            return False
        together = _entered(self._together, job, self._of_cluster)
        own = self._users.get(job.user)
        enters = (own is not None and _ended(own, job.ended, self._of_user)) or together
        if not enters:
            self._passed_over.add(hash((job.job_id, job.begun)))
        return enters

    def _handing(self, jobs: list[EndedJob]) -> list[EndedJob]:
        jobs.sort()
        found = []
        for job in jobs:
            key = hash((job.job_id, job.begun))
            if key not in self._handed:
                self._handed.add(key)
                found.append(job)
        return found


def _entered(jobs: list[EndedJob], job: EndedJob, most: int) -> bool:
    """Put a job among the latest, and say whether it is one of them and was not before."""
    place = bisect_left(jobs, job[:3])
    if place < len(jobs) and jobs[place][:3] == job[:3]:
        return False
    if place == 0 and len(jobs) >= most:
        return False
    jobs.insert(place, job)
    del jobs[:-most]
    return True


def _ended(ends: array[float], end: float, most: int) -> bool:
    """Put an end among the latest, and say whether it is one of them."""
    place = bisect_right(ends, end)
    if place == 0 and len(ends) >= most:
        return False
    ends.insert(place, end)
    del ends[:-most]
    return True


def _outcome(job: EndedJob, projected: Projected = ()) -> Outcome:
    return Outcome(*job[3:9], job.ended, *job[9:], projected)


def _polled(connection: Connection, cluster: str) -> Mapping[str, float]:
    """How far the history of each batch system of the cluster is known."""
    there = tables.polls.c
    rows = connection.execute(select(there.scheduler, there.until).where(there.cluster == cluster))
    return {row.scheduler: row.until for row in rows}
