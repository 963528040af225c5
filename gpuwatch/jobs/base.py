"""The contract of a job source.

A source says who holds what now; it keeps no history. The agent decides when a job began and ended, adds up
shares over sources, and charges whatever nobody claims to nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from gpuwatch.model import EMPTY, Allocation, Device, GroupUse, Reading


@dataclass(frozen=True, slots=True)
class Run:
    """Work that somebody registered at the agent's socket with `gpuwatch run`; `pid` is the root of its tree.

    `pid_start` is the start time of that process in clock ticks since boot (field 22 of /proc/PID/stat), so
    that a reused pid is not taken for it.
    """

    job_id: str
    name: str
    pid: int
    pid_start: int
    uid: int


@dataclass(frozen=True, slots=True)
class NodeView:
    """What a job source may look at: the devices, this tick's readings (with their processes), and the runs."""

    now: float
    devices: Mapping[str, Device] = EMPTY
    readings: Mapping[str, Reading] = EMPTY
    runs: Mapping[str, Run] = EMPTY


@dataclass(frozen=True, slots=True)
class Variable:
    """What a process of a job has in its environment as `GPUWATCH_ESTIMATE`: anything at all."""

    text: str
    uid: int | None
    pid: int


@dataclass(frozen=True, slots=True)
class JobsReading:
    """Who holds what, and which jobs live.

    `unknown` has the devices whose holder this source could not determine (no right to look, say): what no
    source claims of them is unattributed rather than unallocated. `alive` has jobs that exist whether or not
    they hold a device; a job in neither `alive` nor `allocations` has ended, at once or after `linger_seconds`.
    `excess` is by how much claims that this source refused, because they did not fit on their device, exceed it.
    `storage_waits` has for how many seconds a job's processes have all waited for storage since its control group
    was made, by job; those that are read now and then are in it only when they were read just now.
    `group_uses` has what their control groups have used and hold, read and told in the same way.
    `declared` has the variable of jobs whose processes' environment may be read, again and again.
    """

    allocations: tuple[Allocation, ...] = ()
    alive: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()
    excess: float = 0.0
    storage_waits: Mapping[str, float] = EMPTY
    group_uses: Mapping[str, GroupUse] = EMPTY
    declared: Mapping[str, Variable] = EMPTY


class JobSource(Protocol):
    """One way in which jobs get devices. The constructor takes `(settings, site)` as a device source's does.

    `read` is called in a thread of the source's own, never twice at once, `job_of` in other threads at any
    time. Both raise `errors.Unavailable` when they cannot answer: the devices of that tick are then
    unattributed, never free.
    """

    def read(self, view: NodeView) -> JobsReading:
        """Who holds which device now."""
        ...

    def job_of(self, pid: int, runs: Mapping[str, Run]) -> str | None:
        """The id of the job that a process belongs to, by kernel facts (cgroup, process tree, uid) alone."""
        ...

    def linger_seconds(self, job_id: str) -> float:
        """How long a job of this source may hold nothing before it counts as ended; 0 where its end is known."""
        ...
