"""Makes ui-*.png: the built-in page over the made-up day of the tests, in Chromium."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from playwright.sync_api import Browser, sync_playwright

from gpuwatch.ledger.store import open_store
from gpuwatch.web.page.frame import Passed
from gpuwatch.web.server import WebServer
from tests.web import ui_site

MOST_BYTES = 150_000
HOUR = 12.0
JOB = ui_site.running_longest(HOUR)
PASS_HOURS = 0.25
SETTLE_MILLISECONDS = 800


class Shot(NamedTuple):
    """A picture: of which view, how large, in which colours, and from which heading on."""

    path: str
    width: int = 1120
    height: int = 690
    scheme: str = "light"
    from_id: str = ""


SHOTS = {
    "ui-overview": Shot(""),
    "ui-overview-dark": Shot("", scheme="dark"),
    "ui-jobs": Shot("jobs"),
    "ui-job": Shot(f"jobs/{JOB}", from_id="going", height=860),
    "ui-job-dark": Shot(f"jobs/{JOB}", scheme="dark"),
    "ui-campaigns": Shot("campaigns"),
    "ui-outcomes": Shot("outcomes", height=820),
    "ui-estimate": Shot(
        "estimate?way=flops&params=7B&tokens=300B&device=H100+SXM&devices=64", height=820, scheme="dark"
    ),
    "ui-phone-overview": Shot("", 390, 780),
    "ui-phone-jobs": Shot("jobs", 390, 780, "dark"),
    "ui-phone-job": Shot(f"jobs/{JOB}", 390, 780, from_id="going"),
}


def make(folder: Path) -> Iterator[Path]:
    """Each picture, as it is made; about half a minute."""
    program = ui_site.chromium()
    if program is None:
        raise SystemExit("pictures: no Chromium; `sh tests/integration/packages.sh` says why")
    with (
        tempfile.TemporaryDirectory() as place,
        closing(open_store(f"{place}/ledger.db", cluster="default")) as store,
    ):
        now = ui_site.fill(store, HOUR, PASS_HOURS)
        gate = ui_site.gate(ui_site.ADMIN)
        app = ui_site.app(lambda: store, gate, lambda: now + 12.0, lambda: Passed(1.0, now, 60.0))
        server = WebServer(app, "127.0.0.1:0")
        server.start()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(**program)
            for name, shot in SHOTS.items():
                yield _taken(browser, f"{server.url}/ui/", shot, folder / f"{name}.png")
            browser.close()
        server.stop()


def _taken(browser: Browser, url: str, shot: Shot, picture: Path) -> Path:
    size = {"width": shot.width, "height": shot.height}
    context = browser.new_context(color_scheme=shot.scheme, viewport=size)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(url + shot.path)
    page.wait_for_timeout(SETTLE_MILLISECONDS)
    if shot.from_id:
        page.locator(f"#{shot.from_id}").evaluate("each => each.scrollIntoView({block: 'start'})")
    page.screenshot(path=picture)
    context.close()
    if picture.stat().st_size > MOST_BYTES:
        raise SystemExit(
            f"pictures: {picture.name} has {picture.stat().st_size:,} bytes, more than {MOST_BYTES:,}"
        )
    return picture
