"""A board cut into seven (MIG), through the real agent: seven devices with their fractions, and nothing twice."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.devices.nvidia_readings import SEVEN
from tests.fake_nvml import FakeNvml, compiler
from tests.fake_nvml.mig import GIB
from tests.faults.running import Metrics, Node

pytestmark = pytest.mark.integration

WATTS = 420.0
HELD, JOULES = "gpuwatch_job_held_seconds_total", "gpuwatch_device_energy_joules_total"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """An agent on one board of seven slices, of which this process holds six."""
    if compiler() is None:
        pytest.skip("the fake NVIDIA driver needs a C compiler; install gcc")
    fake = FakeNvml(tmp_path / "nvml", 1, latency_seconds=0.0)
    board = fake.devices[0]
    board.power_watts = WATTS
    for each in board.mig(SEVEN)[:6]:
        each.processes((os.getpid(), GIB))
        each.activity(sm=0.8, tensor=0.5, dram=0.3)
    made = Node(tmp_path, fake)
    yield made
    made.close()


def label(labels: str, name: str) -> str:
    found = re.search(f'{name}="([^"]*)"', labels)
    assert found is not None
    return found[1]


def seconds(metrics: Metrics) -> float:
    """Time of all devices together, by who had it."""
    return sum(
        metrics.sum(f"gpuwatch_device_{who}_seconds_total") for who in ("held", "unallocated", "unattributed")
    )


def test_seven_slices_share_the_board_and_its_energy(node: Node) -> None:
    """Each has a seventh of the time and of the joules; together they are the board's."""
    assert node.fake is not None
    board = node.fake.devices[0]
    node.wait_for(lambda metrics: len(metrics.of("gpuwatch_device_sm_activity_ratio")) == 8)
    first = node.just_counted("MIG-")
    began, counted = time.monotonic(), board.energy_joules
    last = node.just_counted("MIG-")
    passed, used = time.monotonic() - began, board.energy_joules - counted

    kinds = {label(labels, "uuid"): label(labels, "kind") for labels in last.of("gpuwatch_device_info")}
    slices = [uid for uid, kind in kinds.items() if kind == "mig"]
    assert (len(slices), kinds[board.uuid]) == (7, "gpu")
    assert {board.uuid} == {
        label(labels, "parent") for labels in last.of("gpuwatch_device_info") if label(labels, "kind") == "mig"
    }
    assert list(last.of("gpuwatch_device_job_share", 'basis="mig"').values()) == [pytest.approx(1 / 7)] * 6
    assert len(last.of(HELD)) == 6
    for labels, held in last.of(HELD).items():
        assert held - first[HELD, labels] == pytest.approx(passed / 7, abs=0.15)
    assert seconds(last) - seconds(first) == pytest.approx(passed, abs=0.9)
    assert last.sum(JOULES) - first.sum(JOULES) == pytest.approx(used, abs=WATTS * 0.9)
    assert last.sum(JOULES, board.uuid) == 0
    assert last.sum("gpuwatch_agent_residual_joules") == pytest.approx(0, abs=1e-6)
    assert not any(last.of("gpuwatch_device_power_watts", uid) for uid in slices)
    assert last.sum("gpuwatch_job_state_seconds_total", 'state="working"') > 0
