"""The node that tests share: eight GPUs, the last without an energy counter. Every test leaves it as it was."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.fake_nvml import FakeNvml, compiler
from tests.faults.running import Node, build_shim

NOT_SUPPORTED = 3
ENERGY_FIELD = 83


def loaded(fake: FakeNvml) -> FakeNvml:
    """Each device at a power of its own, held by this process."""
    for index, device in enumerate(fake.devices):
        device.load(0.9)
        device.power_watts = 200.0 + 50 * index
        device.processes((os.getpid(), 1 << 30))
    return fake


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory):
    if compiler() is None:
        pytest.skip("the fake driver and the clock shim are C, and there is no C compiler")
    return build_shim(tmp_path_factory.mktemp("shim"))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, shim) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("node")
    fake = loaded(FakeNvml(folder / "nvml", 8, latency_seconds=0.0))
    fake.devices[7].fail("nvmlDeviceGetTotalEnergyConsumption", NOT_SUPPORTED)
    fake.devices[7].fail_field(ENERGY_FIELD, NOT_SUPPORTED)
    # In the zone with the oddest change to summer time; nothing of it may be seen anywhere.
    made = Node(folder, fake, shim, more="[meter]\ngap_seconds = 1.5", TZ="Australia/Lord_Howe")
    yield made
    made.close()


@pytest.fixture
def node(shared: Node) -> Node:
    """The shared node once all its devices are read again, whatever the last test did to it."""
    shared.wait_for(lambda metrics: len(metrics.of("gpuwatch_device_power_watts", "average")) == 8)
    return shared
