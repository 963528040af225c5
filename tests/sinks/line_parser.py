"""A reader of InfluxDB's line protocol, written from its specification; it knows nothing of how we write it.

What the specification does not allow is a `ValueError`, and so is what it allows but we must not write: comments,
empty lines, points without a time, integers and booleans.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

FLOAT = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
TIME = re.compile(r"-?\d+")


@dataclass(frozen=True)
class Point:
    """A point as a server understands it; the time is in ns."""

    measurement: str
    tags: tuple[tuple[str, str], ...]
    fields: tuple[tuple[str, float | str], ...]
    time: int


def parse(body: bytes) -> list[Point]:
    """Every point of a body."""
    text = body.decode("utf-8")
    return [_Reader(line).point() for line in _lines(text)]


def _lines(text: str) -> Iterator[str]:
    """A line break ends a line, but within a string."""
    if text and not text.endswith("\n"):
        raise ValueError("the last line has no end")
    yield from text.split("\n")[:-1]


class _Reader:
    def __init__(self, line: str) -> None:
        self.line, self.at = line, 0

    def point(self) -> Point:
        if not self.line or self.line[0] in "# \t":
            raise ValueError(f"{self.line!r}: no point")
        measurement = self.until(", ", escapable=", ")
        tags = []
        while self.skip(","):
            key = self.until("=, ", escapable=",= ")
            self.expect("=")
            tags.append((key, self.until(",= ", escapable=",= ")))
        self.expect(" ")
        fields = [self.field()]
        while self.skip(","):
            fields.append(self.field())
        self.expect(" ")
        time = self.line[self.at :]
        if not TIME.fullmatch(time):
            raise ValueError(f"{time!r}: no time")
        for names in ([key for key, _ in tags], [key for key, _ in fields]):
            if len(set(names)) != len(names):
                raise ValueError(f"{names}: one is there twice")
        return Point(measurement, tuple(tags), tuple(fields), int(time))

    def field(self) -> tuple[str, float | str]:
        key = self.until("=, ", escapable=",= ")
        self.expect("=")
        return key, self.string() if self.skip('"') else self.number()

    def number(self) -> float:
        match = FLOAT.match(self.line, self.at)
        if match is None or self.line[match.end() : match.end() + 1] not in (",", " "):
            raise ValueError(f"{self.line[self.at :][:40]!r}: no float")
        self.at = match.end()
        return float(match[0])

    def string(self) -> str:
        found = []
        while True:
            each = self.next()
            if each == '"':
                return "".join(found)
            if each == "\\" and self.line[self.at : self.at + 1] in ('"', "\\"):
                each = self.next()
            found.append(each)

    def until(self, ends: str, escapable: str) -> str:
        """What comes before one of `ends`; empty, or with a backslash that reads in two ways, is an error."""
        found = []
        while self.at < len(self.line) and self.line[self.at] not in ends:
            each = self.next()
            if each == "\\":
                following = self.line[self.at : self.at + 1]
                if following in ("", "\\"):
                    raise ValueError("a backslash that servers read in different ways")
                if following in escapable:
                    each = self.next()
            found.append(each)
        if not found:
            raise ValueError(f"{self.line[self.at :][:40]!r}: something is empty")
        return "".join(found)

    def next(self) -> str:
        if self.at >= len(self.line):
            raise ValueError("the line ends early")
        self.at += 1
        return self.line[self.at - 1]

    def skip(self, mark: str) -> bool:
        found = self.line[self.at : self.at + 1] == mark
        self.at += found
        return found

    def expect(self, mark: str) -> None:
        if not self.skip(mark):
            raise ValueError(f"{self.line[self.at :][:40]!r}: there must be {mark!r}")
