"""The exporter source: rows of each window, one epoch over crashes, what it waits for, and what it checks."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gpuwatch.errors import Unavailable
from gpuwatch.http.client import Client, Refused
from gpuwatch.ledger.ledger import Book
from gpuwatch.ledger.posting import read
from gpuwatch.model import Site
from gpuwatch.usage.base import Allocated, Asking, Delivery, Failure, Mark, Reached
from gpuwatch.usage.exporter import ORIGIN, PATIENCE_SECONDS, ExporterUsage
from gpuwatch.usage.prometheus_api import QueryApi, Sample, Series, Told

T0 = 1_800_000_000
SETTINGS = ExporterUsage.Settings()
SITE = Site(cluster="c1", node="head")


def labels(node, index, **more):
    return {
        "UUID": f"GPU-{node}-{index}", "device": f"nvidia{index}", "gpu": str(index), "Hostname": node,
        "modelName": "NVIDIA H100 80GB HBM3", "instance": f"{node}:9400", "job": "dcgm", **more,
    }  # fmt: skip


def watts(index):
    return 100.0 * (index + 1)


def site(nodes=("gw0",), boards=2, seconds=15, until=2 * 3600, extra=()):
    """Every board of a site draws the same power for ever, and counts it."""
    times = [float(T0 + seconds * n) for n in range(until // seconds)]
    found = []
    for node in nodes:
        for index in range(boards):
            its = labels(node, index)
            millijoules = [(time, 1e9 + (time - T0) * watts(index) * 1000) for time in times]
            found.append(Series({"__name__": "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", **its}, millijoules))
            found.append(
                Series({"__name__": "DCGM_FI_DEV_POWER_USAGE", **its}, [(t, watts(index)) for t in times])
            )
            found.append(Series({"__name__": "DCGM_FI_DEV_GPU_UTIL", **its}, [(t, 90.0) for t in times]))
    return [*found, *extra]


class FakeApi(QueryApi):
    """Answers selectors from series in memory; `fails` says why a query fails, by its seconds and time."""

    def __init__(
        self, series: Sequence[Series], fails=lambda seconds, time: None, date: float | None = None
    ) -> None:
        super().__init__("http://fake", Client(SETTINGS))
        self.series, self.fails, self.date = series, fails, date
        self.asked: list[tuple[str, int, float]] = []

    def _matching(self, selector: str) -> Iterator[Series]:
        names = re.fullmatch(r'\{__name__=~"([^"]+)".*\}', selector)
        assert names is not None, selector
        return (each for each in self.series if each.labels["__name__"] in names[1].split("|"))

    def samples(self, selector, seconds, time):
        self.asked.append((selector, seconds, time))
        if (error := self.fails(seconds, time)) is not None:
            raise error
        return [
            Series(each.labels, [point for point in each.points if time - seconds <= point[0] <= time])
            for each in self._matching(selector)
        ]

    def vector(self, query, time):
        return [Sample(each.labels, each.points[-1][1]) for each in self._matching(query)]

    def ask(self, path, parameters):
        return Told({}, self.date)


def job(job_id="7", node="gw0", since=600.0, until=1200.0, indices=(0,), devices=1.0, nodes=1):
    return job_id, node, T0 + since, T0 + until, indices, devices, nodes


def allocations(*jobs, heard=None):
    """What a batch system says: of a job that has not ended, that it still runs."""

    def allocated(since: float, until: float) -> list[Allocated]:
        return [
            Allocated(name, node, began, min(ended, until, heard or until), indices, devices, nodes, ended > until)
            for name, node, began, ended, indices, devices, nodes in jobs
            if began < until and ended > since
        ]

    return allocated


def source(series, epochs=None, fails=lambda seconds, time: None, **changed):
    numbers = epochs if epochs is not None else count()
    api = FakeApi(series, fails)
    return ExporterUsage(
        ExporterUsage.Settings(**changed), SITE, api, lambda: f"{next(numbers):012x}"
    ), api  # fmt: skip


def collected(it, now, marks=None, allocated=lambda since, until: ()):
    return list(it.collect(Asking(now, marks or {}, allocated)))


def book_of(found, book=None):
    book = book or Book()
    for each in found:
        if isinstance(each, Delivery):
            posting = read(each)
            assert posting.rejected == {}
            book.post(posting)
    return book


def last_mark(found):
    return [each.mark for each in found if isinstance(each, Reached)][-1]


def test_a_job_of_indices_gets_the_time_and_energy_of_its_devices():
    """Ten minutes of board 0 at 100 W, which the hardware counted."""
    it, _ = source(site())
    book = book_of(collected(it, T0 + 3690.0, {}, allocations(job())))

    usage = book.total("c1", "7")
    assert usage.held_seconds == pytest.approx(600)
    assert usage.energy_joules == {"counter": pytest.approx(60_000)}
    (row,) = book.held
    assert row == ("c1", "gw0", "000000000000", "7", T0 + 600, "GPU-gw0-0")
    assert book.held[row].open is False
    assert (book.held[row].model, book.held[row].basis) == ("NVIDIA H100 80GB HBM3", "whole")


def test_a_job_of_whole_nodes_needs_no_indices():
    """Four boards on two nodes, four devices."""
    parts = [job("8", node, indices=None, devices=4.0, nodes=2) for node in ("gw0", "gw1")]
    it, _ = source(site(("gw0", "gw1")))
    book = book_of(collected(it, T0 + 3690.0, {}, allocations(*parts)))

    assert book.total("c1", "8").joules == pytest.approx(600 * 2 * (100 + 200))
    assert {row.node for row in book.held} == {"gw0", "gw1"}


def test_what_has_no_holder_is_said_once_with_its_share(caplog):
    """One of two devices, nobody knows which: both are nobody's."""
    it, _ = source(site())
    with caplog.at_level(logging.INFO, "gpuwatch.accounting"):
        found = collected(it, T0 + 3690.0, {}, allocations(job(indices=None, until=9000.0)))

    assert book_of(found).held == {}
    assert it.figures() == {"devices": 2.0, "unattributed_ratio": pytest.approx(1.0)}
    said = [record.message for record in caplog.records if "without a known holder" in record.message]
    assert said == ["device time without a known holder source=exporter ratio=1.000"]


def test_the_epoch_is_stored_before_anything_is_counted_in_it():
    """What is posted before a crash is the same row after it."""
    it, _ = source(site())
    first, *rest = collected(it, T0 + 3690.0, {}, allocations(job()))

    assert isinstance(first, Reached)
    assert first.mark[:2] == ("000000000000", T0)
    assert {each.mark.epoch for each in rest if isinstance(each, Reached)} == {"000000000000"}


def test_nothing_is_said_twice_where_nothing_is_new():
    """A pass of the same second has no window."""
    it, api = source(site())
    mark = last_mark(collected(it, T0 + 3690.0))
    asked = len(api.asked)

    assert collected(it, T0 + 3690.0, {ORIGIN: mark}) == []
    assert len(api.asked) == asked


def test_another_process_goes_on_where_one_was():
    """All that it needs is in the mark."""
    epochs = count()
    first, _ = source(site(), epochs)
    begun = collected(first, T0 + 900.0, {}, allocations(job()))
    second, _ = source(site(), epochs)
    ended = collected(second, T0 + 3690.0, {ORIGIN: last_mark(begun)}, allocations(job()))

    usage = book_of([*begun, *ended]).total("c1", "7")
    assert (usage.held_seconds, usage.joules) == (pytest.approx(600), pytest.approx(60_000))
    assert next(epochs) == 1


def test_what_could_not_be_posted_is_told_again_by_the_same_process():
    """The ledger was full while a job's last window was read."""
    it, _ = source(site())
    kept: list = []
    mark: dict[str, Mark] = {}
    for each in it.collect(Asking(T0 + 3690.0, {}, allocations(job()))):
        if isinstance(each, Delivery) and each.now == T0 + 1200:
            break
        kept.append(each)
        if isinstance(each, Reached):
            mark = {ORIGIN: each.mark}
    more = collected(it, T0 + 3750.0, mark, allocations(job()))

    book = book_of([*kept, *more])
    assert book.total("c1", "7").joules == pytest.approx(60_000)
    assert [held.open for held in book.held.values()] == [False]


def test_a_state_that_cannot_be_read_begins_an_epoch_and_counts_nothing_twice(caplog):
    """The windows before the mark stay as they were counted."""
    epochs = count()
    first, _ = source(site(), epochs)
    begun = collected(first, T0 + 990.0, {}, allocations(job()))
    mark = last_mark(begun)
    second, _ = source(site(), epochs)
    ended = collected(second, T0 + 3690.0, {ORIGIN: mark._replace(state="AAAA")}, allocations(job()))

    assert "usage state cannot be read" in caplog.text
    usage = book_of([*begun, *ended]).total("c1", "7")
    assert usage.held_seconds == pytest.approx(600, abs=15)
    assert {mark.epoch for each in ended if isinstance(each, Reached) for mark in [each.mark]} == {"000000000001"}


def test_what_is_over_leaves_the_state():
    """A year of jobs is not carried along."""
    it, _ = source(site())
    sizes = []
    mark: dict[str, Mark] = {}
    for now in (T0 + 690.0, T0 + 1000.0, T0 + 3690.0):
        mark = {ORIGIN: last_mark(collected(it, now, mark, allocations(job())))}
        sizes.append(sum(len(board.rows) for board in it._standing.boards.values()))

    assert sizes == [1, 1, 0] or sizes == [0, 1, 0]


def test_a_batch_system_that_does_not_answer_is_waited_for():
    """Whoever starts and ends meanwhile is known afterwards; after an hour it goes on without."""
    it, _ = source(site())
    running = allocations(job(until=9000.0), heard=T0 + 900.0)
    found = collected(it, T0 + 3690.0, {}, running)
    waiting = last_mark(found).seq
    later = collected(it, T0 + 900.0 + PATIENCE_SECONDS + 400, {ORIGIN: last_mark(found)}, running)

    assert waiting == T0 + 900
    assert last_mark(later).seq > T0 + 900


def test_a_window_that_is_too_much_is_read_in_halves():
    """A server that refuses many samples is asked for fewer, in order."""

    def fails(seconds, time):
        return Refused("answered 422: too many samples", 422) if seconds > 150 else None

    it, api = source(site(), None, fails)
    found = collected(it, T0 + 3690.0, {}, allocations(job()))

    assert not any(isinstance(each, Failure) for each in found)
    assert book_of(found).total("c1", "7").joules == pytest.approx(60_000)
    ends = [each.mark.seq for each in found if isinstance(each, Reached)]
    assert ends == sorted(ends)
    assert {seconds for _, seconds, _ in api.asked} == {300, 150}


def test_a_window_that_failed_stays_open_and_is_read_again():
    """The server went away in the middle of an hour."""
    down = {"now": True}

    def fails(seconds, time):
        return Unavailable("Connection refused") if down["now"] and time > T0 + 900 else None

    it, _ = source(site(), None, fails)
    found = collected(it, T0 + 3690.0, {}, allocations(job()))
    down["now"] = False
    more = collected(it, T0 + 3750.0, {ORIGIN: last_mark(found)}, allocations(job()))

    assert found[-1] == Failure(ORIGIN, "Connection refused")
    assert last_mark(found).seq == T0 + 900
    assert book_of([*found, *more]).total("c1", "7").held_seconds == pytest.approx(600)


def test_nodes_without_jobs_are_heard_of_too():
    """A node that reports is not silent because it is idle."""
    it, _ = source(site(("gw0", "gw1")))
    found = [each for each in collected(it, T0 + 300.0) if isinstance(each, Delivery)]

    assert {(each.node, each.origin, each.seq) for each in found} == {
        ("gw0", "exporter gw0", None),
        ("gw1", "exporter gw1", None),
    }


def test_check_says_what_there_is():
    """How many devices of which exporter, on which nodes, and whose clock is wrong."""
    sliced = Series({"__name__": "DCGM_FI_DEV_POWER_USAGE", **labels("gw2", 0, GPU_I_ID="1")}, [(T0, 1.0)])
    it, api = source(site(("gw0", "gw1"), extra=[sliced]))
    api.date = T0 + 100.0

    clock, exporters = it.check(float(T0))
    assert (clock.ok, clock.detail) == (False, "its clock is 100 s ahead of ours")
    assert exporters.ok
    assert exporters.detail == (
        "devices: 5 of dcgm; nodes: 3 (gw0, gw1, gw2); 1 divided into slices, which nobody can attribute"
    )


def test_check_says_that_there_is_no_exporter():
    """Of those whose names are known."""
    it, _ = source([])

    assert [probe.ok for probe in it.check(float(T0))] == [True, False]


@pytest.mark.parametrize(
    "wrong",
    [{"kind": "intel"}, {"url": "gw0:9090"}, {"matchers": "cluster"}, {"window_seconds": 10}, {"nonsense": 1}],
)
def test_a_setting_that_cannot_be_honoured_is_an_error(wrong):
    """At start, not in the first pass."""
    with pytest.raises(ValidationError):
        ExporterUsage.Settings(**wrong)


def test_matchers_are_in_every_query():
    """A server has the series of several clusters."""
    it, api = source(site(), matchers='cluster="eu1"', kind="dcgm")
    collected(it, T0 + 300.0)

    assert api.asked
    assert all(selector.endswith(',cluster="eu1"}') for selector, _, _ in api.asked)


def test_a_mark_of_the_future_is_not_read_from():
    """The clock was wrong when it was made; what is there by now would be left out for good."""
    it, api = source(site())
    found = collected(it, float(T0), {ORIGIN: Mark("e", T0 + 7200)})

    assert found == [Failure(ORIGIN, "was read up to 7200 s after now; a clock was wrong")]
    assert api.asked == []


def test_a_window_that_is_not_over_by_the_servers_clock_is_not_taken():
    """Our clock was set an hour ahead: jobs would be charged for an hour that never was, for good."""
    it, api = source(site())
    api.date = T0 + 600.0
    job_7 = allocations(job("7", until=9000.0))

    *told, failed = collected(it, T0 + 4200.0, {ORIGIN: Mark("e", T0 + 300)}, job_7)
    assert failed == Failure(ORIGIN, "its clock is 300 s before the end of what is to be read; a clock is wrong")
    assert last_mark(told).seq == T0 + 600
    assert max(each.now for each in told if isinstance(each, Delivery)) == T0 + 600


JOBS = (
    job("7", "gw0", 610.0, 1207.0, (0,), 1.0),
    job("8", "gw0", 1000.0, 2450.0, (1,), 1.0),
    job("9", "gw0", 1207.0, 3000.0, None, 1.0),
    job("10", "gw1", 333.0, 2777.0, None, 2.0),
)


def summary(book: Book):
    """The measures of each row by all but its epoch, and whether it is open; there is one epoch."""
    assert len({row.epoch for row in book.measures}) == 1
    measures = {row._replace(epoch=""): values for row, values in book.measures.items()}
    return measures, {row._replace(epoch=""): held.open for row, held in book.held.items()}


STEPS = st.tuples(st.integers(60, 900), st.none() | st.integers(0, 12), st.booleans())


@settings(max_examples=20, deadline=None)
@given(st.lists(STEPS, max_size=10))
def test_crashes_at_any_point_change_nothing(steps):
    """Passes at any times, of which any may stop at any delivery or mark: the same ledger as one without.

    The process ends there, or the ledger could not be written and the same process tries again.
    """
    series, epochs = site(("gw0", "gw1"), seconds=30), count()
    whole = collected(source(series)[0], T0 + 3690.0, {}, allocations(*JOBS))
    book, marks, now = Book(), {}, float(T0 + 90)
    it: ExporterUsage | None = None
    for seconds, stops_after, ends in [*steps, (max(60, 3690 - sum(step[0] for step in steps)), None, False)]:
        now = min(now + seconds, T0 + 3690.0)
        if it is None or not marks:
            it, _ = source(series, epochs, first_seconds=now - 90 - T0)
        for number, each in enumerate(it.collect(Asking(now, dict(marks), allocations(*JOBS)))):
            if number == stops_after:
                it = None if ends else it
                break
            if isinstance(each, Reached):
                marks[each.origin] = each.mark
            else:
                book_of([each], book)

    measures, are_open = summary(book)
    expected, were_open = summary(book_of(whole))
    assert are_open == were_open
    assert measures.keys() == expected.keys()
    for row, values in measures.items():
        assert [each or 0.0 for each in values] == pytest.approx([each or 0.0 for each in expected[row]]), row
