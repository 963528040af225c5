"""Delivery to a real InfluxDB and a real VictoriaMetrics, through stops, hangs, lost answers and bad lines."""

from __future__ import annotations

import os
import signal
import time
import tracemalloc
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from gpuwatch.sinks.influxdb import InfluxdbSink
from gpuwatch.sinks.influxdb_pace import Backoff, Pace
from gpuwatch.sinks.influxdb_rejected import RejectedLines
from gpuwatch.sinks.influxdb_sender import Sender
from gpuwatch.sinks.influxdb_server import Server
from gpuwatch.sinks.influxdb_settings import ServerSettings
from gpuwatch.sinks.pushing import Pushing
from gpuwatch.sinks.records import Backlog, Place, Record
from gpuwatch.sinks.spool import Spool
from tests.integration.time_series import Adapter, InfluxDB, VictoriaMetrics
from tests.sinks.influxdb_fakes import ListBacklog, Ticking, lines_of
from tests.sinks.node_at_work import NodeAtWork
from tests.sinks.test_influxdb import balanced, sink_of, snapshots, wait_until

pytestmark = pytest.mark.integration

DEVICES = 2
FIELD = "power_watts_instant_device"


@pytest.fixture
def adapter(influxdb: InfluxDB) -> Iterator[Adapter]:
    """An adapter in front of the empty database `gpu`."""
    influxdb.query('DROP DATABASE "gpu"')
    influxdb.create("gpu")
    adapter = Adapter(influxdb)
    yield adapter
    adapter.stop()


def token_file(path: Path) -> Path:
    file = path / "token"
    file.write_text("tok")
    return file


def sender_of(path: Path, adapter: Adapter, backlog: Backlog, ticking: Ticking) -> Sender:
    """A sender through the official client, with a clock of its own but for requests."""
    settings = ServerSettings(
        url=adapter.url, bucket="gpu", token_file=token_file(path), timeout_seconds=1.0, lines_per_request=500
    )
    return Sender(
        "influxdb:main", Server(settings), backlog, RejectedLines(path / "rejected.txt"), lambda late: None,
        ticking, Pace(5000.0, 500), Backoff(), 500,
    )  # fmt: skip


def now_ticking() -> Ticking:
    """Time that begins now."""
    return Ticking(now=time.time(), until=time.time() + 1e6)


class _Compressed:
    """A spool's backlog for which waiting takes no time but the sender's own."""

    def __init__(self, backlog: Backlog, ticking: Ticking) -> None:
        self.read, self.done = backlog.read, backlog.done
        self._backlog, self._ticking = backlog, ticking

    def wait(self, seconds: float) -> bool:
        if self._backlog.wait(0.0):
            return True
        self._ticking.pause(seconds)
        return self._backlog.wait(0.0)


def test_fault_1_ten_minutes_without_influxdb_at_1_hz_lose_nothing_and_are_caught_up_with(
    influxdb: InfluxDB, adapter: Adapter, tmp_path: Path
) -> None:
    """Eight devices, every sample pushed, through the real spool; only the waiting is compressed.

    Nothing is lost, nothing there twice, memory does not grow, and a minute after its return all is there.
    """
    began = time.time() - 700.0
    back, over = began + 600.0, began + 660.0
    ticking = Ticking(now=began, until=began + 690.0)
    adapter.meddle = lambda number, body: (503, {}, b"away") if ticking.time < back else None
    node = NodeAtWork(start=began)
    pushing = Pushing(raw_devices=list(node.second().devices))
    spool = Spool(tmp_path / "spool", ["main"])
    spool.open()
    samples, caught_up, memory = [0], [0.0], [0]

    def second(time: float) -> None:
        while samples[0] < 8 * int(min(time, over) - began):
            samples[0] += 8
            for batch in pushing.take(node.second()):
                spool.append(batch.time, batch.points, batch.lines)
        for batch in pushing.flush() if time > over else ():
            spool.append(batch.time, batch.points, batch.lines)
        if time >= back and not caught_up[0] and (spool.counts("main").oldest or time) > time - 30.0:
            caught_up[0] = time - back
        if time > began + 60.0:
            memory.append(tracemalloc.get_traced_memory()[0])

    ticking.each_second = second
    sender = sender_of(tmp_path, adapter, _Compressed(spool.backlog("main"), ticking), ticking)
    # Not what the process has: other tests of it have left their threads and pools there.
    tracemalloc.start()
    sender.run()
    tracemalloc.stop()
    counts = spool.counts("main")
    spool.close()

    assert (8 * 660, 8 * 660) == (samples[0], influxdb.count("gpu", "gpuwatch_device", FIELD))
    assert (counts.taken, 0, {}) == (counts.delivered, counts.queued, dict(counts.dropped))
    assert 0.0 < caught_up[0] <= 60.0
    assert max(memory[1:]) - memory[1] < 4 * 2**20


def test_fault_3_lines_that_were_stored_before_the_answer_got_lost_are_there_once(
    influxdb: InfluxDB, adapter: Adapter, tmp_path: Path
) -> None:
    """The same lines again are the same points to InfluxDB."""

    def store_and_time_out(number: int, body: bytes) -> tuple[int, Mapping[str, str], bytes] | None:
        if number > 0:
            return None
        httpx.post(
            f"{influxdb.url}/write?db=gpu", content=body, headers={"Content-Encoding": "gzip"}, timeout=5.0
        ).raise_for_status()
        time.sleep(1.2)
        return 504, {}, b""

    adapter.meddle = store_and_time_out
    now = time.time()
    ticking = now_ticking()
    backlog = ListBacklog([Record(now, 100, lines_of(100, time=now), Place(1, 1))], ticking)
    sender = sender_of(tmp_path, adapter, backlog, ticking)
    sender.run()

    assert (100, [], 1) == (
        influxdb.count("gpu", "gpuwatch_device", "power_watts"),
        backlog.records,
        sender.failures["timeout"],
    )


def test_fault_7_of_500_lines_499_are_stored_and_the_bad_one_is_kept_with_its_reason(
    influxdb: InfluxDB, adapter: Adapter, tmp_path: Path
) -> None:
    """InfluxDB 1.6 says of the whole request that it failed in part, and not always of which part."""
    now = time.time()
    lines = lines_of(500, time=now).splitlines(keepends=True)
    lines[137] = b'gpuwatch_device,node=gw0,uuid=GPU-1 power_watts="text" %d000000\n' % (now * 1000)
    ticking = now_ticking()
    backlog = ListBacklog([Record(now, 500, b"".join(lines), Place(1, 1))], ticking)
    sender = sender_of(tmp_path, adapter, backlog, ticking)
    sender.run()

    assert 499 == influxdb.count("gpu", "gpuwatch_device", "power_watts")
    assert ({"rejected": 1}, []) == (backlog.total_dropped, backlog.records)
    rejected = (tmp_path / "rejected.txt").read_text(encoding="utf-8")
    assert ("field type conflict" in rejected, 1) == (True, rejected.count("\n"))


def test_influxdb_has_everything_after_it_was_away(influxdb: InfluxDB, adapter: Adapter, tmp_path: Path) -> None:
    """It is stopped and started again while the agent goes on: every push of every device is there, once."""
    sink = _sink(tmp_path, {"main": adapter.url})
    sink.start()
    first = time.time() - 300
    taken = snapshots(90, first)
    for snapshot in taken[:30]:
        sink.take(snapshot)
    wait_until(lambda: influxdb.count("gpu", "gpuwatch_device", FIELD) >= 29 * DEVICES)
    influxdb.stop()
    for snapshot in taken[30:60]:
        sink.take(snapshot)
    wait_until(lambda: not sink.health()["influxdb:main"].up)
    influxdb.start()
    for snapshot in taken[60:]:
        sink.take(snapshot)
    wait_until(lambda: influxdb.count("gpu", "gpuwatch_device", FIELD) >= 89 * DEVICES, 30.0)
    wait_until(lambda: sink.health()["influxdb:main"].queued == 0)
    health = sink.health()["influxdb:main"]
    sink.close()

    assert (True, {}) == (balanced(health), health.dropped)
    assert influxdb.count("gpu", "gpuwatch_device", FIELD) in (89 * DEVICES, 90 * DEVICES)


def test_victoria_metrics_has_everything_after_it_was_away(
    victoria_metrics: VictoriaMetrics, tmp_path: Path
) -> None:
    """The same, with the client straight at the server; it calls itself InfluxDB 1.8 and is told apart."""
    sink = _sink(tmp_path, {"main": victoria_metrics.url})
    sink.start()
    first = time.time() - 300
    taken = snapshots(90, first)
    for snapshot in taken[:30]:
        sink.take(snapshot)
    wait_until(lambda: sink.health()["influxdb:main"].delivered >= 29 * DEVICES)
    victoria_metrics.stop()
    for snapshot in taken[30:60]:
        sink.take(snapshot)
    wait_until(lambda: not sink.health()["influxdb:main"].up)
    victoria_metrics.start()
    for snapshot in taken[60:]:
        sink.take(snapshot)
    wait_until(lambda: sink.health()["influxdb:main"].delivered >= 89 * DEVICES, 30.0)
    health = sink.health()["influxdb:main"]
    sink.close()
    victoria_metrics.flush()

    counted = victoria_metrics.query(f"count_over_time(gpuwatch_device_{FIELD}[95s])", first + 93.0)
    assert (DEVICES, True) == (len(counted), all(count in (89.0, 90.0) for _, count in counted))
    assert ({("victoria-metrics", "1.8.0"): 1.0}, {}) == (health.server, health.dropped)


def test_fault_2_stopped_server_does_not_slow_the_other(
    influxdb: InfluxDB, adapter: Adapter, victoria_metrics: VictoriaMetrics, tmp_path: Path
) -> None:
    """VictoriaMetrics is frozen: its port takes connections, and nothing ever answers."""
    os.kill(victoria_metrics.pid, signal.SIGSTOP)
    try:
        sink = _sink(tmp_path, {"main": adapter.url, "frozen": victoria_metrics.url})
        sink.start()
        for snapshot in snapshots(30, time.time() - 60):
            sink.take(snapshot)
        wait_until(lambda: influxdb.count("gpu", "gpuwatch_device", FIELD) >= 29 * DEVICES, 5.0)
        wait_until(lambda: sink.health()["influxdb:frozen"].failures["timeout"] >= 1)
        frozen = sink.health()["influxdb:frozen"]
    finally:
        os.kill(victoria_metrics.pid, signal.SIGCONT)
    wait_until(lambda: sink.health()["influxdb:frozen"].queued == 0)
    sink.close()

    assert (False, True) == (frozen.up, (frozen.queued or 0) >= 29 * DEVICES)


def test_check_tries_real_servers(
    influxdb: InfluxDB, adapter: Adapter, victoria_metrics: VictoriaMetrics, tmp_path: Path
) -> None:
    """Writable, with our time, and nothing is left behind; a wrong token and a missing bucket are told."""
    good = _sink(tmp_path, {"influxdb": adapter.url, "victoria": victoria_metrics.url}).check(time.time())
    adapter.token = "another"
    denied = _sink(tmp_path, {"influxdb": adapter.url}).check(time.time())
    adapter.token = "tok"
    missing = _sink(tmp_path, {"influxdb": adapter.url}, "nowhere").check(time.time())

    assert [True] * 5 == [probe.ok for probe in good]
    assert (False, "may not write" in denied[1].detail) == (denied[1].ok, True)
    assert (False, "no such bucket" in missing[1].detail) == (missing[1].ok, True)
    assert [] == influxdb.query("SHOW MEASUREMENTS", "gpu")


def _sink(path: Path, servers: Mapping[str, str], bucket: str = "gpu") -> InfluxdbSink:
    return sink_of(path, servers, {"bucket": bucket, "token_file": str(token_file(path))})
