"""Exporters that a site runs anyway, scraped by a real Prometheus; a day of samples in a real VictoriaMetrics.

The pages are of our own wording, in the exporters' public formats (tests/captures/exporters/).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from gpuwatch.ledger.ledger import Book
from gpuwatch.ledger.posting import read
from gpuwatch.model import Site
from gpuwatch.usage.base import Allocated, Asking, Delivery, Failure, Mark, Reached
from gpuwatch.usage.exporter import ExporterUsage
from tests.integration.debian import Prometheus, wait_until
from tests.integration.exporters import WATTS, Exporter
from tests.integration.time_series import VictoriaMetrics

pytestmark = pytest.mark.integration

PAGES = {
    "dcgm-exporter.prom": "gwd",
    "dcgm-exporter-1.prom": "gwold",
    "nvidia_gpu_exporter.prom": "gwsmi",
    "device-metrics-exporter.prom": "gwa",
}
"""Each page, and the node that its boards are on."""

HELD = 3


@pytest.fixture(scope="module")
def scraped(prometheus_server: Callable[[str], Prometheus]) -> Iterator[tuple[Prometheus, float]]:
    """A Prometheus that has scraped every exporter once a second for some time, and since when."""
    exporters = {page: Exporter(page) for page in PAGES}
    targets = "".join(
        f"      - targets: [{exporter.address}]\n        labels: {{nodename: {PAGES[page]}}}\n"
        for page, exporter in exporters.items()
    )
    server = prometheus_server(
        "global: {scrape_interval: 1s}\nscrape_configs:\n  - job_name: gpus\n    static_configs:\n" + targets
    )
    began = time.time()
    wait_until(lambda: up(server) == len(PAGES), 20.0, "all exporters are scraped")
    since = max(time.time(), began)
    # A busy machine scrapes when it can. The job ends 2 s later than it is long, its last joules come with the
    # next sample, and a window is read a second after it has ended.
    wait_until(lambda: scraped_until(server) > since + HELD + 6.0, 30.0, "all exporters are scraped to the end")
    yield server, since
    for exporter in exporters.values():
        exporter.stop()


def up(server: Prometheus) -> int:
    return int(value(server, "count(up == 1)"))


def scraped_until(server: Prometheus) -> float:
    """When the exporter that was scraped longest ago was."""
    return value(server, "min(timestamp(up == 1))")


def value(server: Prometheus, expression: str) -> float:
    answer = httpx.get(f"{server.url}/api/v1/query", params={"query": expression}, timeout=5.0).json()
    result = answer["data"]["result"]
    return float(result[0]["value"][1]) if result else 0.0


def collected(url: str, now: float, allocated: list[Allocated], marks=None, **changed):
    settings = ExporterUsage.Settings(url=url, **({"lag_seconds": 1.0, "first_seconds": 60.0} | changed))
    source = ExporterUsage(settings, Site(cluster="c1"))
    return list(source.collect(Asking(now, marks or {}, lambda since, until: allocated)))


def posted(found, book: Book) -> Book:
    assert [each for each in found if isinstance(each, Failure)] == []
    for each in found:
        if isinstance(each, Delivery):
            posting = read(each)
            assert posting.rejected == {}
            book.post(posting)
    return book


def test_a_job_gets_what_each_exporter_measured(scraped: tuple[Prometheus, float]) -> None:
    """One job on the busy board of every node: the same time, energy by each one's counter, in joules."""
    server, began = scraped
    start = int(began) + 2
    jobs = [Allocated(f"on-{node}", node, start, start + HELD, (0,), 1.0, 1, False) for node in PAGES.values()]
    found = collected(server.url, time.time(), jobs, node_label="nodename")
    book = posted(found, Book())

    for node in PAGES.values():
        usage = book.total("c1", f"on-{node}")
        assert usage.held_seconds == pytest.approx(HELD), node
        assert usage.energy_joules == {"counter": pytest.approx(HELD * WATTS[0], rel=0.05)}, node
        assert usage.busy_seconds == pytest.approx(HELD * 0.92, abs=0.4), node
        assert usage.clock_cycles is not None, node
        assert usage.memory_byte_seconds is not None, node
    assert {row.uuid for row in book.measures} == {
        "GPU-5d3ac0f1-0000-4000-8000-000000000000",
        "GPU-0ldc0f1e-0000-4000-8000-000000000000",
        "GPU-77aa02f1-0000-4000-8000-000000000000",
        "amd:692400000000",
    }
    assert {held.model for held in book.held.values()} >= {"NVIDIA H100 80GB HBM3", "NVIDIA A40"}


def test_a_job_of_whole_nodes_has_both_boards(scraped: tuple[Prometheus, float]) -> None:
    """Two boards on each of two nodes, known by their exporters' own host labels."""
    server, began = scraped
    start = int(began) + 2
    parts = [Allocated("big", node, start, start + HELD, None, 4.0, 2, False) for node in ("gwd", "gwa")]
    book = posted(collected(server.url, time.time(), parts), Book())

    usage = book.total("c1", "big")
    assert usage.held_seconds == pytest.approx(4 * HELD)
    assert usage.joules == pytest.approx(2 * HELD * sum(WATTS), rel=0.05)


def test_check_counts_what_there_is(scraped: tuple[Prometheus, float]) -> None:
    """All of them at once, or the one that is named."""
    server, _ = scraped
    every = ExporterUsage(ExporterUsage.Settings(url=server.url), Site(cluster="c1"))
    one = ExporterUsage(ExporterUsage.Settings(url=server.url, kind="amd"), Site(cluster="c1"))
    answers, exporters = every.check(time.time())

    assert (answers.ok, exporters.ok) == (True, True)
    assert exporters.detail.startswith("devices: 4 of dcgm, 2 of nvidia_gpu_exporter, 2 of amd; nodes: ")
    assert one.check(time.time())[1].detail == "devices: 2 of amd; nodes: 1 (gwa)"


DAY = 86_400
SPACING = 30
NODES, BOARDS = 2, 4


def day_of(start: int) -> str:
    """A day of boards at 300 W and then 600 W, as VictoriaMetrics imports it."""
    lines = []
    times = range(start, start + DAY, SPACING)
    for node in range(NODES):
        for board in range(BOARDS):
            labels = {"UUID": f"GPU-{node}{board}", "device": f"nvidia{board}", "Hostname": f"gw{node}"}
            joules, counter, watts = 1e6, [], []
            for at in times:
                power = 300.0 if at < start + DAY // 2 else 600.0
                counter.append(joules * 1e3)
                watts.append(power)
                joules += power * SPACING
            for name, values in (
                ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", counter),
                ("DCGM_FI_DEV_POWER_USAGE", watts),
            ):
                series = {"metric": {"__name__": name, **labels}, "values": values}
                lines.append(json.dumps(series | {"timestamps": [at * 1000 for at in times]}))
    return "\n".join(lines)


def test_a_day_is_caught_up_with_pass_by_pass(victoria_metrics: VictoriaMetrics) -> None:
    """Accounting was down for a day: each pass reads on, and the day's jobs have their time and energy."""
    start = int(time.time()) // 3600 * 3600 - 2 * DAY
    answer = httpx.post(f"{victoria_metrics.url}/api/v1/import", content=day_of(start), timeout=30.0)
    assert answer.is_success
    victoria_metrics.flush()
    jobs = [
        Allocated("night", "gw0", start + 3600, start + DAY // 2, None, 8.0, 2, False),
        Allocated("night", "gw1", start + 3600, start + DAY // 2, None, 8.0, 2, False),
        Allocated("day", "gw1", start + DAY // 2, start + 20 * 3600 + 7, (1, 2), 2.0, 1, False),
    ]
    book, marks, passes = Book(), {}, 0
    while not marks or marks["exporter"].seq < start + DAY - 1:
        found = collected(victoria_metrics.url, start + DAY, jobs, marks, first_seconds=DAY - 1)
        posted(found, book)
        marks = {each.origin: each.mark for each in found if isinstance(each, Reached)}
        passes += 1

    assert passes == 5
    assert isinstance(marks["exporter"], Mark)
    night, day = book.total("c1", "night"), book.total("c1", "day")
    assert night.held_seconds == pytest.approx(8 * 11 * 3600)
    assert night.energy_joules == {"counter": pytest.approx(8 * 11 * 3600 * 300.0, rel=1e-3)}
    assert day.held_seconds == pytest.approx(2 * (8 * 3600 + 7))
    assert day.joules == pytest.approx(2 * (8 * 3600 + 7) * 600.0, rel=1e-3)
    assert all(not held.open for held in book.held.values())
