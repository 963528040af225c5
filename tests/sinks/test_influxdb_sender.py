"""A sender lets go of nothing before it is stored, whatever a server answers, and holds up on nothing for ever."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.sinks.influxdb_answers import Answer, judge
from gpuwatch.sinks.influxdb_pace import Backoff, Pace
from gpuwatch.sinks.influxdb_rejected import RejectedLines
from gpuwatch.sinks.influxdb_sender import Late, Sender
from gpuwatch.sinks.records import Place, Record
from tests.sinks.influxdb_fakes import NOW, STORED, ListBacklog, ScriptedServer, Ticking, lines_of, records_of

REFUSED_CONNECTION = Answer("later", "network", "Connection refused")


class Run:
    """A sender's run over some records, until all are dealt with or the time is over."""

    def __init__(
        self,
        path: Path,
        records: list[Record],
        script: Callable[[int, list[bytes]], Answer] = lambda number, lines: STORED,
        draw: float = 0.5,
        ticking: Ticking | None = None,
        lines_per_second: float = 1e9,
        lines_per_request: int = 1000,
    ) -> None:
        self.ticking = ticking or Ticking()
        self.backlog = ListBacklog(records, self.ticking)
        self.server = ScriptedServer(script)
        self.late: list[Late] = []
        self.rejected = path / "rejected.txt"
        self.sender = Sender(
            "influxdb:main", self.server, self.backlog, RejectedLines(self.rejected), self.late.append,
            self.ticking, Pace(lines_per_second, lines_per_request), Backoff(lambda: draw), lines_per_request,
        )  # fmt: skip

    def go(self) -> Run:
        self.sender.run()
        return self


def all_lines(records: list[Record]) -> list[bytes]:
    return [line for record in records for line in record.lines.split(b"\n") if line]


def test_everything_is_delivered_in_order_and_then_let_go(tmp_path: Path) -> None:
    """The good case: as few requests as the limit allows."""
    records = records_of(250)
    run = Run(tmp_path, records).go()

    assert all_lines(records) == run.server.stored
    assert (3, [], [{}], True) == (
        len(run.server.requests),
        run.backlog.records,
        run.backlog.dropped,
        run.sender.up,
    )
    assert all(request.endswith(b"\n") for request in run.server.requests)


@pytest.mark.parametrize("reason", ["network", "timeout", "server"])
def test_fault_1_ten_minutes_of_outage_at_1_hz_lose_nothing_and_drain_within_60_s(
    tmp_path: Path, reason: str
) -> None:
    """Of 8 devices, with the worst jitter there is: the server is back at 600 s, all is there by 660 s."""
    ticking, back = Ticking(until=NOW + 700.0), NOW + 600.0

    def script(number: int, lines: list[bytes]) -> Answer:
        return Answer("later", reason, "away") if ticking.time < back else STORED

    records = records_of(700, 9, NOW, step=1.0)
    run = Run(tmp_path, [], script, draw=1.0, ticking=ticking, lines_per_second=5000.0)
    coming = iter(records)
    arrived = [next(coming)]
    drained: list[float] = []

    def arrive(time: float) -> None:
        while arrived[-1].time < time and (record := next(coming, None)):
            arrived.append(record)
            run.backlog.records.append(record)
        if time >= back and all(time - record.time <= 2.0 for record in run.backlog.records):
            drained.append(time)

    run.backlog.more_comes = True
    run.backlog.records.append(arrived[0])
    ticking.each_second = arrive
    run.go()

    assert all_lines(arrived) == run.server.stored
    assert len(set(run.server.stored)) == len(run.server.stored)
    assert drained and drained[0] - back <= 60.0
    assert [NOW, True] == [run.late[0].since, sum(late.points for late in run.late) >= 540 * 9]
    assert {} == run.backlog.total_dropped


def test_waits_grow_to_30_s_and_are_drawn_from_the_whole(tmp_path: Path) -> None:
    """Full jitter: what is drawn is a share of 1, 2, 4 … 30 seconds; a success begins anew."""
    run = Run(tmp_path, records_of(1), lambda number, lines: REFUSED_CONNECTION if number < 8 else STORED).go()

    assert [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0] == run.ticking.pauses[:8]


def test_first_request_after_a_failure_is_a_short_one(tmp_path: Path) -> None:
    """A server that comes back is tried with a few lines; then it goes on as before."""
    run = Run(tmp_path, records_of(100, 10), lambda number, lines: REFUSED_CONNECTION if number < 2 else STORED)
    run.go()

    assert [1000, 20, 20, 980] == [request.count(b"\n") for request in run.server.requests]


def test_fault_3_lines_are_sent_again_as_they_were(tmp_path: Path) -> None:
    """Whatever was stored before the answer got lost is stored over itself."""
    timed_out = Answer("later", "timeout", "Read timed out")
    run = Run(tmp_path, records_of(2), lambda number, lines: timed_out if number == 0 else STORED).go()

    assert run.server.requests[0] == run.server.requests[1]


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("3", 3.0, 4.0),
        ("0.5", 0.5, 1.5),
        ("Tue, 24 Nov 2025 16:00:07 GMT", 7.0, 8.0),
        ("soon", 0.0, 1.0),
        ("-5", 0.0, 1.0),
        ("1e9", 600.0, 601.0),
        ("nan", 0.0, 1.0),
        ("inf", 0.0, 1.0),
        ("Thu, 24 Nov 2095 16:00:07 GMT", 600.0, 601.0),
    ],
)
@pytest.mark.parametrize("draw", [0.0, 0.999])
def test_fault_4_retry_after_is_honoured(
    tmp_path: Path, header: str, least: float, most: float, draw: float
) -> None:
    """Seconds or a date, at most 600 s; what cannot be read is as if it were not there. A second of jitter."""
    answer = judge(429, {"retry-after": header}, b"", NOW)
    run = Run(tmp_path, records_of(1), lambda number, lines: answer if number == 0 else STORED, draw=draw).go()

    assert least <= sum(run.ticking.pauses[:-1]) <= most
    assert (1, 0) == (run.sender.failures["rate_limited"], len(run.backlog.records))


def test_fault_4_retry_after_of_nothing_is_no_leave_to_hammer(tmp_path: Path) -> None:
    """A thousand nodes that come again at once are what a server does not recover from."""
    answer = judge(503, {"retry-after": "0"}, b"", NOW)
    run = Run(tmp_path, records_of(1), lambda number, lines: answer if number < 100 else STORED).go()

    assert 15.0 == run.ticking.pauses[-2]


def test_fault_5_five_minutes_of_401_lose_nothing(tmp_path: Path) -> None:
    """The credential is read again each minute, and the points wait."""
    ticking = Ticking()

    def script(number: int, lines: list[bytes]) -> Answer:
        return Answer("forbidden", "auth", "401") if ticking.time < NOW + 300 else STORED

    records = records_of(3)
    run = Run(tmp_path, records, script, ticking=ticking).go()

    assert all_lines(records) == run.server.stored
    assert (5, 5, {}) == (run.server.renewed, run.sender.failures["auth"], run.backlog.total_dropped)


def test_fault_5_a_new_credential_is_tried_at_once(tmp_path: Path) -> None:
    """Nobody waits out the minute once the file is another one."""
    run = Run(tmp_path, records_of(1), lambda number, _: Answer("forbidden", "auth") if number == 0 else STORED)

    def rotate(time: float) -> None:
        run.server.has_changed = time >= NOW + 3.0

    run.ticking.each_second = rotate
    run.go()

    assert 3.0 == sum(run.ticking.pauses[:-1])


def test_missing_bucket_is_waited_for(tmp_path: Path) -> None:
    """Somebody forgot to make it; that costs no points."""
    records = records_of(1)
    missing = Answer("missing", "not_found", "404 bucket not found")
    run = Run(tmp_path, records, lambda number, lines: missing if number < 60 else STORED).go()

    assert 60 * 60.0 == sum(run.ticking.pauses[:-1])
    assert (all_lines(records), 60) == (run.server.stored, run.sender.failures["not_found"])


def test_fault_6_what_is_too_large_is_halved_until_it_fits(tmp_path: Path) -> None:
    """A server that takes 100 lines at most gets them all; a line too large by itself is rejected."""
    giant = b"gpuwatch_event,node=gw0 text=" + b"x" * 100_000

    def script(number: int, lines: list[bytes]) -> Answer:
        too_large = len(lines) > 100 or giant in lines
        return Answer("too_large", "too_large", "413 entity too large") if too_large else STORED

    records = [*records_of(100), Record(NOW, 1, giant + b"\n", Place(1, 101))]
    run = Run(tmp_path, records, script).go()

    assert sorted(all_lines(records[:-1])) == sorted(run.server.stored)
    assert {"too_large": 1} == run.backlog.total_dropped
    kept = run.rejected.read_text(encoding="utf-8")
    assert 'reason=too_large detail="413 entity too large" gpuwatch_event,node=gw0' in kept
    assert len(kept) < 5000


def poison(*bad: bytes) -> Callable[[int, list[bytes]], Answer]:
    """A server that refuses these lines."""

    def script(number: int, lines: list[bytes]) -> Answer:
        wrong = [line for line in lines if line in bad]
        return Answer("refused", "refused", f"400 unable to parse {wrong[0].decode()}") if wrong else STORED

    return script


def test_fault_7_of_500_lines_a_bad_one_is_found_and_the_others_are_stored(tmp_path: Path) -> None:
    """In halves: some twenty requests, not five hundred."""
    records = records_of(50, 10)
    bad = all_lines(records)[137]
    run = Run(tmp_path, records, poison(bad)).go()

    assert sorted(set(all_lines(records)) - {bad}) == sorted(run.server.stored)
    assert ({"rejected": 1}, True) == (run.backlog.total_dropped, len(run.server.requests) <= 20)
    assert f'reason=rejected detail="400 unable to parse {bad.decode()}" {bad.decode()}\n' in (
        run.rejected.read_text(encoding="utf-8")
    )


@given(st.sets(st.integers(0, 59)), st.integers(1, 70))
def test_whichever_lines_are_bad_exactly_these_are_rejected(
    tmp_path_factory: pytest.TempPathFactory, wrong: set[int], most: int
) -> None:
    """Delivered and dropped make up what was there, whatever the size of requests."""
    records = records_of(10, 6)
    lines = all_lines(records)
    bad = {lines[each] for each in wrong}
    path = tmp_path_factory.mktemp("rejected")
    run = Run(path, records, poison(*bad), lines_per_request=most).go()

    assert sorted(set(lines) - bad) == sorted(set(run.server.stored))
    assert len(bad) == run.backlog.total_dropped.get("rejected", 0)
    assert [] == run.backlog.records


@pytest.mark.parametrize("detail", ["405 Method Not Allowed", "400 plain HTTP was sent to an HTTPS port"])
def test_server_that_refuses_everything_costs_nothing(tmp_path: Path, detail: str) -> None:
    """A wrong address is the operator's mistake: points wait until it is put right."""
    records = records_of(10)
    run = Run(
        tmp_path, records, lambda number, _: Answer("refused", "refused", detail) if number < 50 else STORED
    ).go()

    assert sorted(all_lines(records)) == sorted(run.server.stored)
    assert {} == run.backlog.total_dropped
    assert len(run.ticking.pauses) > 10


def test_server_to_which_everything_is_too_large_costs_nothing(tmp_path: Path) -> None:
    """A proxy with a limit of nothing says so of a request without lines as well."""
    records = records_of(10)
    too_large = Answer("too_large", "too_large", "413")
    run = Run(tmp_path, records, lambda number, _: too_large if number < 50 else STORED).go()

    assert (sorted(all_lines(records)), {}) == (sorted(run.server.stored), run.backlog.total_dropped)


def test_influxdb_2_finds_another_fault_with_a_request_without_lines(tmp_path: Path) -> None:
    """It refuses the line and the empty request, but in other words: the line is to blame."""

    def script(number: int, lines: list[bytes]) -> Answer:
        said = "400 unable to parse" if lines else "400 writing requires points"
        return Answer("refused", "refused", said)

    run = Run(tmp_path, records_of(1, 2), script).go()

    assert {"rejected": 2} == run.backlog.total_dropped


def test_fault_8_times_that_servers_drop_silently_are_refused_here(tmp_path: Path) -> None:
    """1970 and ten years ahead are answered well by some servers, and dropped; here they are counted."""
    times = [0.0, NOW - 31 * 86400, NOW - 29 * 86400, NOW, NOW + 590, NOW + 610, NOW + 10 * 365 * 86400]
    records = [Record(time, 1, lines_of(1, each), Place(1, each + 1)) for each, time in enumerate(times)]
    run = Run(tmp_path, records).go()

    assert all_lines(records[2:5]) == run.server.stored
    assert {"time": 4} == run.backlog.total_dropped


def test_fault_8_a_wrong_clock_of_ours_drops_nothing(tmp_path: Path) -> None:
    """Before NTP it is 1970 here: the server says what time it is before anything is given up."""
    records = records_of(2)
    told = Answer("stored", time=NOW + 5.0)
    run = Run(tmp_path, records, lambda number, lines: told, ticking=Ticking(now=1000.0, until=1e6)).go()

    assert (all_lines(records), {}) == (run.server.stored, run.backlog.total_dropped)


@pytest.mark.parametrize("ahead", [-8 * 3600.0, -700.0, 8 * 3600.0])
def test_fault_8_a_server_whose_clock_is_wrong_costs_nothing(tmp_path: Path, ahead: float) -> None:
    """Ours says that the points are of now, and no server has anything against that."""
    records = records_of(2)
    ticking = Ticking()
    run = Run(tmp_path, records, lambda *_: Answer("stored", time=ticking.time + ahead), ticking=ticking)
    run.backlog.more_comes = True
    ticking.each_second = lambda time: run.backlog.records.extend(
        records_of(1, time=time) if time < NOW + 9 else []
    )
    ticking.until = NOW + 20
    run.go()

    assert (9 * 10, {}) == (len(run.server.stored), run.backlog.total_dropped)


def test_fault_8_influxdb_2_tells_the_time_though_it_refuses_a_request_without_lines(tmp_path: Path) -> None:
    """Else what no server takes would stand before everything else until the spool is full."""
    records = [Record(NOW + 1e7, 1, lines_of(1), Place(1, 1)), *records_of(1)]

    def script(number: int, lines: list[bytes]) -> Answer:
        return STORED if lines else Answer("refused", "refused", "400 writing requires points", time=NOW)

    run = Run(tmp_path, records, script).go()

    assert (all_lines(records[1:]), {"time": 1}) == (run.server.stored, run.backlog.total_dropped)


def test_fault_8_nothing_is_given_up_while_the_server_cannot_be_asked(tmp_path: Path) -> None:
    """What time it is there is not known yet."""
    old = Record(NOW - 31 * 86400, 1, lines_of(1), Place(1, 1))
    run = Run(tmp_path, [old], lambda number, _: REFUSED_CONNECTION, ticking=Ticking(until=NOW + 3600)).go()

    assert ([old], {}) == (run.backlog.records, run.backlog.total_dropped)


def test_replay_is_no_faster_than_configured(tmp_path: Path) -> None:
    """10,000 lines at 1,000 a second, after a first request at once: nine seconds."""
    run = Run(tmp_path, records_of(1000, 10), lines_per_second=1000.0).go()

    assert 9.0 == pytest.approx(sum(run.ticking.pauses[:-1]), abs=0.01)


def test_what_came_late_is_told_before_it_is_let_go_of(tmp_path: Path) -> None:
    """Whenever the process is killed, readers have been told of all that will not be sent again."""
    records = records_of(400, 9, NOW - 6005.0, step=15.0)
    run = Run(tmp_path, records, lines_per_request=100)
    delivered_late: list[float] = []
    let_go, done = [], run.backlog.done

    def noted(after: Place, dropped: dict[str, int]) -> None:
        late = [
            each for each in run.backlog.records if each.after <= after and run.ticking.time - each.time > 60.0
        ]
        let_go.append(all(any(said.since <= each.time <= said.until for said in run.late) for each in late))
        delivered_late.extend(each.time for each in late)
        done(after, dropped)

    run.backlog.done = noted  # type: ignore[method-assign, assignment]
    run.go()

    assert (397, True) == (len(delivered_late), all(let_go))


def test_what_came_late_is_told_once_it_is_all_there(tmp_path: Path) -> None:
    """Readers of windows read these again; a point in time ends it."""
    late = records_of(3, 9, NOW - 600.0, step=10.0)
    run = Run(tmp_path, late).go()

    assert [Late(NOW - 600.0, NOW - 60.0, 27)] == run.late


def test_long_replay_is_told_at_its_beginning_and_at_its_end(tmp_path: Path) -> None:
    """What is told first comes after all that waited then; not every request needs an event."""
    records = records_of(3000, 9, NOW - 7 * 86400.0, step=15.0)
    run = Run(tmp_path, records, lines_per_request=100).go()

    assert (2, 27_000) == (len(run.late), sum(late.points for late in run.late))
    assert (records[0].time, NOW - 60.0) == (run.late[0].since, pytest.approx(run.late[0].until, abs=0.001))
    assert (True, records[-1].time) == (records[0].time < run.late[-1].since, run.late[-1].until)


def test_mistake_of_ours_or_of_the_client_ends_no_thread(tmp_path: Path) -> None:
    """It is logged, and what waits is tried again a minute later."""

    def script(number: int, lines: list[bytes]) -> Answer:
        if number == 0:
            raise ZeroDivisionError
        return STORED

    records = records_of(1)
    run = Run(tmp_path, records, script).go()

    assert (all_lines(records), 60.0) == (run.server.stored, run.ticking.pauses[0])


def test_what_comes_in_time_is_not_told(tmp_path: Path) -> None:
    """The usual case makes no event."""
    assert [] == Run(tmp_path, records_of(3)).go().late


def test_ending_amid_an_outage_keeps_what_waits(tmp_path: Path) -> None:
    """Fault 9, of the sender: it goes home in the middle of a wait, and has let go of nothing."""
    records = records_of(3)
    run = Run(tmp_path, records, lambda number, _: REFUSED_CONNECTION, ticking=Ticking(until=NOW + 100)).go()

    assert (records, []) == (run.backlog.records, run.backlog.dropped)


def test_trouble_is_logged_when_it_begins_and_ends(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not with each of a hundred attempts."""
    answer = Answer("later", "network", "Connection refused")
    with caplog.at_level(logging.INFO, "gpuwatch.sinks"):
        Run(tmp_path, records_of(1), lambda number, _: answer if number < 100 else STORED).go()

    assert [
        "delivery fails sink=influxdb:main url=http://influxdb:8086 reason=network detail=Connection refused",
        "delivery works again sink=influxdb:main url=http://influxdb:8086",
    ] == caplog.messages


def test_connection_that_was_closed_while_it_idled_is_not_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The next attempt works; the failure is counted all the same."""
    with caplog.at_level(logging.INFO, "gpuwatch.sinks"):
        run = Run(tmp_path, records_of(1), lambda number, _: REFUSED_CONNECTION if number == 0 else STORED).go()

    assert ([], 1) == (caplog.messages, run.sender.failures["network"])


def test_last_request_says_whether_the_sink_is_up(tmp_path: Path) -> None:
    """A refused line is no outage; a server that is away is one."""
    down = Run(tmp_path, records_of(1), lambda *_: REFUSED_CONNECTION, ticking=Ticking(until=NOW + 50)).go()
    refused = Run(tmp_path, records_of(1), poison(all_lines(records_of(1))[0])).go()

    assert (False, True) == (down.sender.up, refused.sender.up)
