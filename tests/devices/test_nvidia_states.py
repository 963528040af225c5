"""What real devices answered, idle, at work and hung, is told apart."""

from __future__ import annotations

import pytest

from gpuwatch.devices.nvidia import NvidiaDevices
from gpuwatch.devices.nvml_fields import FIELDS
from gpuwatch.meter import StateRule, classify
from tests.captures import FOLDER, Capture, play, read, value
from tests.devices.conftest import Connect, Ticks
from tests.fake_nvml import FakeNvml

DRIVER = "580.159.04"


def recorded(model: str, load: str = "") -> Capture:
    """The device of that model under that load; without one nobody is on it."""
    return read(FOLDER / f"nvidia-{model}{load}__{DRIVER}.json")


def state_of(model: str, load: str, fake: FakeNvml, source: NvidiaDevices, ticks: Ticks) -> str:
    """What the meter makes of a reading of it, with the idle power of the same model."""
    play(recorded(model, load), fake.devices[0], FIELDS)
    (device,) = source.scan(0.0)
    source.read(device, 0.0)
    ticks(1.0)
    reading = source.read(device, 1.0)
    idle_watts = value(recorded(model), "nvmlDeviceGetPowerUsage") / 1000
    return classify(reading, idle_watts, reading.power_limit_watts, StateRule())


@pytest.mark.parametrize(
    ("model", "load", "state"),
    [
        ("h100-80gb-hbm3", "", "idle"),
        ("h200", "", "idle"),
        # Large products in bfloat16, at the power limit.
        ("h100-80gb-hbm3", "-matmul", "working"),
        # 32 blocks of 640 threads that wait for a word in memory: on 24 % of the SMs.
        ("h100-80gb-hbm3", "-spinning", "spinning"),
        ("h200", "-spinning", "spinning"),
    ],
)
def test_recorded_loads_are_told_apart(
    fake: FakeNvml, connect: Connect, ticks: Ticks, model: str, load: str, state: str
) -> None:
    """Waiting kernels occupy SMs and draw 100 W more than an idle device; still nobody works there."""
    assert state == state_of(model, load, fake, connect(), ticks)
