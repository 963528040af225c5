"""Names that want to be markup, in Markdown, HTML and JSON: they are shown, and do nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from gpuwatch.ledger.charging import catch_up
from gpuwatch.ledger.store import Store, open_store
from gpuwatch.reports.document import document
from gpuwatch.reports.html import html
from gpuwatch.reports.markdown import escaped, markdown
from gpuwatch.reports.plots import plot
from gpuwatch.reports.statement import Statement
from gpuwatch.schedulers.base import Live
from tests.ledger.batch import HOUR, T0, record
from tests.ledger.deliveries import row
from tests.ledger.test_charging import NOW, tariffs, tell
from tests.reports.made import made

HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg/onload=alert(1)>',
    "| a | b |\n|---|---|",
    "[click](javascript:alert(1))",
    "![x](https://evil.example/x.png)",
    "`code` **bold** _it_ ~~gone~~ $x$",
    "https://evil.example www.evil.example @someone #1",
    "</td></tr></table><h1>gone</h1>",
    "\u202egnp.exe",
    "صندوق العربية",
    "日本語の仕事",
    "a" * 5000,
    "\x00\x1b[31m",
    "{{7*7}} ${7*7} %s",
    "--- \n# Title",
    "&lt;b&gt;",
)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Statement]:
    """A campaign with hostile job names, accounts, models, author and licence."""
    store = open_store(str(tmp_path_factory.mktemp("hostile") / "ledger.db"))
    yield _statement(store)
    store.close()


def _statement(store: Store) -> Statement:
    said = "gpuwatch: campaign=x tag=table:1"
    records = [
        record(str(number), Live(T0, comment=said), name=name, account="<i>", nodes=("gw0",), started=T0 + number,
               ended=T0 + HOUR)
        for number, name in enumerate(HOSTILE, 1)
    ]  # fmt: skip
    seen = row("1", started=T0 + 1, last_seen=T0 + HOUR, model='"><b>|`', open=False, held_seconds=HOUR)
    tell(store, records, [seen])
    catch_up(store, "default", tariffs(), NOW)
    words = {"author": HOSTILE[0], "licence": HOSTILE[3], "purpose": HOSTILE[5]}
    return made(store, NOW, "campaign", "x", tag="table", **words)


_TAGS = """
    html head meta title style body main header p h1 h2 div span b dl dt dd section figure figcaption svg path rect
    line text table thead tbody tr th td details summary ul li footer
"""
OURS = frozenset(_TAGS.split())
"""The only tags that a page has."""


class Reader(HTMLParser):
    """Every tag and attribute of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """One that opens."""
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in ("meta", "rect", "path", "line"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """One that is closed at once."""
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        """One that closes the one that was opened last."""
        if tag != "rect":
            assert tag == self.open.pop()

    def handle_data(self, data: str) -> None:
        """What is read."""
        self.text.append(data)


def test_html_has_our_tags_and_attributes_alone(hostile: Statement) -> None:
    """No script, image, link or handler, whatever anybody wrote; everything that opens is closed."""
    page = html(hostile)
    reader = Reader()
    reader.feed(page)

    assert OURS >= reader.tags
    assert not {each for each in reader.attributes if each.startswith("on") or each in ("href", "src", "style")}
    assert ([], "default-src 'none'" in page) == (reader.open, True)
    assert "<script>alert(1)</script>" in "".join(reader.text)


def test_plots_are_xml(hostile: Statement) -> None:
    """Also where names have quotes and angles in them."""
    for name in ("burn-up", "days", "states", "energy"):
        drawn = plot(name, hostile)  # type: ignore[arg-type]
        if drawn:
            ElementTree.fromstring(drawn)
            assert "nan" not in drawn.lower()
            assert "inf" not in drawn.lower()


def test_markdown_tables_keep_their_columns(hostile: Statement) -> None:
    """No name ends a cell or a row, and none is a link, HTML or emphasis."""
    text = markdown(hostile)
    tables = re.findall(r"(?m)^\|.*(?:\n\|.*)*", text)

    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert 1 == len(widths)
    assert not re.search(r"(?<!\\)\]\(|(?<!\\)`code|(?<!\\)~~gone|\$x\$|@someone|://|www\.|[\u202e\x1b]", text)
    assert "<" not in text
    assert "\n# Title" not in text


def test_json_says_names_as_they_are(hostile: Statement) -> None:
    """Nothing of it is markup; it is valid and has no number that is none."""
    told: Any = json.loads(json.dumps(document(hostile), allow_nan=False))

    assert "[click](javascript:alert(1))" in {job["name"] for job in told["jobs"]}
    assert 128 >= max(len(job["name"]) for job in told["jobs"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b", r"a\_b"),
        ("a|b", r"a\|b"),
        ("<b>", "&lt;b&gt;"),
        ("x\ny", "x\ufffdy"),
        ("https://a.b", "https&#58;//a.b"),
        ("www.a.b", "www&#46;a.b"),
        ("a\\|b", r"a\\\|b"),
    ],
)
def test_markdown_is_escaped(text: str, expected: str) -> None:
    """Sign by sign."""
    assert expected == escaped(text)


def test_a_hostile_job_by_itself(tmp_path: Path) -> None:
    """Its name is the title of the page."""
    store = open_store(str(tmp_path / "ledger.db"))
    tell(store, [record("7", name='</title><script>alert("x")</script>')])
    page = html(made(store, NOW))
    store.close()

    assert "<script" not in page
    assert "&lt;/title&gt;" in page
