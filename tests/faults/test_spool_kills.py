"""The spool is killed at every step that it makes on disk; readers get what was promised to who appended it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gpuwatch.sinks.spool import Limits, Spool
from tests.sinks.spools import FaultyDisk, conserved, drained, lines, number_of, opened

READERS = ("a", "b")
LIMITS = Limits(bytes=8 * 5000)  # a segment holds four batches
MOST_STEPS = 400


@dataclass
class Told:
    """What a process knew for sure before it was killed, and what it was about when it was."""

    appended: list[int] = field(default_factory=list)
    under_way: int | None = None
    done: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in READERS})
    in_flight: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in READERS})


def live(spool: Spool, disk: FaultyDisk, told: Told, first: int) -> None:
    """Append, and deliver to two readers, one of which is slower; until the disk is dead."""
    backlogs = {name: spool.backlog(name) for name in READERS}
    for number in range(first, first + 12):
        told.under_way = number
        spool.append(float(number), 1, lines(number))
        if disk.dead:
            return
        told.appended.append(number)
        told.under_way = None
        for name in READERS if number % 3 == 0 else READERS[:1]:
            if records := backlogs[name].read(2500):
                told.in_flight[name] = [number_of(record) for record in records]
                backlogs[name].done(records[-1].after, {})
                if disk.dead:
                    return
                told.done[name] += told.in_flight[name]
                told.in_flight[name] = []


@pytest.mark.parametrize("power", [False, True], ids=["killed", "power cut"])
@pytest.mark.parametrize("inherited", [0, 6], ids=["begun", "found"])
def test_row_10_sigkill_at_every_write_boundary(tmp_path, power, inherited):
    """At most the batch being appended is lost, at most the one being acknowledged comes twice."""
    steps = killed = 0
    while not killed or steps == killed:
        killed += 1
        directory, disk, told = tmp_path / str(killed), FaultyDisk(killed), Told()
        first = opened(directory, *READERS, limits=LIMITS, disk=disk)
        for number in range(1, 1 + inherited):
            first.append(float(number), 1, lines(number))
        told.appended += range(1, 1 + inherited)
        first.close()
        disk.steps, disk.kill_at = 0, killed
        spool = opened(directory, *READERS, limits=LIMITS, disk=disk)
        live(spool, disk, told, 1 + inherited)
        steps = disk.steps
        spool.close()
        disk.kill_at = None
        if power:
            disk.cut_power()
        check(directory, told)
        assert killed < MOST_STEPS
    assert killed > 60


def check(directory: Path, told: Told) -> None:
    """What the next process gives, and the one after it."""
    spool = opened(directory, *READERS, limits=LIMITS)
    for name in READERS:
        numbers = drained(spool.backlog(name), most_bytes=3000)
        promised = [number for number in told.appended if number not in told.done[name]]
        allowed = {*promised, *told.in_flight[name], told.under_way}
        assert sorted(set(numbers)) == numbers
        assert set(promised) - set(told.in_flight[name]) <= set(numbers) <= allowed
        assert {} == dict(spool.counts(name).dropped)
    assert conserved(spool, *READERS)
    spool.append(99.0, 1, lines(99))
    spool.close()
    again = opened(directory, *READERS, limits=LIMITS)
    assert [[99], [99]] == [drained(again.backlog(name)) for name in READERS]
    again.close()


WRITER = """
import sys
from pathlib import Path
from gpuwatch.sinks.spool import Limits, Spool
from tests.sinks.spools import lines, number_of

spool = Spool(Path(sys.argv[1]), ["a"], Limits(bytes=8 * 30_000))
spool.open()
backlog = spool.backlog("a")
number = int(sys.argv[2])
while True:
    spool.append(float(number), 1, lines(number))
    print("appended", number, flush=True)
    number += 1
    if number % 3 == 0:
        records = backlog.read(5000)
        print("read", *map(number_of, records), flush=True)
        backlog.done(records[-1].after, {})
        print("done", *map(number_of, records), flush=True)
"""


def test_row_10_real_processes_are_killed_again_and_again(tmp_path):
    """`kill -9` at any moment: every batch arrives, in order, and twice only what was not acknowledged."""
    arrived: list[int] = []
    appended = done = 0
    for life in range(5):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(appended + 1)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert child.stdout is not None
        told = [child.stdout.readline() for _ in range(20 + 17 * life)]
        child.send_signal(signal.SIGKILL)
        told += child.stdout.read().splitlines(keepends=True)
        child.wait(30)
        child.stdout.close()
        for line in (each for each in told if each.endswith("\n")):
            what, *numbers = line.split()
            if what == "appended":
                appended = int(numbers[0])
            elif what == "read":
                assert int(numbers[0]) in (done + 1, *arrived[-10:])
                arrived += map(int, numbers)
            else:
                done = int(numbers[-1])
        # What was appended and not told of counts for the next life: numbers must not be used twice.
        spool = opened(tmp_path)
        newest = drained(spool.backlog("a"))
        spool.close()
        arrived += newest
        appended = done = max(appended, *newest, *arrived)

    assert list(range(1, appended + 1)) == sorted(set(arrived))
    assert len(arrived) - len(set(arrived)) <= 5 * 10
