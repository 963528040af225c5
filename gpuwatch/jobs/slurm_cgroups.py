"""Which Slurm jobs have processes on this node, by their control groups: cgroup v1, v2, and both at once.

    v1   <controller>/slurm[_NODE]/uid_UID/job_ID/step_X/task_N
    v2   system.slice/[NODE_]slurmstepd.scope/job_ID/step_X/{slurm,user/task_N}
         Slurm 26.05 has the job's SLUID (`s8FXKTA79XAR00`) in place of job_ID

Where several slurmd share a host each names its node there; groups of other nodes are not looked at.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gpuwatch.errors import Unavailable
from gpuwatch.jobs import proc

# The first that Slurm uses says which jobs there are: a group left behind in another one is no job.
_CONTROLLERS = ("freezer", "devices", "cpuset", "memory", "cpu,cpuacct", "cpuacct", "pids")
_NAME = re.compile(r"job_([1-9][0-9]{0,9})|(s[0-9A-Z]{8,24})", re.ASCII)
_TITLE = re.compile(rb"slurmstepd: \[([1-9][0-9]{0,9})[.\] ][^\0]*\0*", re.ASCII)
_SEARCH_SECONDS = 10.0
_MOST_JOBS = 4096
_MOST_GROUPS = 256
_MOST_PIDS = 64
_MOST_BYTES = 65536


@dataclass(frozen=True, slots=True)
class JobGroup:
    """The control group of a job: `job_id` where its name says it, else its `sluid`; `inode` tells lives apart."""

    path: str
    inode: int
    job_id: str | None
    sluid: str | None

    @property
    def lasts(self) -> bool:
        """Whether a step is there that goes on for as long as the job does on this node."""
        return any(Path(self.path, step).is_dir() for step in ("step_extern", "step_batch"))


class Groups:
    """The job groups of one node. Not thread-safe, but for `job_of`."""

    def __init__(self, sysfs: str, node: str) -> None:
        self._base = f"{sysfs}/fs/cgroup"
        self._node = node
        self._roots: tuple[tuple[str, bool], ...] = ()
        self._searched = float("-inf")
        own = re.escape(node)
        # From the top only: below user.slice anybody may make and name groups.
        self._v1 = re.compile(rf"/slurm(?:_{own})?/uid_[0-9]+/(?P<name>[^/]+)(?:/.*)?", re.ASCII)
        self._v2 = re.compile(
            rf"/(?!user\.slice/)[^/]+\.slice/(?:[^/]+\.slice/)*(?:{own}_)?slurmstepd\.scope/(?P<name>[^/]+)(?:/.*)?",
            re.ASCII,
        )

    def jobs(self, now: float) -> list[JobGroup]:
        """Every job with a control group; raises `Unavailable` where they may not be listed."""
        if not self._roots or not 0 <= now - self._searched < _SEARCH_SECONDS:
            self._searched, self._roots = now, tuple(_roots(self._base, self._node))
        found: dict[str, JobGroup] = {}
        try:
            for root, by_user in self._roots:
                for parent in _users(root) if by_user else (root,):
                    for each in _named(parent):
                        found.setdefault(_last(each.path), each)
        except OSError as exc:
            raise Unavailable(f"{self._base}: Slurm's control groups cannot be read; {exc.strerror}") from exc
        return list(found.values())[:_MOST_JOBS]

    def job_of(self, paths: tuple[str, ...]) -> tuple[str | None, str | None]:
        """The job id, or the SLUID, by the control groups of a process; neither where it is of no job here."""
        for path in paths:
            match = self._v1.fullmatch(path) or self._v2.fullmatch(path)
            name = _NAME.fullmatch(match["name"]) if match else None
            if name is not None:
                return name[1], name[2]
        return None, None


def processes(group: JobGroup) -> Iterator[tuple[str, int]]:
    """Step and pid of the processes of a job, the batch step first and the extern step last; a bounded number."""
    count = 0
    for step in sorted(_below(group.path), key=_rank):
        for pid in _pids(step, _MOST_GROUPS):
            yield _last(step), pid
            count += 1
            if count >= _MOST_PIDS:
                return


def title_says(group: JobGroup, procfs: str) -> str | None:
    """The job id in the titles of a group's own slurmstepd; None where there is none, or they differ.

    Only root's processes in a step's group `slurm` count: a user's program may call itself anything, and may be
    root's by way of sudo, but does not get there.
    """
    found = set()
    for step in _below(group.path):
        for pid in _read_pids(f"{step}/slurm"):
            with suppress(OSError, Unavailable):
                if proc.uid(procfs, pid) == 0:
                    with Path(f"{procfs}/{pid}/cmdline").open("rb") as file:
                        match = _TITLE.fullmatch(file.read(256))
                    found |= {match[1].decode()} if match else set()
    return found.pop() if len(found) == 1 else None


def _roots(base: str, node: str) -> Iterator[tuple[str, bool]]:
    """Where Slurm has its jobs on this node, and whether they lie there by user (v1)."""
    for controller in _CONTROLLERS:
        there = [
            path for name in (f"slurm_{node}", "slurm") if _is_directory(path := f"{base}/{controller}/{name}")
        ]
        if there:
            yield from ((path, True) for path in there)
            break
    for top in (base, f"{base}/unified"):
        slices = [path for path in _below(top) if path.endswith(".slice") and _last(path) != "user.slice"]
        for name in (f"{node}_slurmstepd.scope", "slurmstepd.scope"):
            yield from ((path, False) for each in slices if _is_directory(path := f"{each}/{name}"))


def _is_directory(path: str) -> bool:
    # A node without Slurm is asked each second, and pathlib takes four times as long.
    return os.path.isdir(path)  # noqa: PTH112


def _users(root: str) -> list[str]:
    return [path for path in _below(root) if _last(path).startswith("uid_")]


def _named(parent: str) -> list[JobGroup]:
    found = []
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(parent) as entries:
        for entry in entries:
            match = _NAME.fullmatch(entry.name)
            if match and entry.is_dir(follow_symlinks=False):
                found.append(JobGroup(entry.path, entry.inode(), match[1], match[2]))
    return found


def _below(path: str) -> list[str]:
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(path) as entries:
        return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    return []


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _rank(step: str) -> tuple[int, str]:
    name = _last(step)
    return (0 if name == "step_batch" else 2 if name == "step_extern" else 1), name


def _pids(top: str, limit: int) -> Iterator[int]:
    """The processes of a step, but for those of Slurm itself."""
    waiting = [top]
    while waiting and limit > 0:
        limit -= 1
        path = waiting.pop(0)
        yield from _read_pids(path)
        waiting += [each for each in sorted(_below(path)) if _last(each) != "slurm"]


def _read_pids(path: str) -> list[int]:
    try:
        with Path(f"{path}/cgroup.procs").open("rb") as file:
            words = file.read(_MOST_BYTES).split()
    except OSError:
        return []
    return [int(word) for word in words if word.isdigit() and word != b"0"]
