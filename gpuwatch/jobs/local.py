"""Who holds which device, told by the processes that have it open: runs, containers, users' own processes."""

from __future__ import annotations

import pwd
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from pydantic import BaseModel, ConfigDict, Field

from gpuwatch.errors import Unavailable
from gpuwatch.hygiene import label
from gpuwatch.jobs import proc
from gpuwatch.jobs.base import JobsReading, NodeView, Run
from gpuwatch.jobs.estimate_variable import EstimateVariables
from gpuwatch.jobs.group_use import GroupUses
from gpuwatch.jobs.lives import Lives
from gpuwatch.jobs.pressure import StorageWaits
from gpuwatch.jobs.proc import Stat
from gpuwatch.jobs.tree import Trees
from gpuwatch.model import Allocation, Process, Site

_MOST_KNOWN = 8192
_MOST_BYTES = 4096


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
        self._cgroups = f"{site.sysfs}/fs/cgroup"
        self._shows_all = proc.shows_all(site.procfs)
        self._lives = Lives(site.procfs)
        self._trees = Trees(site.procfs, self._lives)
        self._known: dict[int, _Known] = {}
        self._groups: dict[str, str] = {}
        self._waits = StorageWaits()
        self._uses = GroupUses()
        self._variables = EstimateVariables(site.procfs)
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
            members: dict[str, list[int]] = {}
            for uid, device in view.devices.items():
                reading = view.readings.get(uid)
                if reading is None or reading.processes is None:
                    unknown.add(uid)
                    continue
                jobs, unseen = self._holders(reading.processes, view.runs, members)
                if unseen:
                    unknown.add(uid)
                holders = len(jobs) + bool(unseen)
                basis = "mig" if device.kind == "mig" and holders == 1 else "holders"
                share = device.fraction / max(1, holders)
                allocations.extend(Allocation(job_id, uid, share, basis) for job_id in sorted(jobs))
            holding = {each.job_id for each in allocations}
            groups = self._own_groups(holding, view.runs) if self._waits.due(view.now) else {}
            waits = self._waits.read(groups, view.now)
            uses = self._uses.read(groups, view.now)
            declared = self._variables.read(members, view.now)
        return JobsReading(
            tuple(allocations), alive, frozenset(unknown), storage_waits=waits, group_uses=uses, declared=declared
        )

    def job_of(self, pid: int, runs: Mapping[str, Run]) -> str | None:
        """The id of the job that a process belongs to; None where there is no such process any more."""
        with self._lock:
            self._lives.refresh()
            return self._job(pid, runs)

    def linger_seconds(self, job_id: str) -> float:
        """0 for a run, whose end is known."""
        return self._linger_seconds if job_id.startswith(("user:", "container:")) else 0.0

    def _holders(
        self, processes: Iterable[Process], runs: Mapping[str, Run], members: dict[str, list[int]]
    ) -> tuple[set[str], bool]:
        """The jobs of some processes, and whether there are processes that could not be looked at.

        The processes of each job are added to `members`.
        """
        jobs, unseen = set(), False
        for pid in {process.pid for process in processes}:
            try:
                job_id = self._job(pid, runs)
            except Unavailable:
                unseen = True
                continue
            if job_id is not None:
                jobs.add(job_id)
                members.setdefault(job_id, []).append(pid)
        return jobs, unseen

    def _own_groups(self, jobs: Iterable[str], runs: Mapping[str, Run]) -> dict[str, str]:
        """Control groups that are one job's alone: a container's, and that of a service or scope for a run.

        Most runs, and all users, share theirs with other processes: what those wait for is not theirs.
        """
        groups = {}
        for job_id in jobs:
            group = self._groups.get(job_id) if job_id not in runs else self._group_of(runs[job_id], runs)
            if group is not None:
                groups[job_id] = group
        return groups

    def _group_of(self, run: Run, runs: Mapping[str, Run]) -> str | None:
        try:
            # Version 2 has one hierarchy, and is the last where there are others.
            *_, path = ("", *proc.cgroups(self._procfs, run.pid))
            group = self._cgroups + path
            with Path(group, "cgroup.procs").open("rb") as file:
                listed = file.read(_MOST_BYTES)
            words = listed.split() if len(listed) < _MOST_BYTES else []
            mine = all(self._job(int(word), runs) == run.job_id for word in words if word.isdigit())
        except (OSError, Unavailable):
            return None
        return group if words and mine and ".." not in path.split("/") else None

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
            self._forget()
        self._known[pid] = _Known(process.start, job_id)
        return job_id

    def _forget_where_runs_changed(self, runs: Mapping[str, Run]) -> None:
        """A run that began may own processes that were known as another's; one that ended owns none."""
        if runs.keys() != self._run_ids:
            self._run_ids = frozenset(runs)
            self._forget()

    def _forget(self) -> None:
        self._known.clear()
        self._groups.clear()

    def _resolve(self, process: Stat, runs: Mapping[str, Run]) -> str | None:
        run = self._trees.owner(process, runs)
        if run is not None:
            self._trees.remember(run, process)
            return run
        paths = proc.cgroups(self._procfs, process.pid)
        container = proc.container(paths)
        if container is not None:
            group = proc.container_group(paths)
            if group is not None:
                self._groups[f"container:{container}"] = self._cgroups + group
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
