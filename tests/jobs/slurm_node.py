"""A node with Slurm on it, as files below a directory: control groups, processes with an environment, maps."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from gpuwatch.jobs.base import JobsReading, NodeView
from gpuwatch.jobs.slurm import SlurmJobs
from gpuwatch.model import Device, Process, Reading, Site
from tests.jobs.procfs import FakeProcfs

V1 = "freezer/slurm/uid_1000"
V2 = "system.slice/slurmstepd.scope"


class SlurmNode:
    """Four GPUs, no job; `top` is where its jobs are below the mount point of control groups."""

    def __init__(self, root: Path, top: str = V2, gpus: int = 4) -> None:
        self.procfs = FakeProcfs(root / "proc")
        (root / "proc" / "stat").write_text("cpu 1 2 3\nbtime 1000\n")
        self.sysfs = root / "sys"
        (self.sysfs / "fs" / "cgroup").mkdir(parents=True)
        self.top = top
        self.maps = root / "maps"
        self.gpustat = root / "gpustat"
        self.dcgm = root / "dcgm"
        self.now = 5000.0
        self.devices = {f"GPU-{i}": Device(f"GPU-{i}", "gw0", i, "nvidia", "H100") for i in range(gpus)}

    def source(self, node: str = "gw0", **settings: object) -> SlurmJobs:
        """The job source of the node."""
        directories = {
            "map_directory": self.maps,
            "gpustat_directory": self.gpustat,
            "dcgm_map_directory": self.dcgm,
        }
        table = {name: str(path) for name, path in directories.items()} | settings
        site = Site(node=node, procfs=str(self.procfs.root), sysfs=str(self.sysfs))
        return SlurmJobs(SlurmJobs.Settings(**table), site)  # type: ignore[arg-type]

    def group(self, name: str, step: str = "step_batch/user/task_0", top: str | None = None) -> Path:
        """Make a control group of a job's step."""
        path = self.sysfs / "fs" / "cgroup" / (top or self.top) / name / step
        path.mkdir(parents=True, exist_ok=True)
        (path / "cgroup.procs").touch()
        return path

    def process(
        self,
        pid: int,
        name: str,
        environ: Mapping[str, str] | bytes | None = None,
        step: str = "step_batch/user/task_0",
    ) -> None:
        """Start a process of a job; without an environment nobody may look at that."""
        group = self.group(name, step)
        with (group / "cgroup.procs").open("a") as file:
            file.write(f"{pid}\n")
        self.procfs.add(pid, uid=1000, cgroup=self.line(name, step))
        path = self.procfs.root / str(pid) / "environ"
        if environ is None:
            path.mkdir()
        else:
            path.write_bytes(environ if isinstance(environ, bytes) else encoded(environ))

    def slurmstepd(self, pid: int, name: str, title: str, uid: int = 0, step: str = "step_batch/slurm") -> None:
        """Start Slurm's own process of a step."""
        (self.group(name, step) / "cgroup.procs").write_text(f"{pid}\n")
        self.procfs.add(pid, uid=uid, cgroup=self.line(name, step), name="slurmstepd")
        (self.procfs.root / str(pid) / "cmdline").write_bytes(title.encode() + b"\0")
        (self.procfs.root / str(pid) / "environ").write_bytes(b"PATH=/bin\0")

    def line(self, name: str, step: str) -> str:
        """How the kernel says that a process is in a job's group."""
        head, _, rest = self.top.partition("/")
        where = (
            f"0::/{self.top}"
            if head.endswith(".slice")
            else f"0::/{rest}"
            if head == "unified"
            else f"4:{head}:/{rest}"
        )
        return f"{where}/{name}/{step}\n"

    def end(self, name: str) -> None:
        """Remove a job's control group."""
        shutil.rmtree(self.sysfs / "fs" / "cgroup" / self.top / name)

    def map(self, job_id: str, node: str = "gw0", written: float | None = None, **variables: str) -> Path:
        """Write what the prolog writes."""
        self.maps.mkdir(mode=0o755, exist_ok=True)
        path = self.maps / f"{job_id}.{node}"
        lines = {"SLURM_JOB_ID": job_id, "SLURMD_NODENAME": node} | variables
        return write(path, "".join(f"{name}={value}\n" for name, value in lines.items()), written or self.now)

    def view(self, processes: Mapping[str, tuple[int, ...]] | None = None) -> NodeView:
        """This moment, with the processes that have devices open."""
        readings = {
            uid: Reading(uid, self.now, processes=tuple(map(Process, (processes or {}).get(uid, ()))))
            for uid in self.devices
        }
        return NodeView(self.now, self.devices, readings)

    def cut(self, uid: str, **fractions: float) -> None:
        """Cut a board into slices."""
        board = self.devices[uid]
        for name, fraction in fractions.items():
            each = f"MIG-{name}"
            self.devices[each] = Device(
                each, "gw0", board.index, "nvidia", "H100", kind="mig", parent=uid, fraction=fraction
            )


def encoded(environ: Mapping[str, str]) -> bytes:
    """An environment as procfs shows it."""
    return b"".join(f"{name}={value}\0".encode() for name, value in environ.items())


def write(path: Path, text: str, written: float, mode: int = 0o644) -> Path:
    """A file with this content, mode and time of change."""
    path.parent.mkdir(mode=0o755, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    os.utime(path, (written, written))
    return path


def held(reading: JobsReading) -> dict[str, dict[str, float]]:
    """Job to device to share."""
    shares: dict[str, dict[str, float]] = {}
    for each in reading.allocations:
        shares.setdefault(each.job_id, {})[each.device] = each.share
    return shares
