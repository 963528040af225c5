"""What InfluxDB answers is taken whole or not at all, and names are quoted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.errors import Unavailable
from gpuwatch.http.client import Refused
from gpuwatch.usage.influxdb_api import Series, identifier, series_of, string

COLUMNS = ("time", "f0")
FIRST = {"name": "m", "tags": {"node": "gw0"}, "columns": [*COLUMNS], "values": [[1, 2.5], [2, None]]}
SECOND = {"name": "m", "tags": {"node": "gw1"}, "columns": [*COLUMNS], "values": [[3, "ü"]]}
DOCUMENTS = (
    {"results": [{"statement_id": 0, "series": [{**FIRST, "partial": True}], "partial": True}]},
    {"results": [{"statement_id": 0, "series": [SECOND]}]},
)
FOUND = [Series({"node": "gw0"}, [[1, 2.5], [2, None]]), Series({"node": "gw1"}, [[3, "ü"]])]
BLANKS = st.text(" \t\r\n", max_size=4)


def body(*documents: Any) -> bytes:
    return b"".join(json.dumps(each, ensure_ascii=False).encode() + b"\n" for each in documents)


def read(answer: bytes) -> list[Series]:
    return list(series_of(answer, COLUMNS))


@given(st.tuples(BLANKS, BLANKS, BLANKS))
def test_documents_follow_one_another(blanks: tuple[str, str, str]) -> None:
    """With whatever blanks between them, or none."""
    before, between, after = (each.encode() for each in blanks)
    one, other = (body(each).strip() for each in DOCUMENTS)

    assert FOUND == read(before + one + between + other + after)


@pytest.mark.parametrize("length", range(len(body(*DOCUMENTS)) - 1))
def test_an_answer_that_was_cut_off_is_none(length: int) -> None:
    """Wherever that was, between two documents as well; the line break at its end does not matter."""
    with pytest.raises(Unavailable):
        read(body(*DOCUMENTS)[:length])


def test_one_document_without_series_is_nothing() -> None:
    """Nothing was written, or nothing of that name."""
    assert [] == read(b'{"results":[{"statement_id":0}]}')


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (body({"error": "no\nway"}), r"says: no\nway"),
        (body({"results": [{"statement_id": 0, "error": "timeout"}]}), "says: timeout"),
        (body(DOCUMENTS[0], {"results": [{"error": "max-select-series limit exceeded"}]}), None),
        (b"", "its answer ended early"),
        (b"[]", "what it answered is not JSON of InfluxDB"),
        (b"\xff", "what it answered is not JSON of InfluxDB"),
        (b"[" * 100_000, "what it answered is not JSON of InfluxDB"),
        (b"{}", "what it answered is not what InfluxDB answers"),
        (b'{"results":5}', "what it answered is not what InfluxDB answers"),
        (b'{"results":[5]}', "what it answered is not what InfluxDB answers"),
        (body({"results": [{"series": [{**FIRST, "columns": ["time"]}]}]}), "answered other columns: ['time']"),
        (body({"results": [{"series": [{**FIRST, "tags": 5}]}]}), "what it answered is not what InfluxDB answers"),
        (
            body({"results": [{"series": [{**FIRST, "values": 5}]}]}),
            "what it answered is not what InfluxDB answers",
        ),
        (
            body({"results": [{"series": [{**FIRST, "values": [[1]]}]}]}),
            "answered rows that do not fit their columns",
        ),
        (
            body({"results": [{"series": [{**FIRST, "values": [["2025-11-24T16:00:00Z", 1.0]]}]}]}),
            "answered times that are no nanoseconds",
        ),
    ],
)
def test_what_is_no_answer_is_told(answer: bytes, told: str | None) -> None:
    """By what the server says where it says something."""
    with pytest.raises(Unavailable) as caught:
        read(answer)

    assert str(caught.value) == (told or "says: max-select-series limit exceeded")
    assert str(caught.value).startswith("says") == isinstance(caught.value, Refused)


@given(st.text())
def test_a_quoted_name_ends_where_it_ends(name: str) -> None:
    """Whatever is in it: nothing but an escape stands before a quote within."""
    for quoted, quote in ((identifier(name), '"'), (string(name), "'")):
        inside, place = quoted[1:-1], 0
        plain = ""
        while place < len(inside):
            assert inside[place] not in (quote, "\n")
            escaped = inside[place] == "\\"
            plain += {"n": "\n"}.get(inside[place + 1], inside[place + 1]) if escaped else inside[place]
            place += 1 + escaped
        assert (quote, quote, name) == (quoted[0], quoted[-1], plain)
