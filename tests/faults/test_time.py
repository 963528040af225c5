"""Faults of time: the wall clock jumps, the machine is suspended, the zone changes."""

from __future__ import annotations

import os
import signal
import time
from datetime import UTC, datetime

import pytest

from tests.faults.running import INTERVAL, Node

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("shared node")]

HOUR, YEAR = 3600, 365 * 86400
HELD = "gpuwatch_device_held_seconds_total"
JOULES = "gpuwatch_job_energy_joules_total"
JUMPS = "gpuwatch_agent_clock_jumps_total"


class Watched:
    """What the first device counted while something happened to it, beside what there was to count."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._uuid = node.fake.devices[0].uuid
        self._before = self._look()

    def _look(self) -> tuple[float, float, float, float]:
        metrics = self._node.just_counted(self._uuid)
        held, joules = (metrics.sum(name, self._uuid) for name in (HELD, JOULES))
        return time.monotonic(), self._node.fake.devices[0].energy_joules, held, joules

    def differences(self) -> tuple[float, float, float, float]:
        """Seconds and joules that there were, and those that were counted for the job."""
        passed, there, held, joules = (
            now - before for now, before in zip(self._look(), self._before, strict=True)
        )
        return passed, there, held, joules


@pytest.mark.parametrize(
    "there", [-HOUR, HOUR, YEAR, 100 - int(time.time())], ids=["-1 h", "+1 h", "+1 y", "1970"]
)
def test_fault_18_clock_jump_changes_neither_cadence_nor_totals(node: Node, there: int) -> None:
    """There and back: seconds and joules go on with the monotonic clock, both jumps are counted and told."""
    jumps = node.metrics().sum(JUMPS)
    watched, began = Watched(node), time.monotonic()
    node.shift(there)
    node.wait_for(lambda metrics: metrics.sum(JUMPS) == jumps + 1)
    node.shift(0)
    node.wait_for(lambda metrics: metrics.sum(JUMPS) == jumps + 2)
    passed, joules_there, held, joules = watched.differences()
    told = [each["seconds"] for each in node.usage()["events"] if each["kind"] == "clock_jump"]

    assert held == pytest.approx(passed, abs=3 * INTERVAL)
    assert joules == pytest.approx(joules_there, abs=200 * 3 * INTERVAL)
    assert node.fed(began) == pytest.approx(passed / INTERVAL, abs=4)
    assert there == pytest.approx(next(each for each in told if abs(each - there) < 5), abs=3)
    assert node.metrics().sum("gpuwatch_agent_journal_dropped_total") == 0


def test_fault_19_pause_is_one_gap_without_a_rush_afterwards(node: Node) -> None:
    """A paused machine: the missed ticks are counted, not made up for; the energy is the counter's."""
    missed = node.metrics().sum("gpuwatch_agent_ticks_missed_total")
    unknown = node.metrics().sum("gpuwatch_job_state_seconds_total", 'state="unknown"')
    watched = Watched(node)
    os.kill(node.process.pid, signal.SIGSTOP)
    time.sleep(2.5)
    resumed = time.monotonic()
    os.kill(node.process.pid, signal.SIGCONT)
    node.wait_for(lambda metrics: metrics.sum("gpuwatch_agent_ticks_missed_total") >= missed + 10, seconds=5)
    time.sleep(1.0)
    ticks, since = node.fed(resumed), time.monotonic() - resumed
    metrics = node.metrics()
    passed, joules_there, held, joules = watched.differences()

    assert ticks <= since / INTERVAL + 4
    assert held == pytest.approx(passed, abs=3 * INTERVAL)
    assert joules == pytest.approx(joules_there, abs=200 * 3 * INTERVAL)
    assert metrics.sum("gpuwatch_job_state_seconds_total", 'state="unknown"') - unknown > 8 * 2


def test_fault_19_suspended_machine_makes_up_for_nothing(node: Node) -> None:
    """In suspension only the wall clock goes on: ten minutes later there is one jump and no seconds more."""
    jumps, watched, began = node.metrics().sum(JUMPS), Watched(node), time.monotonic()
    node.shift(600)
    node.wait_for(lambda metrics: metrics.sum(JUMPS) == jumps + 1)
    passed, _, held, _ = watched.differences()
    ticks = node.fed(began)
    node.shift(0)
    node.wait_for(lambda metrics: metrics.sum(JUMPS) == jumps + 2)

    assert held == pytest.approx(passed, abs=3 * INTERVAL)
    assert ticks <= passed / INTERVAL + 3


def test_fault_20_leap_second_and_summer_time_are_seen_nowhere(node: Node) -> None:
    """One second more or less is no jump, and the hour at which the zone changes is like any other."""
    change = datetime(2026, 10, 3, 15, 30, tzinfo=UTC).timestamp()  # Lord Howe goes half an hour forward
    before = node.metrics().sum(JUMPS)
    for second in (1, 0):
        node.shift(second)
        time.sleep(3 * INTERVAL)
    assert node.metrics().sum(JUMPS) == before

    watched = Watched(node)
    node.shift(change - time.time() - 1)
    node.wait_for(lambda metrics: metrics.sum(JUMPS) == before + 1)
    time.sleep(2.0)
    now = node.usage()["now"]
    jumps = node.metrics().sum(JUMPS)
    passed, _, held, _ = watched.differences()
    node.shift(0)
    node.wait_for(lambda metrics: metrics.sum(JUMPS) == before + 2)

    assert change <= now < change + 10
    assert (jumps, held) == (before + 1, pytest.approx(passed, abs=3 * INTERVAL))
