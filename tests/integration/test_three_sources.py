"""One run, read three ways: from the agent, from a Prometheus and from an InfluxDB that it was pushed to."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select

from gpuwatch import config, declaration, model
from gpuwatch.accounting.accountant import Accountant
from gpuwatch.accounting.overruns import Bounds
from gpuwatch.ledger import tables
from gpuwatch.ledger.measures import MEASURES
from gpuwatch.ledger.store import Store, open_store
from gpuwatch.settings import Settings
from gpuwatch.usage.agents import AgentsUsage
from gpuwatch.usage.base import Asking
from tests.accounting.fakes import FakeSource
from tests.integration.debian import Prometheus, free_port, scrape_config, stop, wait_until
from tests.integration.time_series import Adapter, InfluxDB

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("three-sources")]

FACTS = ("share", "basis", "model")
EVERYTHING = (*FACTS, "open", "last_seen", *MEASURES)
UNKNOWN_TO_METRICS = ("clock_", "storage_", "link_", "errors_", "energy_gap", "first_", "last_")
EXPORTED = (*FACTS, *(name for name in MEASURES if not name.startswith(UNKNOWN_TO_METRICS)))
"""What /metrics has; that a job is over it shows a quarter of an hour later."""


@dataclass(frozen=True)
class Site:
    """An agent that has run two jobs to their end, and where what it measured is kept."""

    told: FakeSource
    prometheus: Prometheus
    influxdb: InfluxDB


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory,
    influxdb: InfluxDB,
    prometheus_server: Callable[[str], Prometheus],
) -> Iterator[Site]:
    """Simulated devices, real processes: everything has been scraped and delivered when this returns."""
    folder = tmp_path_factory.mktemp("node")
    influxdb.create("gpuwatch")
    adapter = Adapter(influxdb)
    listen = f"127.0.0.1:{free_port()}"
    (folder / "token").write_text("tok\n")
    (folder / "gpuwatch.toml").write_text(_configuration(folder, listen, adapter.url))
    agent = _started(folder, "agent", "--config", str(folder / "gpuwatch.toml"))
    try:
        prometheus = prometheus_server(scrape_config({"gpuwatch": [listen]}))
        wait_until(lambda: (folder / "agent.sock").exists(), 20, "the agent listens")
        _work(folder)
        _settled(prometheus, len(JOBS))
        # What it tells it forgets once that is acknowledged, so it is asked once.
        source = AgentsUsage(AgentsUsage.Settings(urls=(f"http://{listen}",)), model.Site())
        yield Site(FakeSource(list(source.collect(Asking(time.time())))), prometheus, influxdb)
    finally:
        stop(agent)
        adapter.stop()


JOBS = {
    "train": ("--device-hours 0.01 --energy 5Wh --campaign three", "--devices 0,1 --steps 6 --step-seconds 0.8"),
    "tune": ("--device-hours 0.02", "--devices 2 --steps 4 --step-seconds 1.0 --hang-after 2"),
}


def _configuration(folder: Path, listen: str, influx: str) -> str:
    return f"""
[site]
cluster = "hydra"
node = "gw0"
[agent]
listen = "{listen}"
state_directory = "{folder}/state"
socket = "{folder}/agent.sock"
devices = ["demo"]
jobs = ["local"]
sinks = ["prometheus", "influxdb"]
[devices.demo]
driver_directory = "{folder}/driver"
[sinks.influxdb]
push_seconds = 1
jobs_seconds = 1
spool_directory = "{folder}/spool"
[sinks.influxdb.servers.site]
url = "{influx}"
bucket = "gpuwatch"
token_file = "{folder}/token"
"""


def _started(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "gpuwatch", *arguments],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env={**os.environ},
        )  # fmt: skip


def _work(folder: Path) -> None:
    load = f"{sys.executable} -m gpuwatch.devices.demo_load --driver {folder / 'driver'}"
    runs = [
        _started(
            folder, *f"run --name {name} {declared} --socket {folder / 'agent.sock'} -- {load} {work}".split()
        )
        for name, (declared, work) in JOBS.items()
    ]
    for run in runs:
        try:
            run.wait(30)
        except subprocess.TimeoutExpired:
            stop(run)  # the one that hangs


def _settled(prometheus: Prometheus, jobs: int) -> None:
    """Nothing is held any more, and what is waiting at any place has arrived."""
    seen = f"count(count by (job_id) (gpuwatch_job_held_seconds_total)) == {jobs}"
    ended = f"{seen} unless count(gpuwatch_device_job_share)"
    wait_until(lambda: prometheus.query(ended), 60, "the jobs have ended")
    time.sleep(3.0)
    wait_until(lambda: prometheus.query('sum(gpuwatch_sink_queued{sink=~"influxdb.*"}) == 0'), 30, "all is pushed")


@contextmanager
def ledger(folder: Path, site: Site, *passes: tuple[str, ...]) -> Iterator[Store]:
    """A ledger of its own after passes over sources by name; each pass is of another process."""
    given = {
        "promql": {"url": site.prometheus.url, "lag_seconds": 0.0},
        "influxql": {"url": site.influxdb.url, "database": "gpuwatch", "lag_seconds": 0.0},
    }
    overrides = {f"usage.{name}.{key}": value for name, each in given.items() for key, value in each.items()}
    settings = config.with_overrides(Settings(), {"site.cluster": "hydra", **overrides})
    path = folder / f"{'-'.join(passes[0])}.db"
    with closing(open_store(f"sqlite:///{path}", cluster="hydra")) as store:
        for names in passes:
            built = {
                name: site.told if name == "agents" else config.build("usage", name, settings) for name in names
            }
            report = Accountant(store, built, {}, Bounds(0.1, 0.0), cluster="hydra").run_pass(time.time())
            assert "ok" == report.outcome, report.collected
        yield store


def rows(store: Store, values: tuple[str, ...]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """What the ledger knows of usage, by key."""
    there = tables.usage.c
    query = select(*(there[name] for name in (*tables.KEY, *values)))
    with store.reading() as connection:
        return {tuple(row[: len(tables.KEY)]): tuple(row[len(tables.KEY) :]) for row in connection.execute(query)}


@pytest.mark.parametrize(("source", "values"), [("influxql", EVERYTHING), ("promql", EXPORTED)])
def test_the_ledger_is_the_same(tmp_path: Path, site: Site, source: str, values: tuple[str, ...]) -> None:
    """Row by row, to the last bit: whoever reads a counter reads the same number. Read twice it stays so."""
    with ledger(tmp_path, site, ("agents",)) as agents, ledger(tmp_path, site, (source,), (source,)) as other:
        expected, found = rows(agents, values), rows(other, values)

    assert 3 == len(expected)
    assert expected == found


def declared(connection: Connection) -> set[tuple[Any, ...]]:
    """Each amount that a job declared for itself."""
    texts = connection.execute(select(tables.journal.c.job_id, tables.journal.c.text))
    return {(job_id, amount) for job_id, text in texts for amount in declaration.parse(text).amounts}


@pytest.mark.parametrize("source", ["promql", "influxql"])
def test_what_was_declared_is_the_same(tmp_path: Path, site: Site, source: str) -> None:
    """And so is how far the jobs came."""
    told = []
    for each in ("agents", source):
        with ledger(tmp_path, site, (each,)) as store, store.reading() as connection:
            progress = {row.job_id: row.step / row.total for row in connection.execute(select(tables.progress))}
            told.append((declared(connection), {job: pytest.approx(ratio) for job, ratio in progress.items()}))

    assert (3, 2) == (len(told[0][0]), len(told[0][1]))
    assert told[0] == told[1]


def test_campaign_is_known_from_influxdb(tmp_path: Path, site: Site) -> None:
    """As it was said; /metrics has no place for it."""
    with ledger(tmp_path, site, ("influxql",)) as store, store.reading() as connection:
        found = connection.scalars(select(tables.journal.c.campaign).where(tables.journal.c.campaign.is_not(None)))

        assert ["three"] == list(found)


def test_every_source_in_one_ledger_counts_nothing_twice(tmp_path: Path, site: Site) -> None:
    """A site may read all three, in any order."""
    every = (("influxql", "promql", "agents"), ("promql", "agents", "influxql"))
    with ledger(tmp_path, site, ("agents",)) as agents, ledger(tmp_path, site, *every) as together:
        assert rows(agents, EVERYTHING) == rows(together, EVERYTHING)
