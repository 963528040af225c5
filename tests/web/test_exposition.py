"""What both daemons answer."""

from __future__ import annotations

import asyncio
import gzip
import logging
from collections.abc import Callable
from html.parser import HTMLParser
from threading import Event, Lock
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from gpuwatch import __version__
from gpuwatch.errors import Unavailable
from gpuwatch.web.exposition import MAX_RENDERING, Exposition, accepts_gzip, base_app
from tests.web.asking import ask, client

PAGE = b"# HELP a A.\n# TYPE a gauge\na 1\n"


def app(
    render: Callable[[], bytes] = lambda: PAGE, *, healthy: bool = True, ready: bool = True, **more: Any
) -> Starlette:
    """An application of which everything is well."""
    links = more.pop("links", [("/metrics", "Metrics")])
    return base_app("gpuwatch agent", render, lambda: healthy, lambda: ready, links, **more)


def test_metrics_are_what_was_rendered_in_the_text_format() -> None:
    """The body is untouched and its type is the one a scraper looks for."""
    answer = ask(app(), "GET", "/metrics")

    assert answer.status_code == 200
    assert answer.content == PAGE
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "content-encoding" not in answer.headers


def test_metrics_are_compressed_where_the_scraper_takes_it() -> None:
    """Less than a tenth goes over the network."""
    answer = ask(app(lambda: PAGE * 1000), "GET", "/metrics", headers={"accept-encoding": "gzip"})

    assert answer.content == PAGE * 1000
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["vary"] == "accept-encoding"
    assert int(answer.headers["content-length"]) < len(PAGE * 100)


def test_a_body_is_compressed_once() -> None:
    """As long as the same object is rendered, the same compressed object goes out."""
    pages = [PAGE]
    exposition = Exposition(lambda: pages[0])
    first, again = exposition.body(compress=True), exposition.body(compress=True)
    pages[0] = PAGE * 2

    newer = exposition.body(compress=True)

    assert again is first
    assert [gzip.decompress(first), gzip.decompress(newer)] == [PAGE, PAGE * 2]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", False),
        ("gzip", True),
        ("identity", False),
        ("deflate, gzip;q=0.5", True),
        ("GZIP ; q=1.0", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("x-gzip", False),
    ],
)
def test_gzip_is_sent_only_to_who_takes_it(header: str, expected: bool) -> None:
    """q=0 is a refusal."""
    assert accepts_gzip(header) is expected


@pytest.mark.parametrize("path", ["/", "/metrics", "/-/healthy", "/-/ready"])
def test_head_is_answered_as_get_is(path: str) -> None:
    """Load balancers ask with HEAD."""
    answer = ask(app(), "HEAD", path)

    assert answer.status_code == 200


@pytest.mark.parametrize("word", ["healthy", "ready"])
def test_states_are_200_or_503_in_words(word: str) -> None:
    """The paths and the words are those of Prometheus."""
    good, bad = ask(app(), "GET", f"/-/{word}"), ask(app(**{word: False}), "GET", f"/-/{word}")

    assert (good.status_code, good.text) == (200, f"gpuwatch is {word}.\n")
    assert (bad.status_code, bad.text) == (503, f"gpuwatch is not {word}.\n")


def test_a_rendering_that_fails_is_a_500_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    """It is told once, on one line, and everything else answers; the next rendering that works is served."""
    broken = [True]

    def render() -> bytes:
        if broken[0]:
            raise Unavailable("bad\nname")
        return PAGE

    served = app(render)
    with caplog.at_level(logging.ERROR):
        answers = [ask(served, "GET", path) for path in ("/metrics", "/metrics", "/-/healthy", "/")]
    broken[0] = False

    assert [answer.status_code for answer in answers] == [500, 500, 200, 200]
    assert "Unavailable" not in answers[0].text
    assert caplog.messages == [r"metrics cannot be rendered error=Unavailable('bad\nname')"]
    assert ask(served, "GET", "/metrics").content == PAGE


def test_scrapes_beyond_the_limit_are_sent_away_at_once() -> None:
    """While four are being rendered, a fifth is told to come again; afterwards all is as before."""
    release, lock, entered = Event(), Lock(), []

    def render() -> bytes:
        with lock:
            entered.append(1)
        release.wait(5)
        return PAGE

    served = app(render)

    async def scrapes() -> tuple[Any, Any, list[Any]]:
        async with client(served) as asker:
            running = [asyncio.create_task(asker.get("/metrics")) for _ in range(MAX_RENDERING)]
            while len(entered) < MAX_RENDERING:
                await asyncio.sleep(0.001)
            refused, healthy = await asker.get("/metrics"), await asker.get("/-/healthy")
            release.set()
            return refused, healthy, [*await asyncio.gather(*running), await asker.get("/metrics")]

    refused, healthy, served_answers = asyncio.run(scrapes())

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert healthy.status_code == 200
    assert [answer.status_code for answer in served_answers] == [200] * (MAX_RENDERING + 1)


@pytest.mark.parametrize("path", ["/", "/metrics", "/-/healthy", "/nothing/here"])
def test_every_answer_keeps_a_browser_from_more_than_showing_it(path: str) -> None:
    """No sniffing, no scripts, no frames."""
    headers = ask(app(), "GET", path).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'unsafe-inline'")
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_a_route_of_a_daemon_is_served_and_may_set_its_own_policy() -> None:
    """The pages of accounting bring their own style sheet and script."""

    async def page(request: Request) -> PlainTextResponse:
        return PlainTextResponse("mine", headers={"content-security-policy": "default-src 'self'"})

    answer = ask(app(routes=[Route("/jobs", page)]), "GET", "/jobs")

    assert answer.text == "mine"
    assert answer.headers["content-security-policy"] == "default-src 'self'"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/nothing", 404, "404 not found\n"),
        ("GET", "/metrics/", 404, "404 not found\n"),
        ("GET", "/%00%ff<script>", 404, "404 not found\n"),
        ("POST", "/metrics", 405, "405 method not allowed\n"),
        ("DELETE", "/", 405, "405 method not allowed\n"),
    ],
)
def test_refusals_are_plain_text_and_repeat_nothing_of_the_request(
    method: str, path: str, status: int, text: str
) -> None:
    """What is not there is said in a line."""
    answer = ask(app(), method, path)

    assert (answer.status_code, answer.text) == (status, text)
    assert answer.headers["content-type"].startswith("text/plain")


class Links(HTMLParser):
    """Collects the tags and the addresses of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name == "href"]


def test_the_landing_page_names_what_it_is_and_links_to_the_rest() -> None:
    """Title, version, links, and no script."""
    answer = ask(app(links=[("/metrics", "Metrics"), ("/-/ready", "Ready?")]), "GET", "/")

    page = Links()
    page.feed(answer.text)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert page.addresses == ["/metrics", "/-/ready"]
    assert "script" not in page.tags
    assert f"version {__version__}" in answer.text and "<h1>gpuwatch agent</h1>" in answer.text


def test_the_landing_page_escapes_its_links_and_shows_the_daemons_own_part() -> None:
    """The part that the daemon brings is HTML already; everything else is text."""
    links = [('/"><script>x</script>', "<b>bold</b>")]

    text = ask(app(links=links, body=lambda: "<table id=jobs></table>"), "GET", "/").text

    assert "<table id=jobs></table>" in text
    assert "<script>" not in text and "<b>" not in text
