"""The unix socket of the API: for everybody on the machine, and the kernel says who it is."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gpuwatch.errors import Locked, Unavailable
from gpuwatch.web.identity import caller_of
from gpuwatch.web.security import Security
from gpuwatch.web.server import WebServer
from gpuwatch.web.unix_socket import UnixSocket


async def who(request: Request) -> Response:
    """What the server knows of the caller."""
    caller = caller_of(request)
    return JSONResponse([caller.peer_uid, caller.target, caller.address])


def asked(server_path: Path) -> httpx.Client:
    return httpx.Client(transport=httpx.HTTPTransport(uds=str(server_path)), base_url="http://gpuwatch")


def test_a_server_at_both_knows_who_is_at_the_socket(tmp_path: Path) -> None:
    """Over TCP nobody has a user id, whatever he says; connections are counted together, and the file goes."""
    path, security = tmp_path / "run" / "api.sock", Security()
    app = Starlette(routes=[Route("/who", who)])
    server = WebServer(app, "127.0.0.1:0", security, unix_socket=path)
    server.start()
    try:
        with asked(path) as at_socket, httpx.Client(base_url=server.url) as over_tcp:
            told = at_socket.get("/who?a=%62").json(), over_tcp.get("/who", headers={"peer-uid": "0"}).json()
            again = at_socket.get("/who").json()
            connections, mode = security.counters.connections(), path.stat().st_mode
    finally:
        server.stop()

    assert ([os.getuid(), "/who?a=%62", ""], [None, "/who", "127.0.0.1"]) == told
    assert [os.getuid(), "/who", ""] == again
    assert (2, 0o666, 0o755) == (connections, stat.S_IMODE(mode), stat.S_IMODE(path.parent.stat().st_mode))
    assert not path.exists()


def test_a_socket_that_is_served_is_left_alone(tmp_path: Path) -> None:
    """A dead one is replaced, anything else at the path is not."""
    path = tmp_path / "api.sock"
    first = UnixSocket(path)
    bound = first.bind()
    bound.listen()
    with pytest.raises(Locked):
        UnixSocket(path).bind()
    bound.close()
    second = UnixSocket(path)
    second.bind().close()
    first.remove()  # it is not the first one's any more
    assert path.is_socket()
    second.remove()
    path.write_text("precious")
    with pytest.raises(Unavailable, match="no socket"):
        UnixSocket(path).bind()

    assert "precious" == path.read_text()


def test_a_path_that_cannot_be_had_is_said(tmp_path: Path) -> None:
    """And nothing keeps listening."""
    (tmp_path / "file").write_text("")
    server = WebServer(Starlette(), "127.0.0.1:0", unix_socket=tmp_path / "file" / "api.sock")

    with pytest.raises(Unavailable, match=r"give another path with accounting\.socket"):
        server.start()
    port = int(server.url.rpartition(":")[2])
    with socket.socket() as probe:
        assert 0 != probe.connect_ex(("127.0.0.1", port))


def test_who_connects_before_it_is_served_waits(tmp_path: Path) -> None:
    """From the moment that the file is there nobody is refused, nor takes it for one that was left behind."""
    path = tmp_path / "api.sock"

    with UnixSocket(path).bind(), socket.socket(socket.AF_UNIX) as early:
        assert 0 == early.connect_ex(str(path))
        with pytest.raises(Locked):
            UnixSocket(path).bind()
