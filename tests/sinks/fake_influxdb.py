"""A server with InfluxDB's write API on a loopback port, as well- or ill-behaved as a test wants it."""

from __future__ import annotations

import gzip
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType


@dataclass(frozen=True)
class Reply:
    """What a request is answered: nothing at all with `silent`, after `delay` seconds, cut short with `short`."""

    status: int = 204
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay: float = 0.0
    silent: bool = False
    short: bool = False


Script = Callable[[int, bytes], Reply]
"""The reply to the nth request, from 0, with these lines."""


class FakeInfluxdb:
    """Answers by its script; keeps the lines, headers and paths of requests, and the lines that it stored."""

    def __init__(
        self, script: Script = lambda number, lines: Reply(), context: ssl.SSLContext | None = None
    ) -> None:
        self.script = script
        self.requests: list[bytes] = []
        self.headers: list[Mapping[str, str]] = []
        self.paths: list[str] = []
        self.stored: list[bytes] = []
        self.connections = 0
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        if context is not None:
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        scheme = "https" if context else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> FakeInfluxdb:
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5.0)

    def _answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        lines = gzip.decompress(body) if headers.get("Content-Encoding") == "gzip" else body
        with self._lock:
            reply = self.script(len(self.requests), lines)
            self.requests.append(lines)
            self.headers.append(headers)
            self.paths.append(path)
            if 200 <= reply.status <= 299:
                self.stored += [line for line in lines.split(b"\n") if line]
        if reply.silent or reply.delay:
            self._ended.wait(60.0 if reply.silent else reply.delay)
        return reply

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                fake.connections += 1

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                reply = fake._answer(self.path, dict(self.headers), body)
                if reply.silent:
                    self.close_connection = True
                    return
                with suppress(OSError):
                    self._write(reply)

            def _write(self, reply: Reply) -> None:
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body) + (10 if reply.short else 0)))
                self.end_headers()
                self.wfile.write(reply.body)
                self.close_connection = self.close_connection or reply.short

            def log_message(self, *_: object) -> None:
                pass

        return Handler
