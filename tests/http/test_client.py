"""Asking servers: what is shown to them, what their refusals say, and which settings are none."""

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
from gpuwatch.http.client import Client, Refused, ServerSettings, TooMuch
from tests.http.serving import Asked, server


def client(scheme: str = "Bearer", **settings: Any) -> Client:
    return Client(ServerSettings(timeout_seconds=2.0, **settings), scheme)


def refusal(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> str:
    """What is said of an answer that is none."""
    with server(lambda _: (status, headers or {}, body)) as url, pytest.raises(Refused) as refused:
        client().get(url)
    assert status == refused.value.status
    return str(refused.value)


def test_a_form_is_posted_with_all_that_the_settings_say(tmp_path: Path) -> None:
    """The parameters in the body, the token in its scheme, the tenant's header."""
    (tmp_path / "token").write_text("secret\n")
    asked: list[Asked] = []
    with server(lambda each: (asked.append(each), (200, {}, b"{}"))[1]) as url:
        asking = client("Token", token_file=tmp_path / "token", headers={"X-Scope-OrgID": "gpu"})
        asking.post(f"{url}/query", {"q": "a b=é"})
        asking.get(f"{url}/ping", {"a": "1"})

    form, get = asked
    assert ("/query", b"q=a+b%3D%C3%A9", "/ping?a=1") == (form.path, form.body, get.path)
    shown = ("Token secret", "gpu", "gpuwatch-accounting", "gzip")
    for each in asked:
        names = ("authorization", "x-scope-orgid", "user-agent", "accept-encoding")
        assert shown == tuple(each.headers[name] for name in names)


def test_an_answer_has_the_servers_clock() -> None:
    """Where it says it, and says it well."""
    dates = {"/a": {"Date": "Sun, 09 Sep 2001 01:46:40 GMT"}, "/b": {"Date": "yesterday"}, "/c": {}}
    with server(lambda each: (200, dates[each.path], b"x")) as url:
        found = [client().get(url + path) for path in dates]

    assert [(b"x", 1_000_000_000.0), (b"x", None), (b"x", None)] == found


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"status":"error","error":"too many samples"}', ": too many samples"),
        (b'{"code":"invalid","message":"no such bucket"}', ": no such bucket"),
        (b"remoteAddr: cannot parse\n", ": remoteAddr: cannot parse"),
        (b"\x1b[2J" + b"x" * 400, ": \\x1b[2J" + "x" * 296),
        (b"<html>\xff gateway</html>", ""),
        (b'{"error":{"a":1}}', ""),
        (b"[1]", ""),
        (b'"start time must be before end time"\n', ": start time must be before end time"),
        (b"[" * 60_000, ": " + "[" * 300),
        (b"x" * 70_000, ""),
    ],
    ids=["error", "message", "words", "unsafe", "page", "object", "list", "string", "deep", "endless"],
)
def test_a_refusal_says_what_the_server_said(body: bytes, told: str) -> None:
    """Shortened and made safe; no page of HTML."""
    assert f"answered 422 Unprocessable Entity{told}" == refusal(422, body)


def test_a_refusal_says_how_long_to_wait_and_what_time_it_is() -> None:
    """By the server's own clock."""
    told = {"Date": "Sun, 09 Sep 2001 01:46:40 GMT", "Retry-After": "Sun, 09 Sep 2001 01:47:10 GMT"}

    with server(lambda _: (429, told, b"")) as url, pytest.raises(Refused) as refused:
        client().get(url)

    assert (30.0, 1_000_000_000.0) == (refused.value.wait_seconds, refused.value.date)


def test_a_refusal_may_be_packed_or_broken() -> None:
    """Then the status is what there is to say."""
    packed = {"Content-Encoding": "gzip"}
    assert "answered 503 Service Unavailable: why" == refusal(503, gzip.compress(b"why"), packed)
    assert "answered 503 Service Unavailable" == refusal(503, b"no gzip", packed)


@contextmanager
def dripping(begun: bytes, again: bytes) -> Iterator[str]:
    """A server that says something every 20 ms and never comes to an end."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        stop = threading.Event()

        def drip() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(begun)
                while not stop.wait(0.02):
                    try:
                        connection.sendall(again)
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    ("begun", "again"),
    [
        (b"HTTP/1.1 2", b"0"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
        (b"HTTP/1.1 200 OK\r\n", b"X: x\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
    ],
    ids=["status", "header", "headers", "chunk", "body"],
)
def test_a_server_that_drips_is_given_up_wherever_it_is(begun: bytes, again: bytes) -> None:
    """Each byte comes in time, the whole never does."""
    began = time.monotonic()
    with dripping(begun, again) as url, pytest.raises(TooMuch, match="answered too slowly"):
        Client(ServerSettings(timeout_seconds=0.2)).get(url)

    assert time.monotonic() - began < 1.5


def test_a_server_that_says_nothing_is_given_up() -> None:
    """It took the question and does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(TooMuch, match="timed out"):
        Client(ServerSettings(timeout_seconds=0.1)).get(f"http://127.0.0.1:{silent.getsockname()[1]}")


@pytest.mark.parametrize(
    "body", [b"[" + b"[]," * 30 + b"[]]", b"[" * 61 + b"]" * 61, b"{" + b'"a":1,' * 60 + b"}"]
)
def test_an_answer_of_very_many_small_values_is_too_much(body: bytes) -> None:
    """Two bytes of it are a hundred in memory."""
    few = Client(ServerSettings(timeout_seconds=2.0), most_values=60)
    with server(lambda _: (200, {}, body)) as url, pytest.raises(TooMuch, match="answered more than 60 values"):
        few.get(url)

    with server(lambda _: (200, {}, b"[" + b"1," * 58 + b"1]")) as url:
        assert few.get(url).body


@pytest.mark.parametrize("more", [b"x", gzip.compress(b"{}")], ids=["waste", "another"])
def test_what_comes_after_the_end_of_a_packed_answer_makes_it_none(more: bytes) -> None:
    """It would be left out, or kept without end."""
    packed = {"Content-Encoding": "gzip"}
    with (
        server(lambda _: (200, packed, gzip.compress(b"{}") + more)) as url,
        pytest.raises(Unavailable, match="its answer goes on after its end"),
    ):
        client().get(url)


@pytest.mark.parametrize(
    ("written", "why"),
    [
        (b"very\nsecret", "has more than one line in it"),
        (b" \n", "is empty"),
        (b"secret\xff", "is not UTF-8"),
        ("secret€".encode(), "has more than ASCII in it"),
    ],
    ids=["lines", "empty", "bytes", "euro"],
)
def test_a_token_that_cannot_be_shown_is_not_in_the_log_either(written: bytes, why: str, tmp_path: Path) -> None:
    """The library that refuses it would say what it refuses."""
    token = tmp_path / "token"
    token.write_bytes(written)
    with server(lambda _: (200, {}, b"{}")) as url, pytest.raises(Unavailable) as refused:
        client(token_file=token).get(url)

    assert f"token_file {token}: {why}" == str(refused.value)
    assert refused.value.__cause__ is None or "secret" not in str(refused.value.__cause__)


def test_a_server_that_is_not_there_is_no_refusal() -> None:
    """It may have the answer another time."""
    with pytest.raises(Unavailable, match="Connection refused") as unavailable:
        client().get("http://127.0.0.1:9")

    assert not isinstance(unavailable.value, Refused)


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"Authorization": "Bearer x"}, "must not set Authorization; a secret is named by token_file"),
        ({"cookie": "x"}, "must not set cookie"),
        ({"a b": "x"}, "'a b' has not"),
        ({"a": "x\r\ny: z"}, "'a' has not"),
        ({"": "x"}, "must have names"),
    ],
)
def test_a_header_that_cannot_be_sent_is_a_configuration_mistake(headers: dict[str, str], why: str) -> None:
    """Nor one that carries a secret in the configuration."""
    with pytest.raises(ValidationError, match=why):
        ServerSettings(headers=headers)
