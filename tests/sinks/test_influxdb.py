"""The sink as the agent has it: threads, spool and servers together, on loopback."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gpuwatch.errors import Locked
from gpuwatch.model import EMPTY, SinkHealth, Site, Snapshot
from gpuwatch.sinks.influxdb import InfluxdbSink
from tests.sinks.fake_influxdb import FakeInfluxdb, Reply
from tests.sinks.snapshots import device, reading

# Threads, and so real time.
pytestmark = pytest.mark.integration

POWER = b"power_watts"


def sink_of(
    path: Path, servers: Mapping[str, str], server: Mapping[str, Any] = EMPTY, **settings: Any
) -> InfluxdbSink:
    """A sink that pushes every snapshot, to servers by name and address, all configured as `server`."""
    tables = {
        name: {"url": url, "bucket": "gpu", "timeout_seconds": 1.0, **server} for name, url in servers.items()
    }
    table = {"push_seconds": 0.01, "spool_directory": str(path / "spool"), "servers": tables, **settings}
    return InfluxdbSink(InfluxdbSink.Settings.model_validate(table), Site("hydra", "gw0"))


def snapshots(count: int, first: float) -> list[Snapshot]:
    """One a second, of two devices."""
    return [
        Snapshot(
            "hydra", "gw0", first + second, second + 1, "0123456789ab", "boot",
            devices={uid: device(uid) for uid in ("GPU-0", "GPU-1")},
            readings={uid: reading(uid, first + second) for uid in ("GPU-0", "GPU-1")},
        )
        for second in range(count)
    ]  # fmt: skip


def wait_until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    """Threads are waited for, no longer than needed."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def balanced(health: SinkHealth) -> bool:
    """The equation of every sink."""
    return health.taken == health.delivered + (health.queued or 0) + sum(health.dropped.values())


def power_of(fake: FakeInfluxdb) -> list[bytes]:
    return [line for line in fake.stored if POWER in line]


def test_what_is_taken_is_delivered(tmp_path: Path) -> None:
    """Every snapshot of both devices, once; health says so, at the end and all the time."""
    seen: list[SinkHealth] = []
    with FakeInfluxdb() as fake:
        sink = sink_of(tmp_path, {"main": fake.url})
        sink.start()
        for snapshot in snapshots(20, time.time() - 20):
            sink.take(snapshot)
            seen.append(sink.health()["influxdb:main"])
        wait_until(lambda: len(power_of(fake)) >= 38)
        wait_until(lambda: sink.health()["influxdb:main"].queued == 0)
        seen.append(sink.health()["influxdb:main"])
        sink.close()

    assert len(power_of(fake)) == len(set(power_of(fake)))
    assert all(balanced(each) for each in seen)
    last = seen[-1]
    assert (True, {}, 0.0, True) == (last.up, last.dropped, last.spool_degraded, last.delivered >= 38)


def test_health_tells_how_much_may_wait(tmp_path: Path) -> None:
    """The limits of the spool in bytes and seconds, as they are configured."""
    with FakeInfluxdb() as fake:
        sink = sink_of(tmp_path, {"main": fake.url}, spool_bytes=2**20, spool_days=2.0)
        sink.start()
        health = sink.health()["influxdb:main"]
        sink.close()

    assert (2.0**20, 2 * 86400.0) == (health.spool_limit_bytes, health.spool_limit_seconds)


def test_fault_2_server_that_never_answers_holds_up_nobody(tmp_path: Path) -> None:
    """The other server has everything at once; the main loop waits for nothing; nor does the end."""
    with FakeInfluxdb() as good, FakeInfluxdb(lambda number, lines: Reply(silent=True)) as hanging:
        sink = sink_of(tmp_path, {"good": good.url, "hanging": hanging.url})
        sink.start()
        began = time.monotonic()
        for snapshot in snapshots(20, time.time() - 20):
            sink.take(snapshot)
            sink.health()
        took = time.monotonic() - began
        wait_until(lambda: len(power_of(good)) >= 38 and sink.health()["influxdb:hanging"].up is not None)
        health = sink.health()
        began = time.monotonic()
        sink.close()
        closed = time.monotonic() - began

    assert (True, False) == (health["influxdb:good"].up, bool(health["influxdb:hanging"].up))
    assert (health["influxdb:hanging"].queued or 0) >= 38
    assert took < 0.5
    assert closed < 1.2


def test_fault_1_outage_in_real_time_loses_nothing(tmp_path: Path) -> None:
    """A server that is away for a moment has everything once it is back, in the order of time."""
    back = time.monotonic() + 0.5
    with FakeInfluxdb(lambda number, lines: Reply(204 if time.monotonic() > back else 503)) as fake:
        sink = sink_of(tmp_path, {"main": fake.url})
        sink.start()
        for snapshot in snapshots(50, time.time() - 50):
            sink.take(snapshot)
            time.sleep(0.005)
        wait_until(lambda: len(power_of(fake)) >= 98)
        wait_until(lambda: sink.health()["influxdb:main"].queued == 0)
        health = sink.health()["influxdb:main"]
        sink.close()

    assert (True, True, {}) == (health.failures["server"] > 0, health.up, health.dropped)
    assert len(power_of(fake)) == len(set(power_of(fake)))


def test_fault_9_what_a_sink_leaves_behind_the_next_one_delivers(tmp_path: Path) -> None:
    """Also what was not due yet when it ended."""
    down = sink_of(tmp_path, {"main": "http://127.0.0.1:1"}, push_seconds=3600.0)
    down.start()
    (snapshot,) = snapshots(1, time.time())
    down.take(snapshot)
    down.close()

    with FakeInfluxdb() as fake:
        sink = sink_of(tmp_path, {"main": fake.url})
        sink.start()
        wait_until(lambda: len(power_of(fake)) == 2)
        sink.close()


def test_late_points_are_told_once_they_are_all_there(tmp_path: Path) -> None:
    """By an event each time that nothing waits any more, for whoever reads windows: each point in one of them."""

    def late() -> int:
        return sum(line.startswith(b"gpuwatch_device,") for line in fake.stored)

    def told() -> list[int]:
        replayed = [line for line in fake.stored if b"kind=replayed" in line]
        assert all(
            line.startswith(b"gpuwatch_event,cluster=hydra,node=gw0,kind=replayed since=") for line in replayed
        )
        return [int(line.split(b"points=")[1].split()[0]) for line in replayed]

    with FakeInfluxdb() as fake:
        sink = sink_of(tmp_path, {"main": fake.url})
        sink.start()
        for snapshot in snapshots(5, time.time() - 3600):
            sink.take(snapshot)
        wait_until(lambda: late() > 0 and late() == sum(told()))
        sink.close()

    assert sum(told()) <= late()


def test_events_are_pushed(tmp_path: Path) -> None:
    """Also those of a snapshot that makes nothing else due."""
    event = {"type": "event", "kind": "clock_jump", "seq": 5, "time": time.time(), "seconds": 7.0}
    with FakeInfluxdb() as fake:
        sink = sink_of(tmp_path, {"main": fake.url}, push_seconds=3600.0)
        sink.start()
        sink.take(replace(snapshots(1, time.time())[0], events=(event,)))
        sink.close()
        sink = sink_of(tmp_path, {"main": fake.url})
        sink.start()
        wait_until(lambda: any(b"kind=clock_jump" in line for line in fake.stored))
        sink.close()


def test_spool_is_one_process_alone(tmp_path: Path) -> None:
    """Fault 16, of the sink: a second agent does not start."""
    first, second = (sink_of(tmp_path, {"main": "http://127.0.0.1:1"}) for _ in range(2))
    first.start()
    try:
        with pytest.raises(Locked):
            second.start()
    finally:
        first.close()


def test_sink_that_was_not_started_does_nothing(tmp_path: Path) -> None:
    """`gpuwatch check` makes one and asks it; nothing is opened."""
    with FakeInfluxdb() as fake:
        sink = sink_of(tmp_path, {"main": fake.url, "away": "http://127.0.0.1:1"})
        probes = sink.check(time.time())
        sink.take(snapshots(1, time.time())[0])
        sink.close()

    assert [
        ("influxdb spool", True),
        ("influxdb:main writes", True),
        ("influxdb:main clock", True),
        ("influxdb:away reachable", False),
    ] == [(each.what, each.ok) for each in probes]
    assert ({}, False, []) == (dict(sink.health()), (tmp_path / "spool").exists(), fake.stored)
