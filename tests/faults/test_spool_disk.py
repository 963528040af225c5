"""A full disk, limits that are reached, and disks that take nothing: what the spool does, to the point exact."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gpuwatch.sinks.spool import FREE_BYTES, Limits, Spool
from gpuwatch.sinks.spool_disk import Room
from gpuwatch.sinks.spool_format import SEGMENT_HEAD_BYTES, encode
from tests.sinks.spools import Clock, FaultyDisk, conserved, drained, lines, opened, put, segments

RECORD = len(encode(1, 1.0, 1, lines(100)))
SMALL = Limits(bytes=8 * (SEGMENT_HEAD_BYTES + 5 * (RECORD + 20)))  # eight segments of five batches
SMALL_DISK = """
mount -t tmpfs -o size=8m none {disk} || exit 77
exec {python} -m tests.faults.spool_on_full_disk {disk}
"""


def sizes(directory: Path) -> int:
    return sum(path.stat().st_size for path in segments(directory))


def test_row_13_enospc_while_appending(tmp_path):
    """The oldest segment makes place for the newest batch; there is no deadlock, and no batch waits in memory."""
    disk = FaultyDisk()
    disk.holds = 30_000
    spool = opened(tmp_path, "a", "b", limits=SMALL, disk=disk)
    drained(spool.backlog("b"))
    put(spool, *range(100, 150))
    dropped = spool.counts("a").dropped["bytes"]
    numbers = drained(spool.backlog("a"))

    assert (False, True) == (spool.degraded, dropped > 10)
    assert list(range(100 + dropped, 150)) == numbers
    assert conserved(spool, "a", "b")


def test_row_13_nothing_is_given_up_for_nothing(tmp_path):
    """Where removing the oldest does not help, the others stay, and the newest waits in memory."""
    disk = FaultyDisk()
    spool = opened(tmp_path, limits=Limits(bytes=64 * 2**20), disk=disk)
    put(spool, *range(100, 160), size=100_000)
    disk.full = True
    put(spool, 160, 161, size=1000)
    full, counts = spool.degraded, spool.counts("a")
    disk.full = False
    put(spool, 162)
    numbers = drained(spool.backlog("a"))

    assert (True, False) == (full, spool.degraded)
    assert {"bytes"} == set(counts.dropped)
    assert list(range(100 + counts.dropped["bytes"], 163)) == numbers


@pytest.mark.integration
@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="a disk of its own needs root and unshare"
)
def test_row_13_enospc_on_a_real_disk(tmp_path: Path) -> None:
    """8 MiB that somebody else fills up: the oldest goes, the newest is kept, and everything is counted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    script = SMALL_DISK.format(disk=disk, python=sys.executable)

    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, timeout=60, check=False
    )

    if done.returncode == 77:
        pytest.skip("a tmpfs cannot be mounted here")
    assert 0 == done.returncode, done.stderr
    told = json.loads(done.stdout)
    assert (False, True, 159) == (told["degraded"], told["in order"], told["newest"])
    assert {"bytes"} == set(told["dropped"])
    assert 160 == told["dropped"]["bytes"] + told["got"]
    assert told["queued"] == told["got"] == 160 - told["from"]


def test_row_14_spool_limit_bytes(tmp_path):
    """The oldest segments go, whole, before the limit is passed; each reader's count is of what it had not got."""
    spool = opened(tmp_path, "a", "b", limits=SMALL)
    put(spool, *range(100, 103))
    drained(spool.backlog("b"))
    largest = 0
    for number in range(103, 160):
        put(spool, number)
        largest = max(largest, sizes(tmp_path))

    dropped = {name: dict(spool.counts(name).dropped) for name in "ab"}
    numbers = drained(spool.backlog("a"))
    assert largest <= SMALL.bytes
    assert numbers == list(range(numbers[0], 160))
    assert 35 <= len(numbers) <= 40
    assert {"a": {"bytes": 60 - len(numbers)}, "b": {"bytes": 57 - len(numbers)}} == dropped
    assert conserved(spool, "a", "b")


def test_row_14_spool_limit_age(tmp_path):
    """A segment goes when the newest batch in it is too old: nothing younger does."""
    monotonic = Clock()
    spool = Spool(
        tmp_path, ["a"], Limits(bytes=SMALL.bytes, age_seconds=1000.0), FaultyDisk(), monotonic=monotonic
    )
    spool.open()
    for number in range(100, 120):
        monotonic.now += 100.0
        put(spool, number)

    dropped = dict(spool.counts("a").dropped)
    numbers = drained(spool.backlog("a"))
    assert list(range(100 + dropped["age"], 120)) == numbers
    assert 11 <= len(numbers) < 11 + 5
    assert {"age": 20 - len(numbers)} == dropped


def test_row_14_a_batch_larger_than_the_limit(tmp_path):
    """It is counted, and does not cost the others their place."""
    spool = opened(tmp_path, limits=SMALL)
    put(spool, 100)
    put(spool, 101, size=SMALL.bytes)
    put(spool, 102)

    assert [100, 102] == drained(spool.backlog("a"))
    assert {"bytes": 1} == spool.counts("a").dropped
    assert conserved(spool)


def test_row_14_what_is_dropped_while_it_is_delivered(tmp_path):
    """It arrives all the same, and is counted as that; where it does not, that is known at the next reading."""
    spool = opened(tmp_path, "a", "b", limits=SMALL)
    put(spool, *range(100, 110))
    readers = spool.backlog("a"), spool.backlog("b")
    records = [reader.read(10**6) for reader in readers]
    put(spool, *range(110, 160))
    before = spool.counts("a")
    readers[0].done(records[0][-1].after, {"rejected": 1})
    readers[1].read(1)
    delivered, lost = spool.counts("a"), spool.counts("b")

    shown = len(records[0])
    assert (0, shown - 1, {**before.dropped, "rejected": 1}) == (
        before.delivered, delivered.delivered, delivered.dropped
    )  # fmt: skip
    assert {"bytes": before.dropped["bytes"] + shown} == lost.dropped
    assert conserved(spool, "a", "b")


def test_some_of_the_file_system_is_left_to_others(tmp_path):
    """With less than 100 MiB free the spool does not grow any more: what comes takes the place of the oldest."""
    disk = FaultyDisk()
    disk.space = Room(FREE_BYTES + 10**6, 10**10)
    spool = opened(tmp_path, limits=SMALL, disk=disk)
    put(spool, *range(100, 120))
    free = dict(spool.counts("a").dropped)
    disk.space = Room(FREE_BYTES - 1, 10**10)
    before = sizes(tmp_path)
    put(spool, *range(120, 200))

    assert ({}, True) == (free, before // 2 < sizes(tmp_path) <= before)
    assert {"bytes"} == set(spool.counts("a").dropped)
    assert 199 == drained(spool.backlog("a"))[-1]


@pytest.mark.parametrize("error", [errno.EROFS, errno.EIO, errno.EDQUOT])
def test_row_15_read_only_file_system_eio_or_quota(tmp_path, error):
    """Batches wait in memory, behind those on the disk, and go there in order once it takes them."""
    disk = FaultyDisk()
    spool = opened(tmp_path, "a", "b", disk=disk)
    put(spool, *range(100, 105))
    disk.error = error
    put(spool, *range(105, 110))
    degraded, size = spool.degraded, sizes(tmp_path)
    early = drained(spool.backlog("b"))
    disk.error = None
    put(spool, 110)

    assert (True, False, True) == (degraded, spool.degraded, sizes(tmp_path) > size)
    assert list(range(100, 110)) == early
    spool.close()
    spool = opened(tmp_path, "a", "b")
    assert (list(range(100, 111)), [110]) == (drained(spool.backlog("a")), drained(spool.backlog("b")))


class HalfWritten(FaultyDisk):
    """One write fails in the middle."""

    fails = False

    def put(self, path: Path, offset: int, content: bytes) -> None:
        if self.fails and content:
            self.fails = False
            super().put(path, offset, content[:200])
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().put(path, offset, content)


def test_row_15_half_of_a_record_is_not_taken_for_damage(tmp_path):
    """What was written before the error is cut off; the batch is in the next segment, once."""
    disk = HalfWritten()
    spool = opened(tmp_path, disk=disk)
    put(spool, 100)
    disk.fails = True
    put(spool, 101, 102)
    spool.close()
    spool = opened(tmp_path)

    assert 2 == len(segments(tmp_path))
    assert [100, 101, 102] == drained(spool.backlog("a"))
    assert {} == spool.counts("a").dropped


def test_row_15_what_was_delivered_from_memory_is_not_delivered_again(tmp_path):
    """Also where the agent ends before the disk takes anything, and where another reader had not got it."""
    disk = FaultyDisk()
    spool = opened(tmp_path, "a", "b", disk=disk)
    put(spool, 100)
    disk.error = errno.EIO
    put(spool, 101, 102)
    drained(spool.backlog("a"))
    disk.error = None
    spool.close()
    spool = opened(tmp_path, "a", "b")

    assert ([], [100, 101, 102]) == (drained(spool.backlog("a")), drained(spool.backlog("b")))


def test_row_13_what_was_set_aside_goes_before_what_waits(tmp_path):
    """A full disk needs its place more than anybody needs to see what was destroyed."""
    spool = opened(tmp_path)
    put(spool, 100)
    spool.close()
    aside = tmp_path / "0000000000000099.segment.corrupt-0"
    aside.write_bytes(bytes(50_000))
    disk = FaultyDisk()
    disk.holds = 52_500
    spool = opened(tmp_path, disk=disk)
    put(spool, 101, 102)

    assert [100, 101, 102] == drained(spool.backlog("a"))
    assert not aside.exists()


def test_row_15_memory_is_bounded(tmp_path):
    """The oldest of it goes first, and is counted; what is on the disk stays."""
    disk = FaultyDisk()
    spool = opened(tmp_path, limits=Limits(memory_bytes=10 * (RECORD + 20)), disk=disk)
    put(spool, 100, 101)
    disk.error = errno.EROFS
    put(spool, *range(110, 150))
    dropped = spool.counts("a").dropped["memory"]
    numbers = drained(spool.backlog("a"))

    assert 9 <= 40 - dropped <= 10
    assert [100, 101, *range(110 + dropped, 150)] == numbers
    assert conserved(spool)


def test_row_15_a_disk_that_is_read_only_from_the_start(tmp_path):
    """What an earlier process left is delivered, and what comes is, from memory."""
    spool = opened(tmp_path)
    put(spool, 100, 101)
    spool.close()
    disk = FaultyDisk()
    disk.error = errno.EROFS
    spool = opened(tmp_path, disk=disk)
    put(spool, 102)

    assert [100, 101, 102] == drained(spool.backlog("a"))
    assert (True, True) == (spool.degraded, conserved(spool))


def test_row_15_what_waits_in_memory_is_written_at_the_end(tmp_path):
    """A disk that was there again since the last batch has them all when the agent ends."""
    disk = FaultyDisk()
    disk.error = errno.EIO
    spool = opened(tmp_path, disk=disk)
    put(spool, 100, 101)
    disk.error = None
    spool.close()

    assert [100, 101] == drained(opened(tmp_path).backlog("a"))


def test_row_15_what_cannot_be_removed_is_not_given_up(tmp_path):
    """A read-only disk that is too full, and whose segments are too old, still has them to be delivered."""
    disk, monotonic = FaultyDisk(), Clock()
    limits = Limits(bytes=SMALL.bytes, age_seconds=1000.0)
    spool = Spool(tmp_path, ["a"], limits, disk, monotonic=monotonic)
    spool.open()
    put(spool, *range(100, 110))
    disk.error, disk.space, monotonic.now = errno.EROFS, Room(0, 10**10), 2000.0
    put(spool, *range(110, 120))

    assert list(range(100, 120)) == drained(spool.backlog("a"))
    assert {} == spool.counts("a").dropped


def test_a_full_disk_of_others_costs_no_more_than_what_comes(tmp_path):
    """While batches wait in memory nothing on the disk is given up for them."""
    disk = FaultyDisk()
    spool = opened(tmp_path, limits=SMALL, disk=disk)
    put(spool, *range(100, 130))
    disk.error, disk.space = errno.EIO, Room(0, 10**10)
    put(spool, *range(130, 170))

    assert list(range(100, 170)) == drained(spool.backlog("a"))
