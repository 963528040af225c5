"""What is asked of InfluxDB, and that whatever is in it becomes documents that the ledger can judge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.ledger.posting import read
from gpuwatch.model import points
from gpuwatch.usage.influxdb_api import Series
from gpuwatch.usage.influxql_points import (
    EVENT_COLUMNS,
    ROW_COLUMNS,
    UNKNOWN_EPOCH,
    Event,
    Late,
    Row,
    Span,
    came_late,
    deliveries,
    events_of,
    events_query,
    jobs_query,
    nanoseconds,
    rows_of,
    rows_query,
)
from tests.usage.influx_points import EPOCH, T0

ANY = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers(), max_size=2)
)
NS = T0 * 10**9


def event(kind: str = points.DECLARATION, node: str = "gw0", **facts: Any) -> Event:
    return Event(node, kind, T0 + 1.0, facts)


def row(node: str = "gw0", epoch: str = EPOCH, time: float = T0) -> Row:
    return Row(node, epoch, time, {"job_id": "run-1", "started": T0, "uuid": "GPU-0"})


def test_every_field_of_a_row_is_asked_for_by_name() -> None:
    """Not `*`, which is what anybody wrote; and each under a short name."""
    query = rows_query("default", Span(1.0, 2.0), ["run-1", "it's"], "max")
    names = [*points.ROW_NUMBERS.values(), points.ROW_OPEN, *points.ROW_WORDS]
    names += [points.labelled(name, label) for name, labels in points.ROW_LABELLED.values() for label in labels]

    assert query.startswith('SELECT max("seq") AS "f0", "')
    assert [] == [name for name in names if f'"{name}" AS "f' not in query.replace("max(", "").replace(")", "")]
    assert query.endswith(
        ' FROM "gpuwatch_job" WHERE time >= 1000000000 AND time < 2000000000 AND "cluster" = \'default\''
        " AND (\"job_id\" = 'run-1' OR \"job_id\" = 'it\\'s')"
        ' GROUP BY "node", "job_id", "started", "uuid", "epoch"'
    )


def test_nodes_may_be_named() -> None:
    """Of a span of time that came late."""
    asked = [query("a\"b'c", Span(1.0, 2.0, ("gw0", "gw1"))) for query in (jobs_query, events_query)]

    where = " AND \"cluster\" = 'a\"b\\'c' AND (\"node\" = 'gw0' OR \"node\" = 'gw1') GROUP BY "
    assert [True, True] == [where in query for query in asked]


@given(st.integers(0, 2**32 * 1000))
def test_times_are_whole_milliseconds_there_and_back(milliseconds: int) -> None:
    """Of every float there is the nearest."""
    time = milliseconds / 1000
    (found,) = events_of([Series({}, [[nanoseconds(time), *(None for _ in EVENT_COLUMNS[1:])]])])

    assert (milliseconds * 10**6, time) == (nanoseconds(time), found.time)


@given(
    st.dictionaries(st.sampled_from(points.JOB_TAGS), st.text()),
    st.lists(ANY, min_size=len(ROW_COLUMNS), max_size=len(ROW_COLUMNS)),
    st.dictionaries(st.sampled_from(points.EVENT_TAGS), st.text() | st.sampled_from(["declaration", "run_ended"])),
    st.lists(ANY, min_size=len(EVENT_COLUMNS), max_size=len(EVENT_COLUMNS)),
)
def test_the_ledger_can_judge_whatever_is_there(
    row_tags: Mapping[str, str], row_values: list[Any], event_tags: Mapping[str, str], event_values: list[Any]
) -> None:
    """Rows and events of anybody are taken or refused, and nothing fails."""
    rows = list(rows_of([Series(row_tags, [row_values])]))
    events = list(events_of([Series(event_tags, [event_values])]))

    found = deliveries("default", "influx", [each._replace(node="gw0", epoch=EPOCH) for each in rows], events, T0)
    for each in (each for each in found if each.node == "gw0" and each.epoch == EPOCH):
        assert each.now <= max(T0, *(one.time for one in rows))
        read(each)


def test_a_row_that_does_not_say_whether_it_is_open_is() -> None:
    """Closing is for good, and unknown is not 0."""
    values = [NS, *(None for _ in ROW_COLUMNS[1:])]
    (found,) = rows_of([Series({"node": "gw0", "epoch": EPOCH, "started": "7"}, [values])])

    document = found.document
    assert (True, None, {}, "", 7) == tuple(
        document[name] for name in ("open", "held_seconds", "state_seconds", "model", "started")
    )


@pytest.mark.parametrize("its", [{"node": ""}, {"epoch": ""}])
def test_rows_of_nobody_are_left_out(its: Mapping[str, str]) -> None:
    """A point without these tags was not written by an agent."""
    assert [] == list(deliveries("default", "influx", [row(**its)], [], T0))


def test_declarations_go_with_the_epoch_they_were_made_in() -> None:
    """Whatever rows were found beside them; and without one always with the same."""
    told = [event(epoch="other", seq=3.0), event(seq=4.0)]
    alone = list(deliveries("default", "influx", [], told, T0))
    beside = list(deliveries("default", "influx", [row()], told, T0))

    assert [("other", 3), (UNKNOWN_EPOCH, 4)] == [(each.epoch, each.declarations[0]["seq"]) for each in alone]
    assert [(EPOCH, 0), ("other", 1), (UNKNOWN_EPOCH, 1)] == [
        (each.epoch, len(each.declarations)) for each in beside
    ]
    assert [T0, 0.0, 0.0] == [each.now for each in beside]


def test_a_declaration_without_a_number_always_has_the_same_one() -> None:
    """So that it is one, however often it is read; others have others."""
    told = [event(text="energy=1kWh"), event(text="energy=1kWh"), event(text="energy=2kWh"), event(text="\udc00")]
    (delivery,) = deliveries("default", "influx", [], told, T0)

    one, again, other, odd = (each["seq"] for each in delivery.declarations)
    assert (one, 3) == (again, len({one, other, odd}))
    assert 2**52 <= min(one, other, odd) <= max(one, other, odd) < 2**53


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("exit_code=3", 3),
        ("a=b exit_code=-9 c=d", -9),
        ("exit_code=x", None),
        ("no_exit_code=1", None),
        (None, None),
    ],
)
def test_an_end_has_the_exit_code_that_its_text_says(text: str | None, code: int | None) -> None:
    """InfluxDB has no field for it."""
    (delivery,) = deliveries("default", "influx", [], [event("run_ended", text=text)], T0)

    assert code == delivery.events[0].get("exit_code")


def test_a_span_that_came_late_has_both_its_ends() -> None:
    """In whole seconds around them."""
    assert Late(T0 + 1.0, "gw0", 5, 8) == came_late(event(points.REPLAYED, since=5.5, until=7))
    assert came_late(event("xid", since=5.5, until=7)) is None


def test_that_points_came_late_is_no_event_of_the_ledger() -> None:
    """It is between the agent and who reads."""
    assert [] == list(deliveries("default", "influx", [], [event(points.REPLAYED, since=5.5, until=7)], T0))
