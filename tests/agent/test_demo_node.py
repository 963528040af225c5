"""A node of the demo's accelerators through ten simulated minutes: every snapshot adds up."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpuwatch.agent.agent import Agent
from gpuwatch.agent.sampler import Sampler
from gpuwatch.agent.state import StateDirectory
from gpuwatch.devices.demo import DemoDevices
from gpuwatch.devices.demo_driver import Handle, Load
from gpuwatch.model import Site, Snapshot
from tests.agent.fakes import Collected, FakeClock, FakeHost, FakeJobs

TOLERANCE = 1e-6


def of_device(snapshot: Snapshot, uid: str, what: str) -> float:
    """Seconds or joules that the jobs of a snapshot have of a device."""
    usages = [row.usage for key, row in snapshot.rows.items() if key.device == uid]
    return sum(usage.held_seconds if what == "seconds" else usage.joules for usage in usages)


def assert_adds_up(snapshot: Snapshot) -> None:
    for uid, usage in snapshot.device_usage.items():
        joules = sum(usage.energy_joules.values())
        seconds_of_parts = usage.unallocated_seconds + usage.unattributed_seconds
        joules_of_parts = usage.unallocated_energy_joules + usage.unattributed_energy_joules
        assert abs(of_device(snapshot, uid, "seconds") + seconds_of_parts - usage.seconds) < TOLERANCE
        assert abs(of_device(snapshot, uid, "joules") + joules_of_parts - joules) <= TOLERANCE * max(1.0, joules)
    for row in snapshot.rows.values():
        assert sum(row.usage.state_seconds.values()) == pytest.approx(row.usage.held_seconds, rel=TOLERANCE)


def test_every_snapshot_of_ten_minutes_adds_up(tmp_path: Path) -> None:
    """Work, a hang, an idle holder, a change of holder, a device lost and back: nothing is lost or made."""
    clock, jobs, sink = FakeClock(), FakeJobs(), Collected()
    driver = tmp_path / "driver"
    devices = DemoDevices(DemoDevices.Settings(driver_directory=driver), Site("demo", "node"))
    working = [Handle(driver, index) for index in (0, 1, 5)]
    Handle(driver, 2).set(Load("idle", 0.0, 1 << 30))
    with StateDirectory(tmp_path / "state") as directory:
        sampler = Sampler({"demo": devices}, {"system": FakeHost()}, {"local": jobs})
        agent = Agent(Site("demo", "node"), sampler, [sink], directory, clock=clock)
        for second in range(600):
            for handle in working:
                handle.set(Load("compute" if second % 200 < 150 else "hang", 0.9, 60 << 30))
            jobs.holders = {"demo:0": "a", "demo:1": "a", "demo:2": "idle", "demo:5": "a" if second < 300 else "b"}
            clock.pass_(1)
            assert_adds_up(agent.tick(clock.now))
        agent.close()

    last = sink.snapshots[-1]
    states = {
        key.job_id: row.usage.state_seconds for key, row in last.rows.items() if key.device in "demo:0 demo:2"
    }
    assert states["a"]["spinning"] == pytest.approx(150, abs=10)
    assert states["idle"] == {"idle": pytest.approx(599, abs=2)}

    rows = {(key.job_id, key.device): row for key, row in last.rows.items()}
    idle, spun = rows["idle", "demo:2"].usage, rows["a", "demo:0"].usage
    # The holder that never began, and the job that hung in the last fifty seconds.
    assert (idle.first_working, set(idle.last_in_state)) == (None, {"idle"})
    assert spun.last_in_state["spinning"] == last.time
    assert spun.last_in_state["working"] == pytest.approx(last.time - 50, abs=3)
    assert spun.clock_cycles / spun.clock_seconds == pytest.approx(1980e6)
    assert (idle.clock_seconds, idle.link_bytes["pcie_receive"]) == (None, 0)
    assert (
        spun.link_bytes["pcie_receive"] > 8 * spun.link_bytes["pcie_transmit"] > 0 == spun.errors["ecc_corrected"]
    )
    assert rows["b", "demo:5"].usage.energy_gap_seconds <= rows["b", "demo:5"].usage.held_seconds
    assert any("demo:5" not in snapshot.readings for snapshot in sink.snapshots)
    assert last.device_usage["demo:7"].unallocated_energy_joules > 0
