"""A server with Prometheus' query API on a free loopback port, as well- or ill-behaved as a test wants it."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

Answer = tuple[int, Mapping[str, str], bytes]


class Query(NamedTuple):
    """What was asked, and the headers it came with (names in lower case)."""

    path: str
    parameters: Mapping[str, str]
    headers: Mapping[str, str]


def success(result: object, kind: str = "vector", **more: Any) -> Answer:
    """The answer of a query that succeeded."""
    data = {"resultType": kind, "result": result}
    return 200, {}, json.dumps({"status": "success", "data": data, **more}).encode()


def refused(status: int, error: str) -> Answer:
    """The answer of a query that failed, as Prometheus gives it."""
    return status, {}, json.dumps({"status": "error", "errorType": "execution", "error": error}).encode()


class FakePrometheus:
    """Answers as `respond` says, and remembers what it was asked."""

    def __init__(self, respond: Callable[[Query], Answer], context: ssl.SSLContext | None = None) -> None:
        self.respond = respond
        self.asked: list[Query] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._scheme = "https" if context else "http"
        if context is not None:
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> FakePrometheus:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                headers = {name.lower(): value for name, value in self.headers.items()}
                query = Query(self.path, dict(parse_qsl(body)), headers)
                server.asked.append(query)
                status, more, answer = server.respond(query)
                self.send_response_only(status)
                for name, value in {"Content-Length": str(len(answer)), **more}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
