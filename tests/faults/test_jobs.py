"""Faults of jobs: hostile names, too many of them, pids used again, too short, two on one device."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gpuwatch.jobs.base import JobsReading
from gpuwatch.jobs.local import LocalJobs
from gpuwatch.model import Allocation, Device, Process, Reading, Site
from gpuwatch.sinks.prometheus import PrometheusSink
from tests.agent.fakes import FakeJobs, FakeNode, eventually
from tests.cli.command import GPUWATCH
from tests.faults.running import INTERVAL, Node
from tests.jobs.procfs import FakeProcfs

HELD = "gpuwatch_job_held_seconds_total"
JOULES = "gpuwatch_job_energy_joules_total"
SHARE = "gpuwatch_device_job_share"

HOSTILE = r"""
import ctypes, sys, time
ctypes.CDLL(None).prctl(15, b'x\xff\xfe"}\n 1\\', 0, 0, 0)
print("named", flush=True)
time.sleep(60)
"""


@contextmanager
def holding(node: Node, slot: int, *processes: subprocess.Popen) -> Iterator[None]:
    """The processes hold a device, and nobody else does; afterwards this process holds it again."""
    device = node.fake.devices[slot]
    device.processes(*((each.pid, 1 << 30) for each in processes))
    try:
        yield
    finally:
        device.processes((os.getpid(), 1 << 30))


@pytest.mark.integration
@pytest.mark.xdist_group("shared node")
def test_fault_28_process_with_a_hostile_name_breaks_no_page(node: Node) -> None:
    """Half of UTF-8, a quote, a line break and 100 kB of arguments: valid pages, and nothing of it on them."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOSTILE, *["\U0001f525\xff" * 500] * 50], stdout=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == b"named\n"
    comm = Path(f"/proc/{process.pid}/comm").read_bytes()
    with holding(node, 5, process):
        before = node.metrics().sum(HELD, node.fake.devices[5].uuid)
        node.wait_for(lambda metrics: metrics.sum(HELD, node.fake.devices[5].uuid) > before + 2 * INTERVAL)
        page = node.get().decode("utf-8")
        usage = node.usage()
    process.kill()
    process.wait()
    process.stdout.close()

    assert b'x\xff\xfe"}\n' in comm
    families = list(text_string_to_metric_families(page))
    labels = {value for each in families for sample in each.samples for value in sample.labels.values()}
    assert max(map(len, labels)) <= 128
    assert "\U0001f525" not in page
    assert {row["job_id"] for row in usage["rows"]} >= {
        "user:root" if os.geteuid() == 0 else usage["rows"][0]["job_id"]
    }


class Crowd(FakeJobs):
    """Fifty thousand jobs at once, each with a little of a device."""

    def read(self, view):
        return JobsReading(
            tuple(
                Allocation(f"{number}", f"fake:{number % 2}", 1 / 25_000, "shard") for number in range(self.count)
            )
        )

    count = 50_000


def test_fault_29_fifty_thousand_jobs_are_capped_counted_and_scraped_in_time(tmp_path: Path) -> None:
    """The page stays within its limit and below a second, says what it left out, and the devices add up."""
    node = FakeNode(tmp_path / "state", save_seconds=3600.0, deadline=30.0)
    node.sampler.job_sources["local"] = Crowd()
    node.tick(2)
    sink = PrometheusSink(PrometheusSink.Settings(), Site(), clock=node.clock.time)
    snapshot = node.agent.snapshot
    assert snapshot is not None
    took = []
    while len(took) < 8 and min(took, default=1.0) >= 1.0:
        sink.take(replace(snapshot))
        began = time.process_time()
        page = sink.render().decode()
        took.append(time.process_time() - began)
    node.stop()

    # Processor seconds at best: what a busy machine adds is not its fault.
    assert min(took) < 1.0
    assert len([line for line in page.splitlines() if not line.startswith("#")]) <= 2000
    dropped = re.search(r'^gpuwatch_sink_dropped_total\{.*reason="series_limit".*\} (\S+)$', page, re.MULTILINE)
    assert dropped is not None and float(dropped[1]) > 50_000
    assert len(snapshot.rows) == 50_000
    assert all(abs(each.residual_seconds) < 1e-6 for each in snapshot.device_usage.values())


class OneDevice:
    """A device whose driver lists one process."""

    def __init__(self, clock, pid: int) -> None:
        self.clock, self.pid = clock, pid

    def scan(self, now):
        return [Device("fake:0", "node", 0, "fake", "Fake")]

    def read(self, device, now):
        return Reading("fake:0", now, energy_joules=self.clock.now * 100, processes=(Process(self.pid),))

    def close(self):
        return None


def test_fault_30_pid_that_is_used_again_is_another_process(tmp_path: Path) -> None:
    """The holder ends and its pid goes to another user's process: the first is charged no more."""
    procfs = FakeProcfs(tmp_path / "proc")
    procfs.add(4242, start=100, uid=4_000_000_001)
    node = FakeNode(tmp_path / "state")
    site = Site("c", "node", procfs=str(procfs.root))
    node.sampler.job_sources["local"] = LocalJobs(LocalJobs.Settings(), site)
    node.sampler._devices["fake"] = OneDevice(node.clock, 4242)
    first = node.tick(5)
    procfs.end(4242)
    nobody = node.tick(5)
    procfs.add(4242, start=900, uid=4_000_000_002)
    last = node.tick(5)
    node.stop()

    held = {key.job_id: row.usage.held_seconds for key, row in last.rows.items()}
    assert [key.job_id for key in first.rows] == ["user:4000000001"]
    assert nobody.device_usage["fake:0"].unallocated_seconds == pytest.approx(4)
    assert held == {"user:4000000001": pytest.approx(5), "user:4000000002": pytest.approx(4)}


@pytest.mark.integration
@pytest.mark.xdist_group("shared node")
def test_fault_31_job_shorter_than_an_interval_leaves_its_record(node: Node) -> None:
    """It began and ended between two looks: its events are told, and it is charged one interval at most."""
    command = ["--name", "blink", "--socket", str(node.folder / "agent.sock"), "--", "sh", "-c", "exit 5"]
    done = subprocess.run(
        [*GPUWATCH, "run", *command],
        check=False, capture_output=True, text=True, env=node.variables | {"LD_PRELOAD": ""}, timeout=30,
    )  # fmt: skip
    assert eventually(lambda: any(each.get("exit_code") == 5 for each in node.usage()["events"]))
    usage = node.usage()
    (job_id,) = [each["job_id"] for each in usage["events"] if each.get("name") == "blink"]

    assert done.returncode == 5
    assert [each["kind"] for each in usage["events"] if each.get("job_id") == job_id] == [
        "run_started",
        "run_ended",
    ]
    assert sum(row["held_seconds"] for row in usage["rows"] if row["job_id"] == job_id) <= INTERVAL * 1.5


def started_run(node: Node) -> subprocess.Popen[str]:
    """A `gpuwatch run` that sleeps in its own process."""
    return subprocess.Popen(
        [*GPUWATCH, "run", "--socket", str(node.folder / "agent.sock"), "--", "sleep", "60"],
        env=node.variables | {"LD_PRELOAD": ""}, text=True,
    )  # fmt: skip


@contextmanager
def running_runs(node: Node, count: int) -> Iterator[list[subprocess.Popen[str]]]:
    """So many of them, ended whatever happens."""
    runs = [started_run(node) for _ in range(count)]
    try:
        yield runs
    finally:
        for run in runs:
            run.send_signal(signal.SIGTERM)
            run.wait(10)


@pytest.mark.integration
@pytest.mark.xdist_group("shared node")
def test_fault_32_two_jobs_on_one_gpu_get_half_each(node: Node) -> None:
    """Σ jobs = device, in seconds and in joules: neither gets the full value."""
    known = set(node.metrics().of(SHARE))
    uuid = node.fake.devices[4].uuid
    with running_runs(node, 2) as runs, holding(node, 4, *runs):
        metrics = node.wait_for(
            lambda metrics: len([each for each in metrics.of(SHARE, uuid) if 'job_id="run-' in each]) == 2
        )
        shares = {labels: value for labels, value in metrics.of(SHARE, uuid).items() if labels not in known}
        jobs = [re.search(r'job_id="([^"]+)"', labels)[1] for labels in shares]
        began = node.just_counted(uuid)
        ended = node.just_counted(uuid)

    assert sorted(shares.values()) == [0.5, 0.5]
    grown = [
        [ended.sum(name, f'job_id="{job}"') - began.sum(name, f'job_id="{job}"') for job in jobs]
        for name in (HELD, JOULES)
    ]
    whole = [
        ended.sum(name, uuid) - began.sum(name, uuid)
        for name in ("gpuwatch_device_held_seconds_total", "gpuwatch_device_energy_joules_total")
    ]
    for parts, device in zip(grown, whole, strict=True):
        assert parts[0] == pytest.approx(parts[1], rel=0.01)
        assert sum(parts) == pytest.approx(device, rel=0.01)
        assert device > 0
