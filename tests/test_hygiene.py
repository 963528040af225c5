"""Strings from outside, and what becomes of them."""

from __future__ import annotations

import unicodedata
from html import unescape
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gpuwatch import hygiene

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
BREAKS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
HOSTILE = st.lists(
    st.one_of(
        st.text(st.characters(), max_size=20),
        st.sampled_from(
            ["\udcff", "\ud83d", "\x00", "\n", "\u2028", "\u2029", "\u202e", "e\u0301", "\u0958", "\ufeff"]
        ),
        st.sampled_from(
            ["👩‍👩‍👧‍👦", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "🇩🇪", '"', "\\", "<script>", "&amp;", "\x1b[31m", "α\u0313\u0300\u0345"]
        ),
        st.integers(1, 3000).map(lambda count: "x" * count),
        st.integers(1, 400).map(lambda count: "α\u0313\u0300\u0345" * count),
    ),
    max_size=12,
).map("".join)


@given(HOSTILE)
@example("x" * 100_000)
@example("\udcff" * 100_000)
def test_a_label_is_one_short_line_of_valid_normal_text(text: str) -> None:
    """Whatever comes in, a scrape with it stays valid."""
    cleaned = hygiene.label(text)

    assert cleaned == cleaned.encode("utf-8").decode("utf-8")
    assert unicodedata.is_normalized("NFC", cleaned)
    assert len(cleaned) <= 128
    assert len(cleaned.splitlines()) <= 1
    assert not any(unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") or each in BIDI for each in cleaned)


@given(HOSTILE)
def test_a_clean_label_stays_as_it_is(text: str) -> None:
    """Cleaning twice is cleaning once, so that two outputs never name a job differently."""
    once = hygiene.label(text)

    assert once == hygiene.label(once)


@given(HOSTILE, st.integers(1, 2000))
def test_a_string_is_one_line_of_any_length(text: str, limit: int) -> None:
    """A declaration is longer than a label."""
    cleaned = hygiene.text(text, limit)

    assert len(cleaned) <= limit
    assert len(cleaned.encode("utf-8").decode("utf-8").splitlines()) <= 1


@given(st.text(st.characters(codec="ascii", min_codepoint=32, max_codepoint=126), max_size=128))
def test_plain_text_is_not_touched(text: str) -> None:
    """What every real identifier looks like passes unchanged."""
    assert text == hygiene.label(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bad\udcff\udcfename", "bad\ufffd\ufffdname"),
        ("a\nb\tc\x00", "a\ufffdb\ufffdc\ufffd"),
        ("cafe\u0301", "café"),
        ("abc\u202edcba", "abc\ufffddcba"),
        ("\ud83d", "\ufffd"),
        ("名前", "名前"),
        ("", ""),
        ("x" * 129, "x" * 127 + "…"),
        ("e\u0301" * 128, "é" * 128),
        ("α\u0313\u0300\u0345" * 129, "\u1f82" * 127 + "…"),
    ],
)
def test_label_replaces_joins_and_cuts(text: str, expected: str) -> None:
    """Unsafe characters are replaced one by one, accents are joined, and what is too long ends in a mark."""
    assert expected == hygiene.label(text)


def test_no_line_break_of_any_sort_survives() -> None:
    """Python, JavaScript and terminals disagree on what ends a line; none of it may pass."""
    assert "\ufffd" * len(BREAKS) == hygiene.label(BREAKS)


@given(HOSTILE)
def test_html_is_inert_text(text: str) -> None:
    """A browser sees one piece of text and no element, and it is the cleaned text."""
    seen: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            raise AssertionError(tag)

        def handle_data(self, data: str) -> None:
            seen.append(data)

    reader = Reader()
    reader.feed(hygiene.html(text))
    reader.close()

    escaped = hygiene.html(text)
    assert not set("<>\"'") & set(escaped)
    assert unescape(escaped) == "".join(seen)
    assert len(unescape(escaped)) <= 1000
    assert escaped == escaped.encode("utf-8").decode("utf-8")


@given(HOSTILE)
def test_a_log_line_stays_one_line(text: str) -> None:
    """Nobody can forge a line of the log, move the cursor or break the terminal."""
    cleaned = hygiene.log(text)

    assert len(cleaned.splitlines()) <= 1
    assert not any(unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") or each in BIDI for each in cleaned)
    assert len(cleaned) <= 1000
    assert cleaned == cleaned.encode("utf-8").decode("utf-8")


def test_a_log_line_shows_what_was_there() -> None:
    """The reader of a log wants to know what the attacker sent."""
    assert hygiene.log("name\n\x1b[31m\udcff\u202eend") == r"name\n\x1b[31m\udcff\u202eend"
