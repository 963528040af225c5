"""One HTTP server in a thread of its own, for both daemons: Starlette's application behind uvicorn.

Who may be connected is decided in connections.py, how long a request may take in protocol.py, and what a
web-config file asks for in security.py and authentication.py. This file and protocol.py alone know of uvicorn.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import uvicorn
from starlette.concurrency import run_in_threadpool

from gpuwatch.errors import ConfigurationError, Unavailable
from gpuwatch.web.connections import Door, Place
from gpuwatch.web.limits import Limits
from gpuwatch.web.protocol import TimedProtocol
from gpuwatch.web.security import Security
from gpuwatch.web.unix_socket import UnixSocket

STOP_SECONDS = 1

_ADVICE = {
    errno.EADDRINUSE: "address in use; stop the other process or set another listen address",
    errno.EACCES: "permission denied; ports below 1024 need a privilege",
    errno.EADDRNOTAVAIL: "this machine has no such address; ':PORT' listens on all it has",
}


class _Server(uvicorn.Server):
    """uvicorn with our door, looking once a second where it looks ten times: a third of the agent's budget."""

    def __init__(self, config: uvicorn.Config, security: Security, limits: Limits) -> None:
        super().__init__(config)
        self._security = security
        self._limits = limits
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leaving = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._doors: list[Door] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open a door at each socket that was bound."""
        await self.lifespan.startup()
        self.servers = []
        counters = self._security.counters
        for listening in sockets or ():
            context = _no_context if listening.family == socket.AF_UNIX else self._context
            self._doors.append(self._door(listening, context))
        counters.connections = lambda: sum(len(door.places) for door in self._doors)
        self.started = True

    def _door(self, listening: socket.socket, context: Callable[[], ssl.SSLContext | None]) -> Door:
        def protocol(place: Place) -> TimedProtocol:
            return TimedProtocol(
                place,
                door,
                self._security,
                config=self.config,
                server_state=self.server_state,
                app_state=self.lifespan.state,
            )

        door = Door(listening, protocol, context, self._security.counters, self._limits)
        door.open()
        return door

    def _context(self) -> ssl.SSLContext | None:
        loaded = self._security.now.tls
        return loaded.context if loaded else None

    async def main_loop(self) -> None:
        """Once a second: the date for the answers, and whether the web-config file changed."""
        self._loop = asyncio.get_running_loop()
        await run_in_threadpool(int)  # loads what the first scrape would else wait for
        while not await self.on_tick(0):
            self._look()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), timeout=1.0)

    def _look(self) -> None:
        # In a thread, and not waited for: a file system that hangs holds up nobody.
        if self._security.watched and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(run_in_threadpool(self._security.look))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """First accept no more, then let what was just accepted become a connection that can be closed."""
        for door in self._doors:
            door.close()
        for _ in range(3):
            await asyncio.sleep(0)
        for door in self._doors:
            door.end()
        await super().shutdown(sockets)

    def leave(self) -> None:
        """End soon; may be called in any thread."""
        self.should_exit = True
        with suppress(RuntimeError):  # the loop has ended already
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._leaving.set)


@dataclass(frozen=True, slots=True)
class Lent:
    """A listening socket that goes from one server of this process to the next."""

    listen: str
    listening: socket.socket


class WebServer:
    """Serves an ASGI application at `listen`: "host:port", "[::1]:port", or ":port" for every address.

    Where there is a `unix_socket`, it is served there as well, to everybody on this machine and without TLS;
    `scope["state"]["peer_uid"]` is whose process is at the other end.
    """

    def __init__(
        self,
        app: Any,
        listen: str,
        security: Security | None = None,
        limits: Limits | None = None,
        unix_socket: Path | None = None,
    ) -> None:
        self._app = app
        self._limits = limits or Limits()
        self._security = security or Security()
        self._listen = listen
        self._host, self._port = parse_listen(listen)
        self._unix = UnixSocket(unix_socket) if unix_socket is not None else None
        self._bound: list[socket.socket] = []
        self._server: _Server | None = None
        self._thread: Thread | None = None

    @property
    def url(self) -> str:
        """Where a browser on this machine reaches it; the real port where 0 was asked for."""
        host = self._host or "127.0.0.1"
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        scheme = "https" if self._security.now.tls else "http"
        return f"{scheme}://[{host}]:{self._port}" if ":" in host else f"{scheme}://{host}:{self._port}"

    def start(self, lent: Lent | None = None) -> None:
        """Bind, then serve in the background; raises `Unavailable` where the address cannot be had.

        What another server of this process `lent` is served where it is at the same address, and stays open.
        """
        bound = [self._bind(lent)]
        self._port = bound[0].getsockname()[1]
        if self._unix is not None:
            try:
                bound.append(self._unix.bind())
            except BaseException:
                bound[0].close()
                raise
        self._bound = bound
        self._server = _Server(_configuration(self._app, self._limits), self._security, self._limits)
        self._thread = Thread(target=_serve, args=(self._server, bound), name="web", daemon=True)
        self._thread.start()

    def lend(self) -> Lent:
        """What this one listens at, for another to serve: whoever connects meanwhile waits and is not refused."""
        return Lent(self._listen, self._bound[0].dup())

    def stop(self) -> None:
        """Let answers under way end for a second, then close everything; may be called at any time."""
        if self._server is None or self._thread is None:
            return
        self._server.leave()
        self._thread.join(STOP_SECONDS + 1.0)
        if self._unix is not None:
            self._unix.remove()

    def _bind(self, lent: Lent | None) -> socket.socket:
        if lent is not None and lent.listen == self._listen:
            return lent.listening.dup()
        try:
            bound = _listening(self._host, self._port, lent.listening if lent else None)
        except OSError as exc:
            why = _ADVICE.get(exc.errno or 0, str(exc.strerror or exc).lower())
            raise Unavailable(f"web: cannot listen on {self._listen!r}: {why}") from exc
        # asyncio sets this only on sockets made with IPPROTO_TCP; without it an answer waits 40 ms for an ACK.
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return bound


def _no_context() -> ssl.SSLContext | None:
    return None


def _serve(server: _Server, bound: Sequence[socket.socket]) -> None:
    asyncio.run(_serve_until_it_ends(server, bound))


async def _serve_until_it_ends(server: _Server, bound: Sequence[socket.socket]) -> None:
    await server.serve(sockets=[*bound])
    # Some versions of uvicorn leave them open where the end was asked for before the beginning.
    for each in bound:
        if each.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(each)
            each.close()
    # uvicorn leaves open the connections whose answers outlasted the time it gave them.
    for connection in list(server.server_state.connections):
        if connection.transport is not None:
            connection.transport.abort()
    await asyncio.sleep(0)


def parse_listen(listen: str) -> tuple[str, int]:
    """Host (empty for every address) and port of a listen address."""
    host, colon, port = listen.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    digits = port.isascii() and port.isdigit() and int(port[:6]) < 65_536
    if not colon or not digits or (":" in host and not bracketed):
        raise ConfigurationError(
            [f"web: listen: {listen!r} is no address; there is: ':9838', '127.0.0.1:9838', '[::1]:9838'"]
        )
    return host[1:-1] if bracketed else host, int(port)


def _listening(host: str, port: int, beside: socket.socket | None = None) -> socket.socket:
    """A socket that listens; `beside` is our own that may have the same port at another address."""
    if beside is not None:
        beside.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    shared = beside is not None
    if host in ("", "::") and socket.has_dualstack_ipv6():
        made = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, reuse_port=shared)
    else:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0] if host else socket.AF_INET
        made = socket.create_server((host, port), family=family, reuse_port=shared)
    # Nobody else may have it at the same time: two agents at one port would share the scrapes.
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)
    return made


def _configuration(app: Any, limits: Limits) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        log_level="error",  # what is no request is counted; a line for each is a way to fill a disk
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=limits.idle_seconds,
        timeout_graceful_shutdown=STOP_SECONDS,
        h11_max_incomplete_event_size=limits.header_bytes,
    )
