"""What the agent exports, all of it and under hostile names, as a real Prometheus and promtool take it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gpuwatch.model import (
    AgentHealth,
    Allocation,
    Declared,
    Device,
    DeviceUsage,
    Estimate,
    HostReading,
    JobKey,
    JobRow,
    Progress,
    Reading,
    RowKey,
    Scope,
    SinkHealth,
    Site,
    Snapshot,
    SourceHealth,
    Usage,
    metrics_of,
)
from gpuwatch.sinks.prometheus import PrometheusSink, catalogue
from gpuwatch.web.exposition import base_app
from gpuwatch.web.server import WebServer
from tests.integration.debian import Prometheus, run, scrape_config, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("prometheus")]

HOSTILE = 'a"b\\c\nd{e="f"} # \udcff\x00 ' + "x" * 100_000
JOBS = (HOSTILE, "run-1", "user:ada")


def known(value_class: Any, **given: Any) -> Any:
    """A value whose every metric is known."""
    series = {
        name: {("l",) * len(metric.labels) if len(metric.labels) > 1 else "l": 1.0} if metric.labels else 1.0
        for name, metric in metrics_of(value_class)
    }
    return value_class(**{**series, **given})


def snapshot(now: float) -> Snapshot:
    """A node on which everything is known, with jobs that bear the given names."""
    started = int(now) - 60
    keys = {job: RowKey(job, started, "demo:0") for job in JOBS}
    estimate = Estimate(Scope("job", HOSTILE), "device-hours", 1, 2, 3, "s", declared_at=now)
    return Snapshot(
        cluster="default",
        node="gw0",
        time=now,
        seq=1,
        epoch="0123456789ab",
        boot_id="boot",
        devices={"demo:0": Device("demo:0", "gw0", 0, "demo", "Demo\nAccelerator")},
        readings={"demo:0": known(Reading, device="demo:0", time=now)},
        device_usage={"demo:0": known(DeviceUsage, device="demo:0")},
        allocations=tuple(Allocation(job, "demo:0", 1 / len(JOBS), "holders") for job in JOBS),
        rows={key: JobRow(key, known(Usage), 1 / len(JOBS), "holders", True, 1, now) for key in keys.values()},
        declared={
            JobKey(job, started): Declared(JobKey(job, started), (estimate,), Progress(10, 100, 0, now))
            for job in JOBS
        },
        host=known(HostReading, time=now),
        sources={"nvidia": known(SourceHealth, source="nvidia")},
        agent=known(AgentHealth),
        sinks={"influxdb:site": known(SinkHealth)},
    )


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a server with that node's /metrics."""
    sink = PrometheusSink(PrometheusSink.Settings(stale_seconds=3600), Site())
    sink.take(snapshot(time.time()))
    server = WebServer(base_app("test", sink.render, lambda: True, lambda: True, []), "127.0.0.1:0")
    server.start()
    yield server.url.removeprefix("http://").rstrip("/")
    server.stop()


@pytest.fixture(scope="module")
def prometheus(address: str, prometheus_server: Callable[[str], Prometheus]) -> Prometheus:
    """A Prometheus that has scraped it."""
    started = prometheus_server(scrape_config({"gpuwatch-agent": [address]}))

    def scraped() -> bool:
        return [target["health"] for target in started.targets()] in (["up"], ["down"])

    wait_until(scraped, 20, "Prometheus has scraped")
    return started


def test_prometheus_takes_the_page(prometheus: Prometheus) -> None:
    """The scrape succeeds, with names in it that would break it if they were written as given."""
    assert [("up", "")] == [(target["health"], target["lastError"]) for target in prometheus.targets()]


def test_every_metric_of_the_catalogue_arrives_with_its_labels(prometheus: Prometheus) -> None:
    """What is documented is what Prometheus has: each name, with exactly the labels it is said to have."""
    found = wait_until(
        lambda: prometheus.query('{__name__=~"gpuwatch_.+"}'), 20, "series of the scrape can be queried"
    )
    added = {"__name__", "job", "instance"}

    labels = {metric["__name__"]: set(metric) - added for metric, _ in found}
    # Prometheus knows no difference between an empty label and none; the demo device has no parent.
    empty = {"gpuwatch_device_info": {"pci", "parent", "driver"}}
    documented = {metric.name: set(metric.labels) - empty.get(metric.name, set()) for metric in catalogue()}
    assert documented == labels


def test_hostile_name_is_one_job_of_bounded_length(prometheus: Prometheus) -> None:
    """A job's name cannot add series, forge labels or grow without end."""
    found = wait_until(
        lambda: prometheus.query("gpuwatch_device_job_share"), 20, "series of the scrape can be queried"
    )

    names = sorted(metric["job_id"] for metric, _ in found)
    assert len(JOBS) == len(names)
    assert {"run-1", "user:ada"} < set(names)
    assert all(0 < len(name) <= 128 and name.isprintable() for name in names)


def test_promtool_has_nothing_to_say(address: str, promtool: Path) -> None:
    """Names, types and helps follow the conventions of Prometheus."""
    page = httpx.get(f"http://{address}/metrics").text

    checked = run(promtool, "check", "metrics", stdin=page)

    assert (0, "", "") == (checked.returncode, checked.stdout, checked.stderr)
