"""The usage API says what docs/usage-api.md says."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette

from gpuwatch.errors import GpuwatchError, Rejected, Unavailable
from gpuwatch.web.exposition import base_app
from gpuwatch.web.usage_api import MAX_ACK_BYTES, MAX_SEQ, parse_ack, parse_seq, usage_routes
from tests.web.asking import ask

USAGE, ACK = "/api/v1/usage", "/api/v1/ack"


class FakeJournal:
    """A journal that remembers what it was asked."""

    def __init__(self, document: Mapping[str, Any] | None = None, error: GpuwatchError | None = None) -> None:
        self.document = document or {"schema": 1, "seq": 1042, "rows": []}
        self.error = error
        self.asked: list[int] = []
        self.acknowledged: list[int] = []

    def since(self, seq: int) -> Mapping[str, Any]:
        if self.error is not None:
            raise self.error
        self.asked.append(seq)
        return self.document

    def acknowledge(self, seq: int) -> None:
        self.acknowledged.append(seq)


def app(journal: FakeJournal, token: Callable[[], str | None] = lambda: None) -> Starlette:
    """The agent's application with the usage API."""
    routes = usage_routes(journal, token)
    return base_app("gpuwatch agent", lambda: b"", lambda: True, lambda: True, [], routes)


def test_the_document_of_the_journal_is_sent_as_compact_json() -> None:
    """Everything since the number that was asked for."""
    journal = FakeJournal()

    answer = ask(app(journal), "GET", USAGE, params={"since": "17"})

    assert journal.asked == [17]
    assert answer.headers["content-type"] == "application/json"
    assert answer.text == '{"schema":1,"seq":1042,"rows":[]}'


def test_without_a_number_everything_is_sent() -> None:
    """since=0 is the default."""
    journal = FakeJournal()

    ask(app(journal), "GET", USAGE)

    assert journal.asked == [0]


def test_the_document_is_compressed_where_the_reader_takes_it() -> None:
    """The rows of a busy node repeat themselves."""
    journal = FakeJournal({"rows": [{"job_id": "1"}] * 1000})

    answer = ask(app(journal), "GET", USAGE, headers={"accept-encoding": "gzip"})

    assert answer.headers["content-encoding"] == "gzip"
    assert answer.json() == journal.document
    assert int(answer.headers["content-length"]) < 1000


def test_frozen_mappings_and_names_that_are_not_utf8_can_be_sent() -> None:
    """The counters of a row are read-only mappings; a job's name may be bytes of any sort."""
    rows = [{"job_id": "a\udcff\n", "state_seconds": MappingProxyType({"idle": 1.5})}]

    answer = ask(app(FakeJournal(MappingProxyType({"rows": rows}))), "GET", USAGE)

    assert json.loads(answer.content.decode("utf-8")) == {
        "rows": [{"job_id": "a?\n", "state_seconds": {"idle": 1.5}}]
    }


@pytest.mark.parametrize(
    "since", ["-1", "1.5", "abc", "", "٣", " 1", "1e3", "+1", str(2**63), "9" * 5000, "0x10", "1_000"]
)
def test_a_bad_number_is_a_400_with_the_reason(since: str) -> None:
    """The journal is not even asked, and a long number is not repeated in full."""
    journal = FakeJournal()

    answer = ask(app(journal), "GET", USAGE, params={"since": since})

    assert answer.status_code == 400
    assert answer.json()["error"].startswith("since: ")
    assert len(answer.content) < 300
    assert journal.asked == []


@given(st.integers(0, MAX_SEQ))
def test_every_sequence_number_is_understood(seq: int) -> None:
    """From 0 to the largest that a database takes."""
    assert parse_seq(str(seq)) == seq
    assert parse_ack(json.dumps({"seq": seq}).encode()) == seq


@given(st.binary(max_size=100))
def test_any_body_is_a_number_or_a_rejection(body: bytes) -> None:
    """No bytes lead to an error of another sort."""
    try:
        seq = parse_ack(body)
    except Rejected:
        return
    assert 0 <= seq <= MAX_SEQ


def test_an_acknowledgement_reaches_the_journal() -> None:
    """What the reader has for good may be forgotten."""
    journal = FakeJournal()

    answer = ask(app(journal), "POST", ACK, json={"seq": 1042})

    assert answer.status_code == 200
    assert answer.json() == {"seq": 1042}
    assert journal.acknowledged == [1042]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"1042",
        b'{"seq": -1}',
        b'{"seq": 1.0}',
        b'{"seq": true}',
        b'{"seq": "1"}',
        b'{"seq": null}',
        b'{"seq": NaN}',
        b'{"seq": 9223372036854775808}',
        b'{"other": 1}',
        b"\xff\xfe",
        b"[" * 1000,
        b'{"seq": 1' + b" " * MAX_ACK_BYTES + b"}",
    ],
)
def test_a_bad_acknowledgement_is_a_400_and_forgets_nothing(body: bytes) -> None:
    """Ended jobs stay on disk until a number says that they are safe."""
    journal = FakeJournal()

    answer = ask(app(journal), "POST", ACK, content=body)

    assert answer.status_code == 400
    assert answer.json()["error"].startswith("ack: ")
    assert journal.acknowledged == []


def test_a_web_page_cannot_acknowledge() -> None:
    """A browser names the page's origin; a page opened by an operator must not empty the journal."""
    journal = FakeJournal()

    answer = ask(app(journal), "POST", ACK, json={"seq": 1}, headers={"origin": "https://evil.test"})

    assert answer.status_code == 403
    assert journal.acknowledged == []


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("Bearer s3cret", 200),
        ("bearer  s3cret", 200),
        ("Bearer wrong", 401),
        ("Bearer ", 401),
        ("Basic s3cret", 401),
        ("s3cret", 401),
        (None, 401),
        ("Bearer s3cret\xe9", 401),
    ],
)
def test_a_shared_token_is_asked_for_where_there_is_one(authorization: str | None, status: int) -> None:
    """Both routes refuse who does not know it, and say how to ask."""
    headers = {} if authorization is None else {"authorization": authorization.encode("latin-1")}
    served = app(FakeJournal(), lambda: "s3cret\n")

    answers = [
        ask(served, "GET", USAGE, headers=headers),
        ask(served, "POST", ACK, json={"seq": 1}, headers=headers),
    ]

    assert [answer.status_code for answer in answers] == [status, status]
    if status == 401:
        assert all(answer.headers["www-authenticate"] == 'Bearer realm="gpuwatch"' for answer in answers)


def test_an_empty_token_file_admits_nobody() -> None:
    """A file that was emptied by mistake does not open the door."""
    answer = ask(app(FakeJournal(), lambda: ""), "GET", USAGE, headers={"authorization": "Bearer "})

    assert answer.status_code == 401


def test_a_new_token_counts_at_once() -> None:
    """The file is read at each request."""
    tokens = ["old"]
    served = app(FakeJournal(), lambda: tokens[0])
    headers = {"authorization": "Bearer new"}
    before = ask(served, "GET", USAGE, headers=headers)
    tokens[0] = "new"

    after = ask(served, "GET", USAGE, headers=headers)

    assert [before.status_code, after.status_code] == [401, 200]


def test_a_token_that_cannot_be_read_closes_the_door() -> None:
    """Without the secret nobody can be told from anybody else."""

    def unreadable() -> str:
        raise PermissionError("token")

    answer = ask(app(FakeJournal(), unreadable), "GET", USAGE)

    assert answer.status_code == 503


def test_a_journal_that_cannot_answer_is_a_503() -> None:
    """The reader tries again later."""
    answer = ask(app(FakeJournal(error=Unavailable("state: disk gone"))), "GET", USAGE)

    assert answer.status_code == 503
    assert answer.json() == {"error": "usage: state: disk gone"}


@pytest.mark.parametrize(("method", "path"), [("POST", USAGE), ("GET", ACK), ("PUT", ACK)])
def test_other_methods_are_refused(method: str, path: str) -> None:
    """Reading never changes anything."""
    assert ask(app(FakeJournal()), method, path).status_code == 405
