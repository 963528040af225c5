"""Who holds which device, told by the processes that have it open: runs, containers, users' own processes."""

from __future__ import annotations

import pwd
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from threading import Lock

from pydantic import BaseModel, ConfigDict, Field

from gpuwatch.errors import Unavailable
from gpuwatch.hygiene import label
from gpuwatch.jobs import proc
from gpuwatch.jobs.base import JobsReading, NodeView, Run
from gpuwatch.jobs.lives import Lives
from gpuwatch.jobs.proc import Stat
from gpuwatch.jobs.tree import Trees
from gpuwatch.model import Allocation, Process, Site

_MOST_KNOWN = 8192


@dataclass(frozen=True, slots=True)
class _Known:
    start: int
    job_id: str


class LocalJobs:
    """Processes of a node without a batch system, or beside it.

    A process belongs to the `gpuwatch run` it descends from (its id is the agent's), else to the container it is
    in (`container:` and 12 hex digits), else to its user (`user:` and the name). Holders of a device share it
    equally. A holder that cannot be looked at makes the device `unknown` and counts as one holder of its own.
    """

    class Settings(BaseModel):
        """The table `[jobs.local]`."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        linger_seconds: float = Field(default=900.0, ge=0)
        """How long a container's or user's processes may hold nothing before that counts as the end."""

    def __init__(self, settings: Settings, site: Site) -> None:
        self._linger_seconds = settings.linger_seconds
        self._procfs = site.procfs
        self._shows_all = proc.shows_all(site.procfs)
        self._lives = Lives(site.procfs)
        self._trees = Trees(site.procfs, self._lives)
        self._known: dict[int, _Known] = {}
        self._run_ids: frozenset[str] = frozenset()
        self._names: dict[int, str] = {}
        self._lock = Lock()

    def read(self, view: NodeView) -> JobsReading:
        """Who holds which device now."""
        with self._lock:
            self._lives.refresh()
            alive = self._trees.refresh(view.runs, view.now)
            allocations: list[Allocation] = []
            unknown: set[str] = set()
            for uid, device in view.devices.items():
                reading = view.readings.get(uid)
                if reading is None or reading.processes is None:
                    unknown.add(uid)
                    continue
                jobs, unseen = self._holders(reading.processes, view.runs)
                if unseen:
                    unknown.add(uid)
                holders = len(jobs) + bool(unseen)
                basis = "mig" if device.kind == "mig" and holders == 1 else "holders"
                share = device.fraction / max(1, holders)
                allocations.extend(Allocation(job_id, uid, share, basis) for job_id in sorted(jobs))
        return JobsReading(tuple(allocations), alive, frozenset(unknown))

    def job_of(self, pid: int, runs: Mapping[str, Run]) -> str | None:
        """The id of the job that a process belongs to; None where there is no such process any more."""
        with self._lock:
            self._lives.refresh()
            return self._job(pid, runs)

    def linger_seconds(self, job_id: str) -> float:
        """0 for a run, whose end is known."""
        return self._linger_seconds if job_id.startswith(("user:", "container:")) else 0.0

    def _holders(self, processes: Iterable[Process], runs: Mapping[str, Run]) -> tuple[set[str], bool]:
        """The jobs of some processes, and whether there are processes that could not be looked at."""
        jobs, unseen = set(), False
        for pid in {process.pid for process in processes}:
            try:
                job_id = self._job(pid, runs)
            except Unavailable:
                unseen = True
                continue
            if job_id is not None:
                jobs.add(job_id)
        return jobs, unseen

    def _job(self, pid: int, runs: Mapping[str, Run]) -> str | None:
        self._forget_where_runs_changed(runs)
        known = self._known.get(pid)
        if known is not None and self._lives.has(pid, known.start):
            return known.job_id
        process = proc.stat(self._procfs, pid) if pid > 0 else None
        if process is None:
            if not self._shows_all:
                raise Unavailable(
                    f"{self._procfs}/{pid}: not shown; the agent is in a pid namespace, or hidepid is set"
                )
            return None
        job_id = self._resolve(process, runs)
        if job_id is None:
            return None
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[pid] = _Known(process.start, job_id)
        return job_id

    def _forget_where_runs_changed(self, runs: Mapping[str, Run]) -> None:
        """A run that began may own processes that were known as another's; one that ended owns none."""
        if runs.keys() != self._run_ids:
            self._run_ids = frozenset(runs)
            self._known.clear()

    def _resolve(self, process: Stat, runs: Mapping[str, Run]) -> str | None:
        run = self._trees.owner(process, runs)
        if run is not None:
            self._trees.remember(run, process)
            return run
        container = proc.container(proc.cgroups(self._procfs, process.pid))
        if container is not None:
            return f"container:{container}"
        uid = proc.uid(self._procfs, process.pid)
        return None if uid is None else f"user:{self._name(uid)}"

    def _name(self, uid: int) -> str:
        if uid not in self._names:
            try:
                self._names[uid] = label(pwd.getpwuid(uid).pw_name)
            except (KeyError, OverflowError):
                return str(uid)
        return self._names[uid]
