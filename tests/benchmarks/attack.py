"""What an honest scraper notices while 300 clients say nothing and 300 say half a request, all at once.

The agent is a process of its own with TLS and simulated devices. The attackers come all together; each that is cut
is gone. The honest one scrapes on a kept-alive connection and on new ones, all the time.
"""

from __future__ import annotations

import http.client
import re
import selectors
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.node import quantile, status

CLIENTS = 600
"""Half of them silent, half of them with half a request."""
WITHIN_SECONDS = 15.0
PAUSE_SECONDS = 0.05
HALF_A_REQUEST = b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: "

CONFIGURATION = """
[site]
node = "bench"
[agent]
listen = "127.0.0.1:0"
state_directory = "{directory}/state"
socket = "{directory}/agent.sock"
devices = ["demo"]
web_config_file = "{directory}/web-config.yml"
[devices.demo]
driver_directory = "{directory}/driver"
"""


@contextmanager
def agent(directory: Path) -> Iterator[tuple[subprocess.Popen[str], int, ssl.SSLContext]]:
    """A running agent that serves TLS: its process, its port, and a client's context that trusts it."""
    import trustme  # not needed by the measurements that run where gpuwatch alone is installed

    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(str(directory / "key.pem"))
    issued.cert_chain_pems[0].write_to_path(str(directory / "cert.pem"))
    (directory / "web-config.yml").write_text("tls_server_config: {cert_file: cert.pem, key_file: key.pem}\n")
    (directory / "gpuwatch.toml").write_text(CONFIGURATION.format(directory=directory))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    process = subprocess.Popen(
        [sys.executable, "-m", "gpuwatch", "agent", "--config", str(directory / "gpuwatch.toml")],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        said = iter(process.stderr)
        found = next((match for line in said if (match := re.search(r"serving https://\S+:(\d+)", line))), None)
        assert found is not None, "the agent did not start"
        yield process, int(found[1]), context
    finally:
        process.terminate()
        process.wait(10)
        process.stderr.close()


class Honest:
    """Scrapes, and remembers how long each took."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._port, self._context = port, context
        self._kept = self._new()
        self.seconds: dict[str, list[float]] = {"kept": [], "new": []}
        self.failed = 0

    def _new(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("127.0.0.1", self._port, context=self._context, timeout=10)

    def scrape(self, kind: str) -> None:
        """One scrape on the kept connection or on a new one."""
        connection = self._kept if kind == "kept" else self._new()
        began = time.perf_counter()
        try:
            connection.request("GET", "/metrics", headers={"Accept-Encoding": "gzip"})
            answer = connection.getresponse()
            answer.read()
            self.failed += answer.status != 200
        except (OSError, http.client.HTTPException):
            self.failed += 1
            connection.close()
        self.seconds[kind].append(time.perf_counter() - began)
        if kind == "new":
            connection.close()

    def close(self) -> None:
        """End the kept connection."""
        self._kept.close()


class Attacker:
    """One that connects without waiting; with a context it greets, and then says half a request."""

    def __init__(self, port: int, context: ssl.SSLContext | None) -> None:
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.connect_ex(("127.0.0.1", port))
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context and context.wrap_bio(self._incoming, self._outgoing, server_hostname="127.0.0.1")
        self.greeted = False

    def speak(self) -> None:
        """Say what comes next; raises OSError where it has been cut."""
        if self._tls is None or self.greeted:
            return
        try:
            self._tls.do_handshake()
            self._tls.write(HALF_A_REQUEST)
            self.greeted = True
        except ssl.SSLWantReadError:
            pass
        if self._outgoing.pending:
            self.socket.send(self._outgoing.read())

    def hear(self) -> None:
        """Take what the server says; raises OSError where it has cut the connection."""
        if not (heard := self.socket.recv(65_536)):
            raise ConnectionResetError
        self._incoming.write(heard)
        self.speak()


class Crowd:
    """Attackers, and when the last of them was cut."""

    def __init__(self, attackers: list[Attacker]) -> None:
        self._selector = selectors.DefaultSelector()
        self.left = len(attackers)
        self.greeted = 0
        self.last_cut = 0.0
        for each in attackers:
            self._selector.register(each.socket, selectors.EVENT_WRITE, each)

    def look(self) -> None:
        """Let each do what it can, and let go of those that were cut."""
        for key, events in self._selector.select(0):
            attacker = key.data
            assert isinstance(attacker, Attacker)
            try:
                if events & selectors.EVENT_WRITE:
                    attacker.speak()
                    self._selector.modify(attacker.socket, selectors.EVENT_READ, attacker)
                else:
                    attacker.hear()
            except BlockingIOError:
                continue
            except OSError:
                self._selector.unregister(attacker.socket)
                attacker.socket.close()
                self.left -= 1
                self.greeted += attacker.greeted
                self.last_cut = time.monotonic()

    def close(self) -> None:
        """Let go of those that are left."""
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()


def attack(process: subprocess.Popen[str], honest: Honest, attackers: list[Attacker]) -> dict[str, float]:
    """One crowd, until the last of it is cut or 20 s have passed; figures by name."""
    peak = status(process.pid, "VmRSS")
    began = time.monotonic()
    crowd = Crowd(attackers)
    turn = 0
    while time.monotonic() - began < WITHIN_SECONDS + 5:
        crowd.look()
        honest.scrape("new" if turn % 2 else "kept")
        turn += 1
        peak = max(peak, status(process.pid, "VmRSS"))
        pause(PAUSE_SECONDS, crowd.look)
    cut_within = crowd.last_cut - began
    left, greeted = crowd.left, crowd.greeted
    crowd.close()
    return {"left": left, "half_sent": greeted, "cut_within_seconds": round(cut_within, 2), "rss_peak_bytes": peak}


def pause(seconds: float, meanwhile: Callable[[], None]) -> None:
    """Wait, and do something meanwhile."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        meanwhile()
        time.sleep(min(0.005, left))


def measure() -> Mapping[str, float]:
    """Attack an agent with TLS; figures by name."""
    with tempfile.TemporaryDirectory() as name, agent(Path(name)) as (process, port, context):
        honest = Honest(port, context)
        for _ in range(40):
            honest.scrape("kept")
            honest.scrape("new")
            time.sleep(PAUSE_SECONDS)
        before = status(process.pid, "VmRSS")
        quiet = {kind: list(seconds) for kind, seconds in honest.seconds.items()}
        honest.seconds = {"kept": [], "new": []}
        attackers = [Attacker(port, each) for each in [None, context] * (CLIENTS // 2)]
        found = attack(process, honest, attackers)
        honest.close()
        found["rss_before_bytes"] = before
        for kind, seconds in honest.seconds.items():
            found[f"scrape_{kind}_seconds_p99"] = round(quantile(seconds, 0.99), 6)
            found[f"scrape_{kind}_seconds_p99_before"] = round(quantile(quiet[kind], 0.99), 6)
        found["scrapes"] = sum(map(len, honest.seconds.values()))
        found["scrapes_failed"] = honest.failed
        return {f"attack_{key}": value for key, value in found.items()}
