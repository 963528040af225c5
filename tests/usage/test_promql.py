"""Usage read back from what agents exported, window by window."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from email.utils import formatdate
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gpuwatch.declaration import parse
from gpuwatch.ledger.posting import read
from gpuwatch.model import Site
from gpuwatch.sinks.prometheus import catalogue
from gpuwatch.usage.base import Asking, Delivery, Failure, Mark, Reached
from gpuwatch.usage.promql import PromqlUsage
from gpuwatch.usage.promql_questions import Matchers, Questions, matchers
from gpuwatch.usage.windows import Window
from tests.usage.agent_pages import Held, Node, Scraped, job_declares, scraped
from tests.usage.fake_prometheus import Answer, FakePrometheus, Query, refused
from tests.usage.small_promql import SmallPromql

T0 = 1_764_000_000
TARGET = {"job": "gpuwatch", "instance": "gw0:9838"}


def scrapes(
    node: Node, start: float, end: float, seconds: float = 15, target: Mapping[str, str] = TARGET
) -> list[Scraped]:
    """What a server has of a node that it scrapes from `start` to `end`."""
    times = [start + n * seconds for n in range(int((end - start) // seconds) + 1)]
    return [sample for time in times for sample in scraped(node.page(time), time, target)]


def source(fake: FakePrometheus, cluster: str = "default", **settings: Any) -> PromqlUsage:
    given = {"url": fake.url, "first_seconds": 1800, "timeout_seconds": 5, **settings}
    return PromqlUsage(PromqlUsage.Settings(**given), Site(cluster))


Told = Delivery | Reached | Failure


def collect(
    samples: Iterable[Scraped], now: float, mark: float | None = T0, cluster: str = "default", **settings: Any
) -> list[Told]:
    """All that one pass gives."""
    with FakePrometheus(SmallPromql(samples).answer) as fake:
        return passed(fake, now, mark, cluster, **settings)


def passed(
    fake: FakePrometheus, now: float, mark: float | None = T0, cluster: str = "default", **settings: Any
) -> list[Told]:
    """All that one pass over a server gives; it is called `http://server`, as its port is another each time."""
    reading = source(fake, cluster, **settings)
    more = settings.get("matchers")
    origin = f"{fake.url} {{{more}}}" if more else fake.url
    marks = {} if mark is None else {origin: Mark("windows", int(mark))}
    return [
        replace(told, origin=told.origin.replace(fake.url, "http://server"))
        for told in reading.collect(Asking(now, marks))
    ]


def deliveries(told: Iterable[Told]) -> list[Delivery]:
    return [each for each in told if isinstance(each, Delivery)]


def rows_of(told: Iterable[Told]) -> list[Mapping[str, Any]]:
    return [row for each in deliveries(told) for row in each.rows]


def test_rows_are_those_of_the_usage_api() -> None:
    """All that /metrics has: counters, share and basis, model, and that it is open."""
    jobs = (Held("4711", T0 + 10), Held("4712", T0 + 20, share=0.5, basis="shard", uuid="GPU-1"))
    node = Node(jobs=jobs)
    told = collect(scrapes(node, T0, T0 + 600), T0 + 630)

    delivery, reached = told
    assert isinstance(delivery, Delivery)
    assert ("default", "gw0", "0123456789ab", None, T0 + 600.0, "http://server gw0") == (
        delivery.cluster, delivery.node, delivery.epoch, delivery.seq, delivery.now, delivery.origin
    )  # fmt: skip
    assert [row | {"tensor_seconds": None} for row in delivery.rows] == node.facts(T0 + 600)
    assert Reached("http://server", Mark("windows", T0 + 600)) == reached


def test_the_ledger_takes_it_whole() -> None:
    """Rows, declarations and progress; nothing is rejected."""
    node = Node(
        jobs=(Held("4711", T0),),
        declared={"4711": (job_declares("energy", 1e6, 2e6, 3e6, "J"),)},
        progress={"4711": ((T0, 0.0), (T0 + 60, 10.0))},
    )
    (delivery,) = deliveries(collect(scrapes(node, T0, T0 + 600), T0 + 630))

    posting = read(delivery)
    assert ({}, 1, 1) == (posting.rejected, posting.rows, len(posting.measures))


def test_a_day_without_accounting_is_read_hour_by_hour() -> None:
    """Each window moves the mark once its deliveries are there; the job that came and went is there, too."""
    day = 86_400
    node = Node(jobs=(Held("4711", T0), Held("brief", T0 + 7300, T0 + 7400, "GPU-1")))
    told = collect(scrapes(node, T0, T0 + day, 60), T0 + day + 30, T0 + 60)

    marks = [each.mark.seq for each in told if isinstance(each, Reached)]
    assert (T0 + day, 24, sorted(marks)) == (marks[-1], len(marks), marks)
    assert all(isinstance(after, Reached) or isinstance(before, Reached) for before, after in pairwise(told))
    assert max(row["held_seconds"] for row in rows_of(told) if row["job_id"] == "4711") == day
    assert {100.0} == {row["held_seconds"] for row in rows_of(told) if row["job_id"] == "brief"} - {40.0}


def test_a_pass_each_minute_reads_what_is_new() -> None:
    """And a little before it, for what came late."""
    with FakePrometheus(SmallPromql(scrapes(Node(jobs=(Held("4711", T0),)), T0, T0 + 900)).answer) as fake:
        told = passed(fake, T0 + 690, T0 + 600)

    assert [660.0] == [row["held_seconds"] for row in rows_of(told)]
    queries = [query.parameters["query"] for query in fake.asked]
    assert "gpuwatch_job_held_seconds_total{}[360s]" in queries[2]
    assert {str(T0 + 660)} == {query.parameters["time"] for query in fake.asked}


def test_nothing_new_asks_nothing() -> None:
    """Also where the clock went back a little."""
    with FakePrometheus(lambda _: refused(500, "never")) as fake:
        assert [] == passed(fake, T0 + 29, T0)
        assert [] == passed(fake, T0 - 20, T0)

    assert [] == fake.asked


def test_a_mark_in_the_future_is_said() -> None:
    """A clock was wrong when it was read; nobody would notice that nothing comes."""
    (told,) = collect([], T0, T0 + 3600)

    assert Failure("http://server", "was read up to 3600 s after now; a clock was wrong") == told


def test_a_window_that_is_not_over_by_the_servers_clock_stays_open() -> None:
    """Our clock was set an hour ahead: what comes in that hour is read once it is right again."""
    store = SmallPromql(scrapes(Node(jobs=(Held("4711", T0),)), T0, T0 + 60))

    def respond(query: Query) -> Answer:
        status, headers, body = store.answer(query)
        return status, {**headers, "Date": formatdate(T0 + 60, usegmt=True)}, body

    with FakePrometheus(respond) as fake:
        (told,) = passed(fake, T0 + 3660, T0)
        right = passed(fake, T0 + 90, T0)

    assert isinstance(told, Failure)
    assert told.message.startswith("its clock is 3540 s before the end of what is to be read; a clock is wrong")
    assert Reached("http://server", Mark("windows", T0 + 60)) == right[-1]


def test_a_row_is_closed_once_its_agent_shows_it_no_more() -> None:
    """For 15 minutes after its end it is shown, as it may only be quiet; it was seen last at its end."""
    ended = T0 + 600
    node = Node(jobs=(Held("4711", T0, ended), Held("4712", T0, uuid="GPU-1")))
    samples = scrapes(node, T0, T0 + 2400)
    shown = rows_of(collect(samples, ended + 330, ended + 240))
    gone = rows_of(collect(samples, ended + 1200, ended + 1110))

    assert [("4711", True, ended), ("4712", True, ended + 300.0)] == [
        (row["job_id"], row["open"], row["last_seen"]) for row in shown
    ]
    assert [("4711", False, ended, 600.0), ("4712", True, ended + 1170.0, ended + 1170.0 - T0)] == [
        (row["job_id"], row["open"], row["last_seen"], row["held_seconds"]) for row in gone
    ]


def test_every_row_that_ended_is_told_closed_by_passes_each_minute() -> None:
    """Whenever the passes come."""
    for shift in (0, 31):
        node = Node(jobs=(Held("4711", T0, T0 + 600),))
        samples = SmallPromql(scrapes(node, T0 + 800, T0 + 2100, 30))
        with FakePrometheus(samples.answer) as fake:
            told = [
                row
                for now in range(T0 + 1300 + shift, T0 + 2100, 60)
                for row in rows_of(passed(fake, now, now - 90))
            ]
        assert [True, False] == sorted({row["open"] for row in told}, reverse=True)


def test_a_job_that_holds_nothing_for_a_while_stays_open() -> None:
    """As a user's processes between two runs, or while a job source does not answer: closing is final."""
    node = Node(jobs=(Held("user:ada", T0, quiet=(T0 + 60, T0 + 1700)),))
    told = rows_of(collect(scrapes(node, T0, T0 + 1800), T0 + 1830, T0))

    assert {True} == {row["open"] for row in told}


def test_an_agent_that_is_gone_closes_nothing() -> None:
    """Nobody knows what became of its jobs; the ledger calls them unseen."""
    node = Node(jobs=(Held("4711", T0),), ends=T0 + 300)
    (row,) = rows_of(collect(scrapes(node, T0, T0 + 1200), T0 + 1230))

    assert (True, T0 + 285.0) == (row["open"], row["last_seen"])


def test_rows_that_a_full_page_leaves_out_stay_open() -> None:
    """The page has a limit of series, and what is left out may well run."""
    node = Node(jobs=(Held("4711", T0), Held("4712", T0, uuid="GPU-1")))
    full = replace(node, series_limit=42)
    assert "4711" in full.page(T0 + 400)
    assert "4712" not in full.page(T0 + 400)
    samples = scrapes(node, T0, T0 + 300)
    drops = [
        replace_value(each, each.time) if each.name == "gpuwatch_sink_dropped_total" else each
        for each in scrapes(full, T0 + 315, T0 + 900)
    ]
    told = rows_of(collect([*samples, *drops], T0 + 930))

    assert {("4711", True), ("4712", True)} == {(row["job_id"], row["open"]) for row in told}


def test_samples_that_come_late_are_read_once_their_agent_is_heard_again() -> None:
    """A server could not write for half an hour; a job began and ended meanwhile, and other agents went on."""
    node = Node(jobs=(Held("4711", T0), Held("brief", T0 + 700, T0 + 900, "GPU-1")))
    other = Node("gw1", "bbbbbbbbbbbb", jobs=(Held("4711", T0),))
    samples = [
        *scrapes(node, T0, T0 + 600, 30), *scrapes(other, T0, T0 + 3000, 30, {**TARGET, "instance": "gw1:9838"})
    ]  # fmt: skip
    store = SmallPromql(samples)
    mark = Mark("windows", T0 + 540)
    rows: list[Mapping[str, Any]] = []
    with FakePrometheus(store.answer) as fake:
        for now in range(T0 + 630, T0 + 3000, 120):
            if now == T0 + 630 + 120 * 15:
                assert json.loads(mark.state or "") == {"gw0": T0 + 600}
                store.add(scrapes(node, T0 + 630, T0 + 3000, 30))
            told = list(source(fake).collect(Asking(now, {fake.url: mark})))
            (mark,) = [each.mark for each in told if isinstance(each, Reached)]
            rows += rows_of(told)

    assert 200.0 == max(row["held_seconds"] for row in rows if row["job_id"] == "brief")
    assert [False] == sorted({row["open"] for row in rows if row["job_id"] == "brief"})[:1]
    assert None is mark.state


def replace_value(sample: Scraped, value: float) -> Scraped:
    return sample._replace(value=value)


def test_a_share_that_was_never_seen_is_none_held() -> None:
    """The job ended before the window, and what it held says when it was there at least."""
    node = Node(jobs=(Held("4711", T0, T0 + 600),))
    (row,) = rows_of(collect(scrapes(node, T0 + 615, T0 + 900), T0 + 930, T0 + 610))

    assert (0.0, T0 + 600.0, 600.0) == (row["share"], row["last_seen"], row["held_seconds"])


def test_two_servers_that_scrape_the_same_count_once() -> None:
    """The greatest counts, whatever labels tell their replicas apart."""
    node = Node(jobs=(Held("4711", T0),))
    told = collect(
        [
            *scrapes(node, T0, T0 + 600, target={**TARGET, "replica": "a"}),
            *scrapes(node, T0 + 7, T0 + 590, target={**TARGET, "replica": "b"}),
        ],
        T0 + 630,
    )

    assert [(600.0, True)] == [(row["held_seconds"], row["open"]) for row in rows_of(told)]


def test_lives_of_an_agent_are_deliveries_of_their_own() -> None:
    """The earlier first, each with its own counters and its own time."""
    first = Node(jobs=(Held("4711", T0),), ends=T0 + 300)
    second = Node(epoch="ba9876543210", jobs=(Held("4711", T0 + 300),), begins=T0 + 300)
    told = deliveries(collect([*scrapes(first, T0, T0 + 600), *scrapes(second, T0, T0 + 600)], T0 + 630))

    assert [("0123456789ab", T0 + 285.0, 285.0), ("ba9876543210", T0 + 600.0, 300.0)] == [
        (each.epoch, each.now, each.rows[0]["held_seconds"]) for each in told
    ]


def test_an_agent_that_moved_to_another_address_is_one() -> None:
    """A pod that is replaced keeps the state of its node, and with it the epoch."""
    node = Node(jobs=(Held("4711", T0),))
    moved = scrapes(node, T0 + 300, T0 + 600, target={**TARGET, "instance": "10.1.2.3:9838"})
    told = deliveries(collect([*scrapes(node, T0, T0 + 285), *moved], T0 + 630))

    assert [[600.0]] == [[row["held_seconds"] for row in each.rows] for each in told]


def test_targets_without_labels_of_their_own_are_told_apart_by_epoch() -> None:
    """Where somebody dropped `instance` and `job`."""
    nodes = [
        Node(name, epoch, jobs=(Held(job, T0, uuid=uuid),), progress={job: ((T0, 0.0), (T0 + 100, 50.0))})
        for name, epoch, job, uuid in (
            ("gw0", "aaaaaaaaaaaa", "1", "GPU-0"),
            ("gw1", "bbbbbbbbbbbb", "2", "GPU-1"),
        )
    ]
    told = deliveries(
        collect([each for node in nodes for each in scrapes(node, T0, T0 + 600, target={})], T0 + 630)
    )

    assert [("gw0", "1", 1.0, "1"), ("gw1", "2", 1.0, "2")] == [
        (each.node, each.rows[0]["job_id"], each.rows[0]["share"], each.events[0]["job_id"]) for each in told
    ]


def test_rows_of_no_known_node_are_said() -> None:
    """Where somebody dropped gpuwatch_agent_info; the rest is read, and nothing is held up."""
    bare = [each for each in scrapes(Node(jobs=(Held("1", T0),)), T0, T0 + 60) if "info" not in each.name]
    other = scrapes(Node("gw1", "bbbbbbbbbbbb"), T0, T0 + 60, target={**TARGET, "instance": "gw1:9838"})
    failure, delivery, reached = collect([*bare, *other], T0 + 90)

    assert Failure(
        "http://server target gw0:9838", "has rows, and no gpuwatch_agent_info says whose"
    ) == failure  # fmt: skip
    assert isinstance(delivery, Delivery)
    assert ("gw1", Reached("http://server", Mark("windows", T0 + 60))) == (delivery.node, reached)


def clusters() -> list[Scraped]:
    """Two clusters in one server: an external label says which, and agents say it or not."""
    found = []
    for cluster, epoch in (("eu1", "aaaaaaaaaaaa"), ("eu2", "bbbbbbbbbbbb")):
        node = Node(epoch=epoch, cluster="default", jobs=(Held(f"job-{cluster}", T0),))
        for each in scrapes(node, T0, T0 + 60):
            found.append(each._replace(labels={"cluster": cluster, **each.labels}))
    return found


def test_clusters_are_told_apart_by_an_external_label() -> None:
    """It is not added to gpuwatch_agent_info, which has a label of that name; the epoch says whose that is."""
    told = collect(clusters(), T0 + 90, cluster="eu2", matchers='cluster="eu2"')

    assert [("eu2", ["job-eu2"])] == [
        (each.cluster, [row["job_id"] for row in each.rows]) for each in deliveries(told)
    ]
    assert Reached('http://server {cluster="eu2"}', Mark("windows", T0 + 60)) == told[-1]


def test_agents_of_other_clusters_are_left_alone() -> None:
    """By what they say themselves, whether the server renamed it or not; no word of them is a failure."""
    ours = Node(cluster="eu1", jobs=(Held("1", T0),))
    theirs = Node("gw1", "bbbbbbbbbbbb", "eu2", jobs=(Held("2", T0),))
    there = {**TARGET, "instance": "gw1:9838"}
    for more in ({}, {"cluster": "k8s"}):
        samples = scrapes(ours, T0, T0 + 60, target={**TARGET, **more})
        samples += scrapes(theirs, T0, T0 + 60, target={**there, **more})
        told = collect(samples, T0 + 90, cluster="eu1")
        assert [("eu1", "gw0"), None] == [
            (each.cluster, each.node) if isinstance(each, Delivery) else None for each in told
        ]


def test_agents_that_name_no_cluster_are_ours_where_matchers_say_so() -> None:
    """Else they are not."""
    samples = scrapes(Node(jobs=(Held("1", T0),)), T0, T0 + 60)

    assert [] == deliveries(collect(samples, T0 + 90, cluster="eu1"))
    assert 1 == len(deliveries(collect(samples, T0 + 90, cluster="eu1", matchers='job="gpuwatch"')))


def test_a_window_that_is_too_much_is_read_in_halves() -> None:
    """And the next ones as short; the mark moves with each."""
    node = Node(jobs=(Held("4711", T0),))
    with FakePrometheus(SmallPromql(scrapes(node, T0, T0 + 7200, 15), most=400).answer) as fake:
        told = passed(fake, T0 + 7230, T0)

    marks = [each.mark.seq for each in told if isinstance(each, Reached)]
    assert (T0 + 7200, []) == (marks[-1], [each for each in told if isinstance(each, Failure)])
    assert max(after - before for before, after in pairwise(marks)) <= 1800
    assert 7200.0 == max(row["held_seconds"] for row in rows_of(told))


@pytest.mark.parametrize(
    "answer", [refused(503, "starting"), refused(502, "gone"), refused(400, "bad"), refused(422, "too many")]
)
def test_a_window_that_cannot_be_read_stays_open(answer: Answer) -> None:
    """What came before it is taken; the next pass asks again from there."""
    store = SmallPromql(scrapes(Node(jobs=(Held("4711", T0),)), T0, T0 + 10_800, 60))

    def respond(query: Query) -> Answer:
        return answer if float(query.parameters["time"]) > T0 + 3600 else store.answer(query)

    with FakePrometheus(respond) as fake:
        first = passed(fake, T0 + 10_830, T0 + 3540, window_seconds=600)
        reached = [each.mark.seq for each in first if isinstance(each, Reached)][-1]
        fake.respond = store.answer
        second = passed(fake, T0 + 10_830, reached)

    failure = first[-1]
    assert isinstance(failure, Failure)
    assert "http://server" == failure.origin
    assert failure.message.endswith(f"; it stays to be read from {reached}")
    assert T0 + 3540 < reached <= T0 + 3600
    assert Reached("http://server", Mark("windows", T0 + 10_800)) == second[-1]
    assert 10_800.0 == max(row["held_seconds"] for row in rows_of(second))


def test_what_a_job_declared_is_told_once_for_each_quantity() -> None:
    """In the grammar; the number follows from what is said, whenever it is read. A cost has lost its currency."""
    node = Node(
        jobs=(Held("4711", T0),),
        declared={
            "4711": (
                job_declares("device-hours", 3600, 7200, 9000, "s"),
                job_declares("energy", 1.8e8, 1.8e8, 1.8e8, "J"),
                job_declares("cost", 10, 20, 30, "EUR"),
            )
        },
    )
    samples = scrapes(node, T0, T0 + 1200)
    (first,) = deliveries(collect(samples, T0 + 630))
    (later,) = deliveries(collect(samples, T0 + 1230, T0 + 1140))

    texts = ["device-hours=1..2..2.5h", "energy=50kWh"]
    assert (texts, [T0, T0]) == ([e["text"] for e in first.declarations], [e["time"] for e in first.declarations])
    assert [e["seq"] for e in first.declarations] == [e["seq"] for e in later.declarations]
    assert all(2**52 <= each["seq"] < 2**53 for each in first.declarations)
    assert ("socket", "4711", T0) == tuple(
        first.declarations[0][name] for name in ("channel", "job_id", "started")
    )
    assert all(parse(text).amounts for text in texts)


def test_what_is_declared_anew_is_another_declaration() -> None:
    """With the time at which it was first seen."""
    before = Node(jobs=(Held("4711", T0),), declared={"4711": (job_declares("wall", 60, 60, 60, "s"),)})
    after = replace(before, declared={"4711": (job_declares("wall", 120, 120, 120, "s"),)})
    samples = [*scrapes(before, T0, T0 + 600), *scrapes(after, T0 + 615, T0 + 1200)]
    told = deliveries(collect(samples, T0 + 630, T0)) + deliveries(collect(samples, T0 + 1230, T0 + 1140))

    assert ["wall=60s", "wall=2min"] == [each.declarations[0]["text"] for each in told]
    assert 2 == len({each.declarations[0]["seq"] for each in told})


def test_progress_is_told_when_it_changes() -> None:
    """A report that stands still is not a new one each minute."""
    node = Node(jobs=(Held("4711", T0),), progress={"4711": ((T0 + 10, 10.0), (T0 + 700, 25.0))})
    samples = scrapes(node, T0, T0 + 1200)
    first, still, moved, again = (
        [event for each in deliveries(collect(samples, end + 30, end - 60)) for event in each.events]
        for end in (T0 + 60, T0 + 600, T0 + 720, T0 + 1140)
    )

    assert [[T0 + 60.0, 0.1, 1.0, 0.1]] == [
        [event[name] for name in ("time", "step", "total", "start_step")] for event in first
    ]
    assert [(T0 + 720.0, 0.25, 0.1)] == [(event["time"], event["step"], event["start_step"]) for event in moved]
    assert ([], []) == (still, again)


def test_names_of_metrics_are_those_that_agents_export() -> None:
    """With the labels that are asked for; what a server adds is the target and what it renames."""
    asked: list[str] = []

    def vector(query: str, _time: float) -> list[Any]:
        asked.append(query)
        return []

    Questions(vector, Matchers(), Window(T0, T0 + 60), 0).ask()
    Questions(vector, matchers('cluster="a"'), Window(T0, T0 + 60), 0).lives()

    labels_of = {metric.name: set(metric.labels) for metric in catalogue()}
    for query in asked:
        labels, _, rest = query.partition(" by (")[2].partition(") (")
        name = next(name for name in sorted(labels_of, key=len, reverse=True) if f"{name}{{" in rest)
        assert set(labels.split(",")) - {"job", "instance", "exported_cluster"} <= labels_of[name]


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("", ""),
        (' cluster = "eu1" , job=~"gpu.*",', 'cluster="eu1",job=~"gpu.*"'),
        (r'a!="x\"y",b!~""', r'a!="x\"y",b!~""'),
    ],
)
def test_matchers_are_read(text: str, normal: str) -> None:
    """Written one way, so that the same source keeps its mark."""
    assert normal == PromqlUsage.Settings(matchers=text).matchers


@pytest.mark.parametrize(
    "text", ["eu1", "cluster=eu1", '{a="b"}', 'a="b" or c="d"', '__name__="x"', 'a="b"}', 'a="']
)
def test_matchers_that_are_none_are_a_configuration_mistake(text: str) -> None:
    """What is added to a selector cannot end it."""
    with pytest.raises(ValidationError, match="must be matchers as in"):
        PromqlUsage.Settings(matchers=text)


@given(text=st.text(alphabet='ab=~!"\\\\{}, \n_1', max_size=24))
def test_no_text_of_matchers_ends_the_selector(text: str) -> None:
    """What is read is written as what reads the same, with nothing outside of quotes but labels and operators."""
    try:
        normal = str(matchers(text))
    except ValueError:
        return
    assert normal == str(matchers(normal))
    assert not set("{} \n") & set(re.sub(r'"(?:[^"\\]|\\.)*"', "", normal))


@pytest.mark.parametrize(
    "changed",
    [
        {"started": "soon"}, {"started": "²"}, {"started": "9" * 400}, {"started": ""}, {"job_id": ""},
        {"uuid": ""},
        {"epoch": ""}, {"state": ""}, {"basis": ""}, {"quantity": "sleep"}, {"bound": "x"}, {"quantity": ""},
        {"nodename": ""}, {"instance": "x" * 1000, "job": "\x1b"},
    ],
)  # fmt: skip
def test_labels_that_anybody_wrote_spoil_nothing_else(changed: dict[str, str]) -> None:
    """Anybody can be scraped; what is no row is left out, here or by the ledger."""
    node = Node(
        jobs=(Held("4711", T0),), declared={"4711": (job_declares("wall", 60, 60, 60, "s"),)},
        progress={"4711": ((T0, 0.0), (T0 + 30, 10.0))},
    )  # fmt: skip
    samples = scrapes(node, T0, T0 + 60)
    odd = [
        each._replace(labels={name: changed.get(name, value) for name, value in each.labels.items()})
        for each in samples
    ]
    told = collect([*samples, *odd], T0 + 90)

    postings = [read(each) for each in deliveries(told)]
    assert isinstance(told[-1], Reached)
    assert "4711" in {row.job_id for posting in postings for row in posting.measures}


def test_everything_asked_carries_the_matchers() -> None:
    """But for gpuwatch_agent_info, which has a cluster of its own."""
    with FakePrometheus(SmallPromql(clusters()).answer) as fake:
        passed(fake, T0 + 90, cluster="eu2", matchers='cluster="eu2",job!=""')

    for query in fake.asked:
        wanted = 'job!=""' if "agent_info" in query.parameters["query"] else 'cluster="eu2",job!=""'
        assert "{" + wanted + "}" in query.parameters["query"]


def test_the_check_says_how_many_nodes_it_sees_and_what_time_it_is_there() -> None:
    """A server that nobody scrapes into, or of another cluster, is no source."""
    store = SmallPromql(scrapes(Node(), T0, T0 + 60))

    def respond(query: Query) -> Answer:
        status, headers, body = store.answer(query)
        return status, {**headers, "Date": "Mon, 24 Nov 2025 16:03:40 GMT"}, body

    with FakePrometheus(respond) as fake:
        clock, seen = source(fake).check(T0 + 60.0)
        late, _ = source(fake).check(T0 + 360.0)
        _, none = source(fake, "eu1").check(T0 + 60.0)
        fake.respond = lambda _: refused(401, "who are you")
        (unreachable,) = source(fake).check(T0 + 60.0)

    assert (False, "its clock is 160 s ahead of ours") == (clock.ok, clock.detail)
    assert (True, "nodes of cluster default seen within 300 s: 1") == (seen.ok, seen.detail)
    assert (False, "its clock is 140 s behind ours") == (late.ok, late.detail)
    assert (False, "no agent of cluster eu1 was seen within 300 s; there are 1 of others") == (
        none.ok,
        none.detail,
    )
    assert (False, "answered 401 Unauthorized: who are you") == (unreachable.ok, unreachable.detail)
