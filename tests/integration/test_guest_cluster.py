"""Three nodes and one accounting, each a machine with a systemd: every job is in one ledger, once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from tests.integration.debian import free_port, wait_until
from tests.integration.guest import WORK, Guest, Guests, fetch
from tests.integration.guest_root import Image

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("guest")]

ACCOUNTING = "gpuwatch-accounting.service"
HELD = 2
"""Devices of each job."""

MOST_WATTS = 720.0
START_SECONDS = 30.0
SETTLE_SECONDS = 60.0


@dataclass(frozen=True)
class Cluster:
    """The guests, and where their agents listen."""

    nodes: Sequence[Guest]
    ports: Sequence[int]
    accounting: Guest

    def jobs(self) -> dict[str, Any]:
        """What `gpuwatch jobs` says on the host of accounting, by the jobs' names."""
        done = self.accounting.run("gpuwatch", "jobs", "--json", check=False)
        listed = json.loads(done.stdout) if done.returncode == 0 else []
        return {each["name"]: each for each in listed}


@pytest.fixture(scope="module")
def cluster(guests: Guests, image: Image) -> Iterator[Cluster]:
    """Four machines in the network of this one, each with ports of its own."""
    ports = [free_port() for _ in range(5)]
    nodes = [
        guests(image.root, f"gpu{number}", False, {"/etc/gpuwatch/conf.d/node.toml": _agent(port)})
        for number, port in enumerate(ports[:3])
    ]
    urls = ", ".join(f'"http://127.0.0.1:{port}"' for port in ports[:3])
    text = f"""\
{_agent(ports[3])}
[accounting]
listen = "127.0.0.1:{ports[4]}"
interval_seconds = 1.0
[usage.agents]
urls = [{urls}]
"""
    host = guests(image.root, "host", False, {"/etc/gpuwatch/conf.d/node.toml": text})
    host.run("systemctl", "enable", "--now", ACCOUNTING)
    for port in ports[:3]:
        wait_until(
            lambda port=port: "gpuwatch_device_up" in fetch("/metrics", port), START_SECONDS, "a node serves"
        )
    yield Cluster(nodes, ports[:3], host)
    for guest in (*nodes, host):
        guest.stop()


def _agent(port: int) -> str:
    return f'[agent]\nlisten = "127.0.0.1:{port}"\n'


def _start(guest: Guest, name: str, steps: int, devices: str = "0,1") -> float:
    """Start a job of so many half seconds on a node; when that was."""
    guest.run("install", "-d", "-m", "1777", "/srv/demo")
    load = f"{WORK.replace('--steps 100000', f'--steps {steps}')} --step-seconds 0.5 --devices {devices}"
    job = ("gpuwatch", "run", "--name", name, "--", *load.split())
    guest.run("systemd-run", "--quiet", f"--unit={name}", "--property=User=daemon", *job)
    return time.monotonic()


def _ended(cluster: Cluster, *names: str) -> Callable[[], dict[str, Any]]:
    def look() -> dict[str, Any]:
        jobs = cluster.jobs()
        over = all(name in jobs and jobs[name]["state"] == "ended" for name in names)
        return jobs if over else {}

    return look


def _figures(job: dict[str, Any]) -> tuple[float, float]:
    return job["device_seconds"], sum(job["energy_joules"].values())


def test_jobs_of_three_nodes_are_in_one_ledger_once_whatever_becomes_of_a_node(cluster: Cluster) -> None:
    """With their energy; a node that is shut down and started again tells all it knew, and nothing twice."""
    began = [_start(node, f"short{number}", 12) for number, node in enumerate(cluster.nodes)]
    began.append(_start(cluster.nodes[2], "long", 100_000, "2,3"))
    first = wait_until(_ended(cluster, "short0", "short1", "short2"), SETTLE_SECONDS, "jobs are in the ledger")

    cluster.nodes[2].reboot()
    wait_until(lambda: fetch("/metrics", cluster.ports[2]), START_SECONDS, "the node serves again")
    last = wait_until(
        _ended(cluster, "short0", "short1", "short2", "long"), SETTLE_SECONDS, "the last job is over"
    )
    lived = time.monotonic() - began[3]

    shorts = [f"short{number}" for number in range(3)]
    assert [_figures(first[name]) for name in shorts] == [_figures(last[name]) for name in shorts]
    assert {*shorts, "long"} == set(last)
    for name, job in last.items():
        seconds, joules = _figures(job)
        assert 0 < seconds <= HELD * (lived if name == "long" else time.monotonic() - began[0])
        assert 0 < joules <= seconds * MOST_WATTS
