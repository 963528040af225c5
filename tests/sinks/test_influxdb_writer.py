"""Snapshots reach the spool in their order, whatever the disk does meanwhile, and no event is lost."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

from gpuwatch.model import Forecast, Scope, Site, Snapshot
from gpuwatch.sinks.batches import Batch
from gpuwatch.sinks.influxdb_sender import Late
from gpuwatch.sinks.influxdb_writer import MOST_PASSES, MOST_SNAPSHOTS, Writer
from tests.sinks.snapshots import NOW

SNAPSHOT = Snapshot("hydra", "gw0", NOW, 1, "0123456789ab", "boot")


class Seconds:
    """Makes a batch of each snapshot that says its time and events; refuses a time."""

    def __init__(self, refused: float = -1.0) -> None:
        self._refused = refused

    def take(self, snapshot: Snapshot) -> Sequence[Batch]:
        if snapshot.time == self._refused:
            raise ZeroDivisionError
        told = ",".join(str(event["seq"]) for event in snapshot.events)
        return [Batch(snapshot.time, 1, f"t={snapshot.time - NOW:.0f} {told}\n".encode())]

    def flush(self) -> Sequence[Batch]:
        return [Batch(NOW, 1, b"flushed\n")]


class ListSpool:
    """Keeps what is appended; can be held up."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.free = threading.Event()
        self.free.set()

    def append(self, time: float, points: int, lines: bytes) -> None:
        assert self.free.wait(10.0)
        self.lines.append(lines)


def writer_of(spool: ListSpool, batches: Seconds | None = None) -> Writer:
    return Writer(batches or Seconds(), spool, Site("hydra", "gw0"), lambda: NOW)


def test_forecasts_of_passes_are_appended() -> None:
    """With the times of their passes; of more than wait the oldest are lost, and counted."""
    spool = ListSpool()
    writer = writer_of(spool)

    for number in range(MOST_PASSES + 2):
        told = Forecast(Scope("job", "7"), "energy", 1.0, {0.5: 2.0}, None, "used / progress", NOW + number)
        writer.offer_forecasts([told], "hydra")
    writer.end()
    writer.run()

    line = b'gpuwatch_forecast,cluster=hydra,scope_kind=job,quantity=energy scope="7",q50=2 %d\n'
    expected = [(NOW + number) * 1e9 for number in range(2, MOST_PASSES + 2)]
    assert ([line % time for time in expected], 2) == (spool.lines[:-1], writer.lost)


def test_all_snapshots_are_appended_in_order_and_the_rest_at_the_end() -> None:
    """What was offered before the end, and what is due only later."""
    spool = ListSpool()
    writer = writer_of(spool)

    for second in range(3):
        writer.offer(replace(SNAPSHOT, time=NOW + second))
    writer.end()
    writer.run()

    assert [b"t=0 \n", b"t=1 \n", b"t=2 \n", b"flushed\n"] == spool.lines


def test_disk_that_hangs_costs_samples_and_no_events() -> None:
    """The oldest of 30 goes and is counted; its events go on with the next."""
    spool = ListSpool()
    writer = writer_of(spool)

    for second in range(MOST_SNAPSHOTS + 2):
        writer.offer(replace(SNAPSHOT, time=NOW + second, events=({"seq": second},)))
    writer.end()
    writer.run()

    assert (2, b"t=2 0,1,2\n", MOST_SNAPSHOTS + 1) == (writer.lost, spool.lines[0], len(spool.lines))


def test_snapshot_that_cannot_be_made_lines_of_is_counted() -> None:
    """The thread goes on with the next."""
    spool = ListSpool()
    writer = writer_of(spool, Seconds(refused=NOW))

    writer.offer(SNAPSHOT)
    writer.offer(replace(SNAPSHOT, time=NOW + 1))
    writer.end()
    writer.run()

    assert ([b"t=1 \n", b"flushed\n"], 1) == (spool.lines, writer.lost)


class BrokenOnce(ListSpool):
    """A spool with a mistake in it."""

    def append(self, time: float, points: int, lines: bytes) -> None:
        if not self.lines:
            self.lines.append(b"")
            raise ZeroDivisionError
        super().append(time, points, lines)


def test_mistake_of_the_spool_ends_no_thread() -> None:
    """It costs what it was about, and that is counted."""
    spool = BrokenOnce()
    writer = writer_of(spool)

    for second in range(2):
        writer.offer(replace(SNAPSHOT, time=NOW + second))
    writer.end()
    writer.run()

    assert ([b"", b"t=1 \n", b"flushed\n"], 1) == (spool.lines, writer.lost)


def test_points_that_came_late_become_an_event() -> None:
    """From a minute before, as points may be that much older than their batch; never two at one time."""
    spool = ListSpool()
    writer = writer_of(spool)

    writer.late(Late(NOW - 600.0, NOW - 5.0, 540))
    writer.late(Late(NOW - 300.0, NOW - 4.5, 9))
    writer.end()
    writer.run()

    head = b"gpuwatch_event,cluster=hydra,node=gw0,kind=replayed "
    assert [
        head + b"since=1763999340.000,until=1763999995.000,points=540 1764000000000000000\n",
        head + b"since=1763999640.000,until=1763999995.500,points=9 1764000000001000000\n",
    ] == spool.lines[:2]


def test_offering_does_not_wait_for_the_disk() -> None:
    """The main loop goes on while an append hangs."""
    spool = ListSpool()
    spool.free.clear()
    writer = writer_of(spool)
    thread = threading.Thread(target=writer.run)
    thread.start()

    for second in range(5):
        writer.offer(replace(SNAPSHOT, time=NOW + second))
    waiting = list(spool.lines)
    spool.free.set()
    writer.end()
    thread.join(10.0)

    assert ([], [b"t=0 \n", b"t=1 \n", b"t=2 \n", b"t=3 \n", b"t=4 \n", b"flushed\n"]) == (waiting, spool.lines)
