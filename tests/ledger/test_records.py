"""Which records the ledger takes, how they merge, and what they say was held."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import reduce
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.errors import Rejected
from gpuwatch.ledger.records import (
    REASONS,
    accepted,
    accepted_grant,
    allocated_seconds,
    comments_of,
    cpu_seconds,
    devices_of,
    held_until,
    merge_record,
)
from gpuwatch.schedulers.base import Grant, Live, Record, RecordId
from tests.ledger.batch import HOUR, T0, pending, record, records, running

GRANT = Grant("default", "ml", "", "gres/gpu", 3600.0, 60.0, float(T0))


@given(st.lists(records, min_size=1, max_size=6), st.data())
def test_order_and_repetition_do_not_matter(told: list[Record], data: st.DataObject) -> None:
    """Any order of tellings of one attempt, some of them twice, merges to the same record."""
    told = [replace(each, key=told[0].key) for each in told]
    again = data.draw(st.lists(st.sampled_from(told), max_size=3))

    arrived = data.draw(st.permutations(told + again))

    assert reduce(merge_record, told) == reduce(merge_record, arrived)


def test_what_was_seen_last_counts() -> None:
    """A job that waited and now runs, told in either order."""
    waits, runs = pending(), running(partition="other")

    assert runs == merge_record(waits, runs) == merge_record(runs, waits)


def test_a_record_that_ended_stays_ended() -> None:
    """A controller's answer that is newer and knows no end does not bring the job back."""
    ended, late = record(), running(seen=T0 + 9 * HOUR)

    assert ended == merge_record(ended, late)


def test_comments_survive_the_end() -> None:
    """An empty comment is one that was dropped; the last that said something counts."""
    first, second = Live(1.0, comment="gpuwatch: wall=1h"), Live(2.0, comment="gpuwatch: wall=2h")
    dropped = Live(3.0)

    merged = merge_record(merge_record(record(live=second), record(live=dropped)), record(live=first))

    assert second == merged.live


def test_indices_survive_answers_without_them() -> None:
    """Indices are asked for once; later answers have comments only."""
    asked = Live(1.0, devices=2.0, indices={"gw0": (0, 3)})
    later = Live(2.0, comment="hello")

    merged = merge_record(running(live=asked), running(live=later))

    assert Live(2.0, "hello", "", 2.0, {"gw0": (0, 3)}) == merged.live


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"started": -1.0}, "range"),
        ({"ended": T0 - 1.0}, "range"),
        ({"ended": 1e12}, "range"),
        ({"seen": math.nan}, "not_finite"),
        ({"seen": None}, "type"),
        ({"devices": -2.0}, "range"),
        ({"devices": 1e12}, "range"),
        ({"devices": "2"}, "type"),
        ({"cpus": True}, "type"),
        ({"limit_seconds": math.inf}, "not_finite"),
        ({"billing": 1e300}, "range"),
        ({"tasks": 0}, "range"),
        ({"restarts": 1.5}, "type"),
        ({"nodes": ("n",) * 200_000}, "range"),
        ({"job_id": ""}, "key"),
        ({"job_id": "7\n8"}, "key"),
        ({"job_id": "7" * 300}, "key"),
        ({"cluster": "\ud800"}, "key"),
        ({"submitted": -5}, "range"),
        ({"submitted": 1.5}, "type"),
        ({"live": Live(math.inf)}, "not_finite"),
        ({"live": Live(1.0, devices=-1.0)}, "range"),
        ({"live": Live(1.0, indices={"gw0": (-1,)})}, "range"),
    ],
)
def test_a_record_that_cannot_be_right_is_refused(changed: dict[str, Any], reason: str) -> None:
    """It is counted by reason, and its neighbour is taken."""
    read = accepted([record(**changed), record("8")])

    assert ((record("8"),), {reason: 1}) == (read.records, read.refused)
    assert reason in REASONS


def test_words_are_made_safe() -> None:
    """A job's name is anybody's text."""
    read = accepted([record(name="a\nb\ud800", user="x" * 500, nodes=("gw0", "g\x1bw1"))])

    (facts,) = [each.facts for each in read.records]
    assert ("a\ufffdb\ufffd", 128, ("gw0", "g\ufffdw1")) == (facts.name, len(facts.user), facts.nodes)


def test_a_comment_is_never_cut() -> None:
    """Half of a declaration would declare something else; one that is too long declares nothing."""
    kept, dropped, broken = (
        accepted([record(live=Live(1.0, comment=text))]).records[0].live
        for text in ("gpuwatch: device-hours=640 tag=a:b", "x" * 70_000, "\ud800")
    )

    assert ["gpuwatch: device-hours=640 tag=a:b", "", "?"] == [
        each.comment for each in (kept, dropped, broken) if each
    ]


@given(records)
def test_what_is_accepted_once_is_accepted_again_unchanged(told: Record) -> None:
    """Cleaning changes nothing the second time."""
    once = accepted([told]).records

    assert once == accepted(once).records


@pytest.mark.parametrize(
    ("told", "until"),
    [
        (record(), T0 + HOUR),
        (running(), T0 + HOUR / 2),
        (running(state="SUSPENDED"), T0 + HOUR / 2),
        (running(seen=T0 + 99 * HOUR), T0 + 9 * HOUR),
        (running(seen=T0 - 5.0), T0),
        (pending(), None),
        (pending(started=T0 + HOUR), None),
        (record(started=None), None),
        (running(state="COMPLETED"), None),
    ],
)
def test_a_job_held_until_it_ended_or_was_last_seen(told: Record, until: float | None) -> None:
    """Never beyond now, and nothing for an expected start."""
    assert until == held_until(told, T0 + 9 * HOUR)


def test_allocated_time_is_devices_times_time() -> None:
    """And CPUs likewise; unknown is not nothing, except of what never ran."""
    now = T0 + 9 * HOUR

    assert (7200.0, 57_600.0) == (allocated_seconds(record(), now), cpu_seconds(record(), now))
    assert (None, 0.0) == (allocated_seconds(record(devices=None), now), allocated_seconds(pending(), now))
    assert (0.0, None) == (allocated_seconds(record(devices=0.0), now), cpu_seconds(record(cpus=None), now))


def test_indices_count_where_nothing_else_does() -> None:
    """A cluster that does not account for its devices."""
    live = Live(1.0, devices=4.0, indices={"gw0": (0, 1, 2, 3)})

    assert (4.0, 2.0) == (devices_of(record(devices=None, live=live)), devices_of(record(live=live)))


@pytest.mark.parametrize(
    ("live", "said"),
    [
        (None, {}),
        (Live(1.0), {}),
        (Live(1.0, comment="hello"), {}),
        (
            Live(1.0, comment="hello; gpuwatch: campaign=llama device-hours=2; bye"),
            {"comment": "device-hours=2h campaign=llama"},
        ),
        (Live(1.0, comment="gpuwatch: device-hours=lots"), {}),
        (Live(1.0, comment="gpuwatch:gpuwatch:"), {}),
        (Live(1.0, admin_comment="gpuwatch: campaign=x"), {"admin-comment": "campaign=x"}),
        (
            Live(1.0, comment="gpuwatch: campaign=own", admin_comment="gpuwatch: campaign=x"),
            {"comment": "campaign=own", "admin-comment": "campaign=x"},
        ),
    ],
)
def test_a_comment_declares_after_its_mark(live: Live | None, said: dict[str, str]) -> None:
    """The job's own words and the administrator's apart."""
    assert said == dict(comments_of(record(live=live)))


@pytest.mark.parametrize(
    "changed",
    [
        {"account": ""}, {"resource": ""}, {"limit_seconds": -1.0}, {"used_seconds": math.nan},
        {"starts": 5.0, "ends": 5.0}, {"seen": -1.0},
    ],
)  # fmt: skip
def test_a_grant_that_cannot_be_right_is_refused(changed: dict[str, Any]) -> None:
    """As records are."""
    with pytest.raises(Rejected):
        accepted_grant(replace(GRANT, **changed))


def test_coordinators_are_a_set() -> None:
    """In one order, each once."""
    assert ("ada", "bob") == accepted_grant(replace(GRANT, coordinators=("bob", "ada", "bob"))).coordinators


def test_the_key_of_a_record_is_kept() -> None:
    """A plain record is taken as it is."""
    assert RecordId("default", "7", T0 - 60) == accepted([record()]).records[0].key
