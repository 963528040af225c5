"""A running agent that takes over other settings: what is the same goes on, what fails leaves no trace."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from gpuwatch import config
from gpuwatch.cli.node import Node
from gpuwatch.errors import Locked, Unavailable
from gpuwatch.settings import Settings
from gpuwatch.sinks.spool_disk import DirectoryLock


def settings_of(folder: Path, **more: Any) -> Settings:
    """Two simulated devices, metrics and a server that is not there; `more` with __ for the dots."""
    overrides = {
        "site.node": "n0", "agent.devices": ["demo"], "agent.host": [], "agent.jobs": ["local"],
        "agent.sinks": ["prometheus", "influxdb"], "agent.listen": "127.0.0.1:0",
        "agent.state_directory": str(folder / "state"), "agent.socket": str(folder / "agent.sock"),
        "agent.jobs_directory": str(folder / "jobs"),
        "devices.demo.devices": 2, "devices.demo.driver_directory": str(folder / "driver"),
        "sinks.influxdb.spool_directory": str(folder / "spool"),
        "sinks.influxdb.servers.main": {"url": "http://127.0.0.1:9", "bucket": "b", "org": "o"},
    }  # fmt: skip
    changes = {key.replace("__", "."): value for key, value in more.items()}
    return config.with_overrides(Settings(), overrides | changes)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """An agent that has ticked once."""
    with Node(settings_of(tmp_path)) as running:
        running.tick(time.monotonic())
        yield running


def changed(node: Node, settings: Settings) -> Callable[[], None]:
    """What takes the settings over."""
    change = node.prepared(settings)
    assert change is not None
    return change


def page(node: Node) -> str:
    """What is scraped."""
    with urlopen(f"{node.url}/metrics", timeout=5) as answer:
        return str(answer.read().decode())


def test_what_is_the_same_goes_on(node: Node, tmp_path: Path) -> None:
    """Thresholds alone leave sources, outputs, sockets and the server as they are."""
    before = (node._sampler, node._sinks, node._web, node._socket, node._files)

    changed(node, settings_of(tmp_path, meter__busy_ratio=0.5))()

    assert before == (node._sampler, node._sinks, node._web, node._socket, node._files)
    assert 0.5 == node.agent._meter.settings.rule.busy_ratio


def test_other_devices_are_found_before_the_old_are_left(node: Node, tmp_path: Path) -> None:
    """The first tick of the new sampler has them all; nothing was asked to wait for them."""
    change = changed(node, settings_of(tmp_path, devices__demo__devices=3))
    assert 2 == len(node.agent.tick(time.monotonic()).devices)
    change()

    assert 3 == len(node.agent.tick(time.monotonic()).readings)


def test_another_output_of_the_same_name_has_the_spool(node: Node, tmp_path: Path) -> None:
    """The old one lets go of the lock first; the other output is the same one."""
    prometheus, influxdb = node._sinks["prometheus"], node._sinks["influxdb"]

    changed(node, settings_of(tmp_path, sinks__influxdb__push_seconds=1.0))()
    node.tick(time.monotonic())

    assert node._sinks["prometheus"] is prometheus
    assert node._sinks["influxdb"] is not influxdb
    with pytest.raises(Locked):
        DirectoryLock(tmp_path / "spool")


def test_page_is_never_empty_when_its_output_is_another(node: Node, tmp_path: Path) -> None:
    """It has the last snapshot before anybody can ask it."""
    changed(node, settings_of(tmp_path, sinks__prometheus__grace_seconds=60.0))()

    assert 2 == page(node).count("gpuwatch_device_up{")


def test_output_that_cannot_begin_leaves_the_old_ones(node: Node, tmp_path: Path) -> None:
    """Another process has the spool: the old output goes on with its own, and so does all else."""
    (tmp_path / "taken").mkdir()
    lock = DirectoryLock(tmp_path / "taken")
    sinks, web = node._sinks, node._web
    change = changed(
        node,
        settings_of(tmp_path, sinks__influxdb__spool_directory=str(tmp_path / "taken"), meter__busy_ratio=0.5),
    )

    with pytest.raises(Locked):
        change()
    lock.release()
    node.tick(time.monotonic())

    assert (sinks, web) == (node._sinks, node._web)
    assert 0.05 == node.agent._meter.settings.rule.busy_ratio
    assert node.agent.snapshot is not None and "influxdb:main" in node.agent.snapshot.sinks
    with pytest.raises(Locked):
        DirectoryLock(tmp_path / "spool")


def test_address_that_is_taken_leaves_the_old_one(node: Node, tmp_path: Path) -> None:
    """And no output that was begun for it."""
    before = node.url
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        change = changed(node, settings_of(tmp_path, agent__listen=listen, agent__sinks=["prometheus"]))
        with pytest.raises(Unavailable, match="address in use"):
            change()
    node.tick(time.monotonic())

    assert before == node.url
    assert 'gpuwatch_sink_queued{sink="influxdb:main"}' in page(node)


def test_sockets_and_folders_move(node: Node, tmp_path: Path) -> None:
    """The new ones are there, and the old one is gone soon."""
    changed(
        node,
        settings_of(
            tmp_path, agent__socket=str(tmp_path / "other.sock"), agent__jobs_directory=str(tmp_path / "other")
        ),
    )()
    deadline = time.monotonic() + 5
    while (tmp_path / "agent.sock").exists() and time.monotonic() < deadline:
        time.sleep(0.01)

    assert (tmp_path / "other.sock").is_socket()
    assert not (tmp_path / "agent.sock").exists()


def test_another_node_is_another_agent(node: Node, tmp_path: Path) -> None:
    """Its counters and its lock cannot be changed under it."""
    assert node.prepared(settings_of(tmp_path, site__node="n1")) is None
    assert node.prepared(settings_of(tmp_path, agent__state_directory=str(tmp_path / "other"))) is None


def test_what_is_replaced_ends_its_threads(node: Node, tmp_path: Path) -> None:
    """Twenty reloads cost no more threads than one."""
    changed(node, settings_of(tmp_path, devices__demo__devices=3))()
    node.tick(time.monotonic())
    after_one = threading.active_count()
    for devices in (2, 3, 2, 3):
        changed(
            node, settings_of(tmp_path, devices__demo__devices=devices, sinks__prometheus__grace_seconds=devices)
        )()
        node.tick(time.monotonic())
    deadline = time.monotonic() + 10
    while threading.active_count() > after_one and time.monotonic() < deadline:
        time.sleep(0.05)

    assert threading.active_count() <= after_one
