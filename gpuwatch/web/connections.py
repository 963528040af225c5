"""Who may be connected: 64 at once, and a silent crowd does not keep the honest scraper out.

A new connection is never kept waiting for an old one to time out. Where all places are taken, one of those that
wait for their peer (TLS handshake, rest of a request, next request, answer that is not read) makes room:

1. of the network that holds most of them, where it holds more than its fair share, so that one host cannot crowd
   out another, however fast it comes back;
2. of these, one that never got a whole request answered before one that did, so that kept-alive scrapers stay;
3. of these, the one that has waited longest, so that a newcomer has time to speak: 63 more must come before its
   turn.

A request that is being answered is never cut. Where all 64 are, the new connection is turned away. Few connections
are accepted between two looks at those that speak, so that a burst of new ones does not run over an honest one.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv6Address, ip_address

from gpuwatch.web.counters import Counters
from gpuwatch.web.limits import Limits

log = logging.getLogger("gpuwatch.web")

FAIR_SHARE = 8
ACCEPTED_AT_ONCE = 8
BACKLOG = 512
_CREDENTIALS = struct.Struct("iII")
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


@dataclass(eq=False, slots=True)
class Place:
    """One connection. `waiting`: it is its peer's turn; `since`: from when; `served`: it was answered before."""

    network: str
    since: float
    waiting: bool = True
    served: bool = False
    unread: bool = False
    gone: bool = False
    transport: asyncio.Transport | None = None
    task: asyncio.Task[None] | None = None

    def cut(self) -> None:
        """End it now, whatever it is doing."""
        self.gone = True
        if self.transport is not None:
            self.transport.abort()
        elif self.task is not None:
            self.task.cancel()


def network_of(host: str) -> str:
    """What counts as one peer over TCP: an IPv4 address, the /64 of an IPv6 address."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or IPv6Address(int(address) >> 64 << 64))
    return str(address)


def peer_uid(connected: socket.socket) -> int | None:
    """The user id at the other end of a unix socket, by the kernel; None for other sockets."""
    if connected.family != socket.AF_UNIX:
        return None
    credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    uid: int = _CREDENTIALS.unpack(credentials)[1]
    return uid


def to_evict(places: Collection[Place]) -> Place | None:
    """Which connection makes room for a new one; None where none may be cut."""
    held = Counter(place.network for place in places)
    return min(
        (place for place in places if place.waiting or place.unread),
        key=lambda place: (-max(held[place.network], FAIR_SHARE), place.served, place.since),
        default=None,
    )


class Door:
    """Accepts connections at a listening socket, gives each a place and a protocol. Lives in the server's loop."""

    def __init__(
        self,
        listening: socket.socket,
        protocol: Callable[[Place], asyncio.Protocol],
        context: Callable[[], ssl.SSLContext | None],
        counters: Counters,
        limits: Limits,
        retry_seconds: float = 1.0,
    ) -> None:
        self._listening = listening
        self._protocol = protocol
        self._context = context
        self._counters = counters
        self.limits = limits
        self._retry_seconds = retry_seconds
        self._loop = asyncio.get_running_loop()
        self.places: set[Place] = set()
        counters.connections = self.places.__len__

    def open(self) -> None:
        """Begin to accept."""
        self._listening.setblocking(False)
        self._listening.listen(BACKLOG)
        self._resume()

    def close(self) -> None:
        """Accept who has come, and no more: whoever waits at a socket that is closed is refused."""
        self._loop.remove_reader(self._listening)
        self._accept()
        self._listening.close()

    def end(self) -> None:
        """End what has not become a connection yet."""
        for place in [place for place in self.places if place.transport is None]:
            place.cut()

    def leave(self, place: Place) -> None:
        """The connection has ended."""
        place.transport = None
        self.places.discard(place)

    def unread(self, place: Place) -> None:
        """Its peer does not read its answer; too many of these are too much memory."""
        place.unread, place.since = True, self._loop.time()
        unread = [each for each in self.places if each.unread]
        if len(unread) > self.limits.unread:
            self._evict(min(unread, key=lambda each: each.since))

    def _resume(self) -> None:
        if self._listening.fileno() >= 0:
            self._loop.add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                accepted, address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as exc:
                if exc.errno not in _NO_DESCRIPTORS:
                    raise
                log.error("no connection can be accepted reason=%s", exc.strerror)
                self._loop.remove_reader(self._listening)
                self._loop.call_later(self._retry_seconds, self._resume)
                return
            uid = peer_uid(accepted)
            self._take(accepted, network_of(str(address[0])) if uid is None else f"uid:{uid}")

    def _take(self, accepted: socket.socket, network: str) -> None:
        if len(self.places) >= self.limits.connections:
            crowded = to_evict(self.places)
            if crowded is None:
                self._counters.cut("too_many")
                accepted.close()
                return
            self._evict(crowded)
        place = Place(network, self._loop.time())
        self.places.add(place)
        place.task = self._loop.create_task(self._connect(place, accepted))
        place.task.add_done_callback(partial(self._connected, place, accepted))

    def _evict(self, place: Place) -> None:
        self._counters.cut("evicted")
        self.places.discard(place)
        place.cut()

    async def _connect(self, place: Place, accepted: socket.socket) -> None:
        context = self._context()
        accepted.setblocking(False)
        try:
            await self._loop.connect_accepted_socket(
                lambda: self._protocol(place),
                accepted,
                ssl=context,
                ssl_handshake_timeout=self.limits.handshake_seconds if context else None,
                ssl_shutdown_timeout=self.limits.answer_seconds if context else None,
            )
        except ConnectionAbortedError:
            self._failed(place, "handshake_timeout")
        except ssl.SSLError:
            self._failed(place, "handshake_failed")
        except OSError:
            self.leave(place)  # the peer has gone

    def _connected(self, place: Place, accepted: socket.socket, task: asyncio.Task[None]) -> None:
        # Neither a quarter megabyte of TLS buffers nor a socket shall wait for the garbage collector.
        place.task = None
        if task.cancelled():
            accepted.close()

    def _failed(self, place: Place, reason: str) -> None:
        if place in self.places:
            self._counters.cut(reason)
        self.leave(place)
