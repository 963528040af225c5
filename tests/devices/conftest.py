"""The fake NVIDIA driver in this process, and device sources that see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpuwatch.devices.nvidia import NvidiaDevices
from gpuwatch.model import Site
from tests.fake_nvml import FakeNvml, compiler, load

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
def connect() -> Iterator[Connect]:
    """Make a device source that is closed at the end of the test."""
    made: list[NvidiaDevices] = []

    def make() -> NvidiaDevices:
        made.append(NvidiaDevices(NvidiaDevices.Settings(), Site(node="n1")))
        return made[-1]

    yield make
    for source in made:
        source.close()
