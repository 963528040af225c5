"""The node's own energy in an agent: on whose row it is, over restarts, and where it is not divided."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuwatch.model import EMPTY, GroupUse, Reading, Snapshot, Usage
from gpuwatch.sinks.prometheus import PrometheusSink, catalogue
from tests.agent.fakes import FakeNode


@pytest.fixture
def node(tmp_path: Path) -> Iterator[FakeNode]:
    """Ten processors of 100 W in all; job 42 holds both devices, and uses five of them."""
    made = FakeNode(tmp_path / "state")
    made.host.joules = lambda: {"package-0": 100.0 * (made.clock.now - 1.0)}
    made.jobs.holders = {"fake:0": "42", "fake:1": "42"}
    yield made
    made.stop()


def work(node: FakeNode, seconds: int) -> Snapshot:
    """Tick on; the job's control group counts five processor seconds a second."""
    for _ in range(seconds):
        node.jobs.uses = {"42": GroupUse(5.0 * node.clock.now, 1.0)}
        snapshot = node.tick()
    return snapshot


def host_of(snapshot: Snapshot) -> Usage:
    """All rows of the snapshot together."""
    return sum((row.usage for row in snapshot.rows.values()), Usage())


def test_job_has_its_part_once_however_many_devices_it_holds(node: FakeNode) -> None:
    """Half of the processors: half of the energy, on the first of its two devices."""
    snapshot = work(node, 21)

    with_host = [key.device for key, row in snapshot.rows.items() if row.usage.host_energy_joules is not None]
    total = host_of(snapshot)
    assert with_host == ["fake:0"]
    assert total.host_energy_measured_seconds == pytest.approx(20.0, abs=1.0)
    assert total.host_energy_joules == pytest.approx(50.0 * (total.host_energy_measured_seconds or 0.0), rel=0.1)
    assert total.energy_joules == {"counter": pytest.approx(12_000.0, rel=0.01)}


def test_jobs_and_node_sum_to_the_host_in_what_is_shown(node: FakeNode) -> None:
    """What has been divided so far is in the host's own series."""
    snapshot = work(node, 21)

    assert snapshot.host is not None
    divided = snapshot.host.energy_divided_joules
    assert sum(divided.values()) == pytest.approx(2_000.0)
    assert divided["jobs"] == pytest.approx(host_of(snapshot).host_energy_joules)


def test_it_stays_on_its_row_when_the_job_gets_another_device(node: FakeNode) -> None:
    """Counters of a row only grow; the sum over rows is the job's."""
    node.jobs.holders = {"fake:1": "42"}
    before = host_of(work(node, 21)).host_energy_joules
    node.jobs.holders = {"fake:0": "42", "fake:1": "42"}
    snapshot = work(node, 20)

    with_host = [key.device for key, row in snapshot.rows.items() if row.usage.host_energy_joules is not None]
    assert with_host == ["fake:1"]
    assert before is not None
    assert (host_of(snapshot).host_energy_joules or 0.0) > before


def test_it_survives_restart_and_crash_and_is_told_when_the_job_is_over(node: FakeNode) -> None:
    """The row carries it; the time without an agent is not measured, and not made up."""
    first = host_of(work(node, 21))
    node.restart()
    node.clock.pass_(30.0)
    second = host_of(work(node, 21))
    node.crash()
    third = host_of(work(node, 21))
    node.jobs.holders, node.jobs.uses = {}, {}
    node.tick(3)

    (row,) = [each for each in node.agent.since(0)["rows"] if each["host_energy_joules"] is not None]
    assert (first.host_energy_joules or 0.0) * 1.8 < (second.host_energy_joules or 0.0)
    assert (second.host_energy_joules or 0.0) * 1.3 < (third.host_energy_joules or 0.0)
    assert third.host_energy_measured_seconds == pytest.approx(60.0, abs=4.0)
    assert row["host_energy_joules"] == third.host_energy_joules
    assert not row["open"]


def test_job_without_a_control_group_has_none(node: FakeNode) -> None:
    """Absent, not 0: and the node keeps all of it."""
    snapshot = node.tick(21)

    assert host_of(snapshot).host_energy_joules is None
    assert snapshot.host is not None
    assert snapshot.host.energy_divided_joules == {"jobs": 0.0, "node": pytest.approx(2_000.0)}


def test_node_without_meters_says_nothing_of_it(node: FakeNode) -> None:
    """As without the right to read RAPL."""
    node.host.joules = dict
    snapshot = work(node, 21)

    assert host_of(snapshot).host_energy_joules is None
    assert snapshot.host is not None
    assert snapshot.host.energy_divided_joules == EMPTY


def test_nothing_is_divided_where_a_devices_meter_covers_its_processor(
    node: FakeNode, caplog: pytest.LogCaptureFixture
) -> None:
    """GH200 by its module: the device's energy has the CPU's. Said once."""
    read = node.devices.read

    def of_module(device: object, now: float) -> Reading:
        reading = read(device, now)
        return Reading(reading.device, now, power_watts={("average", "module"): 500.0}, processes=())

    node.devices.read = of_module
    with caplog.at_level(logging.INFO, "gpuwatch.agent"):
        snapshot = work(node, 21)

    assert host_of(snapshot).host_energy_joules is None
    said = [each.getMessage() for each in caplog.records if "is not divided" in each.getMessage()]
    assert said == [
        "the host's energy is not divided among jobs: a device's meter has its CPU in it too uuid=fake:0"
    ]


def test_chassis_less_devices_is_divided_where_there_is_no_other_meter(node: FakeNode) -> None:
    """The devices draw 600 W of the chassis' 1,000: half of the rest is the job's."""
    node.host.joules = lambda: {"chassis": 1000.0 * (node.clock.now - 1.0)}
    total = host_of(work(node, 200))

    assert (total.host_energy_measured_seconds or 0.0) > 100.0
    assert total.host_energy_joules == pytest.approx(200.0 * (total.host_energy_measured_seconds or 0.0), rel=0.05)


def test_page_has_one_series_for_each_job(node: FakeNode) -> None:
    """Scraped by who asks for it without knowing of devices."""
    sink = PrometheusSink(PrometheusSink.Settings(), node.agent._site)
    sink.take(work(node, 21))
    lines = [line for line in sink.render().decode().splitlines() if line.startswith("gpuwatch_job_host_energy")]

    assert [line.partition("{")[0] for line in lines] == [
        "gpuwatch_job_host_energy_joules_total",
        "gpuwatch_job_host_energy_measured_seconds_total",
    ]
    assert {"job_id", "started", "uuid", "epoch"} == {
        label
        for each in catalogue()
        if each.name == "gpuwatch_job_host_energy_joules_total"
        for label in each.labels
    }
