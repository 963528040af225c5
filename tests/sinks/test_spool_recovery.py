"""Whatever lies in the directory, the spool starts, and gives what can be read of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuwatch.sinks import spool_format as form
from gpuwatch.sinks.spool import Limits, Spool
from gpuwatch.sinks.spool_disk import Disk
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

RECORD = len(form.encode(1, 1.0, 1, lines(1)))
HEAD = form.SEGMENT_HEAD_BYTES
POINTS = 9


def filled(path: Path, count: int = 10) -> Path:
    """A spool of one segment that nobody has read, as a process that was killed leaves it; the segment."""
    spool = opened(path)
    for number in range(1, count + 1):
        spool.append(float(number), POINTS, lines(number))
    spool.close()
    return segments(path)[0]


def flip(path: Path, place: int) -> None:
    """Change one bit."""
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(data)


def begin_of(number: int) -> int:
    """Where the record of a batch begins; they have not all the same size."""
    return HEAD + sum(len(form.encode(each, 1.0, POINTS, lines(each))) for each in range(1, number))


def after(path: Path) -> tuple[list[int], dict[str, int]]:
    """What a spool that is opened now gives, and what it says that it dropped."""
    spool = opened(path)
    numbers = drained(spool.backlog("a"))
    assert conserved(spool)
    dropped = dict(spool.counts("a").dropped)
    put(spool, 99)
    assert [99] == drained(spool.backlog("a")), "what comes now is kept"
    spool.close()
    return numbers, dropped


def cut(segment: Path, size: int) -> None:
    segment.write_bytes(segment.read_bytes()[:size])


def zero(segment: Path, begin: int, end: int | None = None) -> None:
    data = segment.read_bytes()
    end = len(data) if end is None else end
    segment.write_bytes(data[:begin] + bytes(end - begin) + data[end:])


ALL = list(range(1, 11))
WITHOUT_5 = [1, 2, 3, 4, 6, 7, 8, 9, 10]
WITHOUT_10 = ALL[:-1]

DAMAGE: dict[str, tuple[Callable[[Path], object], list[int], dict[str, int]]] = {
    # What was not finished was not taken: nothing is lost with it.
    "truncated in a payload": (lambda s: cut(s, begin_of(10) + 200), WITHOUT_10, {}),
    "truncated in a header": (lambda s: cut(s, begin_of(10) + 10), WITHOUT_10, {}),
    "truncated after the marker": (lambda s: cut(s, begin_of(10) + 4), WITHOUT_10, {}),
    "truncated in the marker": (lambda s: cut(s, begin_of(10) + 2), WITHOUT_10, {}),
    "truncated between records": (lambda s: cut(s, begin_of(10)), WITHOUT_10, {}),
    "zeros from a payload on": (lambda s: zero(s, begin_of(10) + 200), WITHOUT_10, {}),
    "zeros from a header on": (lambda s: zero(s, begin_of(10) + 12), WITHOUT_10, {}),
    "zeros in place of the last": (lambda s: zero(s, begin_of(10)), WITHOUT_10, {}),
    "zeros behind the last": (lambda s: s.write_bytes(s.read_bytes() + bytes(4096)), ALL, {}),
    # What changed afterwards is lost, and counted.
    "a bit of a payload": (lambda s: flip(s, begin_of(5) + 300), WITHOUT_5, {"corrupt": POINTS}),
    "a bit of a header": (lambda s: flip(s, begin_of(5) + 20), WITHOUT_5, {"corrupt": 1}),
    "a bit of a marker": (lambda s: flip(s, begin_of(5)), WITHOUT_5, {"corrupt": 1}),
    "a bit of a length": (lambda s: flip(s, begin_of(5) + 8), WITHOUT_5, {"corrupt": 1}),
    "a bit of the last payload": (lambda s: flip(s, begin_of(10) + 300), WITHOUT_10, {"corrupt": POINTS}),
    "a bit of the segment's header": (lambda s: flip(s, 3), ALL, {}),
    "a bit of the version": (lambda s: flip(s, 8), ALL, {}),
    "zeros in the middle": (
        lambda s: zero(s, begin_of(4), begin_of(6)),
        [1, 2, 3, 6, 7, 8, 9, 10],
        {"corrupt": 1},
    ),
    "two records destroyed far apart": (
        lambda s: (flip(s, begin_of(2) + 99), flip(s, begin_of(7) + 99)),
        [1, 3, 4, 5, 6, 8, 9, 10],
        {"corrupt": 2 * POINTS},
    ),
    "bytes missing in the middle": (
        lambda s: s.write_bytes(s.read_bytes()[: begin_of(5) + 50] + s.read_bytes()[begin_of(5) + 90 :]),
        WITHOUT_5,
        {"corrupt": POINTS},
    ),
    "bytes too many in the middle": (
        lambda s: s.write_bytes(s.read_bytes()[: begin_of(5)] + b"junk" * 9 + s.read_bytes()[begin_of(5) :]),
        ALL,
        {"corrupt": 1},
    ),
    "junk behind the last": (lambda s: s.write_bytes(s.read_bytes() + b"junk" * 50), ALL, {"corrupt": 1}),
    "nothing but junk": (lambda s: s.write_bytes(b"junk" * 500), [], {"corrupt": 1}),
    "a little junk": (lambda s: s.write_bytes(b"junk"), [], {"corrupt": 1}),
    "nothing": (lambda s: s.write_bytes(b""), [], {}),
    "nothing but zeros": (lambda s: s.write_bytes(bytes(9999)), [], {}),
    "nothing but a header": (lambda s: cut(s, HEAD), [], {}),
    "half a header": (lambda s: cut(s, HEAD // 2), [], {}),
    "the file is gone": (lambda s: s.unlink(), [], {}),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_row_11_power_cut(tmp_path, what):
    """The bad record is skipped by its checksum, what comes later is kept, and what was lost is counted."""
    damage, numbers, dropped = DAMAGE[what]
    damage(filled(tmp_path))

    assert (numbers, dropped) == after(tmp_path)


@pytest.mark.parametrize("what", [what for what, case in DAMAGE.items() if case[2]])
def test_a_damaged_segment_is_set_aside_when_its_good_records_were_passed(tmp_path, what):
    """Whoever wants to know what happened can look at it; the next start finds nothing wrong any more."""
    DAMAGE[what][0](filled(tmp_path))
    after(tmp_path)

    assert 1 == len(list(tmp_path.glob("*.corrupt-*")))
    assert ([], {}) == after(tmp_path)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_is_destroyed_the_rest_is_read(data, tmp_path_factory):
    """Bytes anywhere in it are changed, left out, put in: records that are whole come out, and no others."""
    path = tmp_path_factory.mktemp("spool")
    segment = filled(path)
    content = segment.read_bytes()
    begin = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(begin, min(len(content), begin + 2000)))
    put_in = data.draw(st.binary(max_size=50) | st.just(content[begin_of(3) : begin_of(4) - 5]))
    segment.write_bytes(content[:begin] + put_in + content[end:])
    untouched = [n for n in ALL if begin_of(n + 1) <= begin or begin_of(n) >= end]

    spool = opened(path)
    records = spool.backlog("a").read(GENEROUS)
    numbers = [number_of(record) for record in records]
    assert set(untouched) <= set(numbers) <= set(ALL)
    assert sorted(set(numbers)) == numbers
    assert all(lines(number_of(record)) == record.lines for record in records)
    assert conserved(spool)
    spool.close()


def test_rot_that_comes_while_it_is_open_is_counted_exactly(tmp_path):
    """What was good when the spool was opened, and cannot be read later."""
    segment = filled(tmp_path)
    spool = opened(tmp_path)
    flip(segment, begin_of(5) + 20)
    flip(segment, begin_of(10) + 20)

    assert [1, 2, 3, 4, 6, 7, 8, 9] == drained(spool.backlog("a"))
    assert ({"corrupt": 2 * POINTS}, 0) == (dict((counts := spool.counts("a")).dropped), counts.queued)
    put(spool, 11)
    assert [11] == drained(spool.backlog("a"))
    assert conserved(spool)


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOENT, errno.EACCES])
def test_a_segment_that_cannot_be_read_does_not_block_what_comes_later(tmp_path, error):
    """Its points are counted; a poison file is no end of the queue."""
    disk = Unreadable()
    spool = opened(tmp_path, limits=Limits(bytes=10**6), disk=disk)
    put(spool, *range(300))
    disk.unreadable, disk.error_of = segments(tmp_path)[0], error
    inside = 300 - len(drained(spool.backlog("a")))

    assert {"corrupt": inside} == spool.counts("a").dropped
    assert inside > 50
    assert conserved(spool)


def test_too_many_open_files_lose_nothing(tmp_path):
    """What says nothing of the file is not held against it."""
    disk = Unreadable()
    spool = opened(tmp_path, disk=disk)
    put(spool, 1)
    disk.unreadable, disk.error_of = segments(tmp_path)[0], errno.EMFILE
    backlog = spool.backlog("a")
    spool.close()  # so that it does not pause
    refused = backlog.read(GENEROUS)
    disk.unreadable = None

    assert ((), [1]) == (tuple(refused), [number_of(record) for record in backlog.read(GENEROUS)])


class Unreadable(FaultyDisk):
    """One file cannot be read."""

    unreadable: Path | None = None
    error_of = errno.EIO

    def read(self, path: Path, begin: int, length: int) -> bytes:
        if path == self.unreadable:
            raise OSError(self.error_of, os.strerror(self.error_of))
        return super().read(path, begin, length)


def name(number: int) -> str:
    return f"{number:016}.segment"


LITTER: dict[str, Callable[[Path], object]] = {
    "files of others": lambda d: [(d / n).write_bytes(b"x" * 99) for n in ("README", "1.segment", "a.cursor.old")],
    "a directory with a segment's name": lambda d: ((d / name(5)).mkdir(), (d / name(5) / "x").write_text("x")),
    "a directory with the cursor's name": lambda d: ((d / "a.cursor").unlink(), (d / "a.cursor").mkdir()),
    "a pipe with a segment's name": lambda d: os.mkfifo(d / name(6)),
    "a link with a segment's name": lambda d: (d / name(6)).symlink_to("/etc/passwd"),
    "a link with the cursor's name": lambda d: (
        (d / "a.cursor").unlink(),
        (d / "a.cursor").symlink_to("/nowhere"),
    ),
    "a copy of a segment": lambda d: (d / name(50)).write_bytes((d / name(1)).read_bytes()),
    "a segment by another name": lambda d: (d / name(1)).rename(d / name(7)),
    "a number that nobody comes to": lambda d: (d / name(10**16 - 1)).write_bytes((d / name(1)).read_bytes()),
    "an empty segment that is newer": lambda d: (d / name(40)).write_bytes(b""),
    "a cursor of nothing": lambda d: (d / "a.cursor").write_bytes(b""),
    "a cursor of junk": lambda d: (d / "a.cursor").write_bytes(b"junk" * 1000),
    "a cursor cut short": lambda d: (d / "a.cursor").write_bytes((d / "a.cursor").read_bytes()[:20]),
    "no cursor": lambda d: (d / "a.cursor").unlink(),
    "a cursor in the past": lambda d: (d / "a.cursor").write_bytes(form.encode_cursor(9, 0, 1) * 2),
    "a cursor in the future": lambda d: (d / "a.cursor").write_bytes(form.encode_cursor(9, 500, 777) * 2),
    "a cursor beyond all numbers": lambda d: (d / "a.cursor").write_bytes(form.encode_cursor(9, 2**63, 2**63) * 2),
    "no lock": lambda d: (d / "lock").unlink(),
    "a lock of junk": lambda d: (d / "lock").write_bytes(b"\xff" * 99),
}


@pytest.mark.parametrize("what", LITTER)
def test_row_12_spool_directory_corrupt(tmp_path, what):
    """Foreign files, wrong kinds of files, cursors that say nonsense: it starts, and delivers all that waits."""
    filled(tmp_path)
    LITTER[what](tmp_path)

    assert (ALL, {}) == after(tmp_path)
    assert ([], {}) == after(tmp_path)


def test_row_12_wrong_owner(tmp_path):
    """A segment that may not be read is set aside and counted; the others are delivered."""
    spool = opened(tmp_path, limits=Limits(bytes=10**6))
    put(spool, *range(300))
    spool.close()
    disk = Unreadable()
    disk.unreadable, disk.error_of = segments(tmp_path)[0], errno.EACCES
    spool = opened(tmp_path, disk=disk)
    numbers = drained(spool.backlog("a"))

    assert list(range(300 - len(numbers), 300)) == numbers
    assert ({"corrupt": 1}, True) == (dict(spool.counts("a").dropped), conserved(spool))
    assert disk.unreadable.with_name(disk.unreadable.name + ".corrupt-0").exists()


def test_what_is_appended_after_a_cursor_in_the_future_is_not_taken_as_passed(tmp_path):
    """Numbers go on behind every number that was ever seen."""
    filled(tmp_path)
    (tmp_path / "a.cursor").write_bytes(form.encode_cursor(9, 500, 777) * 2)
    for path in segments(tmp_path):
        path.unlink()
    spool = opened(tmp_path)
    put(spool, 1, 2)
    spool.close()

    assert [1, 2] == drained(opened(tmp_path).backlog("a"))


def test_a_cursor_behind_a_cut_segment_loses_nothing_that_comes(tmp_path):
    """What had been passed was cut off; what is appended in its place is delivered, also after a restart."""
    segment = filled(tmp_path)
    spool = opened(tmp_path)
    drained(spool.backlog("a"))
    spool.close()
    cut(segment, begin_of(4))
    for number in (11, 12, 13):
        spool = opened(tmp_path)
        put(spool, number)
        spool.close()

    assert [11, 12, 13] == drained(opened(tmp_path).backlog("a"))


def test_one_bad_slot_of_a_cursor_costs_one_step(tmp_path):
    """A cursor that was torn while it was written is that of one step before."""
    filled(tmp_path)
    spool = opened(tmp_path)
    backlog = spool.backlog("a")
    for _ in range(4):
        backlog.done(backlog.read(1)[0].after, {})
    spool.close()
    cursor = tmp_path / "a.cursor"
    data = cursor.read_bytes()
    newest = max((0, form.SLOT_BYTES), key=lambda begin: form.decode_cursor(data[begin : begin + form.SLOT_BYTES]))
    flip(cursor, newest + 9)

    assert [4, 5, 6, 7, 8, 9, 10] == drained(opened(tmp_path).backlog("a"))


def test_row_17_newer_version(tmp_path):
    """Segments that a newer version wrote are set aside and never deleted, and they are not counted as taken."""
    newer = form.segment_head(1, form.VERSION + 1) + b"whatever it may be"
    (tmp_path / name(1)).write_bytes(newer)
    spool = opened(tmp_path, limits=Limits(bytes=10_000))
    put(spool, *range(100))
    aside = tmp_path / (name(1) + ".version-0")

    assert newer == aside.read_bytes()
    assert 100 == spool.counts("a").taken
    assert conserved(spool)


def test_row_17_older_version(tmp_path):
    """What an older version wrote is read."""
    segment = filled(tmp_path)
    segment.write_bytes(form.segment_head(1, 0) + segment.read_bytes()[HEAD:])

    assert (ALL, {}) == after(tmp_path)


def test_only_the_newest_damaged_segments_are_kept(tmp_path):
    """A disk that rots all the time is not filled with what it destroyed."""
    for _ in range(12):
        for path in segments(tmp_path):
            path.unlink()
        spool = opened(tmp_path)
        put(spool, 1, 2, 3)
        spool.close()
        flip(segments(tmp_path)[-1], HEAD + 100)
        after(tmp_path)

    assert 4 == len(list(tmp_path.glob("*.corrupt-*")))


def test_a_wrong_clock_at_the_start_gives_up_nothing_at_once(tmp_path):
    """Files that seem to be a year old are kept for an hour at least."""
    filled(tmp_path)
    wall, monotonic = Clock(segments(tmp_path)[0].stat().st_mtime + 365 * 86400.0), Clock()
    spool = Spool(tmp_path, ["a"], Limits(), FaultyDisk(), wall, monotonic)
    spool.open()
    put(spool, 11)
    monotonic.now = 3500.0
    put(spool, 12)
    kept = dict(spool.counts("a").dropped)

    assert {} == kept
    assert [*ALL, 11, 12] == drained(spool.backlog("a"))


def test_an_old_file_is_given_up_an_hour_after_the_start(tmp_path):
    """What is really too old does not stay because the agent is restarted."""
    filled(tmp_path)
    os.utime(segments(tmp_path)[0], (0, 0))
    monotonic = Clock()
    spool = Spool(tmp_path, ["a"], Limits(bytes=10**5), FaultyDisk(), monotonic=monotonic)
    spool.open()
    monotonic.now = 3601.0
    put(spool, 11)

    assert {"age": 10 * POINTS} == spool.counts("a").dropped


def test_a_directory_that_cannot_be_made_is_used_once_it_can(tmp_path):
    """Until then batches wait in memory; then they go to the disk in order."""
    (tmp_path / "spool").write_text("in the way")
    spool = opened(tmp_path / "spool", disk=Disk())
    put(spool, 1, 2)
    degraded = spool.degraded
    (tmp_path / "spool").unlink()
    put(spool, 3)
    again = spool.degraded
    spool.close()

    assert (True, False) == (degraded, again)
    assert [1, 2, 3] == drained(opened(tmp_path / "spool").backlog("a"))


def test_a_directory_that_is_removed_is_made_again(tmp_path):
    """What was in it is counted, what comes is kept."""
    spool = opened(tmp_path / "spool", disk=Disk())
    put(spool, 1, 2)
    for path in (tmp_path / "spool").iterdir():
        path.unlink()
    (tmp_path / "spool").rmdir()
    put(spool, 3, 4)

    assert [3, 4] == drained(spool.backlog("a"))
    assert {"corrupt": 2} == spool.counts("a").dropped
    assert conserved(spool)
    assert not spool.degraded
