"""HTTP/1.1 on one connection with limits in time: uvicorn's protocol, which has none for those who say nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from gpuwatch.web.connections import Door, Place, peer_uid
from gpuwatch.web.counters import Counters
from gpuwatch.web.security import Security
from gpuwatch.web.tls import sans_of

GOODBYE_SECONDS = 0.3
"""Over TLS an end takes a word from both sides; a peer that does not say it is not waited for."""

HELLO_SECONDS = 0.1
"""Whoever has just connected when the server ends has so long to ask."""

PIECE_BYTES = 2**18


class _InPieces:
    """A TLS transport that is written to in pieces.

    What is written at once is encrypted and handed on at once, and asyncio then knows of nothing that waits: only
    of a later piece does it say that the peer does not take it.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def write(self, data: bytes) -> None:
        """Write all of it."""
        for start in range(0, len(data), PIECE_BYTES):
            self._transport.write(data[start : start + PIECE_BYTES])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class TimedProtocol(H11Protocol):
    """Cuts the connection where a request does not come to its end, or an answer is not read."""

    def __init__(self, place: Place, door: Door, security: Security, **more: Any) -> None:
        super().__init__(**more)
        self._place = place
        self._door = door
        self._limits = door.limits
        self._security = security
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._leaving = False

    @property
    def _counters(self) -> Counters:
        return self._security.counters

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request; a client certificate that is not allowed ends it here."""
        super().connection_made(transport)
        if transport.get_extra_info("ssl_object") is not None:
            self.transport = _InPieces(transport)  # type: ignore[assignment]
        self._place.transport = transport
        connected = transport.get_extra_info("socket")
        uid = peer_uid(connected) if connected is not None else None
        if uid is not None:
            self.app_state = {**self.app_state, "peer_uid": uid}
        # So that `pause_writing` says that there is anything that the peer has not taken; 0 never ends over TLS.
        transport.set_write_buffer_limits(high=1, low=0)
        if self._place.gone:
            transport.abort()
        elif not self._certificate_is_allowed():
            self._counters.cut("client_certificate")
            transport.abort()
        else:
            self._deadline = self.loop.call_at(self._place.since + self._limits.request_seconds, self._late)

    def _certificate_is_allowed(self) -> bool:
        settings = None if "peer_uid" in self.app_state else self._security.now.config.tls
        if settings is None or not settings.client_allowed_sans:
            return True
        return not settings.client_allowed_sans.isdisjoint(sans_of(self.transport.get_extra_info("peercert")))

    def connection_lost(self, exc: Exception | None) -> None:
        """Free the place."""
        self._door.leave(self._place)
        self._clear_deadline()
        self._taken()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Part of a request, or all of it."""
        # In pieces, since a header is measured only while it is incomplete.
        for start in range(0, len(data), self._limits.header_bytes):
            if self.transport.is_closing():
                return
            super().data_received(data[start : start + self._limits.header_bytes])
        self._rearm()

    def send_400_response(self, msg: str) -> None:
        """What came is no request."""
        self._counters.refused("malformed")
        super().send_400_response(msg)
        self._watch_reader()

    def on_response_complete(self) -> None:
        """The answer is written; its peer's turn again."""
        self._place.served = True
        self._place.since = self.loop.time()
        super().on_response_complete()
        if self.transport.is_closing():
            self._watch_reader()
        self._rearm()

    def timeout_keep_alive_handler(self) -> None:
        """No further request: close, and do not wait for long for a peer that does not take what is left."""
        super().timeout_keep_alive_handler()
        self._watch_reader()

    def shutdown(self) -> None:
        """The server ends: close what is idle, whether or not its peer agrees.

        The request of one that has just connected is under way, and answered where it comes within a moment.
        """
        if self.cycle is None and not self._leaving:
            self._leaving = True
            self.loop.call_later(HELLO_SECONDS, self.shutdown)
            return
        super().shutdown()
        if self.transport.is_closing():
            self.loop.call_later(GOODBYE_SECONDS, self.transport.abort)

    def pause_writing(self) -> None:
        """There is something that the peer has not taken."""
        super().pause_writing()
        self._watch_reader()
        self._door.unread(self._place)

    def resume_writing(self) -> None:
        """It has taken everything."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._taken()

    def _rearm(self) -> None:
        """Run the clock while a request is incomplete, and at no other time."""
        cycle = self.cycle
        whole = cycle is not None and not cycle.more_body and not cycle.response_complete
        self._place.waiting = not whole
        if whole or (self._place.served and self._between_requests()):
            self._clear_deadline()
        elif self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(self._limits.request_seconds, self._late)

    def _between_requests(self) -> bool:
        return self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]

    def _late(self) -> None:
        self._deadline = None
        self._counters.cut("header_timeout")
        self.transport.abort()

    def _watch_reader(self) -> None:
        if self._unread is None:
            self._unread = self.loop.call_later(self._limits.answer_seconds, self._not_taken)

    def _not_taken(self) -> None:
        self._unread = None
        self._counters.cut("answer_timeout")
        self.transport.abort()

    def _taken(self) -> None:
        self._place.unread = False
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
