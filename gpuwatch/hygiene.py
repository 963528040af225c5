"""Strings from outside, made safe for one kind of output each; whatever came in, what goes out is valid UTF-8.

Job names, process names, comments and declarations are written by whoever runs the job. Replaced everywhere:
lone surrogates (bytes that were not UTF-8), control characters and line breaks of any sort, and the marks
that make text run backwards or hide in it. All functions are pure, and applying one twice changes nothing
more (but for `html`, which escapes).
"""

from __future__ import annotations

import html as _html
import re
import unicodedata

LABEL_LENGTH = 128
TEXT_LENGTH = 1000
CUT = "…"
REPLACEMENT = "\ufffd"

_UNSAFE = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # controls, with newline, tab, NUL, escape and NEL
    "\ud800-\udfff"  # lone surrogates: not encodable
    "\u2028\u2029"  # line and paragraph separators
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidi marks, embeddings, overrides and isolates
    "\ufeff\ufff9-\ufffb\ufffe\uffff"  # byte order mark, interlinear annotation, noncharacters
    "]"
)
# The most characters that NFC joins into one is four (alpha with three marks); cutting the input at eight times
# the limit therefore never makes the result shorter, and bounds the work on a name of any length.
_COMPOSED = 8


def label(text: str) -> str:
    """Safe as a Prometheus label value or an InfluxDB tag: one line, NFC, at most 128 characters."""
    if text.isascii() and text.isprintable() and len(text) <= LABEL_LENGTH:
        return text
    return _clean(text, LABEL_LENGTH)


def text(text: str, limit: int = TEXT_LENGTH) -> str:
    """Safe as a string of InfluxDB: one line, NFC, at most `limit` characters."""
    return _clean(text, limit)


def html(text: str) -> str:
    """Safe in HTML, also between the quotes of an attribute; at most 1,000 characters before escaping."""
    return _html.escape(_clean(text, TEXT_LENGTH), quote=True)


def log(text: str) -> str:
    """Safe as part of a log line: unsafe characters are shown as escapes (`\\n`), at most 1,000 characters."""
    head = text[: TEXT_LENGTH + 1]
    return _cut(_UNSAFE.sub(_escape, head), TEXT_LENGTH)


def _clean(text: str, limit: int) -> str:
    replaced = _UNSAFE.sub(REPLACEMENT, text[: limit * _COMPOSED])
    return _cut(unicodedata.normalize("NFC", replaced), limit)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + CUT


def _escape(unsafe: re.Match[str]) -> str:
    return unsafe.group().encode("unicode_escape").decode("ascii")
