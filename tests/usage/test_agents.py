"""Reading agents: from where, how much, and what happens to those that misbehave."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gpuwatch.errors import Unavailable
from gpuwatch.http import client as http
from gpuwatch.model import Site
from gpuwatch.usage import agents
from gpuwatch.usage.agents import AgentsUsage
from gpuwatch.usage.base import Asking, Delivery, Failure
from tests.usage.fake_agent import Answer, FakeAgent, document, packed

EPOCH = "0123456789ab"


def source(*fakes: FakeAgent | str, **settings: Any) -> AgentsUsage:
    urls = tuple(each if isinstance(each, str) else each.url for each in fakes)
    return AgentsUsage(
        AgentsUsage.Settings(urls=urls, timeout_seconds=settings.pop("timeout", 2.0), **settings), Site()
    )


def collect(
    *fakes: FakeAgent | str, marks: Mapping[str, tuple[str, int]] | None = None, **settings: Any
) -> list[Delivery | Failure]:
    return list(source(*fakes, **settings).collect(Asking(0.0, marks or {})))


def failure(answer: Answer, **settings: Any) -> str:
    """The message that an agent's answer fails with."""
    with FakeAgent(lambda _since: answer) as agent:
        (found,) = collect(agent, **settings)
    assert isinstance(found, Failure)
    assert found.origin == agent.url
    return found.message


def test_a_document_is_a_delivery() -> None:
    """All of it, with the agent's address as its origin."""
    rows = [{"job_id": "run-1"}]
    with FakeAgent(lambda _since: packed(document(rows=rows))) as agent:
        found = collect(agent)

    assert [Delivery("default", "gw0", EPOCH, 10, 100.0, rows, [], [], agent.url)] == found


def test_it_asks_for_what_is_new() -> None:
    """Since the watermark."""
    with FakeAgent(lambda _since: packed(document(seq=12))) as agent:
        collect(agent, marks={agent.url: (EPOCH, 7)})

    assert [7] == agent.asked


@pytest.mark.parametrize("mark", [("ffffffffffff", 7), (EPOCH, 11)])
def test_another_life_of_the_agent_is_read_from_its_beginning(mark: tuple[str, int]) -> None:
    """The epoch is another, or its numbers are lower than what was read."""
    with FakeAgent(lambda _since: packed(document(seq=10))) as agent:
        (found,) = collect(agent, marks={agent.url: mark})

    assert [mark[1], 0] == agent.asked
    assert isinstance(found, Delivery)


def test_more_is_asked_for_until_there_is_no_more() -> None:
    """A long journal comes in several answers."""
    with FakeAgent(lambda since: packed(document(seq=since + 5, more=since < 10))) as agent:
        found = collect(agent)

    assert [5, 10, 15] == [each.seq for each in found if isinstance(each, Delivery)]
    assert [0, 5, 10] == agent.asked


def test_one_bad_agent_stays_alone() -> None:
    """One is read, one refuses connections, one answers nonsense."""
    with socket.socket() as closed, FakeAgent(lambda _since: (200, {}, b"nonsense")) as bad:
        closed.bind(("127.0.0.1", 0))
        refusing = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with FakeAgent(lambda _since: packed(document())) as good:
            found = collect(bad, refusing, good)

    failures = {each.origin: each.message for each in found if isinstance(each, Failure)}
    assert {bad.url: "what it answered is not JSON", refusing: "Connection refused"} == failures
    assert [good.url] == [each.origin for each in found if isinstance(each, Delivery)]


def test_no_more_than_sixteen_are_asked_at_once() -> None:
    """A thousand agents do not mean a thousand threads."""
    busy, most, lock = 0, 0, threading.Lock()

    def answer(_since: int) -> Answer:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        time.sleep(0.01)
        with lock:
            busy -= 1
        return packed(document())

    with FakeAgent(answer) as agent:
        found = collect(*(f"{agent.url}/{number}" for number in range(40)), timeout=20)

    assert 40 == sum(isinstance(each, Delivery) for each in found)
    assert 2 <= most <= agents.AT_ONCE


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"schema": 2}, "answered schema 2; this gpuwatch reads 1"),
        ({"seq": -1}, "seq is -1, not a sequence number"),
        ({"seq": 1.5}, "seq is 1.5, not int"),
        ({"seq": True}, "seq is True, not int"),
        ({"node": None}, "node is None, not str"),
        ({"rows": {}}, "rows is {}, not list"),
        ({"now": float("nan")}, "now is nan, not a time"),
        ({"now": "today"}, "now is 'today', not a time"),
    ],
)
def test_a_document_of_another_shape_is_a_failure(changed: dict[str, Any], message: str) -> None:
    """It says what is wrong with it."""
    assert message == failure(packed(document(**changed)))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((200, {}, b"[]"), "what it answered is no JSON object"),
        ((200, {}, b"[" * 100_000), "what it answered is not JSON"),
        ((200, {}, b"\xff\xfe{"), "what it answered is not JSON"),
        ((503, {}, b"{}"), "answered 503 Service Unavailable"),
        ((401, {}, b"{}"), "answered 401 Unauthorized"),
        (
            (200, {"content-encoding": "gzip"}, b"not gzip"),
            "Error -3 while decompressing data: incorrect header check",
        ),
        ((200, {"content-encoding": "gzip"}, gzip.compress(b"{}" * 99)[:-9]), "its answer ended early"),
        ((200, {"content-length": "99"}, b"{}"), "its answer ended early"),
    ],
)
def test_an_answer_that_cannot_be_read_is_a_failure(answer: Answer, message: str) -> None:
    """Whatever it is, with a reason in words."""
    assert message == failure(answer)


def test_a_redirect_is_not_followed() -> None:
    """It would carry the token to wherever it points."""
    with FakeAgent(lambda _since: packed(document())) as elsewhere:
        message = failure((302, {"location": elsewhere.url + "/api/v1/usage?since=0"}, b""))

    assert ("answered 302 Found", []) == (message, elsewhere.asked)


def test_a_body_that_unpacks_to_too_much_is_a_failure() -> None:
    """A few kilobytes of gzip can be gigabytes of JSON."""
    bomb = gzip.compress(b" " * (http.MAX_BYTES + 1), 1)

    assert f"answered more than {http.MAX_BYTES} bytes" == failure(
        (200, {"content-encoding": "gzip"}, bomb), timeout=20
    )


def test_a_sender_that_drips_is_given_up() -> None:
    """Each byte comes in time, the whole never does."""
    with _dripping() as url:
        began = time.monotonic()
        (found,) = collect(url, timeout=0.15)

    assert isinstance(found, Failure)
    assert "answered too slowly" == found.message
    assert time.monotonic() - began < 2


@contextmanager
def _dripping() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        stop = threading.Event()

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                while not stop.wait(0.02):
                    try:
                        connection.sendall(b" ")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        stop.set()
        thread.join()


def test_the_token_is_read_at_every_request(tmp_path: Path) -> None:
    """It may be replaced while accounting runs."""
    token = tmp_path / "token"
    with FakeAgent(lambda _since: packed(document())) as agent:
        reader = source(agent, token_file=token)
        for secret in ("one\n", "two"):
            token.write_text(secret)
            list(reader.collect(Asking(0.0)))

    assert ["Bearer one", "Bearer two"] == agent.authorizations


def test_a_token_file_that_is_missing_is_a_failure(tmp_path: Path) -> None:
    """Nothing is asked without it."""
    with FakeAgent(lambda _since: packed(document())) as agent:
        (found,) = collect(agent, token_file=tmp_path / "none")

    assert isinstance(found, Failure)
    assert "No such file" in found.message
    assert [] == agent.asked


def delivered(agent: FakeAgent, seq: int = 10) -> Delivery:
    return Delivery("default", "gw0", EPOCH, seq, 100.0, [], [], [], agent.url)


def test_a_delivery_is_acknowledged_once() -> None:
    """Passes without news do not repeat it; a new number is told."""
    with FakeAgent(lambda _since: packed(document())) as agent:
        reader = source(agent)
        for seq in (10, 10, 12):
            reader.acknowledge(delivered(agent, seq))

    assert [10, 12] == agent.acknowledged


def test_an_acknowledgement_that_failed_is_tried_again() -> None:
    """The agent keeps what it has until then."""
    with FakeAgent(lambda _since: packed(document()), ack=(503, {}, b"")) as agent:
        reader = source(agent)
        with pytest.raises(Unavailable, match="cannot be acknowledged; answered 503"):
            reader.acknowledge(delivered(agent))
        agent.ack = (200, {}, b"{}")
        reader.acknowledge(delivered(agent))

    assert [10, 10] == agent.acknowledged


@pytest.mark.parametrize("url", ["ftp://h", "h:9838", "http://", "http://user:pw@h:1", "http://h:1/?a=b"])
def test_an_address_that_is_none_is_a_configuration_mistake(url: str) -> None:
    """Said at start."""
    with pytest.raises(ValidationError):
        AgentsUsage.Settings(urls=(url,))


def test_a_slash_at_the_end_is_the_same_agent() -> None:
    """One agent listed twice is asked once."""
    with FakeAgent(lambda _since: packed(document())) as agent:
        collect(agent, agent.url + "/")

    assert [0] == agent.asked
