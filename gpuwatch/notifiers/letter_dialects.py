"""How channels write: what a letter looks like in each, with what others wrote as text and nothing else. Pure.

A name that says `<!channel>`, `@everyone`, `[here](http://…)` or `<b>` is shown as it was written: it calls
nobody, links nowhere and is not bold.
"""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Item:
    """One alert: `title` says of what, `lines` what about it."""

    title: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """Alerts of one kind; `page` is where it is explained, empty for nowhere."""

    heading: str
    page: str
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A letter before it is written; `short` is the closing where there is little room."""

    opening: str
    groups: tuple[Group, ...]
    more: str
    closing: tuple[str, ...]
    short: tuple[str, ...]


class Dialect(NamedTuple):
    """How a channel writes: `escape` a string from outside, `render` a document."""

    escape: Callable[[str], str]
    render: Callable[[Document], str]


WIDTH = 92
"""So many characters has a line of plain text at most, where a single word is not longer."""

_NO_CALL = "@\u200b"
"""With nothing visible behind the @ it calls nobody."""

_MARKS = re.compile(r"[\\`*_~|\[\]#!]")


def _same(text: str) -> str:
    return text


def _uncalled(text: str) -> str:
    return text.replace("@", _NO_CALL)


def _discord(text: str) -> str:
    return _uncalled(re.sub(r"[\\`*_~|\[\]#<>]", r"\\\g<0>", text))


def _commonmark(text: str) -> str:
    return _uncalled(html.escape(_MARKS.sub(r"\\\g<0>", text), quote=False))


def _html(text: str) -> str:
    return html.escape(text, quote=True)


def _plain_lines(document: Document) -> Iterator[str]:
    yield document.opening
    for group in document.groups:
        yield ""
        yield ""
        yield group.heading.upper()
        if group.page:
            yield group.page
        for item in group.items:
            yield ""
            yield from _wrapped(item.title, "* ", "  ")
            for line in item.lines:
                yield from _wrapped(line, "    ", "      ")
    if document.more:
        yield ""
        yield document.more
    yield ""
    yield "-- "
    yield from document.closing


def _wrapped(line: str, first: str, then: str) -> list[str]:
    return textwrap.wrap(
        line, WIDTH, initial_indent=first, subsequent_indent=then, break_long_words=False, break_on_hyphens=False
    )


def _plain(document: Document) -> str:
    return "\n".join(_plain_lines(document))


def _chat_lines(document: Document, heading: str, escape: Callable[[str], str]) -> Iterator[str]:
    yield escape(document.opening)
    for group in document.groups:
        yield ""
        yield heading.format(group.heading)
        for item in group.items:
            yield f"• {escape(item.title)}"
            yield from (f"    {escape(line)}" for line in item.lines)
    if document.more:
        yield ""
        yield escape(document.more)
    yield ""
    yield from map(escape, document.short)


def _chat(document: Document) -> str:
    return "\n".join(_chat_lines(document, "{}", _uncalled))


def _as_discord(document: Document) -> str:
    return "\n".join(_chat_lines(document, "**{}**", _discord))


def _markdown_blocks(document: Document) -> Iterator[str]:
    yield _commonmark(document.opening)
    for group in document.groups:
        yield f"**{group.heading}**{f' ([what to do]({group.page}))' if group.page else ''}"
        yield "\n".join(_bullet(item) for item in group.items)
    yield from map(_commonmark, filter(None, (document.more, *document.short)))


def _bullet(item: Item) -> str:
    """On one line: a card of Teams shows no others in a list."""
    said = "; ".join(map(_commonmark, item.lines))
    return f"- **{_commonmark(item.title)}**{f': {said}' if said else ''}"


def _markdown(document: Document) -> str:
    return "\n\n".join(_markdown_blocks(document))


def _html_blocks(document: Document) -> Iterator[str]:
    yield f"<p>{_html(document.opening)}</p>"
    for group in document.groups:
        page = f' (<a href="{_html(group.page)}">what to do</a>)' if group.page else ""
        yield f"<h3>{_html(group.heading)}{page}</h3>"
        yield "<ul>"
        for item in group.items:
            lines = "".join(f"<br>{_html(line)}" for line in item.lines)
            yield f"<li><b>{_html(item.title)}</b>{lines}</li>"
        yield "</ul>"
    if document.more:
        yield f"<p>{_html(document.more)}</p>"
    yield "<hr>"
    yield from (f"<p>{_html(line)}</p>" for line in document.closing)


def _as_html(document: Document) -> str:
    return "\n".join(_html_blocks(document))


PLAIN = Dialect(_same, _plain)
"""Mail, and programs that read JSON."""

CHAT = Dialect(_uncalled, _chat)
"""Chats that take plain text: Slack (whose `& < >` Apprise escapes) and Matrix."""

DISCORD = Dialect(_discord, _as_discord)
COMMONMARK = Dialect(_commonmark, _markdown)
"""Teams and Mattermost."""

HTML = Dialect(_html, _as_html)
