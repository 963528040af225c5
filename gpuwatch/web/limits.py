"""How much and how long a web server puts up with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits on connections; times in seconds."""

    connections: int = 64
    """So many at once."""
    unread: int = 8
    """So many answers may wait in memory for a peer that does not read."""
    handshake_seconds: float = 5.0
    """A TLS handshake is done so long after the connection was accepted."""
    request_seconds: float = 10.0
    """A request, header and body, is there so long after the connection was accepted or its first byte came."""
    idle_seconds: int = 75
    """A connection is kept for the next request so long: longer than scrapes are usually apart."""
    answer_seconds: float = 30.0
    """An answer is taken so long after it was written."""
    header_bytes: int = 16_384
    """A request's header is at most so long."""
