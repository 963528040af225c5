"""Device nodes that a driver makes after the agent began."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from gpuwatch.devices.nodes import DeviceNodes, refusal
from gpuwatch.devices.nvidia import NvidiaDevices
from gpuwatch.errors import RestartRequired, Unavailable
from gpuwatch.model import Site

PATTERNS = ("nvidiactl", "nvidia[0-9]*")


class Kernel:
    """A directory of nodes, and what the kernel says to each."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.answers: dict[str, int] = {}

    def node(self, name: str, answer: int) -> None:
        """There is such a node, and reading it is answered so."""
        (self.directory / name).touch()
        self.answers[name] = answer

    def nodes(self) -> DeviceNodes:
        """What a process that begins now sees."""
        return DeviceNodes(PATTERNS, self.directory, lambda path: self.answers[path.name])


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    """A node without a driver."""
    return Kernel(tmp_path)


@pytest.mark.parametrize("name", ["nvidiactl", "nvidia0"])
def test_a_node_that_came_later_and_is_refused_asks_for_a_restart(kernel: Kernel, name: str) -> None:
    """The message names it."""
    nodes = kernel.nodes()
    nodes.demand_open("nvidia")
    kernel.node(name, errno.EPERM)

    with pytest.raises(RestartRequired, match=f"{name} is refused to this process"):
        nodes.demand_open("nvidia")


def test_the_new_process_does_not_ask_again(kernel: Kernel) -> None:
    """What is refused from the start is the site's will: there is one restart for a change, whatever it brings."""
    kernel.node("nvidiactl", errno.EPERM)

    kernel.nodes().demand_open("nvidia")


def test_a_driver_that_comes_back_under_another_number_asks_for_a_restart(kernel: Kernel) -> None:
    """The node was there and open before."""
    kernel.node("nvidia0", 0)
    nodes = kernel.nodes()
    kernel.node("nvidia0", errno.EPERM)

    with pytest.raises(RestartRequired):
        nodes.demand_open("nvidia")


@pytest.mark.parametrize(
    ("name", "answer"),
    [("nvidia0", 0), ("nvidia0", errno.EACCES), ("nvidia0", errno.ENXIO), ("null", errno.EPERM)],
)
def test_what_a_restart_would_not_mend_asks_for_none(kernel: Kernel, name: str, answer: int) -> None:
    """A node that may be read, that file modes refuse, that has no driver, that is another driver's."""
    nodes = kernel.nodes()
    kernel.node(name, answer)

    nodes.demand_open("nvidia")


def test_the_kernel_is_asked_without_opening_anything(tmp_path: Path) -> None:
    """A FIFO nobody writes to would hang who opens it."""
    os.mkfifo(tmp_path / "fifo")

    assert [0, errno.ENOENT] == [refusal(tmp_path / name) for name in ("fifo", "absent")]


def test_the_nvidia_source_looks_before_it_asks_the_driver(kernel: Kernel) -> None:
    """A driver that it may not open has nothing to say."""
    source = NvidiaDevices(NvidiaDevices.Settings(), Site(node="n1"), nodes=kernel.nodes())
    kernel.node("nvidiactl", errno.EPERM)

    with pytest.raises(RestartRequired) as raised:
        source.scan(0.0)

    assert isinstance(raised.value, Unavailable)
    assert 75 == raised.value.exit_code
