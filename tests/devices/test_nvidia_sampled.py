"""The NVIDIA source under the agent's sampler and meter: slices are found in time, and energy is what was used."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from gpuwatch.agent.sampler import Sample, Sampler
from gpuwatch.devices.nvidia import NvidiaDevices
from gpuwatch.meter import Holding, Meter, Nature
from gpuwatch.model import Device, JobKey, Process
from tests.devices.nvidia_readings import SEVEN
from tests.fake_nvml import FakeNvml
from tests.fake_nvml.mig import GIB

Connect = Callable[[], NvidiaDevices]
Ticks = Callable[[float], None]
NOTICED_SECONDS = 16
"""Ten until the whole device is asked how it is cut, five until devices are listed anew, one of rounding."""


@pytest.fixture
def sampler(connect: Connect) -> Iterator[Sampler]:
    """The agent's sampler over one NVIDIA source, patient with a busy machine."""
    sampler = Sampler({"nvidia": connect()}, {}, {}, deadline_seconds=10.0)
    yield sampler
    sampler.close()


def sample(sampler: Sampler, second: int) -> Sample:
    return sampler.sample(float(second), float(second), dict)


def nature_of(device: Device) -> Nature:
    return Nature(device.model, 70.0, 700.0, device.parent, device.fraction, device.driver)


def test_slices_are_listed_within_seconds_of_the_cut(fake: FakeNvml, sampler: Sampler) -> None:
    """Cut, cut otherwise, and made whole again: each time the devices are right soon after, with their holders."""
    second = 0
    for profiles in (SEVEN, ["3g.40gb", "4g.40gb"], None):
        sample(sampler, second)
        slices = fake.devices[0].mig(profiles)
        for number, each in enumerate(slices):
            each.processes((100 + number, GIB))
        for _ in range(NOTICED_SECONDS):
            second += 1
            last = sample(sampler, second)

        assert {fake.devices[0].uuid, *(each.uuid for each in slices)} == last.devices.keys()
        for number, each in enumerate(slices):
            reading = last.readings[each.uuid]
            assert reading is not None and reading.processes == (Process(100 + number, GIB),)
    assert sampler.health["nvidia"].up
    assert fake.gpm_panics == 0


def test_energy_of_the_whole_is_that_of_its_slices(fake: FakeNvml, sampler: Sampler) -> None:
    """Seven jobs on seven slices: a seventh each of what the device's counter counted, and nothing besides."""
    board, meter = fake.devices[0], Meter()
    slices = board.mig(SEVEN)
    board.power_watts = 0.0
    holdings = [Holding(JobKey(each.uuid, 1), each.uuid, 1 / 7, "mig") for each in slices]
    for second in range(11):
        board.energy_joules = 1000.0 + 350.0 * second
        taken = sample(sampler, second)
        natures = {uid: nature_of(device) for uid, device in taken.devices.items()}
        meter.advance(float(second), taken.readings, holdings, (), natures)

    assert [pytest.approx(500.0)] * 7 == [sum(row.energy_joules.values()) for row in meter.rows.values()]
    assert sum(usage.seconds for usage in meter.devices.values()) == pytest.approx(10.0)
    assert sum(sum(usage.energy_joules.values()) for usage in meter.devices.values()) == pytest.approx(3500.0)


def test_a_driver_loaded_anew_under_the_agent_loses_one_interval(eight: FakeNvml, sampler: Sampler) -> None:
    """Devices are read again, by the same UUIDs and in another session, as soon as they are listed anew."""
    before = sample(sampler, 0)
    eight.reload_driver()
    lost = sample(sampler, 1)
    after = [sample(sampler, second) for second in range(2, 8)][-1]

    assert set(lost.readings.values()) == {None}
    assert before.devices.keys() == after.devices.keys()
    assert {1} == {device.session for device in after.devices.values()}
    assert None not in after.readings.values()
