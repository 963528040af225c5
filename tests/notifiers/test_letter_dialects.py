"""Whatever a name says, a channel shows it: it calls nobody, links nowhere and is not bold."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import markdown_it
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.notifiers.letter_dialects import CHAT, COMMONMARK, DISCORD, HTML, PLAIN, Dialect
from gpuwatch.notifiers.letter_text import Look, write
from tests.notifiers.letters import EVIL, letter, named

LOOK = Look("hydra", runbooks="https://wiki.example.org")
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.sampled_from(EVIL)
marks = st.text(st.sampled_from("<>&@*_`~|[]()#!\\:/-ab1 \n"), max_size=60)


class Reader(HTMLParser):
    """The elements of a page, and its words."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[str] = []
        self.links: list[str | None] = []
        self.words = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.links += [value for name, value in attrs if name in ("href", "src")]

    def handle_comment(self, data: str) -> None:
        self.elements.append("comment")

    def handle_data(self, data: str) -> None:
        self.words += data


ORDINARY = Reader(write(named("ordinary"), LOOK, HTML).body)


@given(names | marks)
def test_html_has_no_markup_but_its_own(name: str) -> None:
    """The same elements and links as with an ordinary name."""
    read = Reader(write(named(name), LOOK, HTML).body)

    assert [each for each in ORDINARY.elements if each != "br"] == [each for each in read.elements if each != "br"]
    assert ORDINARY.links == read.links


@given(names | marks)
def test_commonmark_has_no_markup_but_its_own(name: str) -> None:
    """A parser of CommonMark finds no link, image, code or HTML in it that is not ours."""
    told = write(named(name), LOOK, COMMONMARK)

    for text, links in ((told.subject, 0), (told.body, 1)):
        tokens = [
            each
            for token in markdown_it.MarkdownIt("commonmark").parse(text)
            for each in (token, *(token.children or ()))
        ]
        kinds = [each.type for each in tokens]
        assert links == kinds.count("link_open")
        assert {"image", "code_inline", "html_inline", "html_block", "em_open", "fence"}.isdisjoint(kinds)
    assert "<at>" not in told.body


@given(names | marks)
def test_discord_escapes_whatever_is_markup(name: str) -> None:
    """Without what is escaped and our own bold headings, no mark is left."""
    told = write(named(name), LOOK, DISCORD)

    headings = re.sub(r"(?m)^\*\*[A-Z][^*\\\n]*\*\*$", "", told.body)
    bare = re.sub(r"\\.", "", told.subject + headings)
    assert set("`*_~|[]#<>").isdisjoint(bare)


@pytest.mark.parametrize("dialect", [CHAT, DISCORD, COMMONMARK], ids=["chat", "discord", "commonmark"])
@given(name=names)
def test_no_chat_calls_anybody(dialect: Dialect, name: str) -> None:
    """Behind each @ is something that is not a name."""
    told = write(named(name), LOOK, dialect)

    assert not re.search("@(?!\u200b)", told.subject + told.body)


@pytest.mark.parametrize("dialect", [PLAIN, CHAT, DISCORD, COMMONMARK, HTML])
@given(name=names)
def test_nothing_of_a_name_can_be_clicked_or_runs_backwards(dialect: Dialect, name: str) -> None:
    """Nor does it end a line."""
    told = write(named(name), LOOK, dialect)

    text = told.subject + told.body.replace("https://wiki.example.org", "")
    assert "://" not in text
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", text)


@pytest.mark.parametrize("dialect", [PLAIN, CHAT, DISCORD, COMMONMARK, HTML])
def test_an_ordinary_name_is_as_it_was_written(dialect: Dialect) -> None:
    """What is safe is left alone."""
    assert "campaign llama-ft.v2 " in write(named("llama-ft.v2"), LOOK, dialect).subject


def test_every_dialect_says_how_to_have_no_more_of_it() -> None:
    """Also the short ones."""
    for dialect in (PLAIN, CHAT, DISCORD, COMMONMARK, HTML):
        assert "gpuwatch alerts mute job:4711 --reason WHY" in write(letter(), LOOK, dialect).body
