"""The spool keeps what it is given for each reader until it was dealt with, on disk and in memory."""

from __future__ import annotations

import errno
import os
import resource
import threading
from pathlib import Path

import pytest

from gpuwatch.errors import Locked
from gpuwatch.sinks.spool import MEMORY_LIMIT_BYTES, SEGMENT_BYTES, Limits, Spool
from gpuwatch.sinks.spool_disk import Disk, Room
from gpuwatch.sinks.spool_format import encode
from tests.sinks.spools import (
    GENEROUS,
    Clock,
    FaultyDisk,
    conserved,
    drained,
    lines,
    number_of,
    opened,
    put,
    segments,
)

RECORD = len(encode(1, 1.0, 1, lines(1)))


class Unsynced(Disk):
    """The real one, but that it does not wait for the disk."""

    def sync(self, path: Path) -> None:
        return None


@pytest.fixture(params=["disk", "memory"])
def disk(request) -> FaultyDisk:
    """One that works, and one that takes nothing."""
    made = FaultyDisk()
    made.error = None if request.param == "disk" else errno.EROFS
    return made


class TestOnDiskAndInMemory:
    """What holds wherever the batches are."""

    def test_each_reader_gets_all_of_it_in_order(self, tmp_path, disk):
        """One reader does not take anything from another."""
        spool = opened(tmp_path, "a", "b", disk=disk)
        put(spool, *range(1, 21))

        assert list(range(1, 21)) == drained(spool.backlog("a"))
        assert list(range(1, 21)) == drained(spool.backlog("b"), most_bytes=3000)
        assert conserved(spool, "a", "b")

    def test_a_batch_has_its_time_points_and_bytes(self, tmp_path, disk):
        """Also an empty one, and one that does not compress."""
        spool = opened(tmp_path, disk=disk)
        spool.append(1.5, 9, b"cpu v=1 1\n")
        spool.append(2.5, 0, b"")

        records = spool.backlog("a").read(GENEROUS)
        assert [(1.5, 9, b"cpu v=1 1\n"), (2.5, 0, b"")] == [(r.time, r.points, r.lines) for r in records]

    def test_what_is_not_done_comes_again(self, tmp_path, disk):
        """A request that failed is made again with the same lines."""
        spool = opened(tmp_path, disk=disk)
        put(spool, 1, 2, 3)
        backlog = spool.backlog("a")

        first = backlog.read(GENEROUS)
        assert list(first) == list(backlog.read(GENEROUS))

    def test_a_part_may_be_done(self, tmp_path, disk):
        """The rest comes next, whatever was read before."""
        spool = opened(tmp_path, disk=disk)
        put(spool, 1, 2, 3)
        backlog = spool.backlog("a")
        backlog.done(backlog.read(GENEROUS)[1].after, {})

        assert [3] == [number_of(record) for record in backlog.read(GENEROUS)]
        assert 2 == spool.counts("a").delivered

    def test_done_twice_counts_once(self, tmp_path, disk):
        """The end of a transaction that has ended is nothing."""
        spool = opened(tmp_path, disk=disk)
        put(spool, 1, 2, 3)
        backlog = spool.backlog("a")
        after = backlog.read(GENEROUS)[1].after
        backlog.done(after, {"rejected": 1})
        backlog.done(after, {"rejected": 1})

        assert (1, {"rejected": 1}, 1) == (
            (counts := spool.counts("a")).delivered,
            counts.dropped,
            counts.queued,
        )

    def test_one_record_is_read_however_large_it_is(self, tmp_path, disk):
        """A batch that is more than what was asked for does not stop the rest."""
        spool = opened(tmp_path, disk=disk)
        spool.append(1.0, 1, lines(1, 100_000))
        put(spool, 2)

        assert [1, 2] == drained(spool.backlog("a"), most_bytes=10)

    def test_what_is_appended_while_a_request_is_under_way_comes_after_it(self, tmp_path, disk):
        """The batch that came in between is neither skipped nor taken as done."""
        spool = opened(tmp_path, disk=disk)
        put(spool, 1, 2)
        backlog = spool.backlog("a")
        records = backlog.read(GENEROUS)
        put(spool, 3)
        backlog.done(records[-1].after, {})

        assert [3] == drained(backlog)
        assert (3, 0) == ((counts := spool.counts("a")).delivered, counts.queued)

    def test_counts_say_how_long_the_oldest_has_waited(self, tmp_path, disk):
        """Time and bytes of what waits; nothing of either where nothing does."""
        spool = opened(tmp_path, disk=disk)
        before = spool.counts("a")
        put(spool, 7, 8)
        backlog = spool.backlog("a")
        waiting = spool.counts("a")
        backlog.done(backlog.read(GENEROUS)[0].after, {})
        later = spool.counts("a")

        assert (None, 7.0, 8.0) == (before.oldest, waiting.oldest, later.oldest)
        assert 0 == before.queued_bytes < later.queued_bytes < waiting.queued_bytes < 3 * RECORD

    def test_wait_tells_whether_there_is_something(self, tmp_path, disk):
        """At once where there is, in vain where there is not."""
        spool = opened(tmp_path, disk=disk)
        backlog = spool.backlog("a")
        before = backlog.wait(0.0)
        put(spool, 1)

        assert (False, True) == (before, backlog.wait(60.0))

    def test_an_append_wakes_who_waits(self, tmp_path, disk):
        """The sender does not ask again and again."""
        spool = opened(tmp_path, disk=disk)
        told: list[bool] = []
        thread = threading.Thread(target=lambda: told.append(spool.backlog("a").wait(30.0)))
        thread.start()
        put(spool, 1)
        thread.join(10.0)

        assert [True] == told

    def test_close_wakes_who_waits(self, tmp_path, disk):
        """The agent ends at once, also while there is something to read."""
        spool = opened(tmp_path, disk=disk)
        told: list[bool] = []
        thread = threading.Thread(target=lambda: told.append(spool.backlog("a").wait(30.0)))
        thread.start()
        spool.close()
        thread.join(10.0)
        put(spool, 1)

        assert [False] == told
        assert not spool.backlog("a").wait(0.0)

    def test_degraded_says_where_batches_wait(self, tmp_path, disk):
        """Whoever looks knows that a kill would cost them."""
        spool = opened(tmp_path, disk=disk)
        put(spool, 1)

        assert (disk.error is not None) == spool.degraded

    def test_readers_and_the_writer_work_side_by_side(self, tmp_path, disk):
        """Two readers and a writer at full speed: every batch once, in order."""
        spool = opened(tmp_path, "a", "b", limits=Limits(bytes=10**6), disk=disk)
        got: dict[str, list[int]] = {"a": [], "b": []}

        def deliver(name: str) -> None:
            backlog = spool.backlog(name)
            while len(got[name]) < 400 and backlog.wait(10.0):
                records = backlog.read(5000)
                got[name] += [number_of(record) for record in records]
                backlog.done(records[-1].after, {})

        threads = [threading.Thread(target=deliver, args=(name,)) for name in got]
        for thread in threads:
            thread.start()
        put(spool, *range(400))
        for thread in threads:
            thread.join(30.0)

        assert {"a": list(range(400)), "b": list(range(400))} == got
        assert conserved(spool, "a", "b")


class TestRestart:
    """What a new process finds."""

    def test_what_waits_is_still_there(self, tmp_path):
        """Each reader goes on where it was."""
        spool = opened(tmp_path, "a", "b")
        put(spool, *range(1, 11))
        drained(spool.backlog("a"))
        spool.close()
        spool = opened(tmp_path, "a", "b")
        put(spool, 11)

        assert [11] == drained(spool.backlog("a"))
        assert list(range(1, 12)) == drained(spool.backlog("b"))
        assert (11, 11) == ((counts := spool.counts("b")).taken, counts.delivered)

    def test_nothing_is_sent_again_after_a_restart(self, tmp_path):
        """Not even the last batch, and not the whole of the segment."""
        spool = opened(tmp_path)
        put(spool, *range(1, 11))
        drained(spool.backlog("a"))
        spool.close()
        spool = opened(tmp_path)

        assert [] == drained(spool.backlog("a"))
        assert (0, 0, None) == ((counts := spool.counts("a")).taken, counts.queued, counts.oldest)

    def test_a_restart_in_the_middle_of_a_segment_knows_what_waits(self, tmp_path):
        """Points, time of the oldest."""
        spool = opened(tmp_path)
        put(spool, *range(1, 11))
        backlog = spool.backlog("a")
        backlog.done(backlog.read(4000)[-1].after, {})
        delivered = spool.counts("a").delivered
        spool.close()
        counts = opened(tmp_path).counts("a")

        assert 0 < delivered < 10
        assert (10 - delivered, float(delivered + 1)) == (counts.queued, counts.oldest)

    def test_a_thousand_restarts_leave_one_file(self, tmp_path):
        """An agent that is restarted again and again does not fill the directory with files."""
        for number in range(100):
            spool = opened(tmp_path)
            put(spool, number)
            spool.close()

        assert 1 == len(segments(tmp_path))
        assert list(range(100)) == drained(opened(tmp_path).backlog("a"))

    def test_a_new_reader_begins_with_the_oldest(self, tmp_path):
        """A store that is configured later gets what still waits for another."""
        spool = opened(tmp_path, "a")
        put(spool, 1, 2)
        spool.close()

        assert [1, 2] == drained(opened(tmp_path, "a", "b").backlog("b"))

    def test_a_reader_that_is_not_configured_any_more_holds_nothing_up(self, tmp_path):
        """Its cursor goes, and so does what it alone had not passed."""
        limits = Limits(bytes=10**6)
        spool = opened(tmp_path, "gone", "a", limits=limits)
        put(spool, *range(300))
        drained(spool.backlog("a"))
        before = len(segments(tmp_path))
        spool.close()
        spool = opened(tmp_path, "a", limits=limits)

        assert (True, 1) == (before > 1, len(segments(tmp_path)))
        assert not (tmp_path / "gone.cursor").exists()

    @pytest.mark.parametrize("name", ["a/../../b", "ü:1", ".", "x" * 300, "a b\n", ""])
    def test_a_reader_may_have_any_name(self, tmp_path, name):
        """Its file stays in the directory."""
        spool = opened(tmp_path / "spool", name)
        put(spool, 1)
        drained(spool.backlog(name))
        spool.close()

        assert [] == drained(opened(tmp_path / "spool", name).backlog(name))
        assert ["spool"] == [path.name for path in tmp_path.iterdir()]


class TestFiles:
    """What is on the disk."""

    def test_segments_are_no_larger_than_a_mebibyte(self, tmp_path):
        """And there are as few as that allows."""
        spool = opened(tmp_path)
        put(spool, *range(30), size=100_000)
        sizes = [path.stat().st_size for path in segments(tmp_path)]

        assert (3, True) == (len(sizes), all(size <= SEGMENT_BYTES for size in sizes))

    def test_a_segment_goes_when_all_readers_have_passed_it(self, tmp_path):
        """Not before; what is delivered does not fill the disk."""
        spool = opened(tmp_path, "a", "b", limits=Limits(bytes=10**6))
        put(spool, *range(300))
        drained(spool.backlog("a"))
        before = len(segments(tmp_path))
        drained(spool.backlog("b"))

        assert (3, 1) == (before, len(segments(tmp_path)))

    def test_the_disk_does_not_grow_while_all_is_delivered(self, tmp_path):
        """For ever."""
        spool = opened(tmp_path, limits=Limits(bytes=10**6))
        for number in range(500):
            put(spool, number)
            drained(spool.backlog("a"))

        assert 2 * 125_000 > sum(path.stat().st_size for path in tmp_path.iterdir())

    def test_a_batch_is_on_the_disk_when_append_returns(self, tmp_path):
        """The record first, then the name of a new segment."""
        disk = FaultyDisk()
        spool = opened(tmp_path, disk=disk)
        put(spool, 1, 2)
        disk.cut_power()

        assert [1, 2] == drained(self._restarted(spool, tmp_path))

    @staticmethod
    def _restarted(spool: Spool, path: Path):
        spool.close()
        return opened(path).backlog("a")


def test_row_16_two_agents_on_one_node(tmp_path):
    """The second is refused, with the pid of the first, and exit code 75."""
    spool = opened(tmp_path)
    with pytest.raises(Locked, match=f"in use by the process {os.getpid()}") as refused:
        opened(tmp_path)
    spool.close()

    assert 75 == refused.value.exit_code
    opened(tmp_path).close()


class TestMemoryFileSystem:
    """What it is when the directory is in memory."""

    def test_the_default_is_smaller(self, tmp_path):
        """Five per cent of it, at most 64 MiB."""
        disk = FaultyDisk()
        disk.memory, disk.space = True, Room(2**20, 2**20)
        spool = opened(tmp_path, disk=disk)
        put(spool, *range(100))
        disk.space = Room(2**36, 2**36)
        large = Spool(tmp_path / "large", ["a"], disk=disk)
        large.open()

        assert 0.05 * 2**20 >= sum(path.stat().st_size for path in segments(tmp_path)) > 0.03 * 2**20
        assert "bytes" in spool.counts("a").dropped
        assert MEMORY_LIMIT_BYTES == large.most_bytes

    def test_what_is_configured_is_kept_to(self, tmp_path):
        """Who says how much knows why."""
        disk = FaultyDisk()
        disk.memory, disk.space = True, Room(2**30, 2**20)
        spool = opened(tmp_path, limits=Limits(bytes=10**6), disk=disk)

        assert 10**6 == spool.most_bytes

    def test_the_real_one_is_known(self, tmp_path):
        """`/dev/shm` is in memory; what is on a disk is not."""
        if not Path("/dev/shm").is_dir():
            pytest.skip("there is no /dev/shm")
        kind = {
            fields[2]: fields[fields.index("-") + 1]
            for fields in map(str.split, Path("/proc/self/mountinfo").read_text().splitlines())
        }
        assert set(kind.values()) & {"tmpfs", "ramfs"}
        assert Disk().in_memory(Path("/dev/shm"))
        assert not Disk().in_memory(Path("/proc"))


def test_memory_stays_flat_however_much_waits(tmp_path):
    """50,000 batches that nobody takes: what grows is the list of segments."""
    spool = opened(tmp_path, disk=Unsynced())
    batch = lines(1, 200)
    sizes = []
    for number in range(50_001):
        spool.append(float(number), 1, batch)
        if number in (2000, 50_000):
            sizes.append(int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize())

    assert 50_001 == spool.counts("a").queued
    assert 50_000 * 200 < spool.counts("a").queued_bytes
    assert sizes[1] - sizes[0] < 3 * 2**20


def test_age_is_what_this_process_has_seen(tmp_path):
    """A wall clock that jumps a year forward gives up nothing; what has really waited that long goes."""
    wall, monotonic = Clock(1e9), Clock()
    spool = Spool(tmp_path, ["a"], Limits(age_seconds=1000.0), FaultyDisk(), wall, monotonic)
    spool.open()
    put(spool, 1)
    wall.now += 365 * 86400.0
    put(spool, 2)
    kept = dict(spool.counts("a").dropped)
    monotonic.now = 1001.0
    put(spool, 3)

    assert ({}, {"age": 2}) == (kept, spool.counts("a").dropped)
