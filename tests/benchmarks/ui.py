"""The built-in page over a large ledger, as staff sees it in Debian's Chromium: `python -m tests.benchmarks.ui`.

100,000 ended jobs of a year beside 1,000 of 8 devices that run. Measured is what a reader waits for: from the
click to the first table (server, transfer, drawing), from a key or click to the next picture, and what is sent.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, Response, sync_playwright

from gpuwatch.ledger.store import Store, open_store
from gpuwatch.web.page.frame import Passed
from gpuwatch.web.server import WebServer
from tests.benchmarks import large_ledger
from tests.benchmarks.batch import NOW
from tests.web import ui_site

JOBS = 100_000
RUNNING = 1000
ROUNDS = 5
SETTLE_MILLISECONDS = 3000
VIEWS = {"overview": "", "jobs": "jobs", "running": "jobs?state=running", "job": "jobs/100001"}
# When the first table was painted, by the browser's own clock, and what came over the wire until all was there.
_FIRST = "() => performance.getEntriesByName('first-contentful-paint')[0].startTime"
_NEXT_PICTURE = """act => new Promise(done => {
  const began = performance.now();
  act();
  requestAnimationFrame(() => setTimeout(() => done(performance.now() - began)));
})"""
ACTIONS = {
    "sort_milliseconds": "() => document.querySelectorAll('table.jobs th button')[5].click()",
    "search_milliseconds": """() => {
      const box = document.querySelector('input[type=search]');
      box.value = box.value === 'train-1' ? 'user3' : 'train-1';
      box.dispatchEvent(new Event('input'));
    }""",
}


def measure(jobs: int = JOBS) -> dict[str, float]:
    """Milliseconds and bytes."""
    with tempfile.TemporaryDirectory() as name, closing(_ledger(Path(name), jobs)) as store, _served(store) as url:
        program = ui_site.chromium()
        if program is None:
            raise SystemExit("benchmarks: no Chromium; `sh tests/integration/packages.sh` says why")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(**program)
            figures = {**_first_views(browser, url), **_interactions(browser, url)}
            browser.close()
    return figures


def _ledger(folder: Path, jobs: int) -> Store:
    store = open_store(str(folder / "ledger.db"), cluster=large_ledger.CLUSTER)
    large_ledger.build(store, folder, jobs)
    with store.writing() as connection:
        # As many run there as on no machine there is, and all begin in one second, which makes them one page.
        few = f"CAST(job_id AS integer) >= {100_000 + RUNNING}"
        later = "started + CAST(job_id AS integer) % 6000"
        for table, runs in (("records", "ended IS NULL"), ("usage", "open")):
            connection.exec_driver_sql(f"DELETE FROM {table} WHERE {runs} AND {few}")
            connection.exec_driver_sql(f"UPDATE {table} SET started = {later} WHERE {runs}")
        connection.exec_driver_sql("PRAGMA optimize")
    return store


@contextmanager
def _served(store: Store) -> Iterator[str]:
    app = ui_site.app(
        lambda: store, ui_site.gate(ui_site.ADMIN), lambda: NOW + 5.0, lambda: Passed(1.0, NOW, 60.0)
    )
    server = WebServer(app, "127.0.0.1:0")
    server.start()
    yield f"{server.url}/ui/"
    server.stop()


def _first_views(browser: Browser, url: str) -> dict[str, float]:
    """Each by a browser that has seen nothing of it before."""
    figures: dict[str, float] = {}
    for name, path in VIEWS.items():
        told = [_first_view(browser, url + path) for _ in range(ROUNDS)]
        for figure in told[0]:
            figures[f"ui_{name}_{figure}"] = round(statistics.median(each[figure] for each in told), 1)
    return figures


def _first_view(browser: Browser, url: str) -> dict[str, float]:
    context = browser.new_context()
    page = context.new_page()
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))
    page.goto(url)
    page.wait_for_timeout(SETTLE_MILLISECONDS)  # until what comes later has come: the next is not to wait for it
    paint = float(page.evaluate(_FIRST))
    server = page.evaluate("() => performance.getEntriesByType('navigation')[0].responseEnd")
    sent = sum(_size(each) for each in answers if not each.url.endswith("/events"))
    context.close()
    return {"first_paint_milliseconds": paint, "document_milliseconds": float(server), "sent_bytes": float(sent)}


def _size(answer: Response) -> int:
    sizes: Any = answer.request.sizes()
    return int(sizes["responseBodySize"] + sizes["responseHeadersSize"])


def _interactions(browser: Browser, url: str) -> dict[str, float]:
    """Over 50 jobs, and over all that were loaded after a dozen pages."""
    page = browser.new_context().new_page()
    page.goto(f"{url}jobs?since=0")
    page.wait_for_timeout(1000)
    figures = _acted(page, "ui_50_jobs")
    for _ in range(12):
        page.get_by_role("button", name="Load earlier jobs").click()
        page.get_by_role("button", name="Loading").wait_for(state="detached")
    page.wait_for_timeout(1000)
    return {**figures, "ui_loaded_jobs": 50.0 + 12 * 400.0, **_acted(page, "ui_loaded")}


def _acted(page: Page, where: str) -> dict[str, float]:
    """The middle and the longest of a dozen times."""
    figures = {}
    for name, action in ACTIONS.items():
        times = [float(page.evaluate(f"({_NEXT_PICTURE})({action})")) for _ in range(12)]
        figures[f"{where}_{name}"] = round(statistics.median(times), 1)
        figures[f"{where}_{name}_longest"] = round(max(times), 1)
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=JOBS, help="ended jobs in the ledger")
    print(json.dumps(measure(parser.parse_args().jobs), indent=1))
