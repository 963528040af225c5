"""Rows of counters as points: nothing is lost on the way there and back, and no more is pushed than must be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.meter.documents import row_facts
from gpuwatch.model import (
    BASES,
    ERRORS,
    LINKS,
    METHODS,
    STATES,
    THROTTLES,
    JobRow,
    RowKey,
    Snapshot,
    Usage,
    points,
)
from gpuwatch.sinks.job_points import JobPoints, job_fields, job_series
from gpuwatch.sinks.line_protocol import Encoder
from tests.sinks.line_parser import Point, parse
from tests.sinks.snapshots import EPOCH, NOW, full, row, saved

AMOUNTS = st.floats(0, 1e18)


def optional(values: st.SearchStrategy[float]) -> st.SearchStrategy[float | None]:
    """Known or not."""
    return st.none() | values


def labelled(labels: Iterable[str]) -> st.SearchStrategy[dict[str, float]]:
    """Some of the labels."""
    return st.dictionaries(st.sampled_from(sorted(labels)), AMOUNTS)


USAGES = st.builds(
    Usage, AMOUNTS, optional(AMOUNTS), optional(AMOUNTS), optional(AMOUNTS), AMOUNTS, labelled(STATES),
    labelled(METHODS), labelled(THROTTLES), optional(AMOUNTS), optional(AMOUNTS), optional(AMOUNTS),
    labelled(LINKS), labelled(ERRORS), AMOUNTS, optional(AMOUNTS), labelled(STATES),
)  # fmt: skip
ROWS = st.builds(
    JobRow,
    st.builds(RowKey, st.sampled_from(["4711", "user:ada"]), st.integers(0, 2**40), st.just("GPU-0")),
    USAGES, AMOUNTS, st.sampled_from(BASES), st.booleans(), st.integers(0, 2**53), AMOUNTS,
)  # fmt: skip


def read_back(point: Point) -> dict[str, Any]:
    """The document of the usage API that a point was made of, by the names in `points` alone."""
    tags, fields = dict(point.tags), dict(point.fields)
    facts: dict[str, Any] = {name: fields.get(field) for name, field in points.ROW_NUMBERS.items()}
    for name, (field, labels) in points.ROW_LABELLED.items():
        found = {label: fields.get(points.labelled(field, label)) for label in labels}
        facts[name] = {label: value for label, value in found.items() if value is not None}
    facts |= {word: fields.get(word, "") for word in points.ROW_WORDS}
    facts |= {"open": bool(fields[points.ROW_OPEN]), "job_id": tags["job_id"], "uuid": tags["uuid"]}
    return facts | {"started": int(tags["started"])}


@given(ROWS, st.sampled_from(["", 'H100 "80GB", \\ HBM3']))
def test_row_reads_back_as_the_usage_api_tells_it(counters: JobRow, model: str) -> None:
    """The ledger is the same, whichever way the counters come."""
    fields = job_fields(row_facts(counters, model))
    series = job_series(full(), counters.key, EPOCH)
    line = Encoder().line(series, tuple(fields), tuple(fields.values()), 1)

    assert row_facts(counters, model) == read_back(parse(line.encode())[0])


def shown(
    jobs: JobPoints, rows: Mapping[RowKey, JobRow], time: float, last: bool = False
) -> list[tuple[str, int]]:
    """Job and number of the rows that are due."""
    snapshot = saved(replace(full(), rows=rows, time=time))
    return [(each.row.key.job_id, each.row.seq) for each in jobs.due(snapshot, last)]


def numbered(seq: int, open: bool = True, job_id: str = "4711") -> dict[RowKey, JobRow]:
    """A row as it is under a number."""
    each = replace(row(job_id, open=open), seq=seq)
    return {each.key: each}


def test_rows_are_pushed_once_a_minute_while_they_change() -> None:
    """And the first time at once; what has not changed is not pushed again."""
    jobs = JobPoints(60.0)

    pushed = [shown(jobs, numbered(seq), NOW + seq) for seq in range(122)]
    assert {0: [("4711", 0)], 60: [("4711", 60)], 120: [("4711", 120)]} == {
        seq: each for seq, each in enumerate(pushed) if each
    }
    assert shown(jobs, numbered(120), NOW + 999) == []


def test_ended_row_is_pushed_at_once_and_whenever_it_changes() -> None:
    """The last counters of a job do not wait, also where a late reading of energy adds to them."""
    jobs = JobPoints(60.0)
    shown(jobs, numbered(1), NOW)

    assert shown(jobs, numbered(2, open=False), NOW + 1) == [("4711", 2)]
    assert shown(jobs, numbered(2, open=False), NOW + 2) == []
    assert shown(jobs, numbered(3, open=False), NOW + 3) == [("4711", 3)]


def test_first_push_has_rows_that_ended_before() -> None:
    """An agent that was down pushes what it still has."""
    rows = {**numbered(7, open=False), **numbered(8, job_id="2")}

    assert [("2", 8), ("4711", 7)] == sorted(shown(JobPoints(60.0), rows, NOW))


def test_last_push_has_every_change() -> None:
    """Nothing comes after it."""
    jobs = JobPoints(60.0)
    shown(jobs, numbered(1), NOW)

    assert shown(jobs, numbered(2), NOW + 1, last=True) == [("4711", 2)]
    assert shown(jobs, numbered(2), NOW + 1, last=True) == []


def test_clock_that_was_set_back_does_not_stop_the_pushing() -> None:
    """Waiting until it has caught up could take hours."""
    jobs = JobPoints(60.0)
    shown(jobs, numbered(1), NOW)

    assert shown(jobs, numbered(2), NOW - 3600) == [("4711", 2)]


def test_early_tick_is_that_of_its_second() -> None:
    """A minute is not 61 s for a tick that comes a few milliseconds early."""
    jobs = JobPoints(60.0)
    shown(jobs, numbered(1), NOW + 0.003)

    assert shown(jobs, numbered(2), NOW + 60.0) == [("4711", 2)]


def test_rows_that_are_gone_are_forgotten() -> None:
    """Jobs come and go; a device that goes leaves its model with the row."""
    jobs = JobPoints(60.0)
    for number in range(100):
        shown(jobs, numbered(number, job_id=str(number)), NOW + number)

    assert len(jobs._pushed) == 1


def test_what_a_crash_could_take_back_is_not_pushed() -> None:
    """An open row is pushed as it was saved, an ended one once it was."""
    jobs = JobPoints(60.0)
    live = replace(full(), rows=numbered(7))
    on_disk = replace(saved(replace(live, rows=numbered(5))), rows=live.rows)
    ended = replace(on_disk, rows=numbered(9, open=False), saved=(), saved_seq=8)

    pushed = [[each.row.seq for each in jobs.due(seen)] for seen in (on_disk, ended, replace(ended, saved_seq=9))]
    assert [[5], [], [9]] == pushed


def test_model_of_a_device_that_is_gone_is_still_known() -> None:
    """The last counters of its job are charged by model."""
    jobs = JobPoints(60.0)
    snapshot = saved(replace(full(), rows=numbered(1)))
    gone = saved(replace(snapshot, rows=numbered(2, open=False), devices={}))

    models = [each.model for seen in (snapshot, gone) for each in jobs.due(seen)]
    unknown = [each.model for each in JobPoints(60.0).due(gone)]
    assert (["NVIDIA H100 80GB HBM3"] * 2, [""]) == (models, unknown)


def test_series_is_the_key_of_the_ledger() -> None:
    """Two lives of an agent, and two runs of a job, are two series."""
    snapshot: Snapshot = full()

    assert {
        "cluster": "default", "node": "gw0", "job_id": "4711", "started": "1763999000", "uuid": "GPU-0",
        "epoch": "3f0c9a1b2c4d",
    } == dict(job_series(snapshot, row().key, EPOCH).tags)  # fmt: skip
