"""Connections on which all of an answer, from its first header to its last byte, must come in one time.

A timeout of a socket begins anew with each byte: a server that sends one now and then would never be given up.
"""

from __future__ import annotations

import io
import ssl
import time
from functools import partial
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from socket import socket
from typing import Any
from urllib.request import HTTPHandler, HTTPSHandler, Request


class _Reading(io.RawIOBase):
    """What comes in on a socket until `deadline` (monotonic)."""

    def __init__(self, sock: socket, deadline: float) -> None:
        self._sock = sock
        # It keeps the socket open for as long as it is read.
        self._raw = sock.makefile("rb", buffering=0)
        self._deadline = deadline
        self._slow = "timed out"

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(self._slow)
        self._sock.settimeout(left)
        try:
            count = self._raw.readinto(buffer)
        except TimeoutError as exc:
            raise TimeoutError(self._slow) from exc
        self._slow = "answered too slowly"
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(HTTPResponse):
    """An answer that is read until `deadline`."""

    def __init__(self, deadline: float, sock: socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp.close()
        self.fp = io.BufferedReader(_Reading(sock, deadline))


class _Connection(HTTPConnection):
    """A connection for one question, to be answered within its timeout."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        answered_by = time.monotonic() + float(self.timeout or 0.0)
        self.response_class = partial(_Response, answered_by)  # type: ignore[assignment]


class _SecureConnection(_Connection, HTTPSConnection):
    """The same over TLS."""


class PlainInTime(HTTPHandler):
    """Opens `http://`."""

    def http_open(self, req: Request) -> HTTPResponse:
        """The answer to a request."""
        return self.do_open(_Connection, req)


class SecureInTime(HTTPSHandler):
    """Opens `https://`."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(context=context)
        self._trusted = context

    def https_open(self, req: Request) -> HTTPResponse:
        """The answer to a request."""
        return self.do_open(_SecureConnection, req, context=self._trusted)
