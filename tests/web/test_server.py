"""The server on real sockets."""

from __future__ import annotations

import contextlib
import gc
import http.client
import logging
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from threading import Event, active_count

import httpx
import pytest

from gpuwatch.errors import ConfigurationError, Unavailable
from gpuwatch.web.exposition import base_app
from gpuwatch.web.server import WebServer, parse_listen

pytestmark = pytest.mark.integration

PAGE = b"a 1\n"


@contextlib.contextmanager
def serving(listen: str = "127.0.0.1:0", render: Callable[[], bytes] = lambda: PAGE) -> Iterator[WebServer]:
    """A server for as long as the block lasts."""
    server = WebServer(base_app("test", render, lambda: True, lambda: True, []), listen)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def server() -> Iterator[WebServer]:
    """One server for all tests that only ask."""
    with serving() as started:
        yield started


def port_of(server: WebServer) -> int:
    return int(server.url.rpartition(":")[2])


def test_port_0_is_a_free_port_and_the_address_names_it(server: WebServer) -> None:
    """Whoever started it can print where to look."""
    assert server.url.startswith("http://127.0.0.1:")
    assert port_of(server) > 0
    assert httpx.get(server.url + "/metrics").content == PAGE


def test_the_server_does_not_say_what_it_is_made_of(server: WebServer) -> None:
    """No header names a version to attack."""
    headers = httpx.get(server.url + "/metrics").headers

    assert "server" not in headers
    assert "date" in headers


def test_head_has_the_length_and_no_body(server: WebServer) -> None:
    """On the wire, too."""
    answer = httpx.head(server.url + "/metrics", headers={"accept-encoding": "identity"})

    assert answer.content == b""
    assert answer.headers["content-length"] == str(len(PAGE))


def test_a_connection_is_kept_for_the_next_scrape_and_answers_without_delay(server: WebServer) -> None:
    """An answer in two packets must not wait for an acknowledgement (40 ms)."""
    connection = http.client.HTTPConnection("127.0.0.1", port_of(server))
    taken = []
    for _ in range(10):
        began = time.perf_counter()
        connection.request("GET", "/metrics")
        assert connection.getresponse().read() == PAGE
        taken.append(time.perf_counter() - began)
    connection.close()

    assert statistics.median(taken) < 0.03


def test_requests_that_are_not_http_hurt_nobody(server: WebServer, caplog: pytest.LogCaptureFixture) -> None:
    """Noise, an endless header and a connection that says nothing; the next scrape is served."""
    with caplog.at_level(logging.CRITICAL), contextlib.ExitStack() as stack:
        for noise in (b"\x16\x03\x01\x00\xff\r\n\r\n", b"GET / HTTP/1.1\r\nx: " + b"a" * 100_000, b""):
            peer = stack.enter_context(socket.create_connection(("127.0.0.1", port_of(server))))
            with contextlib.suppress(ConnectionError):
                peer.sendall(noise)

        assert httpx.get(server.url + "/metrics").content == PAGE


def test_a_taken_address_is_said_with_the_address() -> None:
    """Before anything else of the daemon starts."""
    with serving() as first, pytest.raises(Unavailable) as raised:
        WebServer(None, f"127.0.0.1:{port_of(first)}").start()

    assert str(raised.value) == (
        f"web: cannot listen on '127.0.0.1:{port_of(first)}': address in use; "
        "stop the other process or set another listen address"
    )


@pytest.mark.parametrize(
    ("listen", "why"),
    [("192.0.2.1:0", "no such address"), ("no-such-host.invalid:0", "no address associated|not known|resolution")],
)
def test_an_address_that_is_not_ours_is_unavailable(listen: str, why: str) -> None:
    """The message shows what was asked for."""
    with pytest.raises(Unavailable, match=why) as raised:
        WebServer(None, listen).start()

    assert repr(listen) in str(raised.value)


def test_every_address_means_both_families() -> None:
    """:PORT is reached by IPv4, and by IPv6 where the machine has it."""
    with serving(":0") as server:
        assert httpx.get(f"http://127.0.0.1:{port_of(server)}/metrics").content == PAGE
        if socket.has_dualstack_ipv6():
            assert httpx.get(f"http://[::1]:{port_of(server)}/metrics").content == PAGE
        assert server.url == f"http://127.0.0.1:{port_of(server)}"


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_an_ipv6_address_is_served_and_named_in_brackets() -> None:
    """[::1]:0 is the loopback of IPv6 alone."""
    with serving("[::1]:0") as server:
        assert server.url == f"http://[::1]:{port_of(server)}"
        assert httpx.get(server.url + "/metrics").content == PAGE


def test_stopping_closes_the_port_and_leaves_no_thread() -> None:
    """An idle connection does not hold it up, and stopping twice is stopping once."""
    threads = active_count()
    with serving() as server, socket.create_connection(("127.0.0.1", port_of(server))):
        began = time.monotonic()
        server.stop()
        took = time.monotonic() - began
        server.stop()

        with pytest.raises(ConnectionError):
            socket.create_connection(("127.0.0.1", port_of(server)), timeout=1).close()

    assert took < 2.0
    assert active_count() <= threads + 1


def test_the_port_can_be_had_again_at_once() -> None:
    """A daemon that is restarted does not wait for old connections."""
    with serving() as first:
        listen = f"127.0.0.1:{port_of(first)}"
        httpx.get(first.url + "/metrics")

    with serving(listen) as second:
        assert httpx.get(second.url + "/metrics").content == PAGE


def test_stopping_before_starting_does_nothing() -> None:
    """A daemon that fails early stops everything it made."""
    WebServer(None, "127.0.0.1:0").stop()


def test_stopping_right_after_starting_ends_it() -> None:
    """Even where the thread has not begun to serve."""
    for _ in range(3):
        server = WebServer(None, "127.0.0.1:0")
        server.start()
        server.stop()

        with pytest.raises(ConnectionError):
            socket.create_connection(("127.0.0.1", port_of(server)), timeout=1).close()


def test_a_rendering_that_hangs_holds_up_neither_the_others_nor_the_end() -> None:
    """Health is answered meanwhile, and stopping takes its two seconds at most."""
    release = Event()

    def hanging() -> bytes:
        release.wait(10)
        return PAGE

    with serving(render=hanging) as server:
        peer = socket.create_connection(("127.0.0.1", port_of(server)))
        peer.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert httpx.get(server.url + "/-/healthy").status_code == 200
        began = time.monotonic()
        server.stop()
        took = time.monotonic() - began
        release.set()
        peer.close()

    assert took < 2.5


def test_a_peer_that_has_just_connected_when_the_server_ends_is_answered() -> None:
    """Its request is under way, and no other server will have it; a peer that says nothing is cut."""
    with (
        serving() as server,
        socket.create_connection(("127.0.0.1", port_of(server)), timeout=5) as late,
        socket.create_connection(("127.0.0.1", port_of(server)), timeout=5) as silent,
    ):
        time.sleep(0.2)
        server._server.leave()
        time.sleep(0.03)
        late.sendall(b"GET /-/healthy HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n")
        answer, rest = late.recv(4096), silent.recv(4096)

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert rest == b""


def test_peers_that_wait_to_be_accepted_when_the_server_ends_are_answered() -> None:
    """Nobody else accepts at a socket that is closed: the kernel would refuse them."""
    with serving() as server, contextlib.ExitStack() as peers:
        httpx.get(f"{server.url}/-/healthy")
        loop = server._server._loop
        loop.call_soon_threadsafe(time.sleep, 0.2)
        time.sleep(0.05)
        waiting = [
            peers.enter_context(socket.create_connection(("127.0.0.1", port_of(server)), timeout=5))
            for _ in range(5)
        ]
        loop.call_soon_threadsafe(server._server.leave)
        for peer in waiting:
            peer.sendall(b"GET /-/healthy HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n")
        answers = [peer.recv(4096) for peer in waiting]

    assert [b"HTTP/1.1 200 OK"] * 5 == [answer[:15] for answer in answers]


def test_a_connection_that_comes_while_the_server_ends_is_closed() -> None:
    """Accepted or not, none is left behind for the garbage collector to complain about."""
    for _ in range(50):
        with serving(":0") as server, socket.create_connection(("127.0.0.1", port_of(server))) as peer:
            peer.sendall(b"GET /met")
            server.stop()

    gc.collect()


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        (":9838", ("", 9838)),
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("localhost:65535", ("localhost", 65535)),
        ("[::1]:9838", ("::1", 9838)),
        ("[::]:9838", ("::", 9838)),
    ],
)
def test_a_listen_address_is_host_and_port(listen: str, expected: tuple[str, int]) -> None:
    """As in Prometheus' own flags."""
    assert parse_listen(listen) == expected


@pytest.mark.parametrize(
    "listen",
    ["", "9838", ":", ":http", ":65536", ":-1", "::1:9838", "http://x:1", ":٣", ":9" * 40, "a:99999999999"],
)
def test_what_is_no_listen_address_is_a_mistake_in_the_configuration(listen: str) -> None:
    """It is found at start and shows what there is."""
    with pytest.raises(ConfigurationError, match="there is: ':9838'"):
        parse_listen(listen)
