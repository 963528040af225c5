"""Agents as processes over made-up RAPL registers: a job's part by its control group, real or of files."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx
import pytest

from gpuwatch.jobs.group_use import use_of
from tests.cli.command import start
from tests.host.power_tree import Tree
from tests.integration.debian import free_port, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("host-energy")]

CGROUPS = Path("/sys/fs/cgroup")
PACKAGE_WATTS, MEMORY_WATTS = 100.0, 10.0
SPAN = 1_000_000_000
"""A register of a package that wraps every ten seconds."""
MEASURED = 14.0


@dataclass
class Place:
    """Where a job's control group lies, and what is to be undone."""

    sysfs: Path
    group: Path
    memory: bool
    made: list[Path] = field(default_factory=list)
    work: subprocess.Popen[bytes] | None = None

    def undo(self) -> None:
        """End the job, and remove what was made, the innermost first."""
        if self.work is not None:
            self.work.kill()
            self.work.wait(10)
        for path in reversed(self.made):
            for _ in range(100):
                try:
                    path.rmdir()
                except OSError:
                    time.sleep(0.05)
                else:
                    break

    def make(self, path: Path) -> None:
        """A control group, with those above it."""
        missing = [each for each in (path, *path.parents) if not each.exists()]
        for each in reversed(missing):
            each.mkdir()
            self.made.append(each)


def linked(folder: Path) -> Path:
    """A sysfs of our own whose control groups are the kernel's."""
    (folder / "sys" / "fs").mkdir(parents=True)
    (folder / "sys" / "fs" / "cgroup").symlink_to(CGROUPS)
    return folder / "sys"


def burning(*groups: Path) -> subprocess.Popen[bytes]:
    """A process that computes without end, in these control groups from its first instruction."""
    enter = "".join(f"open({str(group / 'cgroup.procs')!r}, 'w').write('0')\n" for group in groups)
    return subprocess.Popen([sys.executable, "-c", f"{enter}\nwhile True: pass"])


def version_1(folder: Path, node: str) -> Place:
    """As Slurm with version 1 groups."""
    place = Place(linked(folder), CGROUPS / "freezer" / f"slurm_{node}" / "uid_1000" / "job_7", memory=True)
    inner = [CGROUPS / name / f"slurm_{node}" / "uid_1000" / "job_7" / "step_batch"
             for name in ("freezer", "cpuacct", "memory")]  # fmt: skip
    try:
        for path in inner:
            place.make(path)
        place.work = burning(*inner)
    except OSError as exc:
        place.undo()
        pytest.skip(f"no version 1 control groups can be made here: {exc}")
    return place


def version_2(folder: Path, node: str) -> Place:
    """As Slurm with version 2 groups; where both versions are mounted, memory is counted by the first."""
    top = CGROUPS if (CGROUPS / "cgroup.controllers").exists() else CGROUPS / "unified"
    group = top / f"gwtest{os.getpid()}.slice" / f"{node}_slurmstepd.scope" / "job_7"
    place = Place(linked(folder), group, memory=False)
    try:
        if not (top / "cgroup.controllers").exists():
            pytest.skip(f"{top}: no version 2 control groups here")
        place.make(group / "step_batch")
        place.work = burning(group / "step_batch")
    except OSError as exc:
        place.undo()
        pytest.skip(f"no version 2 control groups can be made here: {exc}")
    return place


def files(folder: Path, node: str) -> Place:
    """A tree of files; `Registers` makes the job use half of a processor and hold 4 GiB."""
    group = folder / "sys" / "fs" / "cgroup" / "system.slice" / "slurmstepd.scope" / "job_7"
    (group / "step_batch").mkdir(parents=True)
    (group / "step_batch" / "cgroup.procs").touch()
    (group / "memory.current").write_text(f"{4 * 2**30}\n")
    return Place(folder / "sys", group, memory=True)


class Registers:
    """Counts on in all made-up files, from a thread; `close` stops it."""

    def __init__(self) -> None:
        self._counting: list[Callable[[float], None]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._count)

    def rapl(self, sysfs: Path, memory: bool) -> None:
        """A package, and its memory where that is wanted."""
        zones = [("intel-rapl:0", "package-0", PACKAGE_WATTS), ("intel-rapl:0:0", "dram", MEMORY_WATTS)]
        for place, name, watts in zones if memory else zones[:1]:
            path = Tree(sysfs).zone(place, name, f"{0:018d}", SPAN)
            self._counting.append(partial(self._rapl, path, watts))

    @staticmethod
    def _rapl(path: Path, watts: float, now: float) -> None:
        put(path, int(now * watts * 1e6) % SPAN)

    def processor(self, group: Path) -> None:
        """Half of a processor in a group of files."""
        path = group / "cpu.stat"
        path.write_text(f"usage_usec {0:018d}\n")
        self._counting.append(lambda now: put(path, int(now * 5e5), b"usage_usec "))

    def _count(self) -> None:
        began = time.monotonic()
        while not self._ended.wait(0.02):
            for each in self._counting:
                each(time.monotonic() - began)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End."""
        self._ended.set()
        self._thread.join()


def put(path: Path, number: int, before: bytes = b"") -> None:
    """In one write, and never shorter than what was there: a reader sees the old or the new number."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(descriptor, before + f"{number:018d}\n".encode(), 0)
    finally:
        os.close(descriptor)


KINDS = {"files": files, "version 1": version_1, "version 2": version_2}


def configuration(folder: Path, place: Place, node: str, port: int) -> Path:
    """An agent with simulated devices, whose jobs are Slurm's."""
    maps = folder / "maps"
    maps.mkdir(mode=0o755)
    (maps / f"7.{node}").write_text(f"SLURM_JOB_ID=7\nSLURMD_NODENAME={node}\nSLURM_JOB_GPUS=0,1\n")
    path = folder / "gpuwatch.toml"
    path.write_text(
        f"""
[site]
node = "{node}"
sysfs = "{place.sysfs}"
[agent]
listen = "127.0.0.1:{port}"
state_directory = "{folder / "state"}"
socket = "{folder / "agent.sock"}"
jobs_directory = "{folder / "jobs"}"
devices = ["demo"]
jobs = ["slurm"]
host = ["system", "power"]
[devices.demo]
devices = 2
driver_directory = "{folder / "demo"}"
[jobs.slurm]
map_directory = "{maps}"
gpustat_directory = "{folder / "none"}"
dcgm_map_directory = "{folder / "none"}"
[host.power]
ipmi = "off"
"""
    )
    return path


def scrape(port: int) -> dict[str, dict[str, float]]:
    """The page of an agent: values by name and labels; nothing while it does not answer yet."""
    found: dict[str, dict[str, float]] = {}
    try:
        page = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=5.0).text
    except httpx.TransportError:
        return found
    for name, labels, value in re.findall(r"^(\w+)\{(.*)\} (\S+)$", page, flags=re.MULTILINE):
        found.setdefault(name, {})[labels] = float(value)
    return found


def measured(port: int) -> bool:
    """Whether enough of the job's time has been divided."""
    seconds = scrape(port).get("gpuwatch_job_host_energy_measured_seconds_total", {})
    return sum(seconds.values()) >= MEASURED


def expected_watts(place: Place, began: float) -> float:
    """What the job should have of the package, and of the memory, by what its group has used on the whole."""
    use = use_of(str(place.group))
    assert use.cpu_seconds is not None
    rate = use.cpu_seconds / (time.monotonic() - began) / (os.cpu_count() or 1)
    total = int(re.search(r"MemTotal: +([0-9]+) kB", Path("/proc/meminfo").read_text())[1]) * 1024  # type: ignore[index]
    return PACKAGE_WATTS * rate + (MEMORY_WATTS * (use.memory_bytes or 0.0) / total if place.memory else 0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_job_has_its_part_of_the_nodes_energy(tmp_path: Path, kind: str) -> None:
    """RAPL that wraps, a job in a control group, two devices: once, by what it used; and all adds up."""
    node, port = f"gw{os.getpid()}-{list(KINDS).index(kind)}", free_port()
    place, registers = KINDS[kind](tmp_path, node), Registers()
    registers.rapl(place.sysfs, place.memory)
    if kind == "files":
        registers.processor(place.group)
    registers.start()
    began = time.monotonic()
    agent = start("agent", "--config", str(configuration(tmp_path, place, node, port)))
    try:
        wait_until(lambda: measured(port), 60.0, "the host's energy is divided")
        watts, page = expected_watts(place, began), scrape(port)
        told = httpx.get(f"http://127.0.0.1:{port}/api/v1/usage", params={"since": 0}).json()
    finally:
        agent.send_signal(signal.SIGTERM)
        words = agent.communicate(timeout=20)[1]
        registers.close()
        place.undo()

    assert agent.returncode == 0, words
    (joules,) = page["gpuwatch_job_host_energy_joules_total"].values()
    (seconds,) = page["gpuwatch_job_host_energy_measured_seconds_total"].values()
    divided = page["gpuwatch_host_divided_energy_joules_total"]
    assert divided['to="jobs"'] == pytest.approx(joules)
    # The agent's first reading is where it begins; the package wraps on the way.
    assert sum(divided.values()) == pytest.approx(
        sum(page["gpuwatch_host_energy_joules_total"].values()), rel=1e-6
    )
    assert sum(divided.values()) > SPAN * 1e-6
    assert joules / seconds == pytest.approx(watts, rel=0.15 if kind == "files" else 0.4)
    assert len({row["uuid"] for row in told["rows"]}) == 2
    assert sum(row["host_energy_joules"] is not None for row in told["rows"]) == 1
