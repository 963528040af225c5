"""Usage read back from a real InfluxDB 1.6 is what the agents' usage API would have said."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from gpuwatch.agent.usage import row_facts
from gpuwatch.ledger.ledger import Book
from gpuwatch.ledger.posting import read
from gpuwatch.model import Site, Usage
from gpuwatch.sinks.pushing import Pushing
from gpuwatch.usage.base import Asking, Delivery, Failure, Mark, Reached
from gpuwatch.usage.influxql import InfluxqlUsage
from tests.integration.time_series import InfluxDB
from tests.sinks.snapshots import STARTED, full, saved
from tests.usage.influx_points import EPOCH, T0, WHOLE, document, event_line, job_row, lines, row_line

pytestmark = pytest.mark.integration

Found = list[Delivery | Reached | Failure]
NAMES = (f"points{number}" for number in itertools.count())


class Reader:
    """A source that reads a database of its own, and remembers how far."""

    def __init__(self, server: InfluxDB, cluster: str = "default", database: str | None = None, **settings: Any):
        self.server = server
        self.database = database or next(NAMES)
        server.create(self.database)
        settings = {"url": server.url, "database": self.database, "timeout_seconds": 10.0, **settings}
        self.source = InfluxqlUsage(InfluxqlUsage.Settings(**settings), Site(cluster=cluster))
        self.marks: dict[str, Mark] = {}
        self.book = Book()

    def write(self, *found: str) -> None:
        """Put lines into the database."""
        for first in range(0, len(found), 5000):
            body = lines(found[first : first + 5000])
            answer = httpx.post(
                f"{self.server.url}/write", params={"db": self.database}, content=body, timeout=30.0
            )
            assert 204 == answer.status_code, answer.text

    def collect(self, now: float) -> Found:
        """A pass: all deliveries are posted, and the mark moves."""
        found = list(self.source.collect(Asking(now, self.marks)))
        for each in found:
            if isinstance(each, Reached):
                self.marks[each.origin] = each.mark
            elif isinstance(each, Delivery):
                self.book.post(read(each))
        return found


@pytest.fixture
def reader(influxdb: InfluxDB) -> Callable[..., Reader]:
    """Makes sources with databases of their own."""
    return lambda **settings: Reader(influxdb, **settings)


def rows(found: Found) -> list[dict[str, Any]]:
    return [dict(row) for each in found if isinstance(each, Delivery) for row in each.rows]


def failures(found: Found) -> list[str]:
    return [each.message for each in found if isinstance(each, Failure)]


def grown(seconds: float) -> Usage:
    return Usage(
        held_seconds=seconds, state_seconds={"working": seconds}, energy_joules={"counter": 0.1 * seconds}
    )


def minute(number: int) -> str:
    """What an agent writes of a job in its minute of that number."""
    time = T0 + 60.0 * number
    return row_line(job_row(usage=grown(60.0 * number), seq=10 + number, last_seen=time), time)


@pytest.mark.parametrize("row", [job_row(), job_row(usage=Usage(), open=False), job_row(usage=grown(1 / 3))])
def test_a_row_comes_back_as_it_was(reader: Callable[..., Reader], row: Any) -> None:
    """With every field, with none but what each row has, and with some; nothing is rounded."""
    its = reader()
    its.write(row_line(row, T0 + 1000))

    found = its.collect(T0 + 1100)
    assert [document(row)] == rows(found)
    assert [("default", "gw0", EPOCH, None, f"{its.server.url} {its.database} gw0")] == [
        (each.cluster, each.node, each.epoch, each.seq, each.origin)
        for each in found
        if isinstance(each, Delivery)
    ]


def test_the_greatest_counts_whatever_the_order_of_points(reader: Callable[..., Reader]) -> None:
    """Points that came twice or late make no difference; a row that was closed stays closed."""
    its = reader()
    told = [job_row(usage=grown(10.0 * n), seq=n, last_seen=T0 + 60.0 * n) for n in (1, 2, 3)]
    told[2] = replace(told[2], open=False)
    written = [row_line(row, row.last_seen) for row in told]
    its.write(written[2], written[0])
    its.write(written[1], written[0], written[2])

    assert [document(told[2])] == rows(its.collect(T0 + 300))


def test_a_day_of_downtime_is_read_hour_by_hour(reader: Callable[..., Reader]) -> None:
    """All windows since the last one taken, and each of them once."""
    its = reader()
    its.write(minute(0))
    its.collect(T0 + 60)
    its.write(*map(minute, range(1440)))

    found = its.collect(T0 + 86_400 + 45)
    reached = [each.mark.seq for each in found if isinstance(each, Reached)]
    assert (24, T0 + 86_400) == (len(reached), reached[-1])
    assert grown(60.0 * 1439) == its.book.total("default", "run-1")
    assert [] == its.collect(T0 + 86_400 + 45)


def test_points_that_came_late_are_read_once_more(reader: Callable[..., Reader]) -> None:
    """The node says so; until then they are not seen, and afterwards the time is not read again and again."""
    its = reader(window_seconds=600.0)
    its.write(row_line(job_row("other", grown(5.0), last_seen=T0), T0))
    its.collect(T0 + 7200)
    its.write(*map(minute, range(1, 30)))
    assert [] == rows(its.collect(T0 + 7300))

    its.write(event_line("replayed", T0 + 7310, since=T0 + 60.0, until=T0 + 60.0 * 29, points=29.0))
    found = its.collect(T0 + 7400)
    assert (grown(60.0 * 29), []) == (its.book.total("default", "run-1"), failures(found))
    assert ([], 1) == (rows(again := its.collect(T0 + 7460)), len(again))


def test_what_came_late_may_say_that_more_came_late(reader: Callable[..., Reader]) -> None:
    """The events of the time that is read again count as well."""
    its = reader()
    its.collect(T0 + 50_000)
    its.write(
        row_line(job_row(usage=grown(7.0)), T0 + 100),
        event_line("replayed", T0 + 20_000, since=T0 + 90.0, until=T0 + 110.0, points=1.0),
        event_line("replayed", T0 + 50_010, since=T0 + 19_000.0, until=T0 + 21_000.0, points=1.0),
    )

    its.collect(T0 + 50_100)
    assert grown(7.0) == its.book.total("default", "run-1")


def test_declarations_progress_and_ends_come_back(reader: Callable[..., Reader]) -> None:
    """As events of the usage API, but for what says who somebody is."""
    its = reader()
    text = "device-hours=0.5 campaign=llama-ft"
    its.write(
        row_line(job_row(), T0 + 1000),
        event_line(
            "declaration", T0 + 1.125, text=text, job_id="run-1", started=float(T0), channel="socket", seq=17.0,
            epoch=EPOCH,
        ),
        event_line("progress", T0 + 900, job_id="run-1", started=T0, step=1200.0, total=9e3, start_step=0.0),
        event_line("run_ended", T0 + 999, text="exit_code=-9", job_id="run-1", seq=18.0, epoch=EPOCH),
    )  # fmt: skip

    (delivery,) = (each for each in its.collect(T0 + 1100) if isinstance(each, Delivery))
    assert [
        {
            "seq": 17, "time": T0 + 1.125, "job_id": "run-1", "started": T0, "channel": "socket", "uid": None,
            "pid": None, "text": text,
        }
    ] == delivery.declarations  # fmt: skip
    assert [
        {
            "time": T0 + 900.0, "kind": "progress", "job_id": "run-1", "started": T0, "step": 1200.0,
            "total": 9000.0, "start_step": 0.0,
        },
        {
            "time": T0 + 999.0, "kind": "run_ended", "job_id": "run-1", "seq": 18, "text": "exit_code=-9",
            "exit_code": -9,
        },
    ] == delivery.events  # fmt: skip
    assert {} == read(delivery).rejected


HOSTILE = ("a b,c=d", "it's", 'say "x"', "back\\slash", "' OR '1'='1", "ünïcödé 日本", "#x", "$1;DROP")


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_only_names(reader: Callable[..., Reader], name: str) -> None:
    """Of a cluster, a node, a job and a device, and in what was declared."""
    its = reader(cluster=name)
    row = job_row(name, uuid=name)
    its.write(
        row_line(row, T0 + 1000, node=name, cluster=name),
        row_line(job_row("theirs"), T0 + 1000, node=name),
        event_line(
            "declaration", T0 + 5, node=name, cluster=name, text=name, channel="socket", seq=1.0, epoch=EPOCH
        ),
        event_line("replayed", T0 + 1001, node=name, cluster=name, since=T0 - 5e5, until=T0 - 5e5, points=1.0),
    )  # fmt: skip

    found = its.collect(T0 + 1100)
    (delivery,) = (each for each in found if isinstance(each, Delivery))
    assert ([], name, [name]) == (failures(found), delivery.node, [each["text"] for each in delivery.declarations])
    assert [document(row)] == rows(found)


def test_what_agents_push_comes_back(reader: Callable[..., Reader]) -> None:
    """Through the encoder of the agents: rows as their usage API has them, what was declared, and progress."""
    its = reader(cluster="eu 1,a=b")
    before = saved(replace(full(), cluster="eu 1,a=b", epoch=EPOCH, time=T0 + 900.0, events=()))
    grown_rows = {key: replace(row, usage=WHOLE, seq=row.seq + 5, open=False) for key, row in before.rows.items()}
    entry = {
        "type": "declaration", "epoch": EPOCH, "seq": 17, "time": T0 + 950.5, "job_id": "4711", "started": STARTED,
        "channel": "socket", "uid": 1000, "pid": 4242, "text": "device-hours=0.5 tag=note:x",
    }  # fmt: skip
    end = {"type": "event", "kind": "run_ended", "epoch": EPOCH, "seq": 18, "time": T0 + 951.0, "exit_code": 3}
    pushing = Pushing()
    snapshots = (
        before,
        saved(replace(before, time=T0 + 960.0, rows=grown_rows, events=(entry, end | {"job_id": "4711"}))),
    )
    batches = [batch for snapshot in snapshots for batch in pushing.take(saved(snapshot))]
    its.write(*(line for batch in (*batches, *pushing.flush()) for line in batch.lines.decode().splitlines()))

    (delivery,) = (each for each in its.collect(T0 + 1100) if isinstance(each, Delivery))
    models = {uuid: device.model for uuid, device in before.devices.items()}
    wanted = [row_facts(row, models.get(row.key.device, "")) for row in grown_rows.values()]
    assert sorted(wanted, key=repr) == sorted(delivery.rows, key=repr)
    assert [{**entry, "uid": None, "pid": None}] == [
        {"type": "declaration", "epoch": EPOCH, **each} for each in delivery.declarations
    ]
    assert {("progress", None), ("run_ended", 3)} == {
        (each["kind"], each.get("exit_code")) for each in delivery.events
    }
    reading = its.source.check(T0 + 1000.0)[0].detail
    assert ("nodes of cluster eu 1,a=b that wrote in the last 5 minutes: 1", {}) == (
        reading,
        read(delivery).rejected,
    )


def test_two_clusters_share_a_database(reader: Callable[..., Reader]) -> None:
    """Each reads its own."""
    one = reader(cluster="one")
    two = reader(cluster="two", database=one.database)
    for cluster in ("one", "two"):
        one.write(row_line(job_row(f"of-{cluster}"), T0 + 1000, cluster=cluster))

    found = [each.collect(T0 + 1100) for each in (one, two)]
    assert [["of-one"], ["of-two"]] == [[row["job_id"] for row in rows(each)] for each in found]


def test_twenty_thousand_rows_come_in_one_pass(reader: Callable[..., Reader]) -> None:
    """Of 2,500 jobs on 250 nodes of eight devices, in many answers."""
    its = reader(first_seconds=1200.0)
    told = [job_row(f"run-{number // 8}", grown(1.0), uuid=f"GPU-{number % 8}") for number in range(20_000)]
    its.write(*(row_line(row, T0 + 1000, node=f"gw{number // 8 % 250}") for number, row in enumerate(told)))

    found = its.collect(T0 + 1100)
    assert (250, 20_000) == (sum(isinstance(each, Delivery) for each in found), len(rows(found)))
    assert {row.key[::2] for row in told} == {(row["job_id"], row["uuid"]) for row in rows(found)}


def test_a_server_that_is_away_leaves_the_window_open(reader: Callable[..., Reader], influxdb: InfluxDB) -> None:
    """Nothing is skipped: once it is back all is read."""
    its = reader()
    its.write(row_line(job_row(), T0 + 1000))
    influxdb.stop()
    try:
        away = its.collect(T0 + 1100)
    finally:
        influxdb.start()
    back = its.collect(T0 + 5000)

    assert ["Connection refused"] == failures(away)
    assert ([document(job_row())], []) == (rows(back), failures(back))


@pytest.fixture
def guarded(tmp_path: Path, influxdb: InfluxDB) -> Iterator[InfluxDB]:
    """An InfluxDB that asks for the password of its one user."""
    influxdb.query("CREATE USER admin WITH PASSWORD 'right' WITH ALL PRIVILEGES")
    configuration = influxdb._folder / "influxdb.conf"
    plain = configuration.read_text()
    influxdb.stop()
    configuration.write_text(plain + "  auth-enabled = true\n")
    influxdb.start()
    yield influxdb
    influxdb.stop()
    configuration.write_text(plain)
    influxdb.start()
    influxdb.query("DROP USER admin")


@pytest.mark.parametrize(
    ("password", "told"), [("right", None), ("wrong", "answered 401 Unauthorized: authorization failed")]
)
def test_a_password_is_shown_and_must_be_right(
    guarded: InfluxDB, tmp_path: Path, password: str, told: str | None
) -> None:
    """Basic authentication, as InfluxDB 1.x has it; a refusal is told and the window stays open."""
    httpx.post(f"{guarded.url}/query", data={"q": "CREATE DATABASE secret"}, auth=("admin", "right"), timeout=10.0)
    path = tmp_path / "password"
    path.write_text(f"{password}\n")
    settings = InfluxqlUsage.Settings(url=guarded.url, database="secret", username="admin", password_file=path)
    source = InfluxqlUsage(settings, Site())

    found = list(source.collect(Asking(T0 + 1100.0)))
    (probe, *_) = source.check(T0 + 1100.0)
    assert [told] * 2 == [*(failures(found) or [None]), None if probe.ok else probe.detail]


def test_check_says_what_there_is_to_read(reader: Callable[..., Reader]) -> None:
    """Nodes of the cluster that wrote of late, and that the server's clock is right; or what is wrong."""
    its = reader()
    now = httpx.get(f"{its.server.url}/ping").headers["Date"]
    clock = parsedate_to_datetime(now).timestamp()
    device = (
        f"gpuwatch_device,cluster=default,node=gw0,uuid=GPU-0 held_seconds_total=1.0 {int(clock) - 9}000000000"
    )
    its.write(device, device.replace("gw0", "gw1"), device.replace("cluster=default", "cluster=other"))

    reading, agreeing = its.source.check(clock)
    assert (True, "nodes of cluster default that wrote in the last 5 minutes: 2") == (reading.ok, reading.detail)
    assert (True, False) == (agreeing.ok, its.source.check(clock - 3600)[1].ok)
    its.server.query(f'DROP DATABASE "{its.database}"')
    assert [(False, f"says: database not found: {its.database}")] == [
        (each.ok, each.detail) for each in its.source.check(clock)
    ]
