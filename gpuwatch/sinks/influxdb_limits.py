"""Limits of time and size for a whole answer: a socket's timeout is over with each byte that comes.

A server that drips, or never ends, holds nobody up for longer than the timeout, and takes no more memory than
this. What is too long was not received: nobody says that much of lines, however many are wrong.
"""

from __future__ import annotations

import io
import time
from contextlib import suppress
from functools import cache
from http.client import HTTPResponse
from typing import Any

MOST_ANSWER_BYTES = 8 * 2**20
"""InfluxDB repeats in its answer each line that is wrong, and no request is larger than half of it."""


def limit(pool_manager: Any) -> None:
    """Have answers to what goes through a `urllib3.PoolManager` end in time and size."""
    pool_manager.pool_classes_by_scheme = _pools()


@cache
def _pools() -> dict[str, type]:
    import urllib3

    known: tuple[Any, ...] = (urllib3.HTTPConnectionPool, urllib3.HTTPSConnectionPool)
    return {pool.scheme: type(pool.__name__, (pool,), {"ConnectionCls": _connection(pool)}) for pool in known}


def _connection(pool: Any) -> type:
    kind = pool.ConnectionCls
    return type(kind.__name__, (kind,), {"response_class": _Response})


class _Response(HTTPResponse):
    def __init__(self, sock: Any, *arguments: Any, **named: Any) -> None:
        super().__init__(sock, *arguments, **named)
        self.fp = io.BufferedReader(_Limited(sock, self.fp.detach()))


class _Limited(io.RawIOBase):
    """What comes from a socket, until its timeout is over, counted from the beginning, or there is too much."""

    def __init__(self, sock: Any, raw: Any) -> None:
        self._sock, self._raw = sock, raw
        self._timeout = sock.gettimeout()
        self._until = None if self._timeout is None else time.monotonic() + self._timeout
        self._left = MOST_ANSWER_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Any:
        if self._until is not None:
            seconds = self._until - time.monotonic()
            if seconds <= 0.0:
                raise TimeoutError("timed out")
            self._sock.settimeout(seconds)
        count = self._raw.readinto(buffer)
        self._left -= count or 0
        if self._left < 0:
            raise OSError(0, f"the answer is longer than {MOST_ANSWER_BYTES} bytes")
        return count

    def close(self) -> None:
        if not self.closed:
            # The connection may be used again.
            with suppress(OSError):
                self._sock.settimeout(self._timeout)
            self._raw.close()
        super().close()
