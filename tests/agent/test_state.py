"""The state directory: what is saved comes back the same, and what cannot be read is set aside."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.agent.state import SEQ_RESERVE, State, StateDirectory, encode
from gpuwatch.errors import Locked, Unavailable
from gpuwatch.meter import Holding, Meter
from gpuwatch.model import JobKey, JobRow, Reading

D = "demo:0"


def metered(script):
    """A meter after a script of (watts, joules, utilization, held) a second apart."""
    meter = Meter()
    for second, (watts, joules, utilization, held) in enumerate(script):
        power = {("average", "device"): watts} if watts is not None else {}
        reading = Reading(
            D, float(second), utilization_ratio=utilization, power_watts=power, energy_joules=joules,
            throttle_seconds={"sw_thermal": second / 10},
        )  # fmt: skip
        holdings = [Holding(JobKey("a", 1), D, 0.5, "shard")] if held else []
        meter.advance(float(second), {D: reading}, holdings)
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
        loaded = directory.load("b")

    assert (loaded.rows, loaded.devices, loaded.meters) == (state.rows, state.devices, state.meters)
    assert (loaded.epoch, loaded.seq) == (state.epoch, state.seq + SEQ_RESERVE)


def test_after_a_reboot_totals_stay_and_the_meter_begins_anew(tmp_path):
    """The monotonic clock began at zero and all holders are gone: no gap is charged over a reboot."""
    state = state_of(metered([(100.0, 5.0, 0.5, True)] * 3))
    with StateDirectory(tmp_path) as directory:
        directory.write(encode(state))
        loaded = directory.load("another boot")

    assert (loaded.rows, loaded.meters, loaded.boot_id) == (state.rows, {}, "another boot")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"[]", b'{"version": 99}', b"\xff\xfe\x00", b'{"version":1,"epoch":"x"}'],
    ids=["empty", "cut", "null", "list", "newer", "binary", "short"],
)
def test_unreadable_state_is_kept_aside_and_a_new_epoch_begins(tmp_path, content):
    """Nothing is silently deleted, and nothing keeps the agent from starting."""
    (tmp_path / "state.json").write_bytes(content)
    with StateDirectory(tmp_path) as directory:
        state = directory.load("b")

    assert (tmp_path / "state.json.corrupt-0").read_bytes() == content
    assert (len(state.epoch), state.rows) == (12, {})


def test_interrupted_write_leaves_the_old_state(tmp_path):
    """A file half written beside the state is not the state."""
    state = state_of(metered([(100.0, None, None, True)] * 2))
    with StateDirectory(tmp_path) as directory:
        directory.write(encode(state))
        (tmp_path / "state.new").write_bytes(encode(state)[:50])

        assert directory.load("b").rows == state.rows


def test_disk_that_refuses_is_unavailable_and_the_old_state_stays(tmp_path):
    """What was saved last is still there."""
    state = state_of(metered([(100.0, None, None, True)] * 2))
    with StateDirectory(tmp_path) as directory:
        directory.write(encode(state))
        (tmp_path / "state.new").mkdir()

        with pytest.raises(Unavailable, match="cannot be saved"):
            directory.write(b"{}")
        assert directory.load("b").rows == state.rows


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
