"""How fast a backlog reaches a real server: from a spool full of real lines, with the rate limit lifted.

A push of a node of eight devices each 15 s, as many as make 20,000 lines; through spool, sender and the official
client. A server that is not installed is left out.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from gpuwatch.sinks.influxdb_pace import Backoff, Pace
from gpuwatch.sinks.influxdb_rejected import RejectedLines
from gpuwatch.sinks.influxdb_sender import Sender
from gpuwatch.sinks.influxdb_server import Server
from gpuwatch.sinks.influxdb_settings import ServerSettings
from gpuwatch.sinks.pushing import Pushing
from gpuwatch.sinks.spool import Spool
from tests.integration.debian import binary
from tests.integration.time_series import Adapter, InfluxDB, VictoriaMetrics
from tests.sinks.node_at_work import NodeAtWork

LINES = 20_000
LINES_PER_REQUEST = 1000


class _UntilEmpty:
    """Real time, which is over for the sender when the spool is empty."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def pause(self, seconds: float) -> bool:
        return self._spool.counts("main").queued > 0


def fill(spool: Spool) -> int:
    """Put the pushes of a node at work into the spool; how many lines there are."""
    # A push of each second, so that most of the time does not go into making them.
    pushing, lines = Pushing(push_seconds=1.0), 0
    for snapshot in NodeAtWork(start=time.time() - 86400.0).seconds(LINES):
        for batch in pushing.take(snapshot):
            spool.append(batch.time, batch.points, batch.lines)
            lines += batch.points
        if lines >= LINES:
            break
    return lines


def lines_per_second(folder: Path, url: str, token_file: Path) -> float:
    """Fill a spool and have it sent; lines a second until the server has them all."""
    spool = Spool(folder / "spool", ["main"])
    spool.open()
    lines = fill(spool)
    settings = ServerSettings(url=url, bucket="gpu", token_file=token_file, lines_per_request=LINES_PER_REQUEST)
    server = Server(settings)
    # The library is imported by the first request; that is not what is measured.
    assert server.write(b"\n").verdict == "stored"
    sender = Sender(
        "influxdb:main", server, spool.backlog("main"), RejectedLines(folder / "rejected.txt"), lambda late: None,
        _UntilEmpty(spool), Pace(1e12, LINES_PER_REQUEST), Backoff(), LINES_PER_REQUEST,
    )  # fmt: skip
    began = time.monotonic()
    sender.run()
    took = time.monotonic() - began
    delivered = spool.counts("main").delivered
    spool.close()
    assert delivered == lines
    return lines / took


def measure() -> Mapping[str, float]:
    """Figures by name, for the servers that are here."""
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        token = folder / "token"
        token.write_text("tok")
        if (program := binary("influxd")) is not None:
            influxdb = InfluxDB(program, folder / "influxdb")
            stack.callback(influxdb.stop)
            influxdb.create("gpu")
            adapter = Adapter(influxdb)
            stack.callback(adapter.stop)
            figures["replay_lines_per_second"] = round(lines_per_second(folder / "a", adapter.url, token))
        if (program := binary("victoria-metrics")) is not None:
            victoria = VictoriaMetrics(program, folder / "victoria")
            stack.callback(victoria.stop)
            named = "replay_victoria_metrics_lines_per_second"
            figures[named] = round(lines_per_second(folder / "b", victoria.url, token))
    return figures
