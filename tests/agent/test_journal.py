"""The journal: nothing is lost between a job's end and its acknowledgement, within its limits."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuwatch.agent.disk import Disk
from gpuwatch.agent.journal import LIMIT_UNSAVED, Journal
from gpuwatch.errors import Unavailable
from tests.agent.disks import FaultyDisk


def entry(seq, time=0.0, **facts):
    return {"type": "event", "seq": seq, "time": time, **facts}


def filled(path, count, **limits):
    now = 0.0
    journal = Journal(path, clock=lambda: now, **limits)
    for seq in range(1, count + 1):
        now += 1.0
        journal.append(entry(seq))
    return journal


def seqs(journal, since=0, limit=1000, upto=10**9):
    return [each["seq"] for each in journal.entries(since, upto, limit)]


def balanced(journal):
    """What was taken in is delivered, queued, or dropped for a reason."""
    return journal.taken == journal.delivered + journal.queued + sum(journal.dropped.values())


def test_entries_come_back_in_order_from_where_the_reader_is(tmp_path):
    """A reader asks for what is new to it, as much as it likes at once."""
    journal = filled(tmp_path / "j", 10)

    assert seqs(journal, since=7) == [8, 9, 10]
    assert seqs(journal, since=2, limit=3) == [3, 4, 5]
    assert seqs(journal, since=2, upto=4) == [3, 4]


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
            journal.append(entry(seq, payload="x" * seq))
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
        file.write(b'{"crc":"00000000","seq":4,"ti')
    journal = Journal(tmp_path / "j")
    journal.append(entry(5))

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


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EACCES])
def test_disk_that_refuses_keeps_entries_in_memory_until_it_takes_them(tmp_path, error):
    """Full, read-only, broken, or the permission was taken away while it ran: nothing is lost meanwhile."""
    disk = FaultyDisk()
    journal = Journal(tmp_path / "j", disk=disk)
    journal.append(entry(1))
    disk.error = error
    journal.append(entry(2))
    journal.append(entry(3))

    assert (seqs(journal), journal.queued, journal.flush()) == ([1, 2, 3], 3, False)
    assert balanced(journal)
    disk.error = None
    assert journal.flush()
    assert seqs(Journal(tmp_path / "j")) == [1, 2, 3]


def test_what_waits_for_a_disk_that_refuses_for_ever_is_bounded_and_counted(tmp_path):
    """The oldest go first."""
    disk = FaultyDisk()
    disk.error = errno.ENOSPC
    journal = Journal(tmp_path / "j", disk=disk)
    for seq in range(LIMIT_UNSAVED + 5):
        journal.append(entry(seq))

    assert (journal.queued, journal.dropped) == (LIMIT_UNSAVED, {"disk": 5})
    assert balanced(journal)


def test_half_written_entry_is_written_over(tmp_path):
    """The disk was full in the middle of a line: the next try does not leave two halves."""
    disk = FaultyDisk(seed=3)
    journal = Journal(tmp_path / "j", disk=disk)
    journal.append(entry(1))
    disk.kill_at = disk.steps + 2
    journal.append(entry(2, text="x" * 100))
    assert (tmp_path / "j").stat().st_size > journal._end
    disk.revive()
    journal.append(entry(3))

    again = Journal(tmp_path / "j")
    assert (seqs(again), again.dropped) == ([1, 2, 3], {})


def test_any_flipped_bit_costs_at_most_the_entry_it_is_in(tmp_path):
    """Also in the end of a line, which makes two lines one; and a changed number is not believed."""
    filled(tmp_path / "j", 4)
    content = (tmp_path / "j").read_bytes()
    for place in range(len(content)):
        flipped = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        (tmp_path / "j").write_bytes(flipped)
        journal = Journal(tmp_path / "j")
        left = seqs(journal)

        assert len(left) >= 3, f"byte {place}"
        assert set(left) <= {1, 2, 3, 4}
        assert balanced(journal)


def test_entry_that_goes_bad_while_it_waits_is_dropped_and_counted(tmp_path):
    """What the disk gives back is checked when it is told, not only at the start."""
    journal = filled(tmp_path / "j", 3)
    content = (tmp_path / "j").read_bytes()
    (tmp_path / "j").write_bytes(content.replace(b'"seq":2', b'"seq":7'))

    assert seqs(journal, limit=2) == [1, 3]
    assert (journal.dropped, journal.queued, balanced(journal)) == ({"corrupt": 1}, 2, True)


def test_zeros_at_the_end_are_no_entry(tmp_path):
    """A power cut may leave a file longer than what was written."""
    filled(tmp_path / "j", 3)
    with open(tmp_path / "j", "ab") as file:
        file.write(bytes(3000))
    journal = Journal(tmp_path / "j")
    journal.append(entry(4))

    assert (seqs(Journal(tmp_path / "j")), journal.dropped) == ([1, 2, 3, 4], {})


@pytest.mark.parametrize(
    "content", [b"#!/bin/sh\nrm -rf /\n", b"\x7fELF" + b"\1" * 3_000_000, b'{"seq":1,"time":0}\n']
)
def test_foreign_file_is_set_aside(tmp_path, content):
    """Whatever lies there is not ours to throw away, nor to read into memory at once."""
    (tmp_path / "j").write_bytes(content)
    journal = Journal(tmp_path / "j")
    journal.append(entry(1))

    assert (tmp_path / "j.corrupt-0").read_bytes() == content
    assert (seqs(journal), balanced(journal)) == ([1], True)


def test_directory_in_its_place_is_set_aside(tmp_path):
    """It cannot be read as a file: the journal begins anew."""
    (tmp_path / "j").mkdir()
    journal = filled(tmp_path / "j", 1)

    assert (tmp_path / "j.corrupt-0").is_dir()
    assert seqs(journal) == [1]


class Unmovable(Disk):
    """Nothing can be renamed."""

    def replace(self, source, target):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_journal_that_can_neither_be_read_nor_set_aside_is_an_error(tmp_path):
    """Going on would write into it."""
    (tmp_path / "j").mkdir()

    with pytest.raises(Unavailable, match=r"cannot be read .* nor set aside"):
        Journal(tmp_path / "j", disk=Unmovable())


def test_file_taken_away_while_it_runs_costs_what_was_in_it(tmp_path):
    """Somebody deletes the journal: what is appended afterwards is there, the rest is counted."""
    journal = filled(tmp_path / "j", 3)
    (tmp_path / "j").unlink()
    journal.append(entry(4))

    assert seqs(journal) == [4]
    assert (journal.dropped, balanced(journal)) == ({"corrupt": 3}, True)
    assert seqs(Journal(tmp_path / "j")) == [4]


def test_disk_that_refuses_to_compact_keeps_everything_readable(tmp_path):
    """No room for the second copy: the file stays as it is until there is some."""
    disk = FaultyDisk()
    journal = Journal(tmp_path / "j", disk=disk)
    for seq in range(1, 11):
        journal.append(entry(seq))
    disk.error = errno.ENOSPC
    journal.acknowledge(8)
    assert seqs(journal) == [9, 10]

    disk.error = None
    journal.acknowledge(9)
    assert (seqs(journal), seqs(Journal(tmp_path / "j"))) == ([10], [10])
    assert balanced(journal)


actions = st.lists(st.sampled_from(["append", "append", "append", "ack", "sync", "kill", "cut"]), max_size=60)


@settings(max_examples=150)
@given(actions, st.integers(0, 10**6), st.data())
def test_kills_and_power_cuts_at_any_step_lose_nothing_that_was_promised(tmp_path_factory, actions, seed, data):
    """Appended survives a kill, synced survives a power cut; acknowledged may come back; the books balance."""
    path, disk, seq, promised, synced = tmp_path_factory.mktemp("journal") / "j", FaultyDisk(seed), 0, set(), set()
    journal = Journal(path, disk=disk)
    for action in actions:
        if action == "append":
            seq += 1
            journal.append(entry(seq, text="x" * (seq % 7 * 10)))
            promised |= set() if disk.dead else {seq}
        elif action == "ack":
            upto = data.draw(st.integers(0, seq))
            journal.acknowledge(upto)
            promised, synced = ({each for each in some if each > upto} for some in (promised, synced))
        elif action == "sync":
            with suppress(Unavailable):
                journal.sync()
                synced = set(promised)
        elif action == "kill" and disk.kill_at is None:
            disk.kill_at = disk.steps + data.draw(st.integers(0, 6))
        elif action == "cut":
            disk.cut_power()
            promised = set(synced)
        if action == "cut" or disk.dead:
            disk.revive()
            journal = Journal(path, disk=disk)
            assert promised <= set(seqs(journal)) <= set(range(seq + 1))
            assert seqs(journal) == sorted(set(seqs(journal)))
        assert balanced(journal)
