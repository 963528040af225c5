"""Usage read back from a real Prometheus and a real VictoriaMetrics."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from gpuwatch.model import Site
from gpuwatch.usage.base import Asking, Delivery, Failure, Mark, Reached
from gpuwatch.usage.promql import PromqlUsage
from tests.integration.debian import Prometheus, scrape_config, wait_until
from tests.integration.time_series import VictoriaMetrics
from tests.usage.agent_pages import Held, Node, job_declares, scraped, timed

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("promql")]

DAY = 86_400
EPOCHS = ("aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc")


def read(url: str, now: float, mark: float | None, cluster: str = "default", **settings: Any) -> list[Any]:
    """What one pass gives."""
    source = PromqlUsage(PromqlUsage.Settings(url=url, **settings), Site(cluster))
    matchers = settings.get("matchers")
    marks = {} if mark is None else {f"{url} {{{matchers}}}" if matchers else url: Mark("windows", int(mark))}
    found = list(source.collect(Asking(now, marks)))
    assert [] == [each for each in found if isinstance(each, Failure)]
    return found


Counted = Mapping[tuple[Any, ...], Mapping[str, Any]]


def ledger(told: Iterable[Any]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Rows as the ledger merges them: the greatest of each counter, the facts seen last."""
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for each in told:
        for row in each.rows if isinstance(each, Delivery) else ():
            key = (each.cluster, each.node, each.epoch, row["job_id"], row["started"], row["uuid"])
            before = rows.setdefault(key, dict(row))
            later = row if row["last_seen"] >= before["last_seen"] else before
            rows[key] = {name: _merged(name, before.get(name), row.get(name)) for name in {**before, **row}} | {
                name: later[name] for name in ("last_seen", "share", "basis", "model")
            }
    return rows


def _merged(name: str, left: Any, right: Any) -> Any:
    if name == "open":
        return left and right
    if isinstance(left, dict):
        return {label: max(left.get(label, 0.0), right.get(label, 0.0)) for label in {**left, **right}}
    return left if isinstance(left, str) else max(left, right)


def expected(node: Node, now: float) -> dict[tuple[Any, ...], dict[str, Any]]:
    """What the node's usage API would give at the end, without what /metrics has not."""
    return {
        (node.cluster, node.name, node.epoch, row["job_id"], row["started"], row["uuid"]): {
            name: value for name, value in row.items() if value is not None
        }
        for row in node.facts(now)
    }


def without(rows: Counted, *names: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    return {key: {name: value for name, value in row.items() if name not in names} for key, row in rows.items()}


@pytest.fixture(scope="module")
def began() -> int:
    """A day and a bit ago, as the servers keep what is recent."""
    return int(time.time()) // 3600 * 3600 - DAY - 3600


def test_a_day_is_read_back_as_the_agents_had_it(victoria_metrics: VictoriaMetrics, began: int) -> None:
    """Accounting was down all the while: jobs that came and went, a new life of an agent, two nodes."""
    end = began + DAY
    nodes = {
        "gw0": Node(
            "gw0", EPOCHS[0], "day",
            jobs=(
                Held("4711", began + 600), Held("4712", began + 4000, began + 9000, "GPU-1"),
                Held("shared", began + 5000, began + 80_000, "GPU-2", 0.25, "shard"),
            ),
            declared={"4711": (job_declares("energy", 1e6, 2e6, 3e6, "J"),)},
            progress={"4711": ((began + 700, 0.0), (began + 43_200, 50.0), (end - 600, 99.0))},
        ),
        "gw1": Node("gw1", EPOCHS[1], "day", jobs=(Held("4711", began + 600),), ends=began + 40_000),
        "gw1-again": Node("gw1", EPOCHS[2], "day", jobs=(Held("4711", began + 40_060),), begins=began + 40_060),
    }  # fmt: skip
    for name, node in nodes.items():
        target = {"job": "gpuwatch", "instance": f"{name.partition('-')[0]}:9838"}
        put(victoria_metrics, node, range(began, end + 1, 60), target)

    told = read(victoria_metrics.url, end + 30, began, "day")
    rows = ledger(told)
    wanted = (
        expected(nodes["gw0"], end) | expected(nodes["gw1"], began + 39_960) | expected(nodes["gw1-again"], end)
    )

    assert Reached(victoria_metrics.url, Mark("windows", end)) == told[-1]
    assert without(wanted, "last_seen") == without(rows, "last_seen")
    late = {key[3]: rows[key]["last_seen"] - wanted[key]["last_seen"] for key in rows if key[2] == EPOCHS[0]}
    assert all(-75 <= seconds <= 0 for seconds in late.values()), late
    progress = [event for each in told if isinstance(each, Delivery) for event in each.events]
    assert 0.99 == max(progress, key=lambda event: event["time"])["step"]
    declared = {entry["text"] for each in told if isinstance(each, Delivery) for entry in each.declarations}
    assert {"energy=1..2..3MJ"} == declared


def put(
    server: VictoriaMetrics, node: Node, times: Iterable[float], target: Mapping[str, str], shift: float = 0.0
) -> None:
    """Import what a server that scrapes the node would have stored."""
    samples = (
        sample
        for now in times
        for sample in scraped(node.page(now), now + shift, target)
        if "tick" not in sample.name and "journal" not in sample.name
    )
    httpx.post(
        f"{server.url}/api/v1/import/prometheus", content=timed(samples).encode(), timeout=60
    ).raise_for_status()
    server.flush()


def test_late_samples_are_read_with_the_next_window(victoria_metrics: VictoriaMetrics, began: int) -> None:
    """Sent late by who writes from afar: a window reaches back a little before it begins."""
    node = Node("late0", "dddddddddddd", "late", jobs=(Held("1", began, began + 130),))
    target = {"job": "late", "instance": "late0:9838"}
    put(victoria_metrics, node, range(began, began + 61, 15), target)
    matchers = 'job="late"'
    first = ledger(read(victoria_metrics.url, began + 210, began, "late", matchers=matchers))
    put(victoria_metrics, node, range(began + 75, began + 181, 15), target)
    second = ledger(read(victoria_metrics.url, began + 270, began + 180, "late", matchers=matchers))

    assert ([60.0], [130.0]) == (
        [row["held_seconds"] for row in first.values()], [row["held_seconds"] for row in second.values()]
    )  # fmt: skip


def test_clusters_are_told_apart_by_an_external_label(victoria_metrics: VictoriaMetrics, began: int) -> None:
    """The same addresses, the same job ids, agents that call both of them default, a pair of servers for each."""
    for cluster, epoch, seconds in (("eu1", "eeeeeeeeeeee", 100), ("eu2", "ffffffffffff", 200)):
        node = Node("n0", epoch, jobs=(Held("7", began, began + seconds),))
        for replica, shift in (("a", 0), ("b", 5)):
            outer = {"job": "pair", "instance": "n0:9838", "replica": replica}
            page = [
                sample._replace(labels={"cluster": cluster, **sample.labels})
                for now in range(began, began + 600, 15)
                for sample in scraped(node.page(now + shift), now + shift, outer)
            ]
            httpx.post(
                f"{victoria_metrics.url}/api/v1/import/prometheus", content=timed(page).encode(), timeout=60
            ).raise_for_status()
    victoria_metrics.flush()

    found = {
        cluster: ledger(
            read(victoria_metrics.url, began + 630, began, cluster, matchers=f'cluster="{cluster}",job="pair"')
        )
        for cluster in ("eu1", "eu2", "eu3")
    }
    assert {"eu1": [100.0], "eu2": [200.0], "eu3": []} == {
        cluster: [row["held_seconds"] for row in rows.values()] for cluster, rows in found.items()
    }


class Pages:
    """A place that a real server scrapes: what a node exports at the time."""

    def __init__(self, node: Node) -> None:
        self.node = node
        pages = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = pages.node.page(time.time()).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def pages(node: Node) -> Iterator[Pages]:
    """The place, while it is needed."""
    place = Pages(node)
    try:
        yield place
    finally:
        place.stop()


def test_a_real_prometheus_gives_what_it_scraped(prometheus_server: Callable[[str], Prometheus]) -> None:
    """The row of the last scrape, the job that ended, progress and declarations; then the agent's next life."""
    now = int(time.time())
    node = Node(
        "gw0", EPOCHS[0], "default",
        jobs=(Held("4711", now - 500), Held("4712", now - 1000, now - 100, "GPU-1", 0.5, "mps")),
        declared={"4711": (job_declares("device-hours", 3600, 7200, 10_800, "s"),)},
        progress={"4711": ((now - 400.0, 10.0), (now - 10.0, 40.0))},
    )  # fmt: skip
    with pages(node) as place:
        server = prometheus_server(scrape_config({"gpuwatch": [place.address]}))
        scrapes = "sum(count_over_time(gpuwatch_agent_info[1m])) > 1"
        wait_until(lambda: server.query(scrapes), 20, "it is scraped a few times")
        seen = time.time()
        first = read(server.url, seen, seen - 60, lag_seconds=0)
        place.node = replace(node, epoch=EPOCHS[1], jobs=(Held("4711", int(seen)),), begins=int(seen))
        scrapes = f'sum(count_over_time(gpuwatch_agent_info{{epoch="{EPOCHS[1]}"}}[1m])) > 1'
        wait_until(lambda: server.query(scrapes), 20, "its next life is scraped a few times")
        again = time.time()
        second = read(server.url, again, seen - 60, lag_seconds=0)
        probes = PromqlUsage(PromqlUsage.Settings(url=server.url), Site("default")).check(time.time())

    rows = ledger(first)
    for key, row in without(expected(node, seen), "last_seen").items():
        found = dict(rows[key])
        assert 0 <= seen - found.pop("last_seen") < 5 or key[3] == "4712"
        counted = ("held_seconds", "busy_seconds", "memory_byte_seconds", "energy_unmeasured_seconds")
        for name in (*counted, "host_energy_joules", "host_energy_measured_seconds"):
            assert found.pop(name) == pytest.approx(row.pop(name), rel=0.02)
        for name in ("state_seconds", "energy_joules", "throttled_seconds"):
            assert found.pop(name) == pytest.approx(row.pop(name), rel=0.02)
        if key[3] == "4712":
            # It had ended before anybody looked, so that its share is not known.
            assert (0.0, "holders") == (found.pop("share"), found.pop("basis"))
            row = {name: value for name, value in row.items() if name not in ("share", "basis")} | {"open": True}
        assert row == found
    said = [each for each in first if isinstance(each, Delivery)][-1]
    assert ["device-hours=1..2..3h"] == [entry["text"] for entry in said.declarations]
    assert {EPOCHS[0], EPOCHS[1]} == {each.epoch for each in second if isinstance(each, Delivery)}
    assert [True, True] == [probe.ok for probe in probes]


@pytest.mark.parametrize("unsafe", ['a"b\\c\nd{e="f"} # x', "x" * 128, "größe"])
def test_hostile_job_names_come_back_as_they_were(
    victoria_metrics: VictoriaMetrics, began: int, unsafe: str
) -> None:
    """Quotes, backslashes and what looks like a selector; what a page replaces is replaced."""
    epoch = f"{len(unsafe):012x}"
    node = Node("hostile", epoch, "hostile", jobs=(Held(unsafe, began),))
    put(victoria_metrics, node, range(began, began + 61, 15), {"job": epoch, "instance": "hostile:9838"})
    rows = ledger(read(victoria_metrics.url, began + 90, began, "hostile", matchers=f'job="{epoch}"'))

    assert [unsafe.replace("\n", "\ufffd")] == [key[3] for key in rows]
