"""From snapshots to points: what is pushed when, and under which time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.meter.documents import row_facts
from gpuwatch.model import Allocation, Declared, JobKey, Progress, Reading, Snapshot, points
from gpuwatch.sinks.batches import Batch
from gpuwatch.sinks.job_points import job_fields
from gpuwatch.sinks.pushing import LIMIT_RAW_LINES, Pushing
from tests.sinks.line_parser import Point, parse
from tests.sinks.node_at_work import NodeAtWork
from tests.sinks.snapshots import NOW, STARTED, declared, full, node, reading, row, saved

BARE = replace(full(), rows={}, declared={}, device_usage={}, host=None)


def read(batches: Iterable[Batch], measurement: str = "") -> list[Point]:
    """The points of some batches, of one measurement or all."""
    made = [point for batch in batches for point in parse(batch.lines)]
    return [point for point in made if measurement in ("", point.measurement)]


def pushed(pushing: Pushing, snapshots: Iterable[Snapshot], measurement: str = "") -> list[Point]:
    """What comes of some snapshots, and of the end."""
    taken = [batch for snapshot in snapshots for batch in pushing.take(saved(snapshot))]
    return read([*taken, *pushing.flush()], measurement)


def ms(point: Point) -> int:
    """Its time, which is in whole milliseconds."""
    assert point.time % 1_000_000 == 0
    return point.time // 1_000_000


def at(*times: float, snapshot: Snapshot = BARE) -> list[Snapshot]:
    """A snapshot at several times, with readings of then."""
    return [
        replace(
            snapshot, time=time,
            readings={uid: replace(each, time=time) for uid, each in snapshot.readings.items()},
        )
        for time in times
    ]  # fmt: skip


def seconds(count: int, start: float = NOW, snapshot: Snapshot = BARE) -> list[Snapshot]:
    """One a second."""
    return at(*(start + number for number in range(count)), snapshot=snapshot)


def gauge(uid: str, time: float, value: float) -> Snapshot:
    """A node with a device that has one gauge, and another one that says nothing."""
    return replace(BARE, time=time, readings={uid: Reading(uid, time, utilization_ratio=value)})


def test_devices_are_pushed_every_interval_under_the_time_of_the_last_sample() -> None:
    """Sampled each second, pushed every 15."""
    pushing = Pushing()
    taken = [read(pushing.take(each), points.DEVICE) for each in seconds(100, NOW + 0.1239)]

    times = [ms(point) for made in taken for point in made if dict(point.tags)["uuid"] == "GPU-0"]
    assert len(times) in (6, 7)
    assert {15_000} == {after - before for before, after in pairwise(times)}
    assert {123} == {time % 1000 for time in times}


def test_gauges_are_means_of_the_interval() -> None:
    """And the peak is beside those that have one."""
    snapshots = [gauge("GPU-0", NOW + second, second / 100) for second in range(45)]

    made = pushed(Pushing(), snapshots)
    for point in made:
        last = round(ms(point) / 1000 - NOW)
        first = max([0, *(round(ms(each) / 1000 - NOW) + 1 for each in made if each.time < point.time)])
        mean = sum(range(first, last + 1)) / (last - first + 1) / 100
        assert {"utilization_ratio": pytest.approx(mean, rel=1e-5), "utilization_ratio_max": last / 100} == dict(
            point.fields
        )


def test_device_that_says_nothing_has_no_gauges() -> None:
    """The last good value is never repeated; its counters are still known."""
    lost = replace(node(2, 0), readings={}, host=None)
    (point, _) = pushed(Pushing(), seconds(1, snapshot=lost), points.DEVICE)

    assert "held_seconds_total" in dict(point.fields)
    assert not any(name.startswith(("power", "utilization", "pcie")) for name, _ in point.fields)


def test_energy_counter_of_the_hardware_is_not_exported() -> None:
    """The metered one is, by method."""
    (point,) = pushed(Pushing(), [replace(node(1, 0), host=None)], points.DEVICE)

    energies = [name for name, _ in point.fields if "energy" in name]
    assert [
        "energy_joules_total_counter", "held_energy_joules_total", "unallocated_energy_joules_total",
        "unattributed_energy_joules_total",
    ] == energies  # fmt: skip


def test_tags_are_those_agreed_on() -> None:
    """With the model, so that a question by model needs no join; unknown is left out."""
    made = pushed(Pushing(), [full()])
    tags = {point.measurement: tuple(name for name, _ in point.tags) for point in made}

    assert {points.DEVICE: points.DEVICE_TAGS, points.HOST: points.HOST_TAGS, points.JOB: points.JOB_TAGS,
            points.EVENT: points.EVENT_TAGS} == tags  # fmt: skip


def test_nodes_push_at_different_times() -> None:
    """A thousand nodes with good clocks do not push in the same second; each keeps its own after a restart."""
    firsts = Counter()
    for number in range(300):
        pushing = Pushing()
        named = [replace(each, node=f"gw{number}") for each in seconds(16)]
        again = Pushing()
        due = [second for second, each in enumerate(named) if pushing.take(each)]
        assert due[:1] == [second for second, each in enumerate(named) if again.take(each)][:1]
        firsts[due[0]] += 1

    assert len(firsts) >= 14
    assert max(firsts.values()) < 60


CLOCKS = st.lists(
    st.one_of(
        st.integers(1, 3000).map(lambda step: step / 1000),
        st.sampled_from([-3600.0, -15.0, -1.0, 0.0, 15.0, 3600.0, 86400.0, 0.0001]),
    ),
    max_size=80,
)


@given(CLOCKS, st.booleans(), st.booleans())
def test_no_two_points_of_a_series_have_the_same_time(steps: list[float], raw: bool, restless: bool) -> None:
    """Whatever the clock does: the later one would overwrite the earlier."""
    pushing = Pushing(raw_jobs=["4711"] if raw else [], jobs_seconds=2.0)
    time, snapshots = NOW, []
    for number, step in enumerate(steps):
        time += step
        rows = {each.key: replace(each, seq=number) for each in (row(), row("4710", open=number % 2 == 0))}
        held = (Allocation("4711", "GPU-0", 1.0, "whole"),) if not restless or number % 3 else ()
        events = ({"type": "event", "kind": "xid", "time": time, "epoch": "e"},) * 2
        said = {JobKey("4711", STARTED): Declared(JobKey("4711", STARTED), (), Progress(number, 99, 0, time))}
        snapshots += at(time, snapshot=replace(full(), rows=rows, allocations=held, events=events, declared=said))

    made = Counter((point.measurement, point.tags, point.time) for point in pushed(pushing, snapshots))
    assert [] == [each for each, count in made.items() if count > 1]
    assert all(time % 1_000_000 == 0 for _, _, time in made)


@pytest.mark.parametrize("jump", [-7.0, -3600.0, 3600.0])
def test_jump_of_the_clock_ends_the_interval(jump: float) -> None:
    """A mean is never of two times; nothing is lost, and the pushing goes on at the new time."""
    pushing = Pushing()
    before = [gauge("GPU-0", NOW + second, 0.25) for second in range(30)]
    after = [gauge("GPU-0", NOW + 30 + jump + second, 0.75) for second in range(30)]

    made = pushed(pushing, [*before, *after])
    values = {dict(point.fields)["utilization_ratio"] for point in made}
    assert {0.25, 0.75} == values
    assert max(ms(point) for point in made if dict(point.fields)["utilization_ratio"] == 0.25) == (NOW + 29) * 1000


def test_same_snapshots_are_the_same_bytes() -> None:
    """What is sent twice is stored once."""
    one, two = Pushing(), Pushing()
    batches = [list(map(pushing.take, NodeAtWork().seconds(35))) for pushing in (one, two)]

    assert batches[0] == batches[1]


def test_chosen_devices_are_pushed_as_they_are_sampled() -> None:
    """Each sample with its own time and no peaks, and no means beside them."""
    snapshot = replace(BARE, readings={uid: replace(reading(uid)) for uid in ("GPU-0", "GPU-1")})
    made = pushed(Pushing(raw_devices=["GPU-0"]), seconds(31, snapshot=snapshot), points.DEVICE)

    chosen = [point for point in made if ("uuid", "GPU-0") in point.tags]
    assert [(NOW + second) * 1000 for second in range(31)] == [ms(point) for point in chosen]
    assert not any(name.endswith(points.PEAK) for point in chosen for name, _ in point.fields)
    assert 3 <= len(made) - len(chosen) <= 4


def test_devices_of_chosen_jobs_are_sampled_while_they_hold_them() -> None:
    """Before and after there are means; no second is lost or there twice."""
    held = (Allocation("77", "GPU-0", 1.0, "whole"),)
    snapshots = [
        replace(gauge("GPU-0", NOW + second, 0.5), allocations=held if 20 <= second < 40 else ())
        for second in range(60)
    ]
    made = pushed(Pushing(raw_jobs=["77"]), snapshots, points.DEVICE)

    raw = [point for point in made if "utilization_ratio_max" not in dict(point.fields)]
    means = [ms(point) for point in made if point not in raw]
    assert [(NOW + second) * 1000 for second in range(20, 40)] == [ms(point) for point in raw]
    assert {(NOW + 19) * 1000, (NOW + 59) * 1000} <= set(means)
    assert not any((NOW + 20) * 1000 <= time < (NOW + 40) * 1000 for time in means)


def test_samples_that_wait_are_bounded() -> None:
    """Also where a push is only due once an hour."""
    pushing = Pushing(push_seconds=3600.0, raw_devices=["GPU-0"])
    taken = [pushing.take(each) for each in seconds(2 * LIMIT_RAW_LINES)]

    assert 2 * LIMIT_RAW_LINES - len(read(batch for each in taken for batch in each)) < LIMIT_RAW_LINES


def test_events_are_pushed_as_they_come() -> None:
    """With times of their own, though they happened in the same moment."""
    happened = {"type": "event", "kind": "xid", "time": NOW, "uuid": "GPU-0", "xid": "31", "epoch": "e", "seq": 3}
    declared_ = {
        "type": "declaration",
        "time": NOW,
        "job_id": "4711",
        "text": "energy=1kWh",
        "epoch": "e",
        "seq": 4,
    }
    made = read(Pushing().take(replace(BARE, events=(happened, happened, declared_))))

    kinds = [(dict(point.tags)["kind"], ms(point) - NOW * 1000) for point in made]
    assert [("xid", 0), ("xid", 1), ("declaration", 2)] == kinds


def test_rows_of_an_earlier_life_are_pushed_under_their_epoch_and_time() -> None:
    """An agent that was killed just after a job's end leaves the last counters to the next."""
    ended = row(open=False)
    told = {"type": "row", "epoch": "earlier", "time": NOW - 60.0, **row_facts(ended, "H100")}
    (point,) = read(Pushing().take(replace(BARE, events=(told,))))

    assert ("earlier", NOW * 1000 - 60_000 + 1) == (dict(point.tags)["epoch"], ms(point))
    assert {field.name: value for field, value in job_fields(row_facts(ended, "H100")).items()} == dict(
        point.fields
    )


def test_progress_is_pushed_once_an_interval() -> None:
    """A job may report each step; the newest counts."""
    job = JobKey("4711", STARTED)
    snapshots = [
        replace(each, declared={job: replace(declared(), progress=Progress(step, 900, 0, each.time))})
        for step, each in enumerate(seconds(60))
    ]
    made = pushed(Pushing(), snapshots, points.EVENT)

    assert len(made) in (4, 5)
    assert {"job_id": "4711", "started": float(STARTED), "step": 59, "total": 900, "start_step": 0} == dict(
        made[-1].fields
    )


def test_first_push_has_every_row_and_the_last_every_change() -> None:
    """Counters of jobs do not wait for an interval, nor for the minute when there is no more."""
    pushing = Pushing()
    first = read(pushing.take(saved(full())), points.JOB)
    changed = {key: replace(each, seq=each.seq + 1) for key, each in full().rows.items() if each.open}
    later = read(pushing.take(saved(replace(full(), rows={**full().rows, **changed}, time=NOW + 1))), points.JOB)
    last = read(pushing.flush(), points.JOB)

    assert (len(full().rows), 0, len(changed)) == (len(first), len(later), len(last))


def test_flush_leaves_nothing_behind() -> None:
    """And before the first snapshot there is nothing to flush."""
    pushing = Pushing()
    before: Sequence[Batch] = pushing.flush()
    pushing.take(saved(node()))

    assert (0, True, 0) == (len(before), bool(pushing.flush()), len(pushing.flush()))


def test_hostile_names_are_single_points() -> None:
    """A job id or a mount that holds a line of its own."""
    evil = 'x\nm,job_id=2 energy=0 1\\" ,='
    rows = {each.key: each for each in [row(evil, evil)]}
    host = replace(full().host or pytest.fail("no host"), filesystem_size_bytes={evil: 1.0})
    batches = Pushing().take(saved(replace(full(), node=evil, cluster=evil, rows=rows, host=host)))

    for batch in batches:
        assert batch.points == len(parse(batch.lines)) == batch.lines.count(b"\n")


def test_state_is_bounded_by_what_there_is() -> None:
    """Jobs come and go for months."""
    pushing = Pushing()
    for number in range(300):
        rows = {each.key: each for each in [row(str(number))]}
        pushing.take(saved(replace(full(), rows=rows, time=NOW + 60 * number)))

    assert len(pushing._jobs._pushed) == 1


PAGE = (Path(__file__).parents[2] / "docs" / "influxdb.md").read_text(encoding="utf-8")
TAGS = {
    points.DEVICE: points.DEVICE_TAGS, points.HOST: points.HOST_TAGS, points.JOB: points.JOB_TAGS,
    points.EVENT: points.EVENT_TAGS, points.FORECAST: points.FORECAST_TAGS,
}  # fmt: skip


@pytest.mark.parametrize("measurement", TAGS)
def test_documentation_has_the_tags_of_each_measurement(measurement: str) -> None:
    """In their order."""
    tags = ", ".join(f"`{tag}`" for tag in TAGS[measurement])

    assert f"| `{measurement}` | {tags} |" in PAGE


def test_documentation_has_every_field_of_jobs_and_events() -> None:
    """Whoever asks the database finds what there is."""
    numbers = {name for name in points.ROW_NUMBERS.values() if f"`{name}`" not in PAGE}
    bases = {name for name, _ in points.ROW_LABELLED.values() if f"`{name}_" not in PAGE}
    labels = {label for _, known in points.ROW_LABELLED.values() for label in known if f"`{label}`" not in PAGE}
    others = {*points.EVENT_WORDS, *points.EVENT_NUMBERS, *points.ROW_WORDS, points.ROW_OPEN}

    assert (set(), set(), set()) == (numbers, bases, labels)
    assert {name for name in others if f"`{name}`" not in PAGE} == set()
