"""The real agent over AMD's tree: what it exports, to whom it charges the energy, and what it costs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gpuwatch import cli
from gpuwatch.agent.agent import Agent
from gpuwatch.agent.sampler import Sampler
from gpuwatch.agent.state import StateDirectory
from gpuwatch.devices.amd import AmdDevices
from gpuwatch.model import Site, Snapshot
from tests.agent.fakes import Collected, FakeClock, FakeJobs, eventually
from tests.fake_sysfs import amd

FIRST, SECOND = "amd:00000000000000a1", "amd:4f3e2d1c0b0a9988"
START_SECONDS, STOP_SECONDS = 30.0, 15.0
CORE_FRACTION = 0.005
CONFIGURATION = """
[site]
node = "n1"
sysfs = "{sysfs}"
[agent]
listen = "127.0.0.1:0"
state_directory = "{directory}/state"
socket = "{directory}/agent.sock"
devices = ["amd"]
host = ["storage"]
jobs = []
"""


class Node:
    """An agent over two cards, a second at a time."""

    def __init__(self, path: Path) -> None:
        self.one = amd.mi210(path / "sys", 1, "0000:03:00.0", FIRST.removeprefix("amd:"))
        self.two = amd.mi300x(path / "sys", 2, "0000:43:00.0")
        self.clock, self.jobs, self.sink = FakeClock(), FakeJobs(), Collected()
        site = Site("c", "n1", str(path / "proc"), str(path / "sys"))
        source = AmdDevices(AmdDevices.Settings(), site, clock=self.clock.monotonic)
        self.sampler = Sampler({"amd": source}, {}, {"local": self.jobs}, 10.0)
        self.directory = StateDirectory(path / "state")
        self.directory.__enter__()
        self.agent = Agent(site, self.sampler, [self.sink], self.directory, clock=self.clock, save_seconds=0.0)
        self.counted = {FIRST: 1000.0, SECOND: 90_000.0}

    def tick(self, seconds: int, watts: dict[str, float], factor: float = 1.0) -> Snapshot:
        """Let seconds pass in which the cards draw so much, and count `factor` times as much."""
        for _ in range(seconds):
            self.clock.pass_(1.0)
            for uid in watts:
                self.counted[uid] += watts[uid] * factor
            self.one.power(watts[FIRST])
            self.one.metrics("1.3", joules=self.counted[FIRST], indep_throttle_status=0)
            self.two.power(watts[SECOND], kind="input")
            self.two.metrics("1.6", joules=self.counted[SECOND], **amd.residencies(0, 0, 0))
            snapshot = self.agent.tick(self.clock.now)
            assert eventually(lambda: not self.agent.saving)
        return snapshot

    def stop(self) -> None:
        """End the agent."""
        self.agent.close()
        self.directory.__exit__(None, None, None)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """Two cards under an agent."""
    made = Node(tmp_path)
    yield made
    made.stop()


def joules(snapshot: Snapshot, uid: str) -> dict[str, float]:
    """Energy of a device by method."""
    return {str(method): amount for method, amount in snapshot.device_usage[uid].energy_joules.items()}


def test_energy_is_integrated_until_the_counter_has_proved_itself(node: Node) -> None:
    """No joule is lost or counted twice when the method changes."""
    node.tick(1, {FIRST: 300.0, SECOND: 600.0})
    snapshot = node.tick(100, {FIRST: 300.0, SECOND: 600.0})

    for uid, watts in ((FIRST, 300.0), (SECOND, 600.0)):
        by_method = joules(snapshot, uid)
        assert sum(by_method.values()) == pytest.approx(100 * watts, rel=1e-6)
        assert by_method["counter"] >= 60 * watts
        assert by_method["integrated"] >= 25 * watts
        assert abs(snapshot.device_usage[uid].residual_joules) < 1e-6


def test_counter_in_another_unit_charges_nobody_too_much(node: Node) -> None:
    """What counts a hundred times the power is never used."""
    node.jobs.holders = {FIRST: "42"}
    node.tick(1, {FIRST: 300.0, SECOND: 600.0}, factor=100.0)
    snapshot = node.tick(200, {FIRST: 300.0, SECOND: 600.0}, factor=100.0)

    (row,) = snapshot.rows.values()
    assert row.usage.energy_joules == {"integrated": pytest.approx(60_000.0)}
    assert snapshot.sources["amd"].rejected_readings["counter_disagrees"] >= 2 * 100


def test_counter_that_falls_back_loses_one_interval_to_the_integral(node: Node) -> None:
    """ROCm/amdsmi#115: it went back by a thousand joules, far from where it began."""
    node.tick(61, {FIRST: 300.0, SECOND: 600.0})
    before = joules(node.tick(1, {FIRST: 300.0, SECOND: 600.0}), SECOND)
    node.counted[SECOND] -= 5_000.0
    after = joules(node.tick(30, {FIRST: 300.0, SECOND: 600.0}), SECOND)

    assert sum(after.values()) - sum(before.values()) == pytest.approx(30 * 600.0, rel=1e-6)
    assert after["integrated"] - before["integrated"] == pytest.approx(600.0)


def test_card_that_is_lost_leaves_the_other_alone(node: Node, tmp_path: Path) -> None:
    """It is down, the other is read and charged, and it comes back by itself."""
    node.tick(5, {FIRST: 300.0, SECOND: 600.0})
    gone = tmp_path / "gone"
    node.two.path.rename(gone)
    node.clock.pass_(1.0)
    snapshot = node.agent.tick(node.clock.now)
    lost = {FIRST, SECOND} - snapshot.readings.keys()
    gone.rename(node.two.path)
    back = node.tick(7, {FIRST: 300.0, SECOND: 600.0})

    assert lost == {SECOND}
    assert {FIRST, SECOND} == back.readings.keys()
    assert node.sampler.health["amd"].up


def test_check_shows_the_cards_and_what_of_them_can_be_read(tmp_path: Path) -> None:
    """And what cannot, why, and what to do about it."""
    amd.mi210(tmp_path / "sys", 1, "0000:03:00.0", FIRST.removeprefix("amd:"))
    amd.rx580(tmp_path / "sys", 2)
    configuration = tmp_path / "gpuwatch.toml"
    configuration.write_text(CONFIGURATION.format(sysfs=tmp_path / "sys", directory=tmp_path))
    arguments = ["check", "--config", str(configuration), "--probe", "--json"]
    result = CliRunner().invoke(cli.application(["check", "jobs"]), arguments)

    told = {each["what"]: each for each in json.loads(result.stdout)["findings"]}
    assert told["devices.amd"]["detail"].startswith("1 × AMD Instinct MI210 (driver linux")
    assert told[f"devices.amd: {FIRST} power"]["detail"] == "average"
    assert "there is no gpu_metrics" in told["devices.amd: amd:0000:0a:00.0 energy counter"]["detail"]
    assert "char-226" in told[f"devices.amd: {FIRST} processes"]["todo"]


def test_eight_cards_cost_half_a_percent_of_a_core_at_most(tmp_path: Path) -> None:
    """A read a second each, and the processes of eight ranks, on files in memory."""
    compute = amd.FakeCompute(tmp_path)
    for number in range(8):
        card = amd.mi300x(tmp_path, number + 1, f"0000:{number + 5:02x}:00.0", f"00000000000000a{number}")
        compute.gpu(number + 1, 100 + number, card)
    for rank in range(8):
        compute.process(
            1000 + rank, {100 + card: 2**34 if card == rank else 4096 for card in range(8)}, {0: 100 + rank}
        )
    source = AmdDevices(AmdDevices.Settings(), Site(sysfs=str(tmp_path), procfs=str(tmp_path)))
    devices = source.scan(0.0)
    costs = []
    for now in range(30):
        began = time.process_time()
        for device in devices:
            reading = source.read(device, float(now))
        costs.append(time.process_time() - began)

    assert reading.processes is not None and [1007] == [process.pid for process in reading.processes]
    assert sorted(costs)[len(costs) // 2] < CORE_FRACTION


@pytest.mark.integration
def test_agent_exports_both_cards(tmp_path: Path) -> None:
    """As a process of its own, over the tree: utilization, memory, power and energy come out of its page."""
    one = amd.mi210(tmp_path / "sys", 1, "0000:03:00.0", FIRST.removeprefix("amd:"))
    amd.mi300x(tmp_path / "sys", 2, "0000:43:00.0")
    configuration = tmp_path / "gpuwatch.toml"
    configuration.write_text(CONFIGURATION.format(sysfs=tmp_path / "sys", directory=tmp_path))
    command = [sys.executable, "-m", "gpuwatch", "agent", "--config", str(configuration)]
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env={**os.environ, "PYTHONUNBUFFERED": "1"}
        )
    try:
        page = page_of(process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_SECONDS)

    assert one.path.exists()
    for series in (
        f'gpuwatch_device_info{{uuid="{FIRST}",kind="gpu",vendor="amd",model="AMD Instinct MI210",index="0"',
        f'gpuwatch_device_utilization_ratio{{uuid="{SECOND}"}} 0.88',
        f'gpuwatch_device_memory_used_bytes{{uuid="{FIRST}"}} 32212254720',
        f'gpuwatch_device_power_watts{{uuid="{SECOND}",window="instant",scope="device"}} 600',
        f'gpuwatch_device_energy_joules_total{{uuid="{FIRST}",method="integrated"}}',
        'gpuwatch_source_up{source="amd"} 1',
        "gpuwatch_host_storage_mounts",
    ):
        assert series in page, series


def page_of(process: subprocess.Popen[bytes], log: Path) -> str:
    """What the agent shows once it has energy."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-2000:]
        found = re.search(r"127\.0\.0\.1:(\d+)", log.read_text())
        if found:
            with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/metrics", timeout=5) as answer:
                page: str = answer.read().decode()
            if 'method="integrated"' in page:
                return page
        time.sleep(0.2)
    raise AssertionError(log.read_text()[-2000:])
