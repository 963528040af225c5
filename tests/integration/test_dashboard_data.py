"""Every query of every dashboard returns data of a real Prometheus and a real InfluxDB that a real demo feeds.

One demo for all of them: what each query gave is collected until nothing is missing or time is up, then judged.
"""

from __future__ import annotations

import http.server
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from tests.grafana.boards import FILES, Target, filled, notes, targets, variables
from tests.grafana.host_power import HostPower, counting
from tests.grafana.rare import lines, page
from tests.integration.debian import Prometheus, scrape_config, wait_until
from tests.integration.time_series import Adapter, InfluxDB

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("dashboards")]

START_SECONDS, STOP_SECONDS, DATA_SECONDS, RARE_SECONDS = 60.0, 15.0, 120.0, 30.0
PAUSE = 2.0
STORES = ("prometheus", "influxdb")
ALL = [each for file in FILES for each in (*targets(file), *notes(file), *variables(file))]

SHORT = "needs a hundred forecasts whose jobs are over"
NO_BATCH = "the demo has no batch system"
NO_FAULT = "nothing fails in a healthy demo"
NO_FABRIC = "the machine need not have InfiniBand"
NO_STORAGE = "the machine need not have network file systems"
NO_GROUP = "jobs of the demo have no control group of their own"
NO_METER = "the machine of the demo has RAPL and a meter of ACPI, and no other"
NO_COPY = "the demo wants no copies of its ledger"
RARE: Mapping[tuple[str, str], str] = {
    ("Coverage", "A"): SHORT, ("Coverage", "B"): SHORT, ("Coverage", "C"): SHORT,
    ("Overruns, if told from …", "A"): SHORT, ("Overruns, if told from …", "B"): SHORT,
    ("Overruns, if told from …", "C"): SHORT, ("Overruns, if told from …", "D"): SHORT,
    ("Alerts of 90 days, by kind", "A"): "no alert of the demo is judged before its job ends",
    ("Alerts of 90 days, by kind", "B"): "no alert of the demo is judged before its job ends",
    ("Muted", "A"): "no alert of the demo is over", ("Acted upon", "A"): "no alert of the demo is over",
    ("Most letters", "A"): "the demo writes no letters",
    ("Time limit", "A"): NO_BATCH, ("Length of a pass", "B"): NO_BATCH, ("The ledger", "D"): NO_BATCH,
    ("The ledger", "B"): "the demo's ledger is not yet looked through",
    ("The ledger", "C"): NO_COPY, ("Last backup", "A"): NO_COPY,
    ("Posted", "C"): NO_FAULT, ("Posted", "D"): NO_FAULT,
    ("Failures and drops", "A"): NO_FAULT, ("Failures and drops", "B"): NO_FAULT,
    ("Connections", "B"): NO_FAULT, ("Connections", "C"): NO_FAULT,
    ("What the devices do", "D"): "every device that is held is measured",
    ("What its devices do", "D"): "every device that is held is measured",
    ("What the devices do", "E"): "every holder is known", ("Power by holder", "B"): "every holder is known",
    ("Links", "C"): "the demo has no links of AMD's",
    ("Network", "C"): NO_FABRIC, ("Network", "D"): NO_FABRIC,
    ("Memory", "B"): "the machine need not swap",
    **dict.fromkeys((("Network file systems", letter) for letter in "ABCD"), NO_STORAGE),
    **dict.fromkeys((("How long storage takes", letter) for letter in "ABC"), NO_STORAGE),
    ("How long storage takes", "D"): "the machine's disks need not be read",
    ("Waiting in line", "B"): NO_STORAGE,
    ("Power of host and devices", "C"): NO_METER,
    ("Power of host and devices", "E"): "devices of the demo tell their own power",
    ("Power of host and devices", "F"): "every device of the demo has an energy counter",
    **dict.fromkeys((("The host by job", letter) for letter in "ABCD"), NO_GROUP),
}  # fmt: skip
"""What is empty in a healthy demo, by title and letter, and why. It is shown to work on a page made for that."""

METHOD = "every device of the demo has an energy counter"
RARELY_PUSHED: Mapping[tuple[str, str], str] = dict.fromkeys(
    (
        ("Energy", "B"), ("Energy", "C"), ("Energy so far", "B"), ("Energy so far", "C"),
        ("Energy burn-up", "C"), ("Energy burn-up", "D"),
    ),
    METHOD,
)  # fmt: skip
"""The same of what is asked of InfluxDB; points made for that show that it works."""

CONFIGURATION = """\
[site]
sysfs = "{sysfs}"
[host.power]
ipmi = "off"
[devices.demo]
lost_every_seconds = 30.0
lost_seconds = 12.0
[agent]
sinks = ["prometheus", "influxdb"]
[accounting]
sinks = ["influxdb"]
[sinks.influxdb]
push_seconds = 2.0
jobs_seconds = 2.0
[sinks.influxdb.servers.main]
url = "{url}"
bucket = "gpuwatch"
token_file = "{token}"
"""


@pytest.fixture(scope="module")
def adapter(influxdb: InfluxDB) -> Iterator[Adapter]:
    """What agents and accounting push to."""
    influxdb.create("gpuwatch")
    made = Adapter(influxdb)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def demo(adapter: Adapter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """`gpuwatch up --demo` that pushes to InfluxDB too, on a host with meters: the addresses of its daemons."""
    folder = tmp_path_factory.mktemp("demo")
    (folder / "token").write_text(adapter.token)
    power = HostPower(folder / "sys")
    power.meter(612.0)
    places = {"url": adapter.url, "token": folder / "token", "sysfs": power.sysfs}
    (folder / "gpuwatch.toml").write_text(CONFIGURATION.format(**places))
    options = ["--config", str(folder / "gpuwatch.toml"), "--state-directory", str(folder / "state")]
    options += ["--agent-listen", "127.0.0.1:0", "--accounting-listen", "127.0.0.1:0"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gpuwatch", "up", "--demo", *options],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip

    def addresses() -> dict[str, str]:
        said = (folder / "log").read_text()
        assert process.poll() is None, said[-3000:]
        found = dict(re.findall(r"^(agent|accounting) +http://(\S+)/$", said, flags=re.MULTILINE))
        return found if len(found) == 2 else {}

    try:
        with counting(power):
            yield wait_until(addresses, START_SECONDS, "both daemons say their addresses")
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def is_rare(target: Target) -> bool:
    """Whether a healthy demo has nothing for it."""
    return (target.title, target.ref) in (RARELY_PUSHED if target.store == "influxdb" else RARE)


class Store:
    """Asks both stores; each query for every job of the demo until one has something."""

    def __init__(self, prometheus: Prometheus, influxdb: InfluxDB, database: str = "gpuwatch") -> None:
        self._prometheus, self._influxdb, self._database = prometheus, influxdb, database
        self.jobs: list[str] = []

    def look(self) -> None:
        """Which jobs there are; those that declared something come first."""
        found = self._prometheus.query("count by (job_id) (gpuwatch_job_held_seconds_total)")
        told = {metric["job_id"] for metric, _ in self._prometheus.query("gpuwatch_job_declared")}
        self.jobs = sorted((metric["job_id"] for metric, _ in found), key=lambda job: (job not in told, job))

    def has(self, target: Target) -> bool:
        """Whether the query gives something for the cluster, or for one of its jobs."""
        jobs = self.jobs if "$job_id" in target.text else [""]
        return any(self._asked(target, filled(target.text, {"job_id": job})) for job in jobs)

    def _asked(self, target: Target, text: str) -> bool:
        if target.store == "influxdb":
            found = self._influxdb.query(text, self._database)
            return any(value is not None for series in found for row in series["values"] for value in row[1:])
        values = re.fullmatch(r"label_values\((.+), (\w+)\)", text)
        if values is not None:
            return any(values[2] in metric for metric, _ in self._prometheus.query(values[1]))
        return any(value == value for _, value in self._prometheus.query(text))


@pytest.fixture(scope="module")
def empty(
    demo: Mapping[str, str], influxdb: InfluxDB, prometheus_server: Callable[[str], Prometheus]
) -> dict[str, Target]:
    """The queries that gave nothing within the time, by name."""
    jobs = {f"gpuwatch-{daemon}": [address] for daemon, address in demo.items()}
    store = Store(prometheus_server(scrape_config(jobs)), influxdb)
    wanted = {each.name: each for each in ALL if not is_rare(each)}
    deadline = time.monotonic() + DATA_SECONDS
    while wanted and time.monotonic() < deadline:
        store.look()
        wanted = {name: each for name, each in wanted.items() if not store.has(each)}
        time.sleep(PAUSE)
    return wanted


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_query_returns_data(empty: dict[str, Target], file: Path) -> None:
    """No panel, variable or annotation of a healthy demo is empty, but for those that are listed."""
    assert {} == {name: each.text for name, each in empty.items() if each.board == file.stem}


@pytest.fixture(scope="module")
def rare(prometheus_server: Callable[[str], Prometheus], influxdb: InfluxDB) -> Iterator[Store]:
    """A Prometheus that scrapes what a healthy demo does not say, and a database with what it does not push."""
    influxdb.create("rare")
    written = httpx.post(
        f"{influxdb.url}/write", params={"db": "rare", "precision": "s"}, content=lines(time.time())
    )
    assert written.is_success, written.text

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = page(time.time()).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    address = f"127.0.0.1:{server.server_address[1]}"
    yield Store(prometheus_server(scrape_config({"gpuwatch-agent": [address]})), influxdb, "rare")
    server.shutdown()
    thread.join(5.0)
    server.server_close()


def test_what_is_rare_is_shown_when_it_happens(rare: Store) -> None:
    """Each query that is empty in a healthy demo returns data once there is some."""
    wanted = [each for each in ALL if is_rare(each)]

    def missing() -> list[str]:
        rare.look()
        return [each.name for each in wanted if not rare.has(each)]

    deadline = time.monotonic() + RARE_SECONDS
    while missing() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert [] == missing()


def test_exceptions_are_queries_that_there_are() -> None:
    """The list of what is empty in a healthy demo names only what the dashboards ask."""
    asked = {store: {(each.title, each.ref) for each in ALL if each.store == store} for store in STORES}

    assert set() == set(RARE) - asked["prometheus"]
    assert set() == set(RARELY_PUSHED) - asked["influxdb"]
    assert all({**RARE, **RARELY_PUSHED}.values())
