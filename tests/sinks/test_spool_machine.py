"""What goes into a spool comes out of it, against a list, whatever happens between two steps."""

from __future__ import annotations

import errno
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from gpuwatch.sinks.records import Record
from gpuwatch.sinks.spool import Limits
from tests.sinks.spools import FaultyDisk, lines, number_of, opened, segments

READERS = ("a", "b")


class Machine(RuleBasedStateMachine):
    """A spool of two readers, and for each of them the list of what it has still to get."""

    limits = Limits()
    drops = False

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.disk = FaultyDisk()
        self.points: dict[int, int] = {}
        self.waiting: dict[str, list[int]] = {name: [] for name in READERS}
        self.missed = dict.fromkeys(READERS, 0)
        self.dropped_before = dict.fromkeys(READERS, 0)
        self.open()

    def open(self) -> None:
        self.spool = opened(self.directory, *READERS, limits=self.limits, disk=self.disk)
        self.backlogs = {name: self.spool.backlog(name) for name in READERS}

    @initialize(memory=st.booleans())
    def begin(self, memory: bool) -> None:
        self.disk.error = errno.EIO if memory else None

    @rule(points=st.integers(0, 9), size=st.sampled_from([10, 700, 3000]))
    def append(self, points: int, size: int) -> None:
        number = len(self.points) + 1
        self.points[number] = points
        self.spool.append(float(number), points, lines(number, size))
        for name in READERS:
            self.waiting[name].append(number)

    def shown(self, name: str, most_bytes: int) -> list[Record]:
        """What a reader is shown: the oldest that waits, all of it, but for what was dropped."""
        records = list(self.backlogs[name].read(most_bytes))
        numbers = [number_of(record) for record in records]
        assert numbers == [number for number in self.waiting[name] if number in numbers]
        if not self.drops:
            assert numbers == self.waiting[name][: len(numbers)]
            assert bool(numbers) == bool(self.waiting[name])
        for number, record in zip(numbers, records, strict=True):
            assert lines(number, len(record.lines) - len(f"{number} ")) == record.lines
            assert (float(number), self.points[number]) == (record.time, record.points)
        assert len(records) <= 1 or sum(len(record.lines) for record in records) <= most_bytes
        return records

    def passed(self, name: str, records: list[Record]) -> None:
        numbers = [number_of(record) for record in records]
        while numbers:
            number = self.waiting[name].pop(0)
            if number == numbers[0]:
                del numbers[0]
            else:
                self.missed[name] += self.points[number]

    @rule(name=st.sampled_from(READERS), most=st.sampled_from([1, 2000, 10**6]), bad=st.integers(0, 2))
    def deliver(self, name: str, most: int, bad: int) -> None:
        records = self.shown(name, most)
        if records:
            self.backlogs[name].done(records[-1].after, {"rejected": min(bad, records[0].points)})
            self.passed(name, records)

    @rule(name=st.sampled_from(READERS), most=st.sampled_from([1, 10**6]))
    def look(self, name: str, most: int) -> None:
        self.shown(name, most)

    @rule(name=st.sampled_from(READERS))
    def deal_with_a_part_of_it_twice(self, name: str) -> None:
        part = self.shown(name, 4000)[:2]
        for record in (*part, *part[:1]):
            self.backlogs[name].done(record.after, {})
        self.passed(name, part)

    @rule(error=st.sampled_from([errno.EIO, errno.EROFS, errno.EDQUOT]))
    def fail(self, error: int) -> None:
        self.disk.error = error

    @rule()
    def recover(self) -> None:
        self.disk.error = None

    @rule()
    def restart(self) -> None:
        self.disk.error = None
        self.spool.close()
        for name in READERS:
            self.dropped_before[name] += self.dropped(name)
        self.open()

    def dropped(self, name: str) -> int:
        return sum(points for why, points in self.spool.counts(name).dropped.items() if why != "rejected")

    @invariant()
    def everything_is_counted(self) -> None:
        for name in READERS:
            counts = self.spool.counts(name)
            assert counts.taken == counts.delivered + counts.queued + sum(counts.dropped.values())
            lost = self.missed[name] - self.dropped_before[name] - self.dropped(name)
            assert counts.queued == sum(self.points[number] for number in self.waiting[name]) + lost
            if not self.drops:
                assert self.backlogs[name].wait(0) == bool(self.waiting[name])
                assert bool(counts.queued_bytes) == bool(self.waiting[name])

    def teardown(self) -> None:
        self.restart()
        for name in READERS:
            while records := self.shown(name, 5000):
                self.backlogs[name].done(records[-1].after, {})
                self.passed(name, records)
            self.missed[name] += sum(self.points[number] for number in self.waiting[name])
            assert self.missed[name] == self.dropped_before[name] + self.dropped(name)
            assert 0 == self.spool.counts(name).queued
        assert len(segments(self.directory)) <= 1
        self.spool.close()
        shutil.rmtree(self.directory)


class SmallSegments(Machine):
    """A segment holds one or a few batches."""

    limits = Limits(bytes=30_000 * 8)


class SmallLimits(Machine):
    """Hardly anything may wait."""

    limits = Limits(bytes=20_000, memory_bytes=6000)
    drops = True


@pytest.mark.parametrize("machine", [Machine, SmallSegments, SmallLimits])
def test_what_goes_in_comes_out_in_order_over_restarts_limits_and_errors_of_the_disk(machine):
    """N in = N out for each reader, with the same bytes, but for what is counted, and exactly, at every step."""
    checks = settings(
        max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
    )

    run_state_machine_as_test(machine, settings=checks)
