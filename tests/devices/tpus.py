"""Device sources on fake TPU hosts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from gpuwatch.devices.tpu import TpuDevices
from gpuwatch.model import Reading
from tests.fake_tpu import FakeNode, FakeRuntime

Host = Callable[..., FakeNode]
Serve = Callable[..., FakeRuntime]
Connect = Callable[..., TpuDevices]


class Ticks:
    """A monotonic clock that goes forward when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def tpu_ticks() -> Ticks:
    """The clock of the source."""
    return Ticks()


@pytest.fixture
def tpu_host(tmp_path: Path) -> Host:
    """Make a host of a generation."""
    return lambda generation, chips=None: FakeNode(tmp_path / generation, generation, chips)


@pytest.fixture
def tpu_runtime() -> Iterator[Serve]:
    """Start the runtime of a process; all end with the test."""
    started: list[FakeRuntime] = []

    def start(devices, memory_bytes=32 * 2**30, **options) -> FakeRuntime:
        started.append(FakeRuntime(devices, memory_bytes, **options))
        return started[-1]

    yield start
    for each in started:
        each.stop()


@pytest.fixture
def tpu_source(tpu_ticks: Ticks) -> Iterator[Connect]:
    """Make a source that sees a host and asks some ports."""
    made: list[TpuDevices] = []

    def make(node: FakeNode, *ports: int, **settings) -> TpuDevices:
        chosen = TpuDevices.Settings(ports=ports, **settings)
        made.append(TpuDevices(chosen, node.site(), clock=tpu_ticks, directory=str(node.dev)))
        return made[-1]

    yield make
    for each in made:
        each.close()


def runtime_of(node: FakeNode, serve: Serve, **options) -> FakeRuntime:
    """The runtime of one process that has all chips of a host."""
    own = node.generation
    return serve(
        range(node.chips * own.devices),
        own.memory_bytes,
        duty_devices=range(node.chips) if own.duty_by_chip else None,
        **options,
    )


def read(source: TpuDevices, now: float = 1.0) -> Mapping[str, Reading]:
    """One reading of every chip."""
    return {device.uid: source.read(device, now) for device in source.scan(now)}
