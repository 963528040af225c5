"""InfluxDB's line protocol: a point is a line, whatever its strings hold, and the same point is the same bytes.

Field values are floats or strings. The servers disagree about a backslash before a mark, or at the end, of a tag
and about a quote in the name of a field, so that these are replaced; everything else that is safe is kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from typing import NamedTuple

from gpuwatch import hygiene

GAUGE = "%.6g"
"""What sensors say, to six digits: no sensor is better, and further digits do not compress."""

COUNTER = "%.3f"
"""Seconds and joules, to a thousandth."""

COUNT = "%.0f"
"""What comes in whole numbers."""

EXACT = "%s"
"""The shortest text that reads back as the same number."""

TEXT = '"%s"'
"""A string."""

STRING_LENGTH = 16_384
LIMIT_CACHED = 4096


class Field(NamedTuple):
    """A field as it is called, and how it is written: one of the forms above."""

    name: str
    form: str


class Series(NamedTuple):
    """What a point belongs to. A tag whose value is unknown or empty is left out."""

    measurement: str
    tags: tuple[tuple[str, str | None], ...] = ()


@dataclass(frozen=True, slots=True)
class _Layout:
    """How points with the same fields are written: `%` of the series, the values and the time in ms.

    `kept` are the places of the fields that are written, None where all are; `converted` are those among them
    whose values are made into text first. `texts` are the places of all strings, `numbers` those of all numbers,
    None where there is nothing else.
    """

    template: str
    kept: tuple[int, ...] | None
    converted: tuple[tuple[int, Callable[..., str]], ...]
    texts: tuple[int, ...]
    numbers: tuple[int, ...] | None


class Encoder:
    """Writes lines; remembers how series and sets of fields are written. Not for two threads at once."""

    def __init__(self) -> None:
        self._heads: dict[Series, str] = {}
        self._layouts: dict[tuple[Field, ...], _Layout] = {}

    def line(
        self, series: Series, fields: tuple[Field, ...], values: Sequence[float | str], milliseconds: int
    ) -> str:
        """The line of a point, with its line break; empty where no field has a value that can be written.

        `milliseconds` is the Unix time. Numbers that are not finite are left out, as is a field whose name is
        already there.
        """
        head = self._heads.get(series) or self._head(series)
        layout = self._layouts.get(fields) or self._layout(fields)
        if not _all_writable(layout, values):
            known = [each for each in zip(fields, values, strict=True) if _writable(each[1])]
            fields, values = tuple(field for field, _ in known), [value for _, value in known]
            layout = self._layouts.get(fields) or self._layout(fields)
        if not head or not layout.template:
            return ""
        if layout.kept is not None:
            values = [values[place] for place in layout.kept]
        if layout.converted:
            values = list(values)
            for place, convert in layout.converted:
                values[place] = convert(values[place])
        return layout.template % (head, *values, milliseconds)

    def _head(self, series: Series) -> str:
        if len(self._heads) >= LIMIT_CACHED:
            # Devices and jobs come and go: those that stay are soon here again.
            self._heads.clear()
        measurement = _measurement(series.measurement)
        pairs = ((_key(name), _tag(value or "")) for name, value in series.tags)
        tags = "".join(f",{name}={value}" for name, value in pairs if name and value)
        head = self._heads[series] = measurement and measurement + tags
        return head

    def _layout(self, fields: tuple[Field, ...]) -> _Layout:
        if len(self._layouts) >= LIMIT_CACHED:
            self._layouts.clear()
        layout = self._layouts[fields] = _compile(fields)
        return layout


def exact(value: float) -> str:
    """The shortest text that reads back as the same number; whole numbers without a fraction."""
    text = repr(float(value))
    return text.removesuffix(".0")


def quoted(value: str) -> str:
    """What stands between the quotes of a string: one line, as long as a declaration may be."""
    return hygiene.text(value, STRING_LENGTH).replace("\\", "\\\\").replace('"', '\\"')


def _compile(fields: tuple[Field, ...]) -> _Layout:
    places: dict[str, int] = {}
    for place, field in enumerate(fields):
        if name := _key(field.name):
            places.setdefault(name, place)
    kept = tuple(places.values())
    written = ",".join(f"{name.replace('%', '%%')}={fields[place].form}" for name, place in places.items())
    forms = [fields[place].form for place in kept]
    texts = tuple(place for place, field in enumerate(fields) if field.form == TEXT)
    return _Layout(
        f"%s {written} %d000000\n" if written else "",
        None if len(kept) == len(fields) else kept,
        tuple((place, _CONVERT[form]) for place, form in enumerate(forms) if form in _CONVERT),
        texts,
        tuple(place for place in range(len(fields)) if place not in texts) if texts else None,
    )


_CONVERT: dict[str, Callable[..., str]] = {EXACT: exact, TEXT: quoted}


def _all_writable(layout: _Layout, values: Sequence[float | str]) -> bool:
    """Whether no value is left out. The sum is finite only where all numbers are: the quickest way to know."""
    numbers = values if layout.numbers is None else [values[place] for place in layout.numbers]
    try:
        return isfinite(sum(numbers)) and all(values[place] for place in layout.texts)  # type: ignore[arg-type]
    except OverflowError:
        return False


def _writable(value: float | str) -> bool:
    if isinstance(value, str):
        return value != ""
    try:
        return isfinite(value)
    except OverflowError:
        return False


_PLAIN = re.compile(r"[\w.:/@+-]*", re.ASCII)
_MARKS = re.compile(r"[,= ]")
_AMBIGUOUS = re.compile(r"\\(?=[,= \\]|\Z)")


def _tag(value: str) -> str:
    """A tag's value, cleaned and escaped."""
    if len(value) <= hygiene.LABEL_LENGTH and _PLAIN.fullmatch(value):
        return value
    return _MARKS.sub(r"\\\g<0>", _AMBIGUOUS.sub(hygiene.REPLACEMENT, hygiene.label(value)))


@lru_cache(LIMIT_CACHED)
def _key(name: str) -> str:
    """The name of a tag or a field, cleaned and escaped."""
    return _tag(name.replace('"', "'"))


def _measurement(name: str) -> str:
    """The name of a measurement, cleaned and escaped; where a line begins with `#` it is a comment."""
    cleaned = _AMBIGUOUS.sub(hygiene.REPLACEMENT, hygiene.label(name.replace('"', "'")))
    if cleaned.startswith("#"):
        cleaned = hygiene.REPLACEMENT + cleaned[1:]
    return re.sub(r"[, ]", r"\\\g<0>", cleaned)
