"""What the server puts up with: silence, slowness and crowds, on real sockets with short limits."""

from __future__ import annotations

import contextlib
import http.client
import logging
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event, active_count

import httpx
import pytest

from gpuwatch.web.limits import Limits
from gpuwatch.web.security import Security
from gpuwatch.web.usage_api import usage_routes
from tests.web.authority import PAGE, Authority, config, port_of, serving

pytestmark = pytest.mark.integration

SHORT = Limits(handshake_seconds=0.3, request_seconds=0.5, idle_seconds=1, answer_seconds=0.5)
LONG = Limits(handshake_seconds=60, request_seconds=60, idle_seconds=60, answer_seconds=60)
HURRIED = replace(LONG, answer_seconds=0.5)
PATIENCE = 10.0
REQUEST = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def connect() -> Iterator[contextlib.ExitStack]:
    """Closes what a test opens."""
    with contextlib.ExitStack() as stack:
        yield stack


def peer(connect: contextlib.ExitStack, port: int, said: bytes = b"") -> socket.socket:
    """A connection that has said something."""
    opened = connect.enter_context(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE))
    with contextlib.suppress(OSError):
        opened.sendall(said)
    return opened


def is_cut(opened: socket.socket) -> bool:
    """Whether the server ends the connection, in the test's patience."""
    try:
        while opened.recv(65_536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def cuts(security: Security, reason: str) -> float:
    """How many connections were cut for a reason."""
    return security.counters.health().connections_cut[reason]


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET /metrics HT",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: ",
        b"POST /api/v1/ack HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{",
        b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{",
    ],
)
def test_a_request_that_does_not_end_is_cut(connect: contextlib.ExitStack, said: bytes) -> None:
    """Nothing, half a header, half a body, also where the answer came before its end."""
    security = Security()
    with serving(security, limits=SHORT) as server:
        opened = peer(connect, port_of(server), said)

        assert is_cut(opened)
        assert 1.0 == cuts(security, "header_timeout")


def test_a_request_that_trickles_in_is_cut(connect: contextlib.ExitStack) -> None:
    """Each byte in time does not make a request in time."""
    with serving(security := Security(), limits=SHORT) as server:
        opened = peer(connect, port_of(server), REQUEST[:-4])
        opened.settimeout(0.05)
        until = time.monotonic() + PATIENCE
        ended = False
        while not ended and time.monotonic() < until:
            with contextlib.suppress(TimeoutError):
                try:
                    opened.sendall(b"x")
                    ended = not opened.recv(1)
                except ConnectionError:
                    ended = True

        assert ended
        assert 1.0 == cuts(security, "header_timeout")


def test_the_second_request_has_its_time_too(connect: contextlib.ExitStack) -> None:
    """Counted from its first byte; that another one follows does not matter."""
    with serving(security := Security(), limits=SHORT) as server:
        opened = peer(connect, port_of(server), REQUEST)
        assert opened.recv(65_536)
        opened.sendall(REQUEST + b"GET /me")

        assert is_cut(opened)
        assert 1.0 == cuts(security, "header_timeout")


def test_an_idle_connection_is_closed_and_not_counted_as_cut(connect: contextlib.ExitStack) -> None:
    """It had what it wanted."""
    with serving(security := Security(), limits=SHORT) as server:
        opened = peer(connect, port_of(server), REQUEST)

        assert is_cut(opened)
        assert 0.0 == sum(security.counters.health().connections_cut.values())


def test_a_connection_that_speaks_in_time_is_kept() -> None:
    """Longer than a request may take."""
    with serving(Security(), limits=SHORT) as server:
        kept = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=PATIENCE)
        kept.connect()
        first = kept.sock
        for _ in range(6):
            kept.request("GET", "/metrics")
            assert kept.getresponse().read().startswith(PAGE)
            time.sleep(0.15)

        assert kept.sock is first
        kept.close()


@pytest.mark.parametrize("tls", [False, True])
def test_an_answer_that_is_not_read_is_cut(connect: contextlib.ExitStack, tmp_path: Path, tls: bool) -> None:
    """It does not lie in memory for ever, with TLS or without."""
    authority, page = Authority(), b"a" * 16_000_000
    authority.issue(tmp_path)
    security = Security(config(tmp_path) if tls else None)
    with serving(security, render=lambda: page, limits=HURRIED) as server:
        opened = peer(connect, port_of(server))
        if tls:
            opened = connect.enter_context(authority.context().wrap_socket(opened, server_hostname="127.0.0.1"))
        opened.sendall(REQUEST)
        until = time.monotonic() + PATIENCE
        while not cuts(security, "answer_timeout") and time.monotonic() < until:
            time.sleep(0.05)

        assert 1.0 == cuts(security, "answer_timeout")
        assert is_cut(opened)


@pytest.mark.parametrize("tls", [False, True])
def test_stopping_does_not_wait_for_idle_clients_and_says_nothing(
    tmp_path: Path, connect: contextlib.ExitStack, caplog: pytest.LogCaptureFixture, tls: bool
) -> None:
    """Also over TLS, where an end takes a word from both sides."""
    authority = Authority()
    authority.issue(tmp_path)
    with (
        serving(Security(config(tmp_path) if tls else None), limits=LONG) as server,
        httpx.Client(verify=authority.context()) as idle,
    ):
        idle.get(f"{server.url}/metrics")
        peer(connect, port_of(server))
        began = time.monotonic()
        server.stop()
        took = time.monotonic() - began

    assert took < 0.95
    assert not [record for record in caplog.records if record.name.startswith("uvicorn")]


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"])
def test_a_header_that_is_too_long_is_refused(
    connect: contextlib.ExitStack, caplog: pytest.LogCaptureFixture, end: bytes
) -> None:
    """400, with its end or without, counted and not logged: noise is no way to fill a disk."""
    with serving(security := Security(), limits=LONG) as server, caplog.at_level(logging.DEBUG):
        opened = peer(connect, port_of(server), b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + end)

        with contextlib.suppress(ConnectionError):  # what it did not read makes the kernel reset the connection
            assert opened.recv(12) in (b"HTTP/1.1 400", b"")
        until = time.monotonic() + PATIENCE
        while not security.counters.health().requests_refused["malformed"] and time.monotonic() < until:
            time.sleep(0.01)
        assert 1.0 == security.counters.health().requests_refused["malformed"]
        assert not [record for record in caplog.records if record.name.startswith(("uvicorn", "gpuwatch"))]


def test_a_silent_tls_client_is_cut(tmp_path: Path, connect: contextlib.ExitStack) -> None:
    """So is one that stops in the middle."""
    Authority().issue(tmp_path)
    with serving(security := Security(config(tmp_path)), limits=SHORT) as server:
        silent = peer(connect, port_of(server))
        half = peer(connect, port_of(server), b"\x16\x03\x01\x02\x00\x01")

        assert is_cut(silent)
        assert is_cut(half)
        until = time.monotonic() + PATIENCE
        while cuts(security, "handshake_timeout") < 2 and time.monotonic() < until:
            time.sleep(0.01)
        assert 2.0 == cuts(security, "handshake_timeout")


def test_the_65th_connection_gets_in_and_the_longest_silent_one_goes(connect: contextlib.ExitStack) -> None:
    """No waiting for a timeout; 64 stay."""
    with serving(security := Security(), limits=LONG) as server:
        silent = [peer(connect, port_of(server)) for _ in range(LONG.connections)]

        assert httpx.get(f"{server.url}/metrics").content.startswith(PAGE)
        assert is_cut(silent[0])
        assert 1.0 == cuts(security, "evicted")
        assert 64.0 >= security.counters.health().connections


def test_a_kept_alive_scraper_survives_any_number_of_silent_ones(connect: contextlib.ExitStack) -> None:
    """It was answered once, and they were not."""
    with serving(Security(), limits=LONG) as server, httpx.Client() as kept:
        kept.get(f"{server.url}/metrics")
        opened = kept._transport._pool.connections[0]  # type: ignore[attr-defined]
        for _ in range(3 * LONG.connections):
            peer(connect, port_of(server), b"GET")

        kept.get(f"{server.url}/metrics")

        assert opened is kept._transport._pool.connections[0]  # type: ignore[attr-defined]


def test_a_crowd_from_one_address_does_not_push_out_a_slow_request_from_another(
    connect: contextlib.ExitStack,
) -> None:
    """It finishes what it began before 300 others came."""
    with serving(Security(), limits=LONG) as server:
        slow = peer(connect, port_of(server), REQUEST[:20])
        for _ in range(300):
            address = ("127.0.0.1", port_of(server))
            connect.enter_context(socket.create_connection(address, PATIENCE, source_address=("127.0.0.2", 0)))
        slow.sendall(REQUEST[20:])

        assert slow.recv(12) == b"HTTP/1.1 200"


def test_where_every_connection_is_being_answered_the_next_is_turned_away(connect: contextlib.ExitStack) -> None:
    """At once, and counted; none that is being answered is cut."""
    release, rendering, limits = Event(), [], Limits(connections=4)

    def hanging() -> bytes:
        rendering.append(True)
        release.wait(PATIENCE)
        return PAGE

    with serving(security := Security(), render=hanging, limits=limits) as server:
        working = [peer(connect, port_of(server), REQUEST) for _ in range(4)]
        until = time.monotonic() + PATIENCE
        while len(rendering) < 4 and time.monotonic() < until:
            time.sleep(0.01)

        assert is_cut(peer(connect, port_of(server), REQUEST))
        assert 1.0 == cuts(security, "too_many")
        release.set()
        assert [b"HTTP/1.1 200"] * 4 == [opened.recv(12) for opened in working]


class Journal:
    """A usage API that answers when it is let."""

    def __init__(self) -> None:
        self.release = Event()

    def since(self, seq: int) -> dict[str, int]:
        self.release.wait(PATIENCE)
        return {"seq": seq}

    def acknowledge(self, seq: int) -> None:
        pass


def test_fault_33_fifty_scrapes_at_once_are_four_renderings_and_503_for_the_rest() -> None:
    """No queue, few threads; other routes answer meanwhile."""
    release, journal = Event(), Journal()

    def slow() -> bytes:
        release.wait(PATIENCE)
        return PAGE

    before = active_count()
    with (
        serving(security := Security(), render=slow, routes=usage_routes(journal)) as server,
        ThreadPoolExecutor(60) as pool,
    ):
        scrapes = [pool.submit(httpx.get, f"{server.url}/metrics", timeout=PATIENCE) for _ in range(50)]
        until = time.monotonic() + PATIENCE
        while sum(scrape.done() for scrape in scrapes) < 46 and time.monotonic() < until:
            time.sleep(0.01)
        busy = [scrape.result() for scrape in scrapes if scrape.done()]
        threads = active_count() - before - 60
        readings = [pool.submit(httpx.get, f"{server.url}/api/v1/usage", timeout=PATIENCE) for _ in range(10)]
        while sum(reading.done() for reading in readings) < 6 and time.monotonic() < until:
            time.sleep(0.01)
        refused = [reading.result() for reading in readings if reading.done()]
        healthy = httpx.get(f"{server.url}/-/healthy")
        release.set()
        journal.release.set()
        answered = [each.result().status_code for each in (*scrapes, *readings)]

    assert [503] * 46 == [answer.status_code for answer in busy]
    assert {"1"} == {answer.headers["retry-after"] for answer in (*busy, *refused)}
    assert [503] * 6 == [answer.status_code for answer in refused]
    assert (50 + 10 - 8, 8) == (answered.count(503), answered.count(200))
    assert 200 == healthy.status_code
    assert threads <= 10
    assert 52.0 == security.counters.health().requests_refused["busy"]


def test_fault_33_a_silent_tls_client_and_300_half_requests_do_not_keep_a_scraper_waiting(
    tmp_path: Path, connect: contextlib.ExitStack
) -> None:
    """All connected at once, all still there; 64 places; the scraper comes anew each time."""
    authority = Authority()
    authority.issue(tmp_path)
    context = authority.context()
    with serving(security := Security(config(tmp_path)), limits=LONG) as server:
        peer(connect, port_of(server))
        for _ in range(300):
            peer(connect, port_of(server), b"\x16\x03\x01\x02\x00\x01")
        took = []
        for _ in range(20):
            began = time.perf_counter()
            assert 200 == httpx.get(f"{server.url}/metrics", verify=context, timeout=PATIENCE).status_code
            took.append(time.perf_counter() - began)

        assert max(took) < 5.0
        assert 64.0 >= security.counters.health().connections
        assert 237.0 <= cuts(security, "evicted")
