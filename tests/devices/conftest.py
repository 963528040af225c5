"""The fake NVIDIA driver in this process, and device sources that see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpuwatch.devices.nvidia import NvidiaDevices
from gpuwatch.model import Site
from tests.devices.nvidia_readings import SEVEN
from tests.devices.tpus import tpu_host, tpu_runtime, tpu_source, tpu_ticks
from tests.fake_nvml import FakeNvml, compiler, load
from tests.fake_nvml.mig import FakeSlice
from tests.pci import with_nvidia

__all__ = ["tpu_host", "tpu_runtime", "tpu_source", "tpu_ticks"]

Connect = Callable[[], NvidiaDevices]


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], FakeNvml]]:
    """Make a driver with so many devices, which this process then sees."""
    if compiler() is None:
        pytest.skip("the fake NVIDIA driver needs a C compiler; install gcc")
    load()
    made: list[FakeNvml] = []

    def make(devices: int) -> FakeNvml:
        path = tmp_path / f"nvml-{len(made)}"
        made.append(FakeNvml(path, devices, latency_seconds=0.0, event_wait_limit_seconds=0.01))
        monkeypatch.setenv("FAKE_NVML_STATE", str(path))
        return made[-1]

    yield make
    for fake in made:
        for device in fake.devices:
            device.unhang()


@pytest.fixture
def fake(driver: Callable[[int], FakeNvml]) -> FakeNvml:
    """A driver with one device."""
    return driver(1)


@pytest.fixture
def eight(driver: Callable[[int], FakeNvml]) -> FakeNvml:
    """A driver with eight devices."""
    return driver(8)


@pytest.fixture
def seven(fake: FakeNvml) -> list[FakeSlice]:
    """Seven equal slices on one device."""
    return fake.devices[0].mig(SEVEN)


class Ticks:
    """A monotonic clock that goes forward when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def ticks() -> Ticks:
    """Let so many seconds pass on the clock of the sources that `connect` makes."""
    return Ticks()


@pytest.fixture(scope="session")
def nvidia_bus(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The sysfs of a node that has an NVIDIA card."""
    return str(with_nvidia(tmp_path_factory.mktemp("bus")))


@pytest.fixture
def connect(ticks: Ticks, nvidia_bus: str) -> Iterator[Connect]:
    """Make a device source that is closed at the end of the test."""
    made: list[NvidiaDevices] = []

    def make() -> NvidiaDevices:
        site = Site(node="n1", sysfs=nvidia_bus)
        made.append(NvidiaDevices(NvidiaDevices.Settings(), site, clock=lambda: ticks.now))
        return made[-1]

    yield make
    for source in made:
        source.close()
