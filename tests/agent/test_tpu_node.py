"""A node of TPUs through the whole agent: chips are the devices, jobs are charged for them, energy is modelled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuwatch.agent.agent import Agent
from gpuwatch.agent.sampler import Sampler
from gpuwatch.agent.state import StateDirectory
from gpuwatch.devices.tpu import TpuDevices
from gpuwatch.jobs.device_ids import Inventory
from gpuwatch.jobs.podresources import Granted
from gpuwatch.jobs.slurm_devices import layout, told_by
from gpuwatch.model import Site, Snapshot
from gpuwatch.sinks.prometheus import PrometheusSink
from tests.agent.fakes import Collected, FakeClock, FakeHost, FakeJobs
from tests.agent.test_demo_node import assert_adds_up
from tests.fake_tpu import GENERATIONS, FakeNode, FakeRuntime


class Rig:
    """An agent on a host of TPUs; a second passes when it is told to."""

    def __init__(self, folder: Path, generation: str) -> None:
        self.node = FakeNode(folder / "host", generation)
        own = self.node.generation
        self.runtime = FakeRuntime(
            range(self.node.chips * own.devices),
            own.memory_bytes,
            duty_devices=range(self.node.chips) if own.duty_by_chip else None,
        )
        self.clock, self.jobs, self.sink = FakeClock(), FakeJobs(), Collected()
        settings = TpuDevices.Settings(ports=(self.runtime.port,))
        source = TpuDevices(settings, self.node.site(), clock=self.clock.monotonic, directory=str(self.node.dev))
        sampler = Sampler({"tpu": source}, {"system": FakeHost()}, {"local": self.jobs})
        self._state = StateDirectory(folder / "state")
        self.agent = Agent(self.node.site(), sampler, [self.sink], self._state.__enter__(), clock=self.clock)

    def run(self, seconds: int) -> Snapshot:
        for _ in range(seconds):
            self.clock.pass_(1)
            snapshot = self.agent.tick(self.clock.now)
            assert_adds_up(snapshot)
        return snapshot

    def close(self) -> None:
        self.agent.close()
        self._state.__exit__(None, None, None)
        self.runtime.stop()


def page_of(snapshot: Snapshot) -> str:
    """What a scrape of this snapshot gets."""
    sink = PrometheusSink(PrometheusSink.Settings(), Site())
    sink.take(snapshot)
    return sink.render().decode()


@pytest.fixture
def rig(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Rig]:
    made = Rig(tmp_path, getattr(request, "param", "v4"))
    yield made
    made.close()


@pytest.mark.parametrize("rig", sorted(GENERATIONS), indirect=True)
def test_every_generation_is_exported_and_charged_by_chip(rig: Rig) -> None:
    """Duty cycle and memory of each chip on the page, and a job's device-seconds are those of its chips."""
    own = rig.node.generation
    rig.node.hold(100, 0, 1)
    rig.runtime.load(50.0, 2**30)
    rig.jobs.holders = {rig.node.uid(0): "train", rig.node.uid(1): "train"}
    last = rig.run(31)
    page = page_of(last)
    held = {key.device: row.usage.held_seconds for key, row in last.rows.items()}

    assert {rig.node.uid(0): 30.0, rig.node.uid(1): 30.0} == pytest.approx(held)
    assert rig.node.chips == page.count("gpuwatch_device_info{")
    for chip in range(rig.node.chips):
        uuid = rig.node.uid(chip)
        assert f'gpuwatch_device_up{{uuid="{uuid}"}} 1' in page
        assert f'gpuwatch_device_utilization_ratio{{uuid="{uuid}"}} 0.5' in page
        assert f'gpuwatch_device_memory_used_bytes{{uuid="{uuid}"}} {own.devices * 2**30}' in page
    assert f'kind="tpu",vendor="google",model="{own.model}"' in page
    assert "gpuwatch_device_power_watts{" not in page
    assert 'gpuwatch_source_up{source="tpu"} 1' in page


def test_energy_says_that_it_is_modelled_wherever_it_is(rig: Rig) -> None:
    """90 W at rest, 130 W half busy: of the device, of the job, of what nobody holds; none of it measured."""
    rig.node.hold(100, 0)
    rig.runtime.says["tpu.runtime.tensorcore.dutycycle.percent"] = {0: 50.0, 1: 0.0, 2: 0.0, 3: 0.0}
    rig.jobs.holders = {rig.node.uid(0): "train"}
    last = rig.run(11)
    (row,) = last.rows.values()
    page = page_of(last)

    assert {"modelled": pytest.approx(1300.0)} == dict(row.usage.energy_joules)
    assert 0.0 == row.usage.energy_unmeasured_seconds
    assert {"modelled": pytest.approx(900.0)} == last.device_usage[rig.node.uid(3)].energy_joules
    assert f'gpuwatch_device_energy_joules_total{{uuid="{rig.node.uid(0)}",method="modelled"}} 1300' in page
    assert 'method="integrated"' not in page
    assert 'method="counter"' not in page


def test_an_idle_chip_that_a_job_holds_is_charged(rig: Rig) -> None:
    """The batch system gave it four chips; it uses one, or none, and its server is gone."""
    rig.runtime.stop()
    rig.jobs.holders = {rig.node.uid(chip): "waste" for chip in range(4)}
    last = rig.run(21)
    usages = [row.usage for row in last.rows.values()]

    assert [20.0] * 4 == pytest.approx([usage.held_seconds for usage in usages])
    assert [{"idle": pytest.approx(20.0)}] * 4 == [dict(usage.state_seconds) for usage in usages]
    assert [1800.0] * 4 == pytest.approx([usage.energy_joules["modelled"] for usage in usages])


def test_a_chip_out_of_reach_is_held_and_unmeasured(rig: Rig) -> None:
    """Somebody computes on it in another network: charged, its state unknown, and no energy made up."""
    rig.runtime.stop()
    rig.node.hold(100, 0)
    rig.jobs.holders = {rig.node.uid(0): "pod"}
    (row,) = rig.run(21).rows.values()

    assert 20.0 == pytest.approx(row.usage.held_seconds)
    assert {"unknown": pytest.approx(20.0)} == dict(row.usage.state_seconds)
    assert ({}, 20.0) == (dict(row.usage.energy_joules), pytest.approx(row.usage.energy_unmeasured_seconds))


def test_a_workload_that_ends_and_one_that_begins(rig: Rig) -> None:
    """Working, then idle while the job still holds, then working again: every second has its state."""
    rig.node.hold(100, 0, 1, 2, 3)
    rig.runtime.load(95.0, 2**30)
    rig.jobs.holders = {rig.node.uid(0): "a"}
    rig.run(10)
    rig.runtime.stop()
    rig.node.end(100)
    rig.run(10)
    rig.runtime.start()
    rig.node.hold(200, 0, 1, 2, 3)
    last = rig.run(10)
    (row,) = last.rows.values()
    states = dict(row.usage.state_seconds)

    assert {"working", "idle"} == set(states)
    assert states["working"] == pytest.approx(19, abs=2)
    assert 0 == sum(last.sources["tpu"].rejected_readings.values())


def test_batch_systems_name_chips_by_index(rig: Rig) -> None:
    """The kubelet's plugin says "2", Slurm's GRES index is 2: both are the third chip."""
    devices = rig.run(1).devices

    assert (rig.node.uid(2),) == Inventory(devices).meant(Granted("google.com/tpu", "2")).devices
    assert [rig.node.uid(2)] == [claim.device for claim in told_by([("2", 1.0)], layout(devices)).claims]
