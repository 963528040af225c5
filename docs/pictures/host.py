"""A host whose meters of power are made up, as nothing that pictures are taken on has any that could be read.

What its jobs use of processors and memory is made up too: the control groups that they run in are real, so that
the agent finds them as it does anywhere, and what it reads there is a file. Where no control groups can be made,
all of the host's energy stays with the node.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psutil

from gpuwatch.cli.demo import DemoJob
from tests.grafana.host_power import HostPower, counting

CGROUPS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))
# Of the node's processors and memory, by job.
USES: Mapping[str, tuple[float, float]] = {
    "llama-ft": (0.16, 0.2),
    "resnet-ok": (0.14, 0.06),
    "notebook": (0.01, 0.03),
    "allreduce-hang": (0.22, 0.15),
    "bert-hot": (0.08, 0.08),
}
ENTER = 'echo $$ > "$0" && exec "$@"'
EMPTY_SECONDS = 5.0


class Host:
    """A host while it is open: `sysfs` for its agent, and its jobs in control groups of their own."""

    def __init__(self, folder: Path) -> None:
        self._made_up = folder / "groups"
        self._made_up.mkdir(parents=True)
        self._power = HostPower(folder / "sys", self._made_up)
        self.sysfs = self._power.sysfs
        self.groups: dict[str, Path] = {}
        self._made: list[Path] = []

    def make_groups(self) -> None:
        """Real groups, and what they say in files; as far as it is allowed."""
        root = next((each for each in CGROUPS if (each / "cgroup.controllers").exists()), None)
        top = f"gpuwatch-pictures-{os.getpid()}"
        try:
            for name in USES if root is not None else ():
                assert root is not None
                self._make(root / top, root / top / name)
                self._tell(root / top / name, self._made_up / top / name, *USES[name])
                self.groups[name] = root / top / name
        except OSError as exc:
            print(f"no control groups for the jobs of the pictures: {exc}", file=sys.stderr)

    def _make(self, *paths: Path) -> None:
        for path in paths:
            if path not in self._made:
                path.mkdir()
                self._made.append(path)

    def _tell(self, group: Path, place: Path, processors: float, memory: float) -> None:
        place.mkdir(parents=True)
        (place / "cgroup.procs").symlink_to(group / "cgroup.procs")
        bytes_ = int(memory * psutil.virtual_memory().total)
        self._power.processor(place, processors * (os.cpu_count() or 1), bytes_)

    def placed(self, jobs: Sequence[DemoJob]) -> list[DemoJob]:
        """The jobs, each to be run in its control group."""
        return [
            replace(job, command=("sh", "-c", ENTER, str(self.groups[job.name] / "cgroup.procs"), *job.command))
            if job.name in self.groups
            else job
            for job in jobs
        ]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Meters count while the block runs; afterwards no control group is left."""
        try:
            self.make_groups()
            with counting(self._power):
                yield
        finally:
            for path in reversed(self._made):
                _remove(path)


def _remove(group: Path) -> None:
    """Processes that were killed take a moment to leave."""
    deadline = time.monotonic() + EMPTY_SECONDS
    while group.exists() and time.monotonic() < deadline:
        with suppress(OSError):
            group.rmdir()
            return
        time.sleep(0.05)
