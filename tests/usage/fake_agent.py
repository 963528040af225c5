"""An agent's usage API on a free loopback port, as well- or ill-behaved as a test wants it."""

from __future__ import annotations

import gzip
import json
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Answer = tuple[int, dict[str, str], bytes]


def document(seq: int = 10, epoch: str = "0123456789ab", **changed: Any) -> dict[str, Any]:
    """An empty document of the usage API."""
    return {
        "schema": 1, "cluster": "default", "node": "gw0", "epoch": epoch, "boot_id": "b", "seq": seq, "now": 100.0,
        "rows": [], "declarations": [], "events": [], **changed,
    }  # fmt: skip


def packed(value: Any) -> Answer:
    """JSON, gzipped."""
    return 200, {"content-encoding": "gzip"}, gzip.compress(json.dumps(value).encode())


class FakeAgent:
    """Answers `usage(since)`; remembers what it was asked, acknowledged and shown as a token."""

    def __init__(
        self,
        usage: Callable[[int], Answer],
        ack: Answer = (200, {}, b"{}"),
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.usage = usage
        self._scheme = "https" if context else "http"
        self.ack = ack
        self.asked: list[int] = []
        self.acknowledged: list[int] = []
        self.authorizations: list[str | None] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        if context is not None:
            # The handshake belongs to the connection's thread, not to the one that accepts.
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> FakeAgent:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        agent = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                assert parts.path.endswith("/api/v1/usage")
                since = int(parse_qs(parts.query)["since"][0])
                agent.asked.append(since)
                agent.authorizations.append(self.headers["Authorization"])
                self._send(*agent.usage(since))

            def do_POST(self) -> None:
                assert self.path == "/api/v1/ack"
                body = self.rfile.read(int(self.headers["Content-Length"]))
                agent.acknowledged.append(json.loads(body)["seq"])
                self._send(*agent.ack)

            def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if "content-length" not in headers:
                    self.send_header("content-length", str(len(body)))
                self.end_headers()
                with suppress(OSError):
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
