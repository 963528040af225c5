"""Who has a chip's node open: what is seen, what is refused, and what anybody could pretend."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from gpuwatch.devices.tpu_chips import Node
from gpuwatch.devices.tpu_owners import LEAST_SECONDS, Owners, variable
from tests.devices.tpus import Host, Ticks
from tests.fake_tpu import FakeNode


@pytest.fixture
def node(tpu_host: Host) -> FakeNode:
    """A host with two chips."""
    return tpu_host("v5e", 2)


@pytest.fixture
def owners(node: FakeNode, tpu_ticks: Ticks) -> Owners:
    """Who looks at its processes."""
    return Owners(str(node.procfs), str(node.dev), tpu_ticks)


NODES = (Node("vfio/0"), Node("vfio/1"))


def test_holders_are_seen(node: FakeNode, owners: Owners) -> None:
    """Several of one node, one of several nodes, none of a third."""
    node.hold(10, 0)
    node.hold(11, 0, 1)

    assert {"vfio/0": (10, 11), "vfio/1": (11,), "vfio/2": ()} == owners.look((*NODES, Node("vfio/2")))


def test_one_that_ends_is_seen_at_once_and_one_that_comes_in_seconds(
    node: FakeNode, owners: Owners, tpu_ticks: Ticks
) -> None:
    """Looking through all processes is for every few seconds; a hint makes it sooner."""
    node.hold(10, 0)
    owners.look(NODES)
    node.hold(12, 1)
    tpu_ticks.now += 0.5
    early = owners.look(NODES)
    tpu_ticks.now += 1.0
    hinted = owners.look(NODES, soon=True)
    node.end(10)
    tpu_ticks.now += 0.1
    ended = owners.look(NODES)
    node.hold(13, 0)
    tpu_ticks.now += LEAST_SECONDS
    later = owners.look(NODES)

    assert [{"vfio/0": (10,), "vfio/1": ()}, {"vfio/0": (10,), "vfio/1": (12,)}] == [early, hinted]
    assert [{"vfio/0": (), "vfio/1": (12,)}, {"vfio/0": (13,), "vfio/1": (12,)}] == [ended, later]


def test_a_descriptor_that_became_another_is_given_up(node: FakeNode, owners: Owners, tpu_ticks: Ticks) -> None:
    """The process lives on with its chip closed."""
    node.hold(10, 0)
    owners.look(NODES)
    link = node.procfs / "10" / "fd" / "3"
    link.unlink()
    link.symlink_to("/dev/null")
    tpu_ticks.now += 1.0

    assert {"vfio/0": (), "vfio/1": ()} == owners.look(NODES)


@pytest.mark.parametrize(
    "target", ["/tmp/dev/vfio/0", "/home/x/vfio/0", "vfio/0", "/dev/vfio/0 (deleted)", "/x/vfio/7"]
)
def test_a_file_of_that_name_elsewhere_is_no_chip(target: str, node: FakeNode, owners: Owners) -> None:
    """Anybody can have one, and would share the charge of whoever has the chip."""
    node.hold(10, 0)
    (node.procfs / "66" / "fd").mkdir(parents=True)
    (node.procfs / "66" / "fd" / "3").symlink_to(target)

    assert (10,) == owners.look(NODES)["vfio/0"]


def test_where_the_number_of_the_node_is_known_it_decides(
    tmp_path: Path, node: FakeNode, tpu_ticks: Ticks
) -> None:
    """A container's name for the node is as good as the host's; a plain file with the right name is not."""
    real, fake = tmp_path / "container" / "vfio", tmp_path / "pretended" / "vfio"
    for folder in (real, fake):
        folder.mkdir(parents=True)
    try:
        os.mknod(real / "0", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("making a device node needs root")
    (fake / "0").touch()
    for pid, folder in ((10, real), (66, fake)):
        (node.procfs / str(pid) / "fd").mkdir(parents=True)
        (node.procfs / str(pid) / "fd" / "3").symlink_to(folder / "0")
    owners = Owners(str(node.procfs), str(node.dev), tpu_ticks)

    assert {"vfio/0": (10,)} == owners.look([Node("vfio/0", "1:3")])
    assert {"vfio/0": ()} == owners.look([Node("vfio/0", "1:9")])


def test_a_process_that_may_not_be_looked_at_makes_the_rest_unknown(
    node: FakeNode, owners: Owners, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is seen is told; whether somebody holds another chip is not known. Threads of the kernel hold none."""
    node.hold(10, 0)
    node.hold(20)
    (node.procfs / "3" / "fd").mkdir(parents=True)
    (node.procfs / "3" / "cmdline").touch()
    listed = os.listdir
    refused = {str(node.procfs / "3" / "fd")}

    def listdir(path):
        if path in refused:
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(os, "listdir", listdir)
    kernel = dict(owners.look(NODES))
    refused.add(str(node.procfs / "20" / "fd"))
    other = Owners(str(node.procfs), str(node.dev))

    assert {"vfio/0": (10,), "vfio/1": ()} == kernel
    assert {"vfio/0": (10,), "vfio/1": None} == other.look(NODES)
    assert f"{node.procfs}/20/fd: Permission denied" == other.refused


def test_a_variable_is_read_where_it_may_be(node: FakeNode) -> None:
    """None where the process is gone or has none of that name."""
    node.hold(10, 0, TPU_RUNTIME_METRICS_PORTS="8431,8432", OTHER="x")

    assert "8431,8432" == variable(str(node.procfs), 10, "TPU_RUNTIME_METRICS_PORTS")
    assert None is variable(str(node.procfs), 10, "TPU_RUNTIME")
    assert None is variable(str(node.procfs), 99, "OTHER")
