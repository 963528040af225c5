"""Faults of the agent's parts: one source raises, a configuration is broken."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from gpuwatch.model import Site
from gpuwatch.sinks.prometheus import PrometheusSink
from gpuwatch.web.exposition import base_app
from tests.agent.fakes import FakeNode
from tests.faults.running import INTERVAL, Metrics, Node
from tests.web.asking import ask

RELOADED = "gpuwatch_agent_config_last_reload_successful"


@pytest.mark.parametrize("source", ["system", "local", "fake"])
def test_fault_34_source_that_raises_stays_alone(tmp_path: Path, source: str) -> None:
    """200, the other sources are on the page, and the one with the bug is down."""
    node = FakeNode(tmp_path / "state")
    sink = PrometheusSink(PrometheusSink.Settings(), Site(), clock=node.clock.time)
    node.jobs.holders = {"fake:0": "42"}
    node.tick(2)
    if source == "system":
        node.sampler._host["system"].read = _raise
    elif source == "local":
        node.jobs.error = ZeroDivisionError("bug")
    else:
        node.devices.read_error = ZeroDivisionError("bug")
    sink.take(node.tick(6))
    app = base_app("agent", sink.render, node.agent.healthy, node.agent.ready, [], [])
    answer = ask(app, "GET", "/metrics")
    ready = ask(app, "GET", "/-/healthy").status_code
    node.stop()

    metrics = Metrics(answer.text)
    assert (answer.status_code, ready) == (200, 200)
    assert metrics.of("gpuwatch_source_up") == {
        f'source="{each}"': float(each != source) for each in ("fake", "local", "system")
    }
    assert bool(metrics.of("gpuwatch_device_power_watts")) == (source != "fake")
    assert metrics.sum("gpuwatch_job_held_seconds_total") >= 1


def _raise(now: float) -> None:
    raise ZeroDivisionError("bug")


@pytest.mark.integration
@pytest.mark.xdist_group("shared node")
def test_fault_36_broken_configuration_changes_nothing_but_one_metric(node: Node) -> None:
    """The process goes on with what it has and says what is wrong; mended, it says so, and has not begun anew."""
    good, pid, began = node.configuration.read_text(), node.process.pid, time.monotonic()
    for broken in (
        good + "\noops = 1\n",
        "[agent\n",
        good.replace("interval_seconds = 0.2", "interval_seconds = -1"),
    ):
        node.configuration.write_text(broken)
        node.process.send_signal(signal.SIGHUP)
        node.wait_for(lambda metrics: metrics.sum(RELOADED) == 0)
        node.configuration.write_text(good)
        node.process.send_signal(signal.SIGHUP)
        node.wait_for(lambda metrics: metrics.sum(RELOADED) == 1)
    passed = time.monotonic() - began

    assert (node.process.poll(), node.process.pid) == (None, pid)
    assert "oops" in node.said
    assert node.fed(began) >= passed / INTERVAL * 0.7 - 1
    assert len(node.metrics().of("gpuwatch_device_power_watts", "average")) == 8
