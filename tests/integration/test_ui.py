"""The page in Debian's Chromium: by keyboard, on a phone, in the dark, without scripts, live, for everybody."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from gpuwatch.ledger.record_store import post_records
from gpuwatch.ledger.store import Store, open_store
from gpuwatch.web.page.frame import Passed
from gpuwatch.web.server import WebServer
from tests.ledger.batch import T0, record, running
from tests.web import ui_site

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("ui")]

AXE = Path(__file__).parent / "axe" / "axe.min.js"
HOSTILE = "<img src=x onerror=alert(1)>\u202egnp שלום 训练 🦙" + "y" * 9000
JOB = ui_site.running_longest(8.0)
VIEWS = {
    "overview": "", "jobs": "jobs", "job": f"jobs/{JOB}", "campaigns": "campaigns",
    "campaign": "campaigns/folding", "budget": "budgets/lab1", "outcomes": "outcomes",
    "estimate": "estimate?way=flops&params=7B&tokens=300B&device=H100+SXM&devices=64", "none": "jobs/none",
}  # fmt: skip


@dataclass
class Site:
    """A served ledger whose clock and passes a test moves; who asks without a name is `usually`."""

    store: Store
    now: float
    usually: str = ui_site.ADMIN
    passed: Passed = field(init=False)
    url: str = field(init=False)

    def __post_init__(self) -> None:
        self.passed = Passed(1.0, self.now, 60.0)
        app = ui_site.app(lambda: self.store, ui_site.gate(self.usually), lambda: self.now, lambda: self.passed)
        self.server = WebServer(app, "127.0.0.1:0")
        self.server.start()
        self.url = f"{self.server.url}/ui/"

    def close(self) -> None:
        self.server.stop()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, installed or unpacked."""
    program = ui_site.chromium()
    if program is None:
        pytest.skip("chromium is neither installed nor unpacked; `sh tests/integration/packages.sh` says why")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**program)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A morning of the made-up day."""
    with closing(open_store(str(tmp_path_factory.mktemp("site") / "ledger.db"), cluster="default")) as store:
        now = ui_site.fill(store, until=8.0, step=1.0)
        served = Site(store, now)
        yield served
        served.close()


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """5,000 jobs, one of them with a hostile name, one that runs."""
    with closing(open_store(str(tmp_path_factory.mktemp("crowd") / "ledger.db"), cluster="default")) as store:
        records = [
            record(str(number), name=f"job-{number}", user=f"user{number % 60:02}", started=float(T0 - number),
                   submitted=T0 - 60 - number, devices=float(1 + number % 8))
            for number in range(1, 4999)
        ]  # fmt: skip
        records += [record("0", name=HOSTILE, user=HOSTILE[:60], started=float(T0 + 1)), running("5000")]
        with store.writing() as connection:
            post_records(connection, records)
        served = Site(store, T0 + 7200.0)
        yield served
        served.close()


@pytest.fixture
def opened(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a page at an address; whatever it complains of, or asks elsewhere, fails the test."""
    contexts: list[BrowserContext] = []
    wrong: list[str] = []

    def open_at(url: str, quiet: bool = True, **options: Any) -> Page:
        context = chromium.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        home = url.partition("/ui/")[0]
        page.on("request", lambda sent: None if sent.url.startswith(home) else wrong.append(sent.url))
        page.on("dialog", lambda dialog: wrong.append(dialog.message))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        if quiet:
            page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
        page.goto(url)
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert [] == wrong


def rows_of(page: Page) -> list[str]:
    """The names in the first column of the table of jobs."""
    return page.locator("table.jobs > tbody > tr > th a").all_inner_texts()


def test_nobody_is_kept_out(chromium: Browser, site: Site) -> None:
    """axe-core finds nothing in any view, light or dark, drawn and with the numbers of charts open."""
    # axe puts a script of its own into the page, which the page's policy forbids to everybody.
    context = chromium.new_context(bypass_csp=True)
    page = context.new_page()
    found = {}
    for name, path in VIEWS.items():
        page.emulate_media(color_scheme="light")
        page.goto(site.url + path)
        for figure in page.locator("figure[data-chart]").all():
            expect(figure.locator("canvas")).to_be_visible()
            figure.locator("summary").click()
        page.evaluate(AXE.read_text(encoding="utf-8"))
        found[name, "light"] = _violations(page)
        page.emulate_media(color_scheme="dark")
        found[name, "dark"] = _violations(page)
    context.close()

    assert {} == {where: wrong for where, wrong in found.items() if wrong}


def _violations(page: Page) -> list[tuple[str, list[str]]]:
    told = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [(each["id"], [node["html"] for node in each["nodes"]][:3]) for each in told["violations"]]


@pytest.mark.parametrize("name", VIEWS)
def test_a_phone_shows_all_of_it(site: Site, opened: Callable[..., Page], name: str) -> None:
    """360 pixels wide: nothing is wider than the page but what scrolls by itself."""
    page = opened(site.url + VIEWS[name], quiet=name != "none", viewport={"width": 360, "height": 740})
    page.wait_for_timeout(150)

    assert 360 >= page.evaluate("document.documentElement.scrollWidth")
    expect(page.locator("h1")).to_be_in_viewport()


def test_the_dark_is_dark(site: Site, opened: Callable[..., Page]) -> None:
    """Paper and ink change places; charts are drawn again when it gets dark."""
    page = opened(f"{site.url}jobs/{JOB}", color_scheme="light")
    canvas = page.locator("figure canvas").first
    expect(canvas).to_be_visible()
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    before = canvas.evaluate("each => each.toDataURL()")

    page.emulate_media(color_scheme="dark")

    assert "rgb(255, 255, 255)" == paper
    assert "rgb(20, 24, 27)" == page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.wait_for_function("old => document.querySelector('figure canvas')?.toDataURL() !== old", arg=before)


def test_without_scripts_the_tables_are_there(site: Site, opened: Callable[..., Page]) -> None:
    """Links lead on, the form filters, and the numbers of charts stand open."""
    page = opened(site.url, java_script_enabled=False)

    page.get_by_role("link", name="Jobs", exact=True).click()
    assert 50 == page.locator("table.jobs > tbody > tr").count() or page.locator("a[data-more]").count() == 0
    page.get_by_label("Account").fill("lab1")
    page.get_by_role("button", name="Show").click()
    assert {"lab1"} == {*page.locator("table.jobs > tbody > tr > td:nth-child(2) .id").all_inner_texts()}
    page.locator("table.jobs > tbody > tr > th a").first.click()
    assert page.locator("h1").is_visible()
    page.goto(f"{site.url}jobs/{JOB}")
    assert page.locator("figure table.numbers").first.is_visible()


def test_a_keyboard_is_enough(crowd: Site, opened: Callable[..., Page]) -> None:
    """To skip to the figures, sort by a column, and search."""
    page = opened(f"{crowd.url}jobs?since=0")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the figures")).to_be_focused()
    page.keyboard.press("Enter")
    assert "main" == page.evaluate("document.activeElement.id")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Search these")).to_be_focused()
    page.keyboard.type("job-1")
    expect(page.locator("#count")).to_have_text("11 of 50 jobs")
    expect(page.locator("#told")).to_contain_text("11 of 50 jobs")
    head = page.locator("table.jobs thead th", has_text="Devices")
    while not head.locator("button").evaluate("each => each === document.activeElement"):
        page.keyboard.press("Tab")
    outline = head.locator("button").evaluate("each => getComputedStyle(each).outlineStyle")
    page.keyboard.press("Enter")

    assert "solid" == outline
    expect(head).to_have_attribute("aria-sort", "descending")
    page.keyboard.press("Enter")
    expect(head).to_have_attribute("aria-sort", "ascending")
    devices = page.locator("table.jobs > tbody > tr > td:nth-child(5)").all_inner_texts()
    assert sorted(devices, key=int) == devices and len(devices) == 11


def test_five_thousand_jobs_are_loaded_sorted_and_searched(crowd: Site, opened: Callable[..., Page]) -> None:
    """A page at a time by the API's cursors; only a page of rows is in the document."""
    page = opened(f"{crowd.url}jobs?since=0")
    expect(page.locator("#count")).to_have_text("50 jobs, and there are earlier ones")
    more = page.get_by_role("button", name="Load earlier jobs")
    loaded = 50
    while loaded < 5000:
        more.click()
        loaded = min(5000, loaded + 400)
        expect(page.locator("#count")).to_contain_text(f"{loaded:,} jobs")

    assert 50 == page.locator("table.jobs > tbody > tr").count()
    expect(page.locator("#count")).to_have_text("5,000 jobs")
    assert 0 == more.count()
    page.get_by_role("button", name="Job", exact=True).click()
    assert ["job-1", "job-10", "job-100"] == [each for each in rows_of(page) if each.startswith("job-")][:3]
    page.get_by_label("Search these").fill("job-4998")
    assert ["job-4998"] == rows_of(page)
    page.get_by_label("Search these").fill("")
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_text("2 of 100")).to_be_visible()


def test_a_hostile_name_is_a_name(crowd: Site, opened: Callable[..., Page]) -> None:
    """In the table and on its page: text, cut, apart in its direction, whole in its title, and nothing runs."""
    page = opened(f"{crowd.url}jobs?since=0")
    link = page.locator("table.jobs tbody th a", has_text="<img").first
    expect(link).to_be_visible()
    assert 40 >= len(link.inner_text())
    assert "isolate" == link.locator("bdi").evaluate("each => getComputedStyle(each).unicodeBidi")
    assert 100 < len(link.locator("bdi").get_attribute("title") or "")
    link.click()
    expect(page.locator("h1")).to_contain_text("<img src=x onerror=alert(1)>")
    assert 0 == page.locator("img").count()
    assert page.evaluate("document.documentElement.scrollWidth") <= page.evaluate("innerWidth")


def test_a_new_pass_is_seen_at_once(tmp_path: Path, opened: Callable[..., Page]) -> None:
    """Without a reload; what is typed, sorted and opened stays; when accounting is away the page says so."""
    with closing(open_store(str(tmp_path / "ledger.db"), cluster="default")) as store:
        with store.writing() as connection:
            post_records(connection, [record(str(number), started=float(T0 + number)) for number in range(5)])
        site = Site(store, T0 + 3600.0)
        try:
            page = opened(f"{site.url}jobs?since=0", quiet=False)
            page.get_by_label("Search these").fill("train")
            page.get_by_role("button", name="Devices").click()
            page.evaluate("window.kept = 1")
            page.wait_for_timeout(300)
            with store.writing() as connection:
                post_records(connection, [running("99", name="train-new", started=T0 + 3000.0)])
            site.now += 60.0
            site.passed = Passed(2.0, site.now, 60.0)

            expect(page.get_by_role("link", name="train-new")).to_be_visible(timeout=5000)
            assert 1 == page.evaluate("window.kept")
            assert "train" == page.get_by_label("Search these").input_value()
            expect(page.locator("table.jobs th", has_text="Devices")).to_have_attribute("aria-sort", "descending")
            expect(page.locator("#age")).to_contain_text("(0 s ago)")
            # A pass that fails says nothing new, and the age goes on.
            site.now += 3600.0
            site.passed = Passed(3.0, site.passed.time, 60.0)
            expect(page.locator("#age")).to_contain_text("1 h ago): no pass has ended since", timeout=7000)
        finally:
            site.close()
        expect(page.get_by_role("link", name="train-new")).to_be_visible()


def test_a_slow_ledger_is_waited_for_with_what_was_there(opened: Callable[..., Page], site: Site) -> None:
    """The answer does not come: the old figures stay, with why they are old."""
    page = opened(f"{site.url}campaigns", quiet=False)
    page.wait_for_timeout(300)
    page.route("**/ui/campaigns", lambda route: route.abort())
    site.passed = Passed(site.passed.number + 1, site.passed.time, 60.0)

    expect(page.locator("#age")).to_contain_text("not renewed: accounting cannot be reached", timeout=5000)
    expect(page.get_by_role("link", name="folding")).to_be_visible()


@pytest.mark.parametrize(
    ("user", "sees", "hidden"), [("user07", "sees own jobs", "user08"), ("user01", "those of 1 account", "lab2")]
)
def test_others_see_what_is_theirs(
    site: Site, opened: Callable[..., Page], user: str, sees: str, hidden: str
) -> None:
    """Users their own jobs, coordinators those of their accounts; live as well."""
    page = opened(f"{site.url}jobs?since=0", extra_http_headers={"x-test-user": user})

    expect(page.locator(".who")).to_contain_text(sees)
    owners = {*page.locator("table.jobs > tbody > tr > td:nth-child(2) > bdi").all_inner_texts()}
    accounts = {*page.locator("table.jobs > tbody > tr > td:nth-child(2) .id").all_inner_texts()}
    assert user in owners and hidden not in owners | accounts
    assert owners == {user} if user == "user07" else accounts == {"lab1"}
    page.goto(site.url)
    expect(page.locator("h1")).to_have_text("Overview")
    assert hidden not in page.locator("main").inner_text()


def test_a_stranger_is_told_how(tmp_path: Path, chromium: Browser) -> None:
    """Before anything is read."""
    with closing(open_store(str(tmp_path / "ledger.db"), cluster="default")) as store:
        site = Site(store, float(T0), usually="")
        context = chromium.new_context()
        page = context.new_page()
        answer = page.goto(site.url)
        assert answer is not None and 401 == answer.status
        expect(page.get_by_role("heading", name="Who are you?")).to_be_visible()
        expect(page.get_by_text("ssh -L")).to_be_visible()
        context.close()
        site.close()


def test_the_first_view_is_there_before_the_scripts(site: Site, opened: Callable[..., Page]) -> None:
    """Charts are drawn from the table beside them, and their numbers can be opened."""
    page = opened(f"{site.url}jobs/{JOB}")
    began = time.monotonic()
    figure = page.locator("figure[data-chart=burnup]")
    expect(figure.locator("canvas")).to_be_visible()

    assert 5 > time.monotonic() - began
    assert not figure.locator("table").is_visible()
    figure.locator("summary").click()
    expect(figure.locator("table")).to_be_visible()
