"""InfluxDB's `/query`: InfluxQL is the language that 1.x, 2.x (by a DBRP mapping) and 3.x have in common."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gpuwatch import hygiene
from gpuwatch.errors import Unavailable
from gpuwatch.http.client import Client, Refused
from gpuwatch.model import EMPTY

CHUNK_ROWS = 10_000
"""So many rows of a series the server puts into one document of its answer."""

_SHOWN = 300
_BLANKS = " \t\r\n"


def identifier(name: str) -> str:
    """A measurement, tag or field as it stands in InfluxQL, whatever is in its name."""
    return f'"{_escaped(name, chr(34))}"'


def string(value: str) -> str:
    """A string as it stands in InfluxQL, whatever is in it."""
    return f"'{_escaped(value, chr(39))}'"


def _escaped(text: str, quote: str) -> str:
    return text.replace("\\", "\\\\").replace(quote, f"\\{quote}").replace("\n", "\\n")


class Series(NamedTuple):
    """Rows that have these tags in common; a series may come in several parts. An unknown value is None.

    The first of a row is its time.
    """

    tags: Mapping[str, str]
    rows: Sequence[Sequence[Any]]


class Database:
    """A database of an InfluxDB, to be read. `date` is the server's clock at its last answer, Unix seconds.

    Whatever goes wrong raises `errors.Unavailable`; where the server says why, it is `http.Refused`.
    """

    def __init__(self, client: Client, url: str, name: str, retention_policy: str = "") -> None:
        self._client = client
        self._url = f"{url}/query"
        self._asked = {"db": name, "epoch": "ns", "chunked": "true", "chunk_size": str(CHUNK_ROWS)}
        if retention_policy:
            self._asked["rp"] = retention_policy
        self.date: float | None = None

    def query(self, text: str, columns: Sequence[str]) -> Iterator[Series]:
        """What one statement gives. Its columns must be these, times are in ns."""
        answer = self._client.post(self._url, {"q": text, **self._asked})
        self.date = answer.date
        return series_of(answer.body, columns)


def series_of(body: bytes, columns: Sequence[str]) -> Iterator[Series]:
    """The series in the documents of an answer, one after another; whole only where it ends without an error."""
    wanted = list(columns)
    more = True
    for document in _documents(body):
        more = False
        for result in _results(document):
            more = bool(result.get("partial"))
            for series in _listed(result.get("series")):
                more = more or bool(series.get("partial"))
                yield _series(series, wanted)
    if more:
        raise Unavailable("its answer ended early")


def _documents(body: bytes) -> Iterator[Mapping[str, Any]]:
    try:
        text = body.decode()
        decode = json.JSONDecoder().raw_decode
        place = _unblanked(text, 0)
        while place < len(text):
            document, place = decode(text, place)
            if not isinstance(document, dict):
                raise ValueError
            yield document
            place = _unblanked(text, place)
    except (ValueError, RecursionError) as exc:
        raise Unavailable("what it answered is not JSON of InfluxDB") from exc


def _unblanked(text: str, place: int) -> int:
    while place < len(text) and text[place] in _BLANKS:
        place += 1
    return place


def _results(document: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    results = _listed(document.get("results"))
    for each in (document, *results):
        if (told := each.get("error")) is not None:
            raise Refused(f"says: {hygiene.log(str(told)[:_SHOWN])}", 200)
    if not results:
        raise Unavailable("what it answered is not what InfluxDB answers")
    return results


def _listed(value: object) -> Sequence[Mapping[str, Any]]:
    found = value if value is not None else []
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise Unavailable("what it answered is not what InfluxDB answers")
    return found


def _series(series: Mapping[str, Any], columns: list[str]) -> Series:
    tags, rows = series.get("tags") or EMPTY, series.get("values") or ()
    if series.get("columns") != columns:
        raise Unavailable(f"answered other columns: {hygiene.log(str(series.get('columns'))[:_SHOWN])}")
    if not isinstance(tags, Mapping) or not isinstance(rows, list | tuple):
        raise Unavailable("what it answered is not what InfluxDB answers")
    if any(type(row) is not list or len(row) != len(columns) for row in rows):
        raise Unavailable("answered rows that do not fit their columns")
    if any(type(row[0]) is not int for row in rows):
        raise Unavailable("answered times that are no nanoseconds")
    return Series({name: value for name, value in tags.items() if isinstance(value, str)}, rows)
