"""The journal: nothing is lost between a job's end and its acknowledgement, within its limits."""

from __future__ import annotations

import errno
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuwatch.agent.journal import Journal
from gpuwatch.errors import Unavailable


def entry(seq, time=0.0, **facts):
    return {"type": "event", "seq": seq, "time": time, **facts}


def filled(path, count, **limits):
    journal = Journal(path, **limits)
    for seq in range(1, count + 1):
        journal.append(entry(seq, float(seq)), float(seq))
    return journal


def seqs(journal, since=0, limit=1000):
    return [each["seq"] for each in journal.entries(since, limit)]


def test_entries_come_back_in_order_from_where_the_reader_is(tmp_path):
    """A reader asks for what is new to it, as much as it likes at once."""
    journal = filled(tmp_path / "j", 10)

    assert seqs(journal, since=7) == [8, 9, 10]
    assert seqs(journal, since=2, limit=3) == [3, 4, 5]


def test_acknowledged_entries_are_forgotten_also_on_disk(tmp_path):
    """What accounting has is not kept twice."""
    journal = filled(tmp_path / "j", 10)
    journal.acknowledge(8)

    assert seqs(journal) == [9, 10]
    assert seqs(Journal(tmp_path / "j")) == [9, 10]
    journal.acknowledge(10)
    assert (tmp_path / "j").stat().st_size == 0


@settings(max_examples=50)
@given(st.lists(st.sampled_from(["append", "ack", "restart"]), max_size=40), st.data())
def test_nothing_unacknowledged_is_lost_over_any_restarts(tmp_path_factory, actions, data):
    """Appended and not acknowledged is still there, whatever happens in between."""
    path = tmp_path_factory.mktemp("journal") / "j"
    journal, expected, seq = Journal(path), [], 0
    for action in actions:
        if action == "append":
            seq += 1
            journal.append(entry(seq, payload="x" * seq), 0.0)
            expected.append(seq)
        elif action == "ack":
            upto = data.draw(st.integers(0, seq))
            journal.acknowledge(upto)
            expected = [each for each in expected if each > upto]
        else:
            journal = Journal(path)
            # What was acknowledged but not yet compacted may come back; posting is idempotent.
            assert set(seqs(journal)) >= set(expected)
            journal.acknowledge(min(expected, default=seq + 1) - 1)

        assert seqs(journal) == expected


def test_torn_last_line_is_cut_and_counted(tmp_path):
    """A power cut in the middle of an append costs that entry only."""
    filled(tmp_path / "j", 3)
    with open(tmp_path / "j", "ab") as file:
        file.write(b'{"seq":4,"ti')
    journal = Journal(tmp_path / "j")
    journal.append(entry(5), 0.0)

    assert seqs(journal) == [1, 2, 3, 5]
    assert journal.dropped == {"torn": 1}


def test_corrupt_line_in_the_middle_is_skipped_and_counted(tmp_path):
    """Bit rot in one entry does not take its neighbours."""
    filled(tmp_path / "j", 3)
    lines = (tmp_path / "j").read_bytes().splitlines(keepends=True)
    (tmp_path / "j").write_bytes(lines[0] + b"\xff\x00garbage\n" + lines[2])
    journal = Journal(tmp_path / "j")

    assert seqs(journal) == [1, 3]
    assert journal.dropped == {"corrupt": 1}


def test_too_old_and_too_much_is_given_up_oldest_first_and_counted(tmp_path):
    """With accounting gone for good the disk does not fill up."""
    by_bytes = filled(tmp_path / "bytes", 100, limit_bytes=1000)
    by_age = filled(tmp_path / "age", 100, limit_seconds=10.0)

    assert seqs(by_bytes)[-1] == 100
    assert (tmp_path / "bytes").stat().st_size <= 2000
    assert by_bytes.dropped["bytes"] + len(seqs(by_bytes)) == 100
    assert seqs(by_age) == list(range(90, 101))
    assert by_age.dropped == {"age": 89}


class FullDisk(Journal):
    """A journal whose disk can be full."""

    full = True

    def _write(self, line):
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super()._write(line)


def test_entries_that_wait_in_memory_are_all_read_in_the_end(tmp_path):
    """A full disk and a reader that takes little at once: page by page it gets everything, once."""
    journal, since, read = FullDisk(tmp_path / "j"), 0, []
    for seq in range(1, 31):
        journal.append(entry(seq), 0.0)
    while page := seqs(journal, since, limit=7):
        read, since = read + page, page[-1]

    assert read == list(range(1, 31))
    journal.acknowledge(29)
    assert seqs(journal) == [30]


def test_appended_survives_a_kill_and_synced_survives_a_power_cut(tmp_path):
    """The kernel has an entry at once; `sync` has something to do once after each append."""
    journal = filled(tmp_path / "j", 3)
    assert seqs(Journal(tmp_path / "j")) == [1, 2, 3]

    journal.sync()
    (tmp_path / "j").rename(tmp_path / "gone")
    journal.sync()
    journal._unsynced = True
    with pytest.raises(Unavailable, match="cannot be synced"):
        journal.sync()


def test_full_disk_keeps_entries_in_memory_until_there_is_room(tmp_path):
    """Entries are readable all the while, and on disk as soon as it lets them."""
    journal = FullDisk(tmp_path / "j")
    journal.append(entry(1), 0.0)
    journal.append(entry(2), 0.0)

    assert seqs(journal) == [1, 2]
    journal.full = False
    assert journal.flush()
    assert seqs(Journal(tmp_path / "j")) == [1, 2]
