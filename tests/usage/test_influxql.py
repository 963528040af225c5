"""Windows of time are read from InfluxDB whatever comes late, twice or in parts, and the ledger is the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gpuwatch.errors import Unavailable
from gpuwatch.http.client import Refused
from gpuwatch.ledger.ledger import Book
from gpuwatch.ledger.posting import read
from gpuwatch.model import JobRow, Probe, Site, Usage, points
from gpuwatch.usage.base import Asking, Delivery, Failure, Mark, Reached
from gpuwatch.usage.influxql import InfluxqlUsage
from tests.usage.fake_influxdb import Asked, FakeInflux, Point, Served, broken_off, byte_by_byte
from tests.usage.influx_points import EPOCH, T0, document, job_row, row_fields

ORIGIN = "http://influx:8086 gpuwatch"
Found = list[Delivery | Reached | Failure]


def source(influx: FakeInflux, cluster: str = "default", **settings: Any) -> InfluxqlUsage:
    settings = {"url": "http://influx:8086", **settings}
    return InfluxqlUsage(InfluxqlUsage.Settings(**settings), Site(cluster=cluster), influx)  # type: ignore[arg-type]


def collect(reading: InfluxqlUsage, now: float, mark: int | None = None) -> Found:
    return list(reading.collect(Asking(now, {} if mark is None else {ORIGIN: Mark("windows", mark)})))


def of_row(row: JobRow, time: float, node: str = "gw0", cluster: str = "default", epoch: str = EPOCH) -> Point:
    facts = document(row)
    tags = {
        "cluster": cluster, "node": node, "job_id": facts["job_id"], "started": str(facts["started"]),
        "uuid": facts["uuid"], "epoch": epoch,
    }  # fmt: skip
    return Point(points.JOB, tags, row_fields(facts), round(time * 1000) * 10**6)


def of_event(kind: str, time: float, node: str = "gw0", **fields: Any) -> Point:
    return Point(
        points.EVENT, {"cluster": "default", "node": node, "kind": kind}, fields, round(time * 1000) * 10**6
    )


def came_late(time: float, since: float, until: float, node: str = "gw0") -> Point:
    return of_event(points.REPLAYED, time, node, since=since, until=until, points=1.0)


def reached(found: Found) -> list[int]:
    return [each.mark.seq for each in found if isinstance(each, Reached)]


def asked_of_events(influx: FakeInflux) -> list[tuple[float, float]]:
    return [(each.start - T0, each.end - T0) for each in influx.asked if each.measurement == points.EVENT]


def test_windows_follow_one_another_from_the_mark() -> None:
    """Only the first reaches back, for what came a little late; the last ends where there is no more yet."""
    influx = FakeInflux()

    found = collect(source(influx), T0 + 7245.0, mark=T0 + 60)
    assert [T0 + 3600, T0 + 7200] == reached(found)
    assert [(-60.0, 3600.0), (3600.0, 7200.0)] == asked_of_events(influx)
    assert [ORIGIN] * 2 == [each.origin for each in found if isinstance(each, Reached)]


def test_the_first_time_it_reaches_back_a_day() -> None:
    """What is older was no concern of accounting's."""
    influx = FakeInflux()
    collect(source(influx, overlap_seconds=0.0), T0 + 45.0)

    assert (-86_400.0, 0.0) == (asked_of_events(influx)[0][0], asked_of_events(influx)[-1][1])


def test_it_asks_the_database_that_is_configured() -> None:
    """With times in ns, in parts, and of a retention policy where one is named."""
    influx = FakeInflux()
    reading = source(influx, database="b", retention_policy="weeks")
    (found,) = (each for each in collect(reading, T0 + 100.0, None)[-1:])

    asked = {
        name: influx.parameters[0].get(name) for name in ("url", "db", "rp", "epoch", "chunked", "chunk_size")
    }
    assert {
        "url": "http://influx:8086/query", "db": "b", "rp": "weeks", "epoch": "ns", "chunked": "true",
        "chunk_size": "10000",
    } == asked  # fmt: skip
    assert "http://influx:8086 b.weeks" == found.origin
    assert 1 == influx.renewed


def test_a_delivery_for_each_node_and_epoch() -> None:
    """The latest epoch of a node was seen until the end of the window, one that it left was not."""
    told = [
        of_row(job_row(), T0 + 100, epoch="old"),
        of_row(job_row(), T0 + 200),
        of_row(job_row(), T0 + 150, "gw1"),
    ]

    found = [each for each in collect(source(FakeInflux(told)), T0 + 1045.0, T0) if isinstance(each, Delivery)]
    assert [("gw0", "old", T0 + 100.0), ("gw0", EPOCH, T0 + 1000), ("gw1", EPOCH, T0 + 1000)] == [
        (each.node, each.epoch, each.now) for each in found
    ]
    assert [[document(job_row())]] * 3 == [each.rows for each in found]
    assert {None} == {each.seq for each in found}


def test_what_is_told_without_an_epoch_moves_no_epoch() -> None:
    """Nodes whose rows are not there keep the epoch that they have."""
    told = [of_event("progress", T0 + 5, job_id="run-1", step=1.0, total=2.0)]

    (delivery, _) = collect(source(FakeInflux(told)), T0 + 1045.0, T0)
    assert isinstance(delivery, Delivery)
    assert ("unknown", 0.0) == (delivery.epoch, delivery.now)


def test_a_window_is_cut_until_the_server_can_answer_it() -> None:
    """And what follows in the pass is asked for in no longer ones, each time once."""

    def meddle(asked: Asked) -> None:
        if asked.end - asked.start > 1000:
            raise Refused("answered 503 Service Unavailable", 503)

    influx = FakeInflux([of_row(job_row(), T0 + 1800)], meddle)
    found = collect(source(influx, overlap_seconds=0.0), T0 + 7245.0, T0)
    assert ([T0 + 3600, T0 + 7200], 1) == (reached(found), sum(isinstance(each, Delivery) for each in found))
    answered = [each for each in asked_of_events(influx) if each[1] - each[0] <= 1000]
    assert [(900.0 * n, 900.0 * n + 900) for n in range(8)] == answered
    assert 10 == len(asked_of_events(influx))


@pytest.mark.parametrize(
    ("problem", "queries"),
    [
        (Refused("answered 401 Unauthorized", 401), 1),
        (Refused("says: database not found: gpuwatch", 200), 7),
        (Unavailable("[Errno 111] Connection refused"), 1),
    ],
)
def test_what_cannot_be_read_stays_open(problem: Unavailable, queries: int) -> None:
    """It is told why, and nothing that comes after it is read; only what is too much is asked for in parts."""

    def meddle(asked: Asked) -> None:
        if asked.end > T0 + 3600 or not isinstance(problem, Refused):
            raise problem

    influx = FakeInflux([], meddle)
    found = collect(source(influx), T0 + 90_000.0, T0 + 60)
    assert Failure(ORIGIN, str(problem)) == found[-1]
    assert ([T0 + 3600] if isinstance(problem, Refused) else []) == reached(found)
    assert queries == sum(end > 3600 or not reached(found) for _, end in asked_of_events(influx))


def test_a_slow_server_that_answers_a_little_is_asked_for_less() -> None:
    """It is there, so the answer was too much."""

    def meddle(asked: Asked) -> None:
        if asked.end - asked.start > 500:
            raise Unavailable("timed out")

    found = collect(source(FakeInflux([of_row(job_row(), T0 + 99)], meddle)), T0 + 3645.0, T0)
    assert [Delivery, Reached] == [type(each) for each in found]


def test_late_points_are_read_of_the_nodes_that_say_so() -> None:
    """In windows, each once, and together where several were away together; of very many, of all nodes."""
    influx = FakeInflux(
        [
            came_late(T0 + 100_000, T0 + 10.0, T0 + 20.0),
            came_late(T0 + 100_001, T0 + 15.0, T0 + 3700.0),
            came_late(T0 + 100_002, T0 + 3650.5, T0 + 3655.5, "gw1"),
            *(came_late(T0 + 100_003, T0 + 8000.0, T0 + 8001.0, f"n{number}") for number in range(20)),
        ]
    )
    collect(source(influx), T0 + 100_100.0, T0 + 99_990)

    late = [
        (each.start - T0, each.end - T0, each.tags.get("node", frozenset()))
        for each in influx.asked
        if each.measurement == points.EVENT
    ]
    assert [
        (0.0, 3600.0, {"gw0"}), (3600.0, 7200.0, {"gw0", "gw1"}), (7200.0, 10_800.0, frozenset()),
    ] == late[1:]  # fmt: skip


def test_late_points_within_what_is_read_anyway_are_not_read_twice() -> None:
    """Whoever was down for a day himself reads that day now."""
    influx = FakeInflux([came_late(T0 + 50_000, T0 - 5000.0, T0 + 49_000.0)])
    collect(source(influx), T0 + 90_000.0, T0)

    assert (-3600.0, -120.0) == [each for each in asked_of_events(influx) if each[0] < -120.0][-1]
    assert [] == [each for each in asked_of_events(influx) if each[1] - each[0] > 3720]


def test_what_came_late_is_read_once_where_it_was_posted() -> None:
    """And again where the pass failed after all, as its mark says."""
    influx = FakeInflux([came_late(T0 + 100_000, T0 + 10.0, T0 + 20.0)])
    reading = source(influx)
    counts = []
    for mark in (T0 + 99_990, T0 + 99_990, T0 + 100_055):
        influx.asked.clear()
        collect(reading, T0 + 100_100.0, mark)
        counts.append(sum(end == 3600.0 for _, end in asked_of_events(influx)))

    assert [1, 1, 0] == counts


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"since": 5.0},
        {"since": "x", "until": 5.0},
        {"since": 9.0, "until": 8.0},
        {"since": -1.0, "until": 1e300},
    ],
)
def test_events_that_say_nothing_sensible_of_late_points_say_nothing(fields: Mapping[str, Any]) -> None:
    """They cost nothing either."""
    influx = FakeInflux([of_event(points.REPLAYED, T0 + 100_000, **fields)])
    found = collect(source(influx), T0 + 100_100.0, T0 + 99_990)

    assert (1, [Reached]) == (len(asked_of_events(influx)), [type(each) for each in found])


def test_no_more_than_a_month_is_read_again() -> None:
    """Whatever a node says."""
    influx = FakeInflux([came_late(T0 + 100_000, 0.0, T0 + 99_000.0)])
    collect(source(influx), T0 + 100_100.0, T0 + 99_990)

    assert 31 * 24 + 2 >= len(asked_of_events(influx))


def test_a_clock_that_went_back_reads_nothing() -> None:
    """The mark stays; by more than a minute it is said, as nobody would notice that nothing comes."""
    assert [] == collect(source(FakeInflux()), T0 + 0.0, T0 + 50)

    told = collect(source(FakeInflux()), T0 + 0.0, T0 + 500)
    assert [Failure(ORIGIN, "was read up to 500 s after now; a clock was wrong")] == told


def test_a_window_that_is_not_over_by_the_servers_clock_stays_open() -> None:
    """Our clock was set an hour ahead: what comes in that hour is read once it is right again."""
    influx = FakeInflux([of_row(job_row(), T0 + 5)])
    influx.date = T0 + 10.0

    *_, told = wrong = collect(source(influx), T0 + 3610.0, T0)
    assert ([], True) == (reached(wrong), isinstance(told, Failure))
    influx.date = T0 + 110.0
    assert [T0 + 65] == reached(collect(source(influx), T0 + 110.0, T0))


def test_an_agent_that_crashed_may_have_counted_less_and_be_right() -> None:
    """Its numbers begin again where they were saved: the ledger takes the greatest of each, and the end."""
    before = job_row(usage=Usage(held_seconds=10.0), seq=20, last_seen=T0 + 10.0)
    after = job_row(usage=Usage(held_seconds=9.0, busy_seconds=3.0), seq=18, last_seen=T0 + 20.0, open=False)
    told = [of_row(before, T0 + 10), of_row(after, T0 + 20)]

    (delivery, _) = collect(source(FakeInflux(told)), T0 + 1045.0, T0)
    assert isinstance(delivery, Delivery)
    assert [document(before), document(after)] == delivery.rows


@st.composite
def lives(draw: st.DrawFn) -> tuple[list[tuple[float, Point]], list[float]]:
    """What a node writes in some minutes, each with the time at which it is there; and when it is read."""
    written: list[tuple[float, Point]] = []
    crash = draw(st.integers(0, 12))
    for number in range(draw(st.integers(1, 12))):
        time = T0 + 40.0 * number
        # After a crash it goes on from what it had saved, a little before.
        lost = 1.5 if number > crash else 0.0
        held = 2.0 + number - lost
        row = job_row(
            usage=Usage(held_seconds=held, state_seconds={"working": held}), seq=round(9 + number - 2 * lost),
            last_seen=time, share=1.0 if number < 5 else 0.5, open=number < 9,
        )  # fmt: skip
        arrival = time + draw(st.sampled_from([0.0, 30.0, 400.0, 1500.0]))
        told = [of_row(row, time)]
        told += [
            of_event("declaration", time + 1, text="energy=1kWh", seq=float(number), epoch=EPOCH, channel="api")
        ]
        told += [
            of_event("progress", time + 2, job_id="run-1", step=float(number), total=100.0, started=float(T0))
        ]
        written += [(arrival, point) for point in told * draw(st.integers(1, 2))]
        if arrival > time + 100:
            written.append((arrival, came_late(arrival, time, time + 2)))
    passes = draw(st.lists(st.floats(T0 + 50.0, T0 + 2500.0), max_size=8))
    return written, [*sorted(passes), T0 + 2600.0, T0 + 2700.0]


@given(lives(), st.sampled_from([60.0, 100.0, 3600.0]), st.sampled_from([50, 200, 5000]), st.randoms())
def test_however_time_is_read_the_ledger_is_the_same(
    life: tuple[list[tuple[float, Point]], list[float]], window: float, most: int, random: Any
) -> None:
    """In long or short windows, at any times, with points late or twice, and posted in any order."""
    written, passes = life

    def meddle(asked: Asked) -> None:
        if asked.end - asked.start > max(60, most):
            raise Refused("too much", 413)

    influx, book, marks = FakeInflux(meddle=meddle), Book(), {}
    reading = source(influx, window_seconds=window, first_seconds=3600.0)
    for now in passes:
        influx.points = [point for arrival, point in written if arrival <= now - 1]
        found = list(reading.collect(Asking(now, marks)))
        deliveries = [each for each in found if isinstance(each, Delivery)]
        random.shuffle(deliveries)
        for each in deliveries:
            book.post(read(each))
        marks = {each.origin: each.mark for each in found if isinstance(each, Reached)} or marks

    assert directly([point for _, point in written]) == book


def directly(written: Sequence[Point]) -> Book:
    """The ledger of everything that was written, point by point."""
    book = Book()
    for point in written:
        found = collect(
            source(FakeInflux([point]), overlap_seconds=0.0), point.time / 1e9 + 60.0, int(point.time / 1e9) - 1
        )
        for each in found:
            if isinstance(each, Delivery):
                book.post(read(each))
    return book


@pytest.mark.parametrize("send", [None, byte_by_byte])
def test_it_is_read_over_http(send: Any) -> None:
    """In whatever pieces the answer comes."""
    with Served(FakeInflux([of_row(job_row(), T0 + 10)]), send) as served:
        reading = InfluxqlUsage(InfluxqlUsage.Settings(url=served.url), Site())
        found = list(reading.collect(Asking(T0 + 100.0, {f"{served.url} gpuwatch": Mark("windows", T0)})))

    assert [document(job_row())] == [row for each in found if isinstance(each, Delivery) for row in each.rows]


def test_an_answer_that_breaks_off_leaves_the_window_open() -> None:
    """Though what came of it were whole documents."""
    rows = [of_row(job_row(f"run-{number}"), T0 + 10) for number in range(3)]
    with Served(FakeInflux(rows), broken_off) as served:
        reading = InfluxqlUsage(InfluxqlUsage.Settings(url=served.url, first_seconds=60.0), Site())
        found = list(reading.collect(Asking(T0 + 100.0)))

    assert [Failure] == [type(each) for each in found]


def test_a_token_is_shown_as_influxdb_wants_it(tmp_path: Path) -> None:
    """Read anew for each request; of 1.8 it is `user:password`."""
    path = tmp_path / "token"
    path.write_text("user:pass\n")
    with Served(FakeInflux()) as served:
        settings = InfluxqlUsage.Settings(url=served.url, token_file=path, headers={"X-Tenant": "gpu"})
        InfluxqlUsage(settings, Site()).check(0.0)

    assert [("Token user:pass", "gpu")] == [(each["Authorization"], each["X-Tenant"]) for each in served.headers]


def wrote(time: float, node: str, cluster: str = "default") -> Point:
    return Point(points.DEVICE, {"cluster": cluster, "node": node}, {"held_seconds_total": 1.0}, int(time * 1e9))


def test_check_counts_the_nodes_that_wrote_of_late() -> None:
    """Of this cluster, in the last five minutes."""
    influx = FakeInflux(
        [wrote(T0 - 1, "gw0"), wrote(T0 - 2, "gw1"), wrote(T0 - 400, "gw2"), wrote(T0, "gw3", "x")]
    )
    influx.date = float(T0)

    assert [
        Probe(f"read {ORIGIN}", True, "nodes of cluster default that wrote in the last 5 minutes: 2"),
        Probe("clock of http://influx:8086", True, "its clock agrees with ours"),
    ] == list(source(influx).check(T0))


@pytest.mark.parametrize(
    ("date", "told"),
    [
        (T0 + 61.0, [(False, "its clock is 61 s ahead of ours")]),
        (T0 - 90.0, [(False, "its clock is 90 s behind ours")]),
        (None, []),
    ],
)
def test_check_compares_clocks(date: float | None, told: Sequence[tuple[bool, str]]) -> None:
    """Where the server says its time."""
    influx = FakeInflux()
    influx.date = date

    assert list(told) == [(each.ok, each.detail) for each in source(influx).check(T0)[1:]]


def test_check_says_why_it_cannot_read() -> None:
    """In the server's words."""

    def meddle(asked: Asked) -> None:
        raise Refused("says: database not found: gpuwatch", 200)

    assert [Probe(f"read {ORIGIN}", False, "says: database not found: gpuwatch")] == list(
        source(FakeInflux(meddle=meddle)).check(T0)
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"database": ""},
        {"database": "a\nb"},
        {"window_seconds": 59.0},
        {"url": "influx"},
        {"lag": 1},
        {"username": "u"},
    ],
)
def test_settings_that_cannot_be_honoured_are_refused(settings: Mapping[str, Any]) -> None:
    """At start."""
    with pytest.raises(ValidationError):
        InfluxqlUsage.Settings(**settings)


def test_acknowledging_changes_nothing() -> None:
    """The database is not ours to clear."""
    influx = FakeInflux()
    source(influx).acknowledge(Delivery("default", "gw0", EPOCH, None, 0.0, [], [], [], ORIGIN))

    assert [] == influx.asked
