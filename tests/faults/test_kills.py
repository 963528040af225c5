"""`kill -9` of the real agent, again and again, while a job holds a device."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from pathlib import Path

import pytest

from tests.fake_nvml import FakeNvml
from tests.faults.running import Metrics, Node
from tests.integration.debian import wait_until

pytestmark = pytest.mark.integration

KILLS = 10
_EPOCH = re.compile(r'epoch="\w+"')
MOST_WATTS = 700.0


def test_what_was_on_a_page_is_on_those_after_a_kill(tmp_path: Path, shim: Path) -> None:
    """No counter of an epoch falls, so that nobody who takes the increase of one takes a kill for a reset."""
    fake = FakeNvml(tmp_path / "nvml", 2, latency_seconds=0.0)
    for device in fake.devices:
        device.load(0.9)
        device.processes((os.getpid(), 1 << 30))
    chance = random.Random(2)
    node = Node(tmp_path, fake)
    before = node.wait_for(lambda metrics: metrics.of("gpuwatch_job_busy_seconds_total"))
    for _ in range(KILLS):
        time.sleep(chance.uniform(0.3, 2.5))
        before = shown_again(before, node.metrics())
        node.end(signal.SIGKILL)
        node.begin()
        before = shown_again(before, node.wait_for(lambda metrics: metrics.of("gpuwatch_device_up")))
    node.close()

    assert {name for name, _ in before} >= {
        f"gpuwatch_job_{name}_total"
        for name in ("state_seconds", "busy_seconds", "memory_byte_seconds", "held_seconds", "energy_joules")
    }


def shown_again(before: Metrics, after: Metrics) -> Metrics:
    """The later page, which has all counters of an epoch that the one before has, and none of them lower."""
    counters = {key: value for key, value in before.items() if _EPOCH.search(key[1])}
    assert {key: after.get(key) for key, value in counters.items() if after.get(key, -1.0) < value - 1e-6} == {}
    return after


def test_ten_kills_in_fifteen_seconds_cost_no_joule(tmp_path: Path, shim: Path) -> None:
    """One epoch, one row, and the energy of the device's own counter from the first look to the last."""
    fake = FakeNvml(tmp_path / "nvml", 1, latency_seconds=0.0)
    (device,) = fake.devices
    device.load(0.9)
    device.power_script([(0.7, MOST_WATTS), (0.4, 100.0), (1.1, 400.0)])
    device.processes((os.getpid(), 1 << 30))
    chance = random.Random(1)
    began, at_first = time.monotonic(), device.energy_joules
    node = Node(tmp_path, fake)
    node.wait_for(lambda metrics: metrics.of("gpuwatch_job_energy_joules_total"))
    looked = time.monotonic()
    told = []
    for _ in range(KILLS):
        time.sleep(chance.uniform(0.0, 1.2))
        told.append(node.usage())
        node.end(signal.SIGKILL)
        node.begin()
    time.sleep(1.0)
    assert node.end(signal.SIGTERM) == 0
    ended, at_last = time.monotonic(), device.energy_joules
    node.begin()
    node.wait_for(lambda metrics: metrics.of("gpuwatch_job_energy_joules_total"))
    # What is told is on the disk first, a moment after it is shown.
    last = wait_until(lambda: (usage := node.usage())["rows"] and usage, 10.0, "a row is told")
    node.close()

    rows = [row for document in (*told, last) for row in document["rows"]]
    assert len({document["epoch"] for document in (*told, last)}) == 1
    assert len({(row["job_id"], row["started"], row["uuid"]) for row in rows}) == 1
    assert [document["seq"] for document in (*told, last)] == sorted(document["seq"] for document in (*told, last))
    (row,) = last["rows"]
    joules, seconds = row["energy_joules"]["counter"], row["held_seconds"]
    # Nobody looked before the first look, and the last life looked once more after `at_last` was read.
    start, late = looked - began, 2.0
    assert at_last - at_first - MOST_WATTS * (start + 1) <= joules <= at_last - at_first + MOST_WATTS * late
    assert ended - began - start - 1 <= seconds <= ended - began + late
    counted = [row["energy_joules"].get("counter", 0.0) for row in rows]
    assert counted == sorted(counted), "nothing that was told is taken back"
