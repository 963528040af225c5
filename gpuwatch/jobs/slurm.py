"""Who holds which GPU on a Slurm node: by a prolog's map, else by job cgroups and their processes' environment."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from threading import Lock

from pydantic import BaseModel, ConfigDict, Field

from gpuwatch import hygiene
from gpuwatch.errors import Unavailable
from gpuwatch.jobs import proc, slurm_environment, slurm_maps
from gpuwatch.jobs.base import JobsReading, NodeView, Run
from gpuwatch.jobs.estimate_variable import EstimateVariables
from gpuwatch.jobs.group_use import GroupUses
from gpuwatch.jobs.pressure import StorageWaits
from gpuwatch.jobs.slurm_cgroups import Groups, JobGroup, processes, title_says
from gpuwatch.jobs.slurm_devices import (
    NOTHING,
    SHARDS,
    Claim,
    Holder,
    Layout,
    Rules,
    Settled,
    Told,
    layout,
    settle,
    told,
    told_by,
)
from gpuwatch.jobs.slurm_environment import Said, ask, named_by
from gpuwatch.jobs.slurm_maps import MapDirectory, Mapped
from gpuwatch.model import EMPTY, Site

log = logging.getLogger("gpuwatch.jobs")

ASK_SECONDS = 5.0
BEGINNING_SECONDS = 10.0
PROLOG_SECONDS = 600.0
_MOST_ASKED = 8
_MOST_SAID = 64
_DUST = 1e-9
_NEVER = float("-inf")


@dataclass(slots=True)
class _Known:
    """What was learned of a job while its control group lasts: what its processes said, what they opened."""

    group: JobGroup
    since: float
    lasts: bool = False
    asked: float = _NEVER
    said: Said = field(default_factory=lambda: Said(None))
    used: set[str] = field(default_factory=set)


class SlurmJobs:
    """Slurm's jobs on this node. A job lives from its prolog, or its control group, to the end of that.

    What a prolog wrote counts before what a job's processes say. Where neither tells a job's devices, it holds
    those that its processes have open, and whatever nobody else holds is `unknown`.
    """

    class Settings(BaseModel):
        """The table `[jobs.slurm]`."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        map_directory: str = Field(default="/run/gpuwatch-slurm", min_length=1)
        """Where `deploy/slurm/prolog.sh` notes which devices a job was given."""
        gpustat_directory: str = "/run/gpustat"
        """The same by the prolog of jobstats, read where it exists; empty: not read."""
        dcgm_map_directory: str = ""
        """The directory that dcgm-exporter is given with `--hpc-job-mapping-dir`; empty: not read."""
        gpu_order: tuple[str, ...] = Field(default=(), strict=False)
        """UUIDs or PCI addresses in the order in which Slurm counts them; empty: in the driver's order."""
        shards_per_device: int = Field(default=0, ge=0, le=1024)
        """How many shards of `gres/shard` each device has; 0: there are none on this node."""
        mps: bool = False
        """The node has `gres/mps`: a job's CUDA_MPS_ACTIVE_THREAD_PERCENTAGE is what Slurm gave it."""
        constrain_devices: bool = True
        """cgroup.conf has ConstrainDevices=yes: CUDA ordinals begin at 0 in each job, and are no indices."""
        tpu_is_gpu: bool = False
        """The node's TPUs are `gres/gpu`, and no resource of another name: a job that is told of none has none."""
        contain: bool = False
        """slurm.conf has PrologFlags=Contain: a job has a control group for as long as it lasts."""

    def __init__(self, settings: Settings, site: Site) -> None:
        self._settings = settings
        self._site = site
        self._rules = Rules(
            settings.shards_per_device, settings.mps, settings.constrain_devices, settings.tpu_is_gpu
        )
        self._groups = Groups(site.sysfs, site.node)
        self._map = MapDirectory(settings.map_directory)
        self._gpustat = _of_others(settings.gpustat_directory)
        self._dcgm = _of_others(settings.dcgm_map_directory)
        self._booted = _boot_time(site.procfs)
        self._layout = layout(EMPTY)
        self._known: dict[str, _Known] = {}
        self._over: dict[str, float] = {}
        self._sluids: dict[str, str] = {}
        self._said: frozenset[str] = frozenset()
        self._looked = _NEVER
        self._opened: set[tuple[str, int]] = set()
        self._waits = StorageWaits()
        self._uses = GroupUses()
        self._variables = EstimateVariables(
            site.procfs, lambda job_id, found: found.get(slurm_environment.JOB) == job_id
        )
        self._lock = Lock()

    def read(self, view: NodeView) -> JobsReading:
        """Who holds which device now."""
        with self._lock:
            if view.devices != self._layout.uids:
                self._layout = layout(view.devices, self._settings.gpu_order)
            found = self._groups.jobs(view.now)
            maps = self._maps()
            groups, nameless = self._named(found, maps)
            self._follow(groups, maps, view.now)
            living = {job_id: each for job_id, each in maps.items() if self._lives(each, groups, view.now)}
            holders, complete = self._holders(living, view)
            settled = settle(holders, self._layout)
            self._say(settled)
            # Read only of those that are asked.
            pids = {job_id: (pid for _, pid in processes(group)) for job_id, group in groups.items()}
            declared = self._variables.read(pids, view.now)
        alive = frozenset({*groups, *living})
        paths = {job_id: group.path for job_id, group in groups.items()}
        return JobsReading(
            settled.allocations,
            alive,
            _not_taken(self._layout, settled) if nameless or not complete else frozenset(),
            excess=sum(claim.share for _, claim in settled.refused),
            storage_waits=self._waits.read(paths, view.now),
            group_uses=self._uses.read(paths, view.now),
            declared=declared,
        )

    def job_of(self, pid: int, runs: Mapping[str, Run]) -> str | None:
        """The job that a process is of, by its control group; None where that is not of a job on this node."""
        del runs
        job_id, sluid = self._groups.job_of(proc.cgroups(self._site.procfs, pid)) if pid > 0 else (None, None)
        if sluid is not None and sluid not in self._sluids:
            raise Unavailable(f"{self._site.procfs}/{pid}: the job of SLUID {sluid} is not known yet")
        return job_id if sluid is None else self._sluids[sluid]

    def linger_seconds(self, job_id: str) -> float:
        """0: the end of a job is known."""
        del job_id
        return 0.0

    def _maps(self) -> dict[str, Mapped]:
        """What the maps say, by job: ours before that of jobstats before that of dcgm-exporter."""
        found: dict[str, Mapped] = {}
        if self._dcgm is not None:
            found |= {each.job_id: each for each in slurm_maps.dcgm(self._dcgm.read())}
        if self._gpustat is not None:
            found |= {each.job_id: each for each in slurm_maps.gpustat(self._gpustat.read())}
        return found | {each.job_id: each for each in slurm_maps.own(self._map.read(), self._site.node)}

    def _named(self, found: Iterable[JobGroup], maps: Mapping[str, Mapped]) -> tuple[dict[str, JobGroup], bool]:
        """The groups by job id, and whether there is one whose job cannot be told."""
        known = self._sluids | {each.sluid: job_id for job_id, each in maps.items() if each.sluid is not None}
        groups: dict[str, JobGroup] = {}
        sluids: dict[str, str] = {}
        nameless = False
        for group in found:
            job_id = group.job_id
            if group.sluid is not None:
                job_id = known.get(group.sluid) or self._look_up(group, groups)
            if job_id is None:
                nameless = True
                continue
            groups[job_id] = group
            if group.sluid is not None:
                sluids[group.sluid] = job_id
        self._sluids = sluids
        return groups, nameless

    def _look_up(self, group: JobGroup, taken: Mapping[str, JobGroup]) -> str | None:
        """By the title of Slurm's own process, else by what all processes agree on, unless another job is that."""
        job_id = title_says(group, self._site.procfs) or named_by(self._site.procfs, group)
        good = job_id is not None and slurm_maps.JOB_ID.fullmatch(job_id) and job_id not in taken
        return job_id if good else None

    def _follow(self, groups: Mapping[str, JobGroup], maps: Mapping[str, Mapped], now: float) -> None:
        """Keep what was learned of the jobs that go on; a map outlives its job until the epilog has run."""
        for job_id, known in self._known.items():
            if job_id not in groups and known.lasts and job_id in maps:
                self._over[job_id] = maps[job_id].written
        self._over = {
            job_id: written
            for job_id, written in self._over.items()
            if job_id in maps and maps[job_id].written == written and job_id not in groups
        }
        before, self._known = self._known, {}
        for job_id, group in groups.items():
            learned = before.get(job_id)
            if learned is None or (learned.group.path, learned.group.inode) != (group.path, group.inode):
                learned = _Known(group, now)
            learned.lasts = learned.lasts or group.lasts
            self._known[job_id] = learned

    def _lives(self, mapped: Mapped, groups: Mapping[str, JobGroup], now: float) -> bool:
        """Whether the job of a map goes on: it has a control group, or may well have none (yet)."""
        if mapped.job_id in groups:
            return True
        if mapped.job_id in self._over or (self._booted is not None and mapped.written < self._booted):
            return False
        return not (self._settings.contain and now - mapped.written > PROLOG_SECONDS)

    def _holders(self, living: Mapping[str, Mapped], view: NodeView) -> tuple[list[Holder], bool]:
        """The jobs with their claims, and whether all devices of all of them are known."""
        holders: list[Holder] = []
        rest: dict[str, _Known | None] = {}
        complete = True
        for job_id in {**living, **self._known}:
            mapped, known = living.get(job_id), self._known.get(job_id)
            held = self._by_map(mapped, known) if mapped is not None else NOTHING
            if mapped is not None and held.anything:
                complete = complete and held.complete
                holders.append(Holder(job_id, held.claims, (known is None, 0, -mapped.written)))
            else:
                rest[job_id] = known
        self._ask(rest, view.now)
        unsaid: dict[str, _Known] = {}
        for job_id, known in rest.items():
            held = self._by_environment(known)
            complete = complete and held.complete
            if known is not None and held.claims:
                holders.append(Holder(job_id, held.claims, (0, 1, known.since)))
            elif known is not None:
                unsaid[job_id] = known
        return [*holders, *self._by_use(unsaid, view)], complete

    def _by_map(self, mapped: Mapped, known: _Known | None) -> Told:
        if not mapped.readable:
            return NOTHING
        if mapped.portions:
            return told_by(mapped.portions, self._layout)
        variables = mapped.variables
        held = told(variables, self._layout, self._rules, trusted=True)
        if not self._rules.shards_per_device or SHARDS in variables or not held.claims:
            return held
        # A prolog is not told how many shards a job has; the job is.
        said = known.said.variables if known is not None else None
        if said is None:
            return NOTHING
        count = {name: value for name, value in said.items() if name == SHARDS}
        return told({**variables, **count}, self._layout, self._rules, trusted=True)

    def _by_environment(self, known: _Known | None) -> Told:
        if known is None or known.said.variables is None:
            return NOTHING
        held = told(known.said.variables, self._layout, self._rules, trusted=False)
        # What steps have is a part of what their job has.
        return replace(held, complete=held.complete and (known.said.whole or not held.claims))

    def _by_use(self, jobs: Mapping[str, _Known], view: NodeView) -> list[Holder]:
        """Jobs of which nobody said that they have a device hold what their processes have, or had, open."""
        opened = {
            (uid, process.pid) for uid, reading in view.readings.items() for process in reading.processes or ()
        }
        if jobs and (opened != self._opened or not 0 <= view.now - self._looked < ASK_SECONDS):
            self._looked, self._opened = view.now, opened
            for uid, pid in opened:
                known = jobs.get(self._job_or_none(pid) or "")
                if known is not None:
                    known.used.add(uid)
        sharing = Counter(uid for each in jobs.values() for uid in each.used)
        return [
            Holder(job_id, _shared(known.used, sharing, self._layout), (0, 2, known.since))
            for job_id, known in jobs.items()
        ]

    def _job_or_none(self, pid: int) -> str | None:
        try:
            return self.job_of(pid, {})
        except Unavailable:
            return None

    def _ask(self, jobs: Mapping[str, _Known | None], now: float) -> None:
        """Ask the processes of a few jobs, each job until it says what the whole of it has."""
        due = [
            (job_id, known)
            for job_id, known in jobs.items()
            if known is not None and not known.said.whole and not 0 <= now - known.asked < _pause(known, now)
        ]
        for job_id, known in due[:_MOST_ASKED]:
            known.asked = now
            said = ask(self._site.procfs, known.group, job_id)
            if said.refused and not known.said.refused:
                log.warning("an environment is refused, a value is too long job_id=%s", job_id)
            # What was learned stays while the control group does: a job that holds a device need not run anything.
            if said.variables or known.said.variables is None:
                known.said = said

    def _say(self, settled: Settled) -> None:
        """Log what was refused, once while it lasts."""
        said = {
            f"a map is not believed path={directory.path!r} file={name!r} reason={refusal}"
            for directory in (self._map, self._gpustat, self._dcgm)
            if directory is not None
            for name, refusal in islice(directory.refusals.items(), _MOST_SAID)
        }
        said |= {
            f"a claim does not fit on its device, and is not charged job_id={job_id} device={claim.device}"
            f" share={claim.share:g} basis={claim.basis}"
            for job_id, claim in settled.refused[:_MOST_SAID]
        }
        for message in sorted(said - self._said):
            log.warning("%s", hygiene.log(message))
        self._said = frozenset(said)


def _pause(known: _Known, now: float) -> float:
    """How long not to ask again: the processes of a job that has just begun are still Slurm's own."""
    return ASK_SECONDS if now - known.since > BEGINNING_SECONDS else 0.0


def _of_others(path: str) -> MapDirectory | None:
    return MapDirectory(path, own=False) if path else None


def _shared(used: Iterable[str], sharing: Mapping[str, int], node: Layout) -> tuple[Claim, ...]:
    there = (node.uids[uid] for uid in sorted(used) if uid in node.uids)
    return tuple(Claim(device.uid, device.fraction / sharing[device.uid], "holders") for device in there)


def _not_taken(node: Layout, settled: Settled) -> frozenset[str]:
    """The devices of which something is left that a job with unknown devices may hold."""
    return frozenset(
        device.uid for device in node.units() if settled.taken.get(device.uid, 0.0) < device.fraction * (1 - _DUST)
    )


def _boot_time(procfs: str) -> float | None:
    """When the node was started, in Unix seconds; None where procfs does not say."""
    try:
        found = re.search(rb"^btime ([0-9]+)$", Path(procfs, "stat").read_bytes(), re.MULTILINE)
    except OSError:
        return None
    return float(found[1]) if found else None
