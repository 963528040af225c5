"""What a reading costs the processor; the budget of the agent is 10 ms in each second for eight GPUs."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from gpuwatch.devices.nvidia import NvidiaDevices
from tests.fake_nvml import FakeNvml

BUDGET_SECONDS = 0.0004


@pytest.mark.integration
def test_a_reading_stays_within_its_share(fake: FakeNvml, connect: Callable[[], NvidiaDevices]) -> None:
    """Processor time of the reading thread, three processes on the device, the driver taking none."""
    fake.devices[0].processes((7, 100), (8, 100), (9, 100))
    source = connect()
    (device,) = source.scan(0.0)
    source.read(device, 0.0)
    costs = []
    for _ in range(10):
        began = time.thread_time()
        for second in range(50):
            source.read(device, float(second))
        costs.append((time.thread_time() - began) / 50)

    assert min(costs) <= BUDGET_SECONDS
