"""What the ledger takes from a delivery, and what it refuses."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuwatch.errors import Rejected
from gpuwatch.ledger.ledger import JournalId, ProgressId, RowId, RunEvent, RunId
from gpuwatch.ledger.measures import MEASURES, Measures
from gpuwatch.ledger.posting import REASONS, read
from gpuwatch.model import Progress
from tests.ledger.deliveries import EPOCH, T0, declared, delivery, progress, row, run_ended, run_started

ROW = RowId("default", "gw0", EPOCH, "run-1", T0, "GPU-0")


def told(measures: Measures) -> dict[str, float]:
    """The measures that were told, by name."""
    return {name: value for name, value in zip(MEASURES, measures, strict=True) if value is not None}


def test_counters_are_flat_and_unknown_ones_absent() -> None:
    """A null counter stays unknown; labelled ones carry their label."""
    posting = read(delivery([row()]))

    expected = {
        "held_seconds": 100.0,
        "busy_seconds": 80.0,
        "memory_byte_seconds": 1e12,
        "energy_unmeasured_seconds": 0.0,
        "state_seconds_working": 90.0,
        "state_seconds_idle": 10.0,
        "energy_joules_counter": 36_000.0,
        "throttled_seconds_sw_power_cap": 2.0,
    }
    assert expected == told(posting.measures[ROW])


def test_the_permanent_summary_is_taken() -> None:
    """Clock, links, errors, waiting and the times of use, each into a place of its own."""
    summary = {
        "clock_cycles": 1.7e11, "clock_seconds": 90.0, "storage_wait_seconds": 3.0,
        "link_bytes": {"nvlink_receive": 5e12}, "errors": {"xid": 1.0}, "energy_gap_seconds": 4.0,
        "first_working": T0 + 10.0, "last_in_state": {"working": T0 + 99.0},
    }  # fmt: skip

    posting = read(delivery([row(**summary)]))

    expected = {
        "clock_cycles": 1.7e11, "clock_seconds": 90.0, "storage_wait_seconds": 3.0,
        "link_bytes_nvlink_receive": 5e12, "errors_xid": 1.0, "energy_gap_seconds": 4.0,
        "first_working": T0 + 10.0, "last_working": T0 + 99.0,
    }  # fmt: skip
    assert expected.items() <= told(posting.measures[ROW]).items()


def test_reasons_that_nobody_heard_of_count_as_others() -> None:
    """Held down is held down, whatever a driver of tomorrow calls it."""
    posting = read(delivery([row(throttled_seconds={"moonlight": 2.0, "tides": 3.0, "hw_thermal": 1.0})]))

    counted = told(posting.measures[ROW])
    assert (5.0, 1.0) == (counted["throttled_seconds_other"], counted["throttled_seconds_hw_thermal"])


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"held_seconds": -1.0}, "range"),
        ({"held_seconds": math.nan}, "not_finite"),
        ({"busy_seconds": math.inf}, "not_finite"),
        ({"energy_joules": {"counter": 1e30}}, "range"),
        ({"held_seconds": 10**400}, "range"),
        ({"held_seconds": "100"}, "type"),
        ({"held_seconds": True}, "type"),
        ({"state_seconds": {"asleep": 1.0}}, "label"),
        ({"energy_joules": {"guessed": 1.0}}, "label"),
        ({"throttled_seconds": {f"r{number}": 1.0 for number in range(40)}}, "label"),
        ({"throttled_seconds": [1.0]}, "type"),
        ({"basis": "whim"}, "label"),
        ({"share": 1.5}, "range"),
        ({"open": 1}, "type"),
        ({"model": 5}, "type"),
        ({"job_id": ""}, "key"),
        ({"job_id": "a\nb"}, "key"),
        ({"job_id": "\ud800"}, "key"),
        ({"job_id": "x" * 1000}, "key"),
        ({"uuid": None}, "key"),
        ({"started": 1.5}, "key"),
        ({"started": -1}, "range"),
        ({"last_seen": math.inf}, "not_finite"),
    ],
)
def test_a_row_that_cannot_be_right_is_left_out(changed: dict[str, Any], reason: str) -> None:
    """It is counted by reason, and its neighbour is posted."""
    posting = read(delivery([row(**changed), row(uuid="GPU-1")]))

    assert {reason: 1} == posting.rejected
    assert {ROW._replace(uuid="GPU-1")} == set(posting.held)


def test_pieces_that_are_no_objects_are_counted() -> None:
    """A list of strings where objects are due."""
    posting = read(delivery(["row"], [None], [1]))

    assert {"type": 3} == posting.rejected


def test_a_declaration_is_kept_as_it_was_made() -> None:
    """With who, when, by which way, and the text."""
    posting = read(delivery(declarations=[declared("device-hours=2 campaign=llama")]))

    (entry,) = posting.journal.values()
    assert [JournalId("default", "gw0", EPOCH, 5)] == list(posting.journal)
    assert ("device-hours=2 campaign=llama", 1000, "socket", T0) == (
        entry.text,
        entry.uid,
        entry.channel,
        entry.started,
    )


def test_a_declaration_against_the_grammar_is_kept_and_counted() -> None:
    """All revisions are kept; one that says nothing is also counted as rejected."""
    posting = read(delivery(declarations=[declared("device-hours=lots")]))

    assert 1 == len(posting.journal)
    assert {"declaration": 1} == posting.rejected


@pytest.mark.parametrize("text", ["\ud800", "x" * 100_000, 5, None])
def test_a_declaration_that_is_no_text_is_refused(text: object) -> None:
    """Half a surrogate cannot be stored, and 100 kB are nobody's estimate."""
    posting = read(delivery(declarations=[declared(text)]))  # type: ignore[arg-type]

    assert {} == posting.journal
    assert {"declaration": 1} == posting.rejected


@pytest.mark.parametrize("channel", ["api", "cli", "comment", "admin-comment", "", None, ["api"]])
def test_no_node_says_what_accounting_alone_can_know(channel: object) -> None:
    """A node that lies does not speak for jobs of others."""
    posting = read(delivery(declarations=[declared("wall=1h for=job:8", channel=channel)]))

    assert ({}, 1) == (posting.journal, sum(posting.rejected.values()))


def test_progress_is_read_with_its_first_step() -> None:
    """The step at which the attempt began comes with every report."""
    posting = read(delivery(events=[progress(120, 1000, start_step=100)]))

    expected = Progress(120, 1000, 100, T0 + 100.0, least_total=1000, most_total=1000)
    assert {ProgressId("default", "gw0", "run-1", T0): expected} == posting.progress


def test_a_total_that_changes_is_kept_beside_the_one_in_force() -> None:
    """Also where an older report comes late."""
    said = (progress(120, 4500, time=T0 + 50.0), progress(200, 3410), progress(10, 9000, time=T0 + 10.0))

    (found,) = read(delivery(events=said)).progress.values()

    assert (200.0, 3410.0, (9000.0,)) == (found.step, found.total, found.other_totals)
    assert (3410.0, 9000.0) == (found.least_total, found.most_total)


def test_how_far_a_job_was_and_what_it_lost_are_kept_over_reports() -> None:
    """An agent that lost its state counts anew: the greatest of each stands."""
    said = progress(500, best=600, lost=100, time=T0 + 50.0), progress(510, best=510, lost=0)

    (found,) = read(delivery(events=said)).progress.values()

    assert (510.0, 600.0, 100.0) == (found.step, found.farthest, found.gone_back)


def test_progress_before_the_first_device_has_no_start() -> None:
    """It is kept for the attempt that begins next."""
    posting = read(delivery(events=[progress(0, started=None)]))

    assert [ProgressId("default", "gw0", "run-1", 0)] == list(posting.progress)


@pytest.mark.parametrize(
    "changed", [{"total": 0}, {"step": -1}, {"total": math.nan}, {"step": "5"}, {"time": None}]
)
def test_progress_that_cannot_be_right_is_refused(changed: dict[str, Any]) -> None:
    """It would divide by nothing."""
    posting = read(delivery(events=[progress(1) | changed]))

    assert {} == posting.progress
    assert 1 == sum(posting.rejected.values())


def test_run_events_are_read_and_names_made_safe() -> None:
    """A name with a line break and half a surrogate is displayable afterwards."""
    posting = read(delivery(events=[run_started(name="a\nb\ud800"), run_ended(exit_code=-9)]))

    expected = {
        RunId("default", "gw0", "run-1", "run_started"): RunEvent(T0 - 1.0, "a�b�", 1000, None),
        RunId("default", "gw0", "run-1", "run_ended"): RunEvent(T0 + 101.0, None, None, -9),
    }
    assert expected == posting.runs


def test_other_events_are_nothing_to_the_ledger() -> None:
    """An XID is the agent's metric; a kind of tomorrow is not an error today."""
    posting = read(delivery(events=[{"kind": "xid", "uuid": "GPU-0"}, {"kind": "new"}]))

    assert {} == posting.rejected


def test_a_node_without_a_usable_name_is_rejected() -> None:
    """Nothing can be posted without a key."""
    with pytest.raises(Rejected, match="cannot be a key"):
        read(delivery([row()], node="a\nb"))


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_fields = st.dictionaries(
    st.sampled_from([*row(), *declared(""), *progress(1), *run_ended(), "name", "epoch"]), _json, max_size=5
)


@settings(max_examples=500)
@given(st.lists(_fields, max_size=4))
def test_whatever_comes_is_taken_or_counted(pieces: list[dict[str, Any]]) -> None:
    """No JSON makes posting fail, and what is taken can be stored."""
    posting = read(
        delivery(
            [row() | piece for piece in pieces],
            [declared("device-hours=1") | piece for piece in pieces],
            [progress(1) | piece for piece in pieces],
        )
    )

    assert set(posting.rejected) <= set(REASONS)
    assert all(
        math.isfinite(value) and value >= 0
        for measures in posting.measures.values()
        for value in told(measures).values()
    )
    assert json.dumps([list(key) for key in posting.held]).encode()
