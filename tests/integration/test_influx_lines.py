"""Real servers take every line that we write, and give back what was meant."""

from __future__ import annotations

import itertools
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from gpuwatch.agent.agent import Agent
from gpuwatch.agent.sampler import Sampler
from gpuwatch.agent.state import StateDirectory
from gpuwatch.devices.demo import DemoDevices
from gpuwatch.devices.demo_driver import Handle, Load
from gpuwatch.host.system import SystemSource
from gpuwatch.model import (
    Declared,
    Estimate,
    Forecast,
    JobKey,
    Probe,
    Progress,
    Scope,
    SinkHealth,
    Site,
    Snapshot,
    points,
)
from gpuwatch.sinks.batches import Batch
from gpuwatch.sinks.forecast_points import forecast_batches
from gpuwatch.sinks.line_protocol import EXACT, GAUGE, TEXT, Encoder, Field, Series
from gpuwatch.sinks.pushing import Pushing
from tests.agent.fakes import FakeClock, FakeJobs
from tests.integration.time_series import InfluxDB, VictoriaMetrics
from tests.sinks.line_parser import Point, parse
from tests.sinks.node_at_work import NodeAtWork
from tests.sinks.snapshots import NOW, STARTED, full, row, saved

pytestmark = pytest.mark.integration

MARKS = (
    ",",
    "=",
    " ",
    "\\",
    '"',
    "#",
    "\n",
    "\t",
    "\x00",
    "\u2028",
    "\udcff",
    "%s",
    "e\u0301",
    "👩‍👩‍👧‍👦",
    "i",
    "'",
    "\\n",
)
PAGE = Path(__file__).parents[2] / "docs" / "influxdb.md"
TIME_MS = 1_764_000_000_123
TICK_SECONDS = 3
_databases = itertools.count()


@pytest.fixture
def database(influxdb: InfluxDB) -> str:
    """An empty one."""
    name = f"lines{next(_databases)}"
    influxdb.create(name)
    return name


def write(influxdb: InfluxDB, database: str, lines: bytes) -> None:
    """Write lines; each must be taken."""
    answer = httpx.post(
        f"{influxdb.url}/write", params={"db": database, "precision": "n"}, content=lines, timeout=30.0
    )
    assert (204, "") == (answer.status_code, answer.text)


def stored(influxdb: InfluxDB, database: str, measurement: str) -> list[dict[str, Any]]:
    """All points of a measurement: time in ms, tags and fields by name, without what they have not."""
    quoted = measurement.replace("\\", "\\\\").replace('"', '\\"')
    found = [
        {**dict(zip(series["columns"], values, strict=True)), **series.get("tags", {})}
        for series in influxdb.query(f'SELECT * FROM "{quoted}" GROUP BY *', database)
        for values in series["values"]
    ]
    return [{name: value for name, value in each.items() if value not in (None, "")} for each in found]


def meant(point: Point) -> dict[str, Any]:
    """A point as the server gives it back."""
    return {"time": point.time // 1_000_000, **dict(point.tags), **dict(point.fields)}


def ordered(found: Iterable[dict[str, Any]]) -> list[list[tuple[str, Any]]]:
    """Points in an order of their own."""
    return sorted(sorted(each.items()) for each in found)


def hostile() -> Iterator[str]:
    """Strings of one, two and three marks, with and without letters around them."""
    for pair in itertools.product(MARKS, MARKS):
        yield "a" + "".join(pair)
        yield "".join(pair) + "b"
    for three in itertools.product(MARKS[:7], repeat=3):
        yield "".join(three)


def test_hostile_strings_are_stored_as_they_were_cleaned(influxdb: InfluxDB, database: str) -> None:
    """In tags, names of fields and strings: the server sees the points that were meant, and no others."""
    encoder, lines = Encoder(), []
    for number, text in enumerate(hostile()):
        series = Series("m", (("number", str(number)), ("tag", text)))
        fields = (Field("f" + text, GAUGE), Field("text", TEXT), Field("ok", EXACT))
        lines.append(encoder.line(series, fields, (-0.0, text, 1e22), TIME_MS))
    body = "".join(lines).encode()
    write(influxdb, database, body)

    points_ = parse(body)
    assert len(lines) == len(points_) == influxdb.count(database, "m", "ok")
    assert ordered(map(meant, points_)) == ordered(stored(influxdb, database, "m"))


def test_hostile_measurements_are_measurements(influxdb: InfluxDB, database: str) -> None:
    """None of them is a comment or another point."""
    texts = list(hostile())
    lines = [
        Encoder().line(Series(text), (Field("ok", EXACT),), (1.0,), TIME_MS + n) for n, text in enumerate(texts)
    ]
    body = "".join(lines).encode()
    write(influxdb, database, body)

    names = {values[0] for series in influxdb.query("SHOW MEASUREMENTS", database) for values in series["values"]}
    assert {point.measurement for point in parse(body)} == names


def batches_of_minutes(start: float = NOW) -> Iterator[Batch]:
    """Devices at work, half of them sampled, with events and declarations; then the jobs end."""
    node, pushing, last = NodeAtWork(jobs=2, start=start), Pushing(raw_jobs=["4800001"]), None
    for number, snapshot in enumerate(node.seconds(200)):
        last = _eventful(snapshot, number)
        yield from pushing.take(last)
    assert last is not None
    yield from pushing.take(node.ended(last))
    yield from pushing.flush()
    scope = Scope("job", "4800000")
    declared = Estimate(scope, "energy", 1.0, 2.0, 3.0, "J")
    yield from forecast_batches(
        [Forecast(scope, "energy", 1.0, {0.05: 1.0, 0.5: 2.0, 0.95: 3e9}, declared, "", last.time, 0.5)], "default"
    )


def _eventful(snapshot: Snapshot, number: int) -> Snapshot:
    job = JobKey("4800000", STARTED)
    text = 'device-hours=640 for=campaign:"x\\" tag=a:b,c'
    said = {"type": "declaration", "time": snapshot.time, "job_id": job.job_id, "text": text, "channel": "socket"}
    xid = {"type": "event", "kind": "xid", "time": snapshot.time, "uuid": "GPU-0", "xid": "31"}
    return replace(
        snapshot,
        events=(said, xid, xid) if number % 100 == 7 else (),
        declared={job: Declared(job, (), Progress(number, 900, 0, snapshot.time))},
    )


def test_every_line_of_a_node_at_work_is_taken_and_given_back(influxdb: InfluxDB, database: str) -> None:
    """As many points as were written, and the same values to the last digit."""
    made: list[Point] = []
    for batch in batches_of_minutes():
        write(influxdb, database, batch.lines)
        made += parse(batch.lines)

    counts = Counter(point.measurement for point in made)
    assert {points.DEVICE, points.HOST, points.JOB, points.EVENT, points.FORECAST} == counts.keys()
    for measurement in counts:
        expected = [meant(point) for point in made if point.measurement == measurement]
        assert ordered(expected) == ordered(stored(influxdb, database, measurement)), measurement


class Pushed:
    """A sink that hands on batches at once."""

    def __init__(self, write: Callable[[Batch], None]) -> None:
        self._pushing, self._write = Pushing(), write

    def start(self) -> None:
        """Nothing has to be begun."""

    def take(self, snapshot: Snapshot) -> None:
        """The newest snapshot."""
        for batch in self._pushing.take(snapshot):
            self._write(batch)

    def health(self) -> Mapping[str, SinkHealth]:
        """Not asked for."""
        return {}

    def close(self) -> None:
        """The last batches."""
        for batch in self._pushing.flush():
            self._write(batch)

    def check(self, now: float) -> Sequence[Probe]:
        """Not asked for."""
        return ()


def demo(path: Path, seconds: int, sink: Pushed) -> None:
    """The demo's accelerators and this machine, through the real agent: jobs work, hang, idle, end and begin."""
    clock, jobs, driver, site = FakeClock(TIME_MS / 1000), FakeJobs(), path / "driver", Site("demo", "node")
    devices = DemoDevices(DemoDevices.Settings(driver_directory=driver), site)
    Handle(driver, 2).set(Load("idle", 0.0, 1 << 30))
    working = [Handle(driver, index) for index in (0, 1, 5, 6)]
    with StateDirectory(path / "state") as directory:
        hosts = {"system": SystemSource(SystemSource.Settings(), site)}
        agent = Agent(site, Sampler({"demo": devices}, hosts, {"local": jobs}), [sink], directory, clock=clock)
        for second in range(0, seconds, TICK_SECONDS):
            if second % 150 == 0:
                for handle in working:
                    handle.set(Load("hang" if second % 450 == 300 else "compute", 0.9, 60 << 30))
            job = f"run-{second // 600}"
            jobs.holders = {"demo:0": job, "demo:1": job, "demo:2": "user:ada", "demo:5": job, "demo:6": "7"}
            clock.pass_(TICK_SECONDS)
            agent.tick(clock.now)
        agent.close()


def test_every_line_of_an_hour_of_demo_is_taken(influxdb: InfluxDB, database: str, tmp_path: Path) -> None:
    """And every point is there: N in, N out."""
    made: Counter[str] = Counter()
    bodies: list[bytes] = []

    def collect(batch: Batch) -> None:
        made.update(line.split(b",")[0].decode() for line in batch.lines.splitlines())
        bodies.append(batch.lines)

    demo(tmp_path, 3600, Pushed(collect))
    for start in range(0, len(bodies), 50):
        write(influxdb, database, b"".join(bodies[start : start + 50]))

    assert made[points.HOST] == influxdb.count(database, points.HOST, "memory_total_bytes")
    assert made[points.DEVICE] == influxdb.count(database, points.DEVICE, "held_seconds_total")
    assert made[points.JOB] == influxdb.count(database, points.JOB, "held_seconds_total")
    read_all, lost = f'SELECT count("temperature_celsius_gpu") FROM "{points.DEVICE}" GROUP BY "uuid"', "demo:5"
    gauges = {each["tags"]["uuid"]: each["values"][0][1] for each in influxdb.query(read_all, database)}
    # Lost in a sixth of the time, and seen in parts of the pushes at both ends of that.
    assert {made[points.DEVICE] // 8} == {count for uuid, count in gauges.items() if uuid != lost}
    assert gauges[lost] < made[points.DEVICE] // 8


QUESTIONS = re.findall(
    r"```sql\n(.*?)```", PAGE.read_text(encoding="utf-8").partition("## What is written")[2], re.DOTALL
)


def test_questions_of_the_documentation_have_answers(influxdb: InfluxDB, database: str) -> None:
    """Each of them, asked of what a node wrote in the last minutes."""
    for batch in batches_of_minutes(start=time.time() - 210.0):
        write(influxdb, database, batch.lines)
    answers = {question: influxdb.query(question, database) for question in QUESTIONS}

    assert [] == [question for question, answer in answers.items() if not answer]
    (hours,) = (answer for question, answer in answers.items() if '/ 3600, sum("joules")' in question)
    assert hours[0]["values"][0][1] == pytest.approx(4 * 200 / 3600)


def test_hostile_job_forges_nothing(influxdb: InfluxDB, database: str) -> None:
    """A job that is called like a point of another job."""
    evil = f"1\ngpuwatch_job,job_id=2,started={STARTED} held_seconds_total=1e9 {TIME_MS}000000\n"
    rows = {each.key: each for each in [row(evil, evil)]}
    for batch in Pushing().take(saved(replace(full(), rows=rows))):
        write(influxdb, database, batch.lines)

    (found,) = stored(influxdb, database, points.JOB)
    assert found["held_seconds_total"] == 1000.0
    assert found["job_id"].startswith("1\ufffdgpuwatch_job,job_id=2")


def test_victoria_metrics_takes_every_line(victoria_metrics: VictoriaMetrics) -> None:
    """It answers 204 to anything and counts what it could not read."""
    encoder, lines = Encoder(), []
    for number, text in enumerate(hostile()):
        series = Series("m", (("number", str(number)), ("tag", text)))
        lines.append(encoder.line(series, (Field("f" + text, GAUGE), Field("text", TEXT)), (1.0, text), TIME_MS))
    bodies = ["".join(lines).encode(), *(batch.lines for batch in batches_of_minutes())]
    for body in bodies:
        httpx.post(f"{victoria_metrics.url}/write?precision=ns", content=body, timeout=30.0).raise_for_status()

    metrics = httpx.get(f"{victoria_metrics.url}/metrics", timeout=10.0).text
    invalid = [line for line in metrics.splitlines() if line.startswith('vm_rows_invalid_total{type="influx"')]
    assert ['vm_rows_invalid_total{type="influx"} 0'] == invalid
