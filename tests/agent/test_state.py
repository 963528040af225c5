"""The state directory: what is saved comes back the same, and what cannot be read is set aside."""

from __future__ import annotations

import errno
import json
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.agent.disk import Disk
from gpuwatch.agent.sealed import seal, unseal
from gpuwatch.agent.state import SEQ_RESERVE, Abandoned, State, StateDirectory, encode
from gpuwatch.errors import Locked, Unavailable
from gpuwatch.meter import Holding, Meter, StorageWaits, Tally
from gpuwatch.model import JobKey, JobRow, Reading
from tests.agent.disks import FaultyDisk

D = "demo:0"


def metered(script):
    """A meter after a script of (watts, joules, utilization, held) a second apart."""
    meter = Meter()
    for second, (watts, joules, utilization, held) in enumerate(script):
        power = {("average", "device"): watts} if watts is not None else {}
        reading = Reading(
            D, float(second), utilization_ratio=utilization, power_watts=power, energy_joules=joules,
            throttle_seconds={"sw_thermal": second / 10}, clock_hz={"sm": 1e9},
            pcie_bytes={"receive": 5.0 * (second // 3)}, ecc_errors={("corrected", "volatile"): second // 4},
            xid_errors={"31": second // 5},
        )  # fmt: skip
        holdings = [Holding(JobKey("a", 1), D, 0.5, "shard")] if held else []
        waits = {"a": second / 20} if second % 5 == 0 else {}
        meter.advance(float(second), {D: reading}, holdings, waits=waits, wall=1e9 + second)
    return meter


def state_of(meter, **more):
    facts = {"epoch": "0123456789ab", "boot_id": "b", "monotonic": 5.0, "seq": 7, "registry": {"open": []}} | more
    rows = {key: JobRow(key, usage, 0.5, "shard", True, 3, 4.0) for key, usage in meter.rows.items()}
    return State(rows=rows, devices=meter.devices, meters=meter.state(), **facts)


optional = st.none() | st.floats(0, 1000)
scripts = st.lists(
    st.tuples(optional, optional, st.none() | st.floats(0, 1), st.booleans()), min_size=1, max_size=12
)


@given(scripts)
def test_saved_state_comes_back_the_same(tmp_path_factory, script):
    """Every counter and everything the meter remembers survives; the sequence is reserved ahead."""
    state = state_of(metered(script))
    with StateDirectory(tmp_path_factory.mktemp("state")) as directory:
        directory.write(encode(state))
        loaded = directory.load("b").state

    assert (loaded.rows, loaded.devices, loaded.meters) == (state.rows, state.devices, state.meters)
    assert (loaded.epoch, loaded.seq) == (state.epoch, state.seq + SEQ_RESERVE)


@pytest.mark.parametrize(
    ("shown", "boot", "seconds"),
    [
        ({"seq": 9}, "b", 5.0),
        ({"seq": 9}, "another boot", 2.0),
        ({"seq": 9, "boot_id": ""}, "", 2.0),
        ({"seq": 9, "epoch": "ba9876543210"}, "b", 2.0),
        ({"seq": 7}, "b", 2.0),
        (None, "b", 2.0),
    ],
)
def test_what_was_shown_last_is_gone_on_from_where_a_kill_left_it(tmp_path, shown, boot, seconds):
    """Where it is newer, of the same epoch and boot, and whole (None: torn). Readers may know what was saved."""
    script = [(100.0, 5.0, 0.5, True)] * 6
    document = encode(state_of(metered(script), **(shown or {"seq": 9})))
    with StateDirectory(tmp_path) as directory:
        directory.write(encode(state_of(metered(script[:3]))))
        directory.keep(document if shown is not None else document[:-9])
        loaded = directory.load(boot)

    assert [seconds] == [2 * row.usage.held_seconds for row in loaded.state.rows.values()]
    assert 7 + SEQ_RESERVE == loaded.given
    assert (9 if seconds == 5.0 else 7) + SEQ_RESERVE == loaded.state.seq


def test_after_a_reboot_totals_stay_and_the_meter_begins_anew(tmp_path):
    """The monotonic clock began at zero and all holders are gone: no gap is charged over a reboot."""
    state = state_of(metered([(100.0, 5.0, 0.5, True)] * 3))
    with StateDirectory(tmp_path) as directory:
        directory.write(encode(state))
        loaded = directory.load("another boot").state

    assert (loaded.rows, loaded.meters, loaded.boot_id) == (state.rows, {}, "another boot")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'{"version": 1}',
        b"\xff\xfe\x00",
        bytes(5000),
        seal({"version": 1, "epoch": "x"}),
    ],
    ids=["empty", "cut", "null", "list", "no checksum", "binary", "zeros", "short"],
)
def test_unreadable_state_is_kept_aside_and_a_new_epoch_begins(tmp_path, content):
    """Nothing is silently deleted, and nothing keeps the agent from starting."""
    (tmp_path / "state.json").write_bytes(content)
    with StateDirectory(tmp_path) as directory:
        state = directory.load("b").state

    assert (tmp_path / "state.json.corrupt-0").read_bytes() == content
    assert (len(state.epoch), state.rows) == (12, {})


def test_interrupted_write_leaves_the_old_state(tmp_path):
    """A file half written beside the state is not the state."""
    state = state_of(metered([(100.0, None, None, True)] * 2))
    with StateDirectory(tmp_path) as directory:
        directory.write(encode(state))
        (tmp_path / "state.new").write_bytes(encode(state)[:50])

        assert directory.load("b").state.rows == state.rows


def test_disk_that_refuses_is_unavailable_and_the_old_state_stays(tmp_path):
    """What was saved last is still there."""
    state = state_of(metered([(100.0, None, None, True)] * 2))
    with StateDirectory(tmp_path) as directory:
        directory.write(encode(state))
        (tmp_path / "state.new").mkdir()

        with pytest.raises(Unavailable, match="cannot be saved"):
            directory.write(b"{}")
        assert directory.load("b").state.rows == state.rows


def test_lock_names_its_holder_and_is_free_afterwards(tmp_path):
    """One agent per directory; the next one may have it as soon as the first is gone."""
    with StateDirectory(tmp_path), pytest.raises(Locked, match=f"process {os.getpid()}$"):
        StateDirectory(tmp_path).__enter__()
    with StateDirectory(tmp_path) as again:
        assert again.path == tmp_path


def test_directory_that_cannot_be_made_says_why(tmp_path):
    """A file in the way is named."""
    (tmp_path / "file").touch()

    with pytest.raises(Unavailable, match=r"state directory .*file/state"):
        StateDirectory(tmp_path / "file" / "state").__enter__()


def test_state_has_no_value_that_json_does_not_have(tmp_path):
    """No NaN and no infinity get onto the disk."""
    encoded = encode(state_of(metered([(None, None, None, True)] * 3)))

    assert json.loads(encoded, parse_constant=lambda name: pytest.fail(name))["version"] == 1


def saved_twice(path):
    """A directory with a state, the one before it, and the two."""
    older = state_of(metered([(100.0, 5.0, 0.5, True)] * 2), registry={"open": [["a", 1, 1.0, 0.0]]})
    newer = state_of(metered([(100.0, 5.0, 0.5, True)] * 3), seq=9)
    with StateDirectory(path) as directory:
        directory.write(encode(older))
        directory.write(encode(newer))
    return older, newer


def load(path, kind=StateDirectory):
    with kind(path) as directory:
        return directory.load("b")


def test_any_flipped_bit_is_noticed(tmp_path):
    """Also where the file is still valid JSON with another number in it."""
    content = encode(state_of(metered([(100.0, 5.0, 0.5, True)] * 3)))
    with StateDirectory(tmp_path) as directory:
        for place in range(0, len(content), 7):
            for bit in (1, 4, 64):
                flipped = content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :]
                (tmp_path / "state.json").write_bytes(flipped)
                assert directory.load("b").state.rows == {}, f"bit {bit} of byte {place}"
                next(tmp_path.glob("state.json.corrupt-*")).unlink()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-20]),
        lambda path: path.write_bytes(path.read_bytes()[:-20] + bytes(20)),
        lambda path: path.write_bytes(b"#!/bin/sh\n"),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: (path.unlink(), path.symlink_to(path.with_name("nowhere"), target_is_directory=True)),
        lambda path: path.unlink(),
    ],
    ids=["truncated", "zero tail", "foreign", "directory", "dangling link", "deleted"],
)
def test_lost_newest_state_has_the_previous_told_under_its_own_epoch(tmp_path, spoil):
    """Never twice: the older counters are told as they are, a new epoch begins, and jobs keep their beginning."""
    older, _ = saved_twice(tmp_path)
    spoil(tmp_path / "state.json")
    loaded = load(tmp_path)

    assert loaded.abandoned == [Abandoned(older.epoch, tuple(older.rows.values()), {})]
    assert loaded.state.epoch != older.epoch
    assert (loaded.state.rows, loaded.state.meters, loaded.state.devices) == ({}, {}, {})
    assert (loaded.state.registry, loaded.state.seq) == (older.registry, older.seq + SEQ_RESERVE)


def test_both_states_lost_is_a_new_epoch_and_no_end(tmp_path):
    """Nothing is left to tell; what there was is kept for the curious."""
    saved_twice(tmp_path)
    for name in ("state.json", "state.json.previous"):
        (tmp_path / name).write_bytes(b"{}")
    loaded = load(tmp_path)

    assert (loaded.abandoned, loaded.state.rows) == ([], {})
    assert (tmp_path / "state.json.corrupt-0").exists()


def test_every_set_aside_file_has_a_name_of_its_own(tmp_path):
    """The second one does not replace the first."""
    for content in (b"first", b"second"):
        (tmp_path / "state.json").write_bytes(content)
        load(tmp_path)

    assert [(tmp_path / f"state.json.corrupt-{each}").read_bytes() for each in (0, 1)] == [b"first", b"second"]


@pytest.mark.parametrize("kill_at", range(12))
def test_save_killed_at_any_step_leaves_the_old_state_or_the_new(tmp_path, kill_at):
    """There is no moment at which a kill leaves anything else, nor a power cut after it."""
    states = [state_of(metered([(100.0, 5.0, 0.5, True)] * length), seq=length) for length in (2, 3, 4)]
    disk = FaultyDisk(seed=kill_at)
    with StateDirectory(tmp_path, disk) as directory:
        directory.write(encode(states[0]))
        directory.write(encode(states[1]))
        disk.kill_at = disk.steps + kill_at
        with suppress(Unavailable):
            directory.write(encode(states[2]))
        killed = disk.dead
        disk.revive()
        if kill_at % 2:
            disk.cut_power()
        loaded = directory.load("b")

    assert loaded.abandoned == []
    assert loaded.state.rows in ([states[1].rows, states[2].rows] if killed else [states[2].rows])


class NoLinks(Disk):
    """A file system where a file has one name."""

    def link(self, source, target):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def test_file_system_without_links_keeps_the_previous_state_too(tmp_path):
    """FAT and some network file systems."""
    states = [state_of(metered([(100.0, None, None, True)] * length)) for length in (2, 3)]
    with StateDirectory(tmp_path, NoLinks()) as directory:
        for state in states:
            directory.write(encode(state))
        assert directory.load("b").state.rows == states[1].rows
        (tmp_path / "state.json").unlink()
        assert directory.load("b").abandoned[0].rows == tuple(states[0].rows.values())


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT, errno.EACCES])
def test_whatever_the_disk_says_it_is_unavailable_and_nothing_is_lost(tmp_path, error):
    """Full, read-only, broken, over quota, not permitted: the last state stays, and the next save may succeed."""
    _, newer = saved_twice(tmp_path)
    newest = replace(newer, seq=12)
    disk = FaultyDisk()
    with StateDirectory(tmp_path, disk) as directory:
        disk.error = error
        with pytest.raises(Unavailable, match=f"cannot be saved; {os.strerror(error)}"):
            directory.write(encode(newest))
        disk.error = None
        assert directory.load("b").state.seq == newer.seq + SEQ_RESERVE
        directory.write(encode(newest))
        assert directory.load("b").state.seq == newest.seq + SEQ_RESERVE


class Unreadable(Disk):
    """A disk that gives nothing back, and on which nothing can be renamed."""

    def read(self, path):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def replace(self, source, target):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_state_that_can_neither_be_read_nor_set_aside_is_an_error(tmp_path):
    """Going on would overwrite it."""
    saved_twice(tmp_path)

    with StateDirectory(tmp_path, Unreadable()) as directory, pytest.raises(Unavailable, match="nor set aside"):
        directory.load("b")


# What other versions wrote, or will write.

GOLDEN = Path(__file__).parent.parent / "golden" / "state_v1.json"


def test_state_of_version_1_loads_for_ever(tmp_path):
    """The file as the first release wrote it; it is not to be written anew."""
    (tmp_path / "state.json").write_bytes(GOLDEN.read_bytes())
    state = load(tmp_path).state

    (row,) = state.rows.values()
    assert (state.epoch, state.seq, row.key) == ("0123456789ab", 7 + SEQ_RESERVE, ("a", 1, D))
    assert row.usage.joules == pytest.approx(155.0)
    assert state.meters[D].shares == {("a", 1, D): 0.5, ("", 0, "unallocated"): 0.5}
    assert state.registry["open"] == [["a", 1, 5.0, 900.0]]


def with_more(value):
    """A document with a field more in every object."""
    if isinstance(value, dict):
        return {name: with_more(each) for name, each in value.items()} | (
            {"from_later": [1, {"x": None}]} if "version" in value or "usage" in value or "time" in value else {}
        )
    return [with_more(each) for each in value] if isinstance(value, list) else value


def test_fields_that_a_later_program_added_are_dropped(tmp_path):
    """Back from a later release of the same version: everything that is known is there."""
    state = state_of(metered([(100.0, 5.0, 0.5, True)] * 3))
    (tmp_path / "state.json").write_bytes(seal(with_more(unseal(encode(state)))))
    loaded = load(tmp_path).state

    assert (loaded.rows, loaded.devices, loaded.meters) == (state.rows, state.devices, state.meters)


SUMMARY = (
    "clock_cycles", "clock_seconds", "storage_wait_seconds", "link_bytes", "errors", "energy_gap_seconds",
    "first_working", "last_in_state",
)  # fmt: skip


def without(names, value):
    """A document without fields of these names, at any depth."""
    if isinstance(value, dict):
        return {name: without(names, each) for name, each in value.items() if name not in names}
    return [without(names, each) for each in value] if isinstance(value, list) else value


def test_state_from_before_the_summary_of_a_job_goes_on_with_one(tmp_path):
    """An upgrade finds no links, no errors and no clock: they are unknown so far, and counted from now on."""
    state = state_of(metered([(600.0, None, 0.9, True)] * 8))
    memory = ("links", "ecc", "xids", "storage", "dark")
    (tmp_path / "state.json").write_bytes(seal(without((*SUMMARY, *memory), unseal(encode(state)))))
    loaded = load(tmp_path).state

    (usage,) = (row.usage for row in loaded.rows.values())
    assert [getattr(usage, name) or None for name in SUMMARY] == [None] * len(SUMMARY)
    assert usage.held_seconds == pytest.approx(3.5)
    assert (loaded.meters[D].links, loaded.meters[D].storage) == (Tally(), StorageWaits())


def test_memory_of_the_summary_is_of_names_that_an_earlier_program_passes_over(tmp_path):
    """It reads what it knows of a meter by name; nothing that it knows means something else now."""
    document = unseal(encode(state_of(metered([(600.0, None, 0.9, True)] * 8))))

    known = {"time", "shares", "energy", "busy", "memory", "tensor", "throttle", "throttle_since", "idle_watts"}
    added = {"links", "ecc", "xids", "storage"}
    assert {"whole", "parent", "driver", *known, *added} == set(document["meters"][D])


def test_fields_that_an_earlier_program_did_not_write_have_defaults(tmp_path):
    """The least there can be: who it is, and how much was used."""
    least = {"version": 1, "epoch": "0123456789ab", "boot_id": "b", "seq": 3}
    row = {"key": ["a", 1, D], "usage": {"held_seconds": 2.0}}
    (tmp_path / "state.json").write_bytes(seal(least | {"rows": [row]}))
    state = load(tmp_path).state

    assert [(row.usage.held_seconds, row.open) for row in state.rows.values()] == [(2.0, True)]
    assert (state.meters, state.registry, state.models) == ({}, {}, {})


class Later(StateDirectory):
    """A later release, whose state an earlier one cannot go on from."""

    version = 2


def test_state_of_a_later_version_is_set_aside_and_told_after_the_upgrade_back(tmp_path):
    """0.1, later, 0.1, later: nothing is deleted or counted on, and what had been counted is told once."""
    state = state_of(metered([(100.0, 5.0, 0.5, True)] * 3))
    with StateDirectory(tmp_path) as directory:
        directory.write(encode(state))
    later = load(tmp_path, Later)
    assert (later.state.rows, later.abandoned) == (state.rows, [])
    with Later(tmp_path) as directory:
        directory.write(encode(state, version=2))

    earlier = load(tmp_path)
    assert (earlier.abandoned, earlier.state.rows) == ([], {})
    assert earlier.state.epoch != state.epoch
    with StateDirectory(tmp_path) as directory:
        directory.write(encode(earlier.state))

    with Later(tmp_path) as directory:
        again = directory.load("b")
        directory.told()
        assert directory.load("b").abandoned == []
    assert again.state.epoch == earlier.state.epoch
    assert again.abandoned == [Abandoned(state.epoch, tuple(state.rows.values()), {})]
    assert (tmp_path / "state.json.version-2-0.told").exists()


@pytest.mark.parametrize("name", ["state.json.previous", "state.json.version-3-0"])
def test_files_of_versions_that_are_not_known_are_left_where_they_are(tmp_path, name):
    """Neither as the previous state nor as one set aside do they keep the agent from starting."""
    content = encode(state_of(metered([(100.0, 5.0, 0.5, True)] * 3)), version=3)
    (tmp_path / name).write_bytes(content)
    loaded = load(tmp_path, Later)

    assert (loaded.abandoned, loaded.state.rows) == ([], {})
    assert (tmp_path / name).read_bytes() == content


def test_mark_is_found_by_the_next_life_and_its_state_is_told_as_it_is(tmp_path):
    """More was told than was saved: the state is abandoned as a lost one is, and nothing of it is lost."""
    _, newer = saved_twice(tmp_path)
    with StateDirectory(tmp_path) as directory:
        directory.load("b")
        assert directory.mark(True)
    loaded = load(tmp_path)
    assert loaded.abandoned == [Abandoned(newer.epoch, tuple(newer.rows.values()), {})]
    assert (loaded.state.epoch != newer.epoch, loaded.state.rows) == (True, {})

    with StateDirectory(tmp_path) as directory:
        directory.load("b")
        assert directory.mark(False)
    assert load(tmp_path).state.epoch == newer.epoch


def test_disk_that_takes_no_mark_says_so(tmp_path):
    """Then nothing may be told ahead."""
    disk = FaultyDisk()
    with StateDirectory(tmp_path, disk) as directory:
        directory.load("b")
        disk.error = errno.EROFS
        assert not directory.mark(True)
        disk.full, disk.error = True, None
        assert directory.mark(True)
