"""Real InfluxDB 1.6 and VictoriaMetrics servers of one's own, and InfluxDB 2's way of writing in front of 1.6.

InfluxDB 1.8 and later have `/api/v2/write` themselves; 1.6, which Debian has, does not. `Adapter` does what they
do: it checks the token and passes the body on to the real parser, so that its answers are real ones.
"""

from __future__ import annotations

import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

from tests.integration.debian import ANSWER_SECONDS, READY_SECONDS, environment, free_port, stop, wait_until

PRECISIONS = {"ns": "n", "us": "u"}
_CONFIGURATION = """\
reporting-enabled = false
bind-address = "127.0.0.1:{rpc}"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
  query-log-enabled = false
[monitor]
  store-enabled = false
[http]
  bind-address = "127.0.0.1:{port}"
  log-enabled = false
"""


class Server(ABC):
    """A server on a free loopback port, with its files in `folder`; it can be stopped and started again."""

    name = "server"
    ready_path = "/"
    directory: Path | None = None
    """Where it is started, for whoever looks for files there."""

    def __init__(self, program: Path, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._program, self._folder = program, folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @abstractmethod
    def arguments(self) -> list[str]:
        """What the program is started with."""

    def start(self) -> None:
        """Start the server and wait until it answers."""
        log_path = self._folder / f"{self.name}.log"
        with log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._program), *self.arguments()],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(self._program),
                start_new_session=True, cwd=self.directory,
            )  # fmt: skip
        try:
            wait_until(lambda: self._ready(log_path), READY_SECONDS, f"{self.name} is ready", 0.05)
        except AssertionError:
            self.stop()
            raise

    def _ready(self, log: Path) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise AssertionError(f"{self.name} ended: {log.read_text(errors='replace')[-2000:]}")
        try:
            return httpx.get(self.url + self.ready_path, timeout=ANSWER_SECONDS).is_success
        except httpx.TransportError:
            return False

    @property
    def pid(self) -> int:
        """The server's process."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """End the server; what it stored stays."""
        if self._process is not None:
            stop(self._process)
            self._process = None


class VictoriaMetrics(Server):
    """A real VictoriaMetrics: it takes InfluxDB's lines and answers PromQL. `flush` makes new points visible."""

    name = "victoria-metrics"
    ready_path = "/health"

    def arguments(self) -> list[str]:
        return [
            f"-storageDataPath={self._folder / 'data'}", f"-httpListenAddr=127.0.0.1:{self.port}",
            "-retentionPeriod=12", "-search.latencyOffset=0s", "-search.disableCache", "-influxTrimTimestamp=1ms",
            "-dedup.minScrapeInterval=1ms", "-loggerLevel=WARN",
        ]  # fmt: skip

    def flush(self) -> None:
        """Make what was written visible."""
        httpx.get(f"{self.url}/internal/force_flush", timeout=ANSWER_SECONDS).raise_for_status()

    def query(self, expression: str, time: float | None = None) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each series that an expression gives."""
        parameters = {"query": expression} | ({"time": str(time)} if time is not None else {})
        data = httpx.get(f"{self.url}/api/v1/query", params=parameters, timeout=ANSWER_SECONDS).json()["data"]
        return [(series["metric"], float(series["value"][1])) for series in data["result"]]


class InfluxDB(Server):
    """A real InfluxDB 1.6: its parser judges lines, and it answers InfluxQL."""

    name = "influxdb"
    ready_path = "/ping"

    def arguments(self) -> list[str]:
        path = self._folder / "influxdb.conf"
        if not path.exists():
            path.write_text(_CONFIGURATION.format(folder=self._folder, port=self.port, rpc=free_port()))
        return ["run", "-config", str(path)]

    def create(self, database: str) -> None:
        """Make a database."""
        self.query(f'CREATE DATABASE "{database}"')

    def query(self, text: str, database: str = "") -> list[dict[str, Any]]:
        """The series that InfluxQL gives, times in ms; fails with what it says where it is an error."""
        parameters = {"q": text, "db": database, "epoch": "ms"}
        answer = httpx.post(f"{self.url}/query", data=parameters, timeout=30.0).json()
        assert "error" not in answer, answer
        for result in answer["results"]:
            assert "error" not in result, result
        return [series for result in answer["results"] for series in result.get("series", [])]

    def count(self, database: str, measurement: str, field: str) -> int:
        """How many points have a field."""
        series = self.query(f'SELECT count("{field}") FROM "{measurement}"', database)
        return int(series[0]["values"][0][1]) if series else 0


Meddle = Callable[[int, bytes], tuple[int, Mapping[str, str], bytes] | None]
"""What to answer to the nth request (from 0) with that body, instead of passing it on; None passes it on."""


class Adapter:
    """`/api/v2/write` in front of an InfluxDB 1.6: bucket `db[/rp]`, any precision, `Authorization: Token …`.

    `meddle` may answer requests itself; `requests` has the bodies that were passed on, as they came.
    """

    def __init__(self, server: InfluxDB, token: str = "tok", meddle: Meddle | None = None) -> None:
        self.requests: list[bytes] = []
        self.token = token
        self.meddle = meddle
        self._count = 0
        adapter = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer(204, {}, b"")

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self._answer(*adapter._respond(self.path, dict(self.headers), body, server))

            def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def _respond(
        self, path: str, headers: Mapping[str, str], body: bytes, server: InfluxDB
    ) -> tuple[int, Mapping[str, str], bytes]:
        parts = urlsplit(path)
        asked = dict(parse_qsl(parts.query))
        if parts.path != "/api/v2/write":
            return 404, {}, b"{}"
        count, self._count = self._count, self._count + 1
        if self.meddle is not None and (answer := self.meddle(count, body)) is not None:
            return answer
        if headers.get("Authorization") != f"Token {self.token}":
            return 401, {"Content-Type": "application/json"}, b'{"code":"unauthorized"}'
        self.requests.append(body)
        database, _, policy = asked.get("bucket", "").partition("/")
        precision = asked.get("precision", "ns")
        parameters = {"db": database, "precision": PRECISIONS.get(precision, precision)}
        parameters |= {"rp": policy} if policy else {}
        passed = {name: value for name, value in headers.items() if name in ("Content-Encoding", "Content-Type")}
        answer = httpx.post(f"{server.url}/write", params=parameters, content=body, headers=passed, timeout=30.0)
        return answer.status_code, {"X-Influxdb-Version": "1.8-adapter"}, answer.content

    def stop(self) -> None:
        """End it."""
        self._http.shutdown()
        self._thread.join(5.0)
        self._http.server_close()
