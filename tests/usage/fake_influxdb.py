"""An InfluxDB in memory that answers what `usage.influxql` asks, as well- or ill-behaved as a test wants it.

It can be asked in place of a client, or over HTTP on a free loopback port.
"""

from __future__ import annotations

import json
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from gpuwatch.http.client import Answer

_FIELD = re.compile(r'(?:(max|last)\("(\w+)"\)|"(\w+)") AS "(\w+)"')
_TAG = re.compile(r"\"(\w+)\" = '((?:[^'\\]|\\.)*)'")


class Point(NamedTuple):
    """A point of a measurement; `time` is in ns."""

    measurement: str
    tags: Mapping[str, str]
    fields: Mapping[str, Any]
    time: int


class Asked(NamedTuple):
    """What a query asks for: in seconds, and by the values that each tag may have."""

    text: str
    measurement: str
    start: float
    end: float
    tags: Mapping[str, frozenset[str]]


class FakeInflux:
    """Has `points`; `meddle` may answer a query itself, or raise. `asked` has the queries that there were."""

    def __init__(
        self, points: Sequence[Point] = (), meddle: Callable[[Asked], bytes | None] | None = None
    ) -> None:
        self.points = list(points)
        self.meddle = meddle or (lambda asked: None)
        self.asked: list[Asked] = []
        self.parameters: list[Mapping[str, str]] = []
        self.renewed = 0
        self.date: float | None = None

    def renew(self) -> None:
        """Certificates are of no interest here."""
        self.renewed += 1

    def post(self, url: str, parameters: Mapping[str, str]) -> Answer:
        """What the server answers to a form."""
        self.parameters.append({"url": url, **parameters})
        return Answer(self.answer(parameters["q"]), self.date)

    def answer(self, text: str) -> bytes:
        """The body of the answer to a query."""
        asked = understood(text)
        self.asked.append(asked)
        body = self.meddle(asked)
        return body if body is not None else answered(self._series(asked))

    def _series(self, asked: Asked) -> list[dict[str, Any]]:
        fields = _FIELD.findall(asked.text)
        by = re.findall(r'"(\w+)"', asked.text.partition(" GROUP BY ")[2])
        groups: dict[tuple[str, ...], list[Point]] = defaultdict(list)
        for point in self.points:
            inside = asked.start <= point.time / 1e9 < asked.end
            if inside and point.measurement == asked.measurement and _fits(point, asked):
                groups[tuple(point.tags.get(tag, "") for tag in by)].append(point)
        columns = ["time", *(alias for *_, alias in fields)]
        found = []
        for key, points in groups.items():
            chosen = _chosen(points, fields)
            names = [selected or plain for _, selected, plain, _ in fields]
            values = [[point.time, *(point.fields.get(name) for name in names)] for point in chosen]
            if values:
                found.append(
                    {
                        "name": asked.measurement,
                        "tags": dict(zip(by, key, strict=True)),
                        "columns": columns,
                        "values": values,
                    }
                )
        return found


def _fits(point: Point, asked: Asked) -> bool:
    return all(point.tags.get(tag, "") in values for tag, values in asked.tags.items())


def _chosen(points: list[Point], fields: list[tuple[str, str, str, str]]) -> list[Point]:
    """All of them, or the one that a selector selects."""
    function, name = next(((function, name) for function, name, *_ in fields if function), ("", ""))
    if not function:
        return sorted(points, key=lambda point: point.time)
    having = sorted((point for point in points if name in point.fields), key=lambda point: point.time)
    if not having:
        return []
    return [max(having, key=lambda point: point.fields[name])] if function == "max" else having[-1:]


def understood(text: str) -> Asked:
    """A query, taken apart."""
    tags: dict[str, set[str]] = defaultdict(set)
    for tag, value in _TAG.findall(text):
        tags[tag].add(re.sub(r"\\(.)", r"\1", value))
    (measurement,) = re.findall(r'FROM "(\w+)"', text)
    (start,), (end,) = re.findall(r"time >= (\d+)", text), re.findall(r"time < (\d+)", text)
    return Asked(
        text, measurement, int(start) / 1e9, int(end) / 1e9, {tag: frozenset(its) for tag, its in tags.items()}
    )


def answered(series: Sequence[Mapping[str, Any]]) -> bytes:
    """Series as InfluxDB sends them, each in a document of its own, where it is asked to."""
    parts: list[dict[str, Any]] = [{"statement_id": 0, "series": [each], "partial": True} for each in series]
    if not parts:
        parts = [{"statement_id": 0}]
    parts[-1].pop("partial", None)
    return b"".join(json.dumps({"results": [part]}).encode() + b"\n" for part in parts)


class Served:
    """A fake InfluxDB over HTTP. `headers` has those of the requests; `send` may send something else."""

    def __init__(
        self, influx: FakeInflux, send: Callable[[BaseHTTPRequestHandler, bytes], None] | None = None
    ) -> None:
        self.headers: list[Mapping[str, str]] = []
        served = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                served.headers.append(dict(self.headers))
                body = self.rfile.read(int(self.headers["Content-Length"]))
                (send or whole)(self, influx.answer(dict(parse_qsl(body.decode()))["q"]))

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Served:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def whole(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    """Send all of it."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def byte_by_byte(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    """Send each byte as a chunk of its own."""
    chunked(handler)
    handler.wfile.write(b"".join(b"1\r\n%c\r\n" % each for each in body) + b"0\r\n\r\n")


def broken_off(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    """Send the first document, promise more, and hang up."""
    first = body.split(b"\n")[0] + b"\n"
    chunked(handler)
    handler.wfile.write(b"%x\r\n%b\r\n" % (len(first), first))
    handler.close_connection = True


def chunked(handler: BaseHTTPRequestHandler) -> None:
    """Begin an answer whose length is not known."""
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
