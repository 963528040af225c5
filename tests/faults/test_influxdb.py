"""A real agent whose InfluxDB is down: it ends in time, and the next one delivers what waited."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.faults.running import Metrics, Node
from tests.sinks.fake_influxdb import FakeInfluxdb, Reply
from tests.sinks.test_influxdb import wait_until

pytestmark = pytest.mark.integration

SINK = 'sink="influxdb:main"'
MORE = """devices = ["demo"]
host = []
jobs = ["local"]
sinks = ["prometheus", "influxdb"]
[sinks.influxdb]
push_seconds = 0.4
spool_directory = "{folder}/spool"
[sinks.influxdb.servers.main]
url = "{url}"
bucket = "gpu"
timeout_seconds = 30
"""


def waiting(metrics: Metrics) -> float:
    return metrics.sum("gpuwatch_sink_queued", SINK)


def balanced(metrics: Metrics) -> bool:
    """The equation of every sink, as the page has it."""
    dropped = metrics.sum("gpuwatch_sink_dropped_total", SINK)
    rest = metrics.sum("gpuwatch_sink_delivered_total", SINK) + waiting(metrics) + dropped
    return metrics.sum("gpuwatch_sink_taken_total", SINK) == rest


def points_of(fake: FakeInfluxdb) -> list[bytes]:
    return [line for line in fake.stored if line.startswith(b"gpuwatch_device")]


@pytest.mark.parametrize("kind", ["refuses", "hangs"])
def test_fault_9_sigterm_with_the_sink_down_ends_in_time_and_loses_nothing(tmp_path: Path, kind: str) -> None:
    """Within 5 s, whatever a request waits for; what waited is delivered by the next process, once."""
    with FakeInfluxdb(lambda number, lines: Reply(silent=True)) as hanging, FakeInfluxdb() as fake:
        url = hanging.url if kind == "hangs" else "http://127.0.0.1:1"
        node = Node(tmp_path, None, more=MORE.format(folder=tmp_path, url=url))
        try:
            before = node.wait_for(lambda metrics: waiting(metrics) >= 12)
            asked = time.time()
            began = time.monotonic()
            code = node.end(signal.SIGTERM)
            took = time.monotonic() - began
            requested = len(hanging.requests)

            node.configuration.write_text(node.configuration.read_text().replace(url, fake.url))
            node.begin()
            wait_until(lambda: len(points_of(fake)) >= waiting(before))
            after = node.wait_for(lambda metrics: metrics.sum("gpuwatch_sink_delivered_total", SINK) >= 12)
        finally:
            node.close()

    assert (0, True, True) == (code, took < 5.0, kind != "hangs" or requested > 0)
    assert balanced(before) and balanced(after)
    old = [line for line in points_of(fake) if int(line.rsplit(b" ", 1)[1]) < asked * 1e9]
    assert len(old) >= 12
    assert len(points_of(fake)) == len(set(points_of(fake)))


def test_fault_2_metrics_answer_while_the_sink_hangs(tmp_path: Path) -> None:
    """A page takes no longer than ever, and says that the sink is down."""
    with FakeInfluxdb(lambda number, lines: Reply(silent=True)) as hanging:
        more = MORE.format(folder=tmp_path, url=hanging.url).replace("timeout_seconds = 30", "timeout_seconds = 2")
        node = Node(tmp_path, None, more=more)
        try:
            node.wait_for(lambda metrics: SINK in metrics.of("gpuwatch_sink_up", SINK))
            asked = len(hanging.requests)
            wait_until(lambda: len(hanging.requests) > asked)
            began = time.monotonic()
            page = node.metrics()
            took = time.monotonic() - began
        finally:
            node.close()

    assert (0.0, True) == (page.of("gpuwatch_sink_up", SINK)[SINK], took < 1.0)
