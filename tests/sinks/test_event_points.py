"""Events, declarations and progress as points, and what must not be in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from gpuwatch.declaration import parse as parse_declaration
from gpuwatch.model import Declared, JobKey, Progress, points
from gpuwatch.sinks.event_points import Event, ProgressPoints, event_of
from tests.sinks.snapshots import NOW, STARTED, full


def entry(of: str = "event", /, **facts: Any) -> dict[str, Any]:
    """An entry of the journal."""
    return {"type": of, "epoch": "3f0c9a1b2c4d", "time": NOW, "seq": 7, **facts}


def fields(event: Event) -> Mapping[str, float | str]:
    """By name, without what every one has."""
    return {field.name: value for field, value in event.fields.items() if field.name not in ("epoch", "seq")}


DECLARATION = entry(
    "declaration", job_id="4711", started=STARTED, channel="socket", uid=1000, pid=77,
    text="device-hours=640\n\tenergy=450kWh  tag=run:a",
)  # fmt: skip


def test_declaration_is_a_point_with_its_text() -> None:
    """One line of it, which says the same."""
    event = event_of(DECLARATION)

    assert ("declaration", NOW) == (event.kind, event.time)
    assert {
        "text": "device-hours=640 energy=450kWh tag=run:a", "job_id": "4711", "channel": "socket",
        "started": float(STARTED),
    } == fields(event)  # fmt: skip
    assert parse_declaration(DECLARATION["text"]) == parse_declaration(str(fields(event)["text"]))


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"kind": "xid", "uuid": "GPU-0", "xid": "31"}, {"uuid": "GPU-0", "text": "xid=31"}),
        ({"kind": "clock_jump", "seconds": -3600.5}, {"text": "seconds=-3600.5"}),
        ({"kind": "run_ended", "job_id": "run-1", "exit_code": 0}, {"job_id": "run-1", "text": "exit_code=0"}),
        ({"kind": "run_ended", "job_id": "run-1", "exit_code": None}, {"job_id": "run-1"}),
        ({"kind": "device_lost", "uuid": "GPU-0"}, {"uuid": "GPU-0"}),
        (
            {"kind": "driver_reloaded", "uuid": "G", "driver": "570 86\n15", "before": "565"},
            {"uuid": "G", "text": "driver=570_86_15 before=565"},
        ),
        (
            {"kind": "replayed", "since": 1.0, "until": 2.0, "points": 3, "text": "late", "sink": "a"},
            {"text": "late sink=a", "since": 1.0, "until": 2.0, "points": 3.0},
        ),
    ],
)  # fmt: skip
def test_events_are_points_of_their_kind(facts: dict[str, Any], expected: dict[str, Any]) -> None:
    """What has no field of its own stands in the text, a word each."""
    event = event_of(entry(**facts))

    assert facts["kind"] == event.kind
    assert expected == fields(event)


@pytest.mark.parametrize(
    "told",
    [
        DECLARATION,
        entry(kind="run_started", job_id="run-1", name="ada-secret", uid=77),
    ],
)
def test_nobody_is_named(told: dict[str, Any]) -> None:
    """Agents tell of job ids; whose they are, accounting knows."""
    written = str(event_of(told).fields)

    assert not any(secret in written for secret in ("ada-secret", "uid", "pid", "77"))


def test_number_of_the_entry_is_there() -> None:
    """Whoever reads the points back numbers them as the agent did."""
    names = {field.name: value for field, value in event_of(DECLARATION).fields.items()}

    assert ("3f0c9a1b2c4d", 7.0) == (names["epoch"], names["seq"])


def test_progress_is_told_when_it_changed() -> None:
    """The newest of each job, under the time it was reported."""
    said, later = Progress(1200, 9000, 600, NOW), Progress(1300, 9000, 600, NOW + 5)
    job = JobKey("4711", STARTED)
    seen = [
        replace(full(), declared=each)
        for each in ({}, {job: Declared(job)}, {job: Declared(job, (), said)}, {job: Declared(job, (), later)})
    ]
    progress = ProgressPoints()

    told = [list(progress.changed(each)) for each in (*seen, seen[-1], seen[0])]
    assert [0, 0, 1, 1, 0, 0] == [len(each) for each in told]
    (event,) = told[3]
    assert (points.PROGRESS, NOW + 5) == (event.kind, event.time)
    assert {
        "job_id": "4711", "started": float(STARTED), "step": 1300, "total": 9000, "start_step": 600,
    } == fields(event)  # fmt: skip


def test_steps_done_again_are_told_where_they_were_counted() -> None:
    """The farthest step and what was lost; an agent of before says nothing of them."""
    job = JobKey("4711", STARTED)
    said = Progress(1300, 9000, 600, NOW, best=1500, lost=200)
    (event,) = ProgressPoints().changed(replace(full(), declared={job: Declared(job, (), said)}))

    assert (1500, 200) == (fields(event)["best"], fields(event)["lost"])


def test_all_fields_of_events_are_agreed_on() -> None:
    """Those who read them know no others."""
    names = {field.name for field in event_of(DECLARATION | {"step": 1, "since": 2.0}).fields}

    assert names <= {*points.EVENT_WORDS, *points.EVENT_NUMBERS}
