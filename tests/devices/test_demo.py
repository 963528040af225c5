"""Simulated accelerators: believable under every load, the same again under the same load."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.devices.checks import checked
from gpuwatch.devices.demo import IDLE_WATTS, LIMIT_WATTS, DemoDevices, Silicon
from gpuwatch.devices.demo_driver import PHASES, Handle, Holder, Load
from gpuwatch.errors import Unavailable
from gpuwatch.meter import Holding, Meter
from gpuwatch.model import JobKey, Reading, Site

START = 1_764_000_000.0
COMPUTE = Holder(10, Load("compute", 0.9, 60 * 2**30))
HANG = Holder(11, Load("hang", 0.0, 50 * 2**30))
IDLE = Holder(12, Load("idle", 0.0, 11 * 2**30))
STALL = Holder(10, Load("stall", 0.0, 60 * 2**30))


def watch(silicon: Silicon, seconds: int, *present: Holder, since: float = START) -> list[Reading]:
    """One reading a second."""
    readings = []
    for second in range(seconds):
        silicon.advance(since + second, present)
        readings.append(silicon.reading(since + second, present))
    return readings


def demo(directory: Path, **settings: object) -> DemoDevices:
    """The plugin on that driver directory."""
    return DemoDevices(
        DemoDevices.Settings.model_validate({"driver_directory": directory, **settings}), Site(node="n0")
    )


def watts(reading: Reading) -> float:
    """The average sensor."""
    return reading.power_watts[("average", "device")]


def test_a_device_nobody_has_open_is_idle() -> None:
    """Bare idle: no utilization, no memory, idle power, nobody there."""
    last = watch(Silicon("demo:0"), 20)[-1]

    assert last.utilization_ratio == 0
    assert last.memory_used_bytes == 0
    assert last.processes == ()
    assert watts(last) == pytest.approx(IDLE_WATTS, abs=3)


def test_a_process_that_runs_nothing_costs_its_context() -> None:
    """An idle holder draws some 30 W more than nobody, at no utilization, and its memory is there."""
    last = watch(Silicon("demo:3"), 20, IDLE)[-1]

    assert last.utilization_ratio == 0
    assert last.memory_used_bytes == 11 * 2**30
    assert watts(last) == pytest.approx(IDLE_WATTS + 30, abs=4)
    assert [process.pid for process in last.processes or ()] == [12]


def test_training_looks_like_training() -> None:
    """Busy, tensor units at work, power near the limit but never above it."""
    readings = watch(Silicon("demo:0"), 60, COMPUTE)[5:]

    assert min(each.utilization_ratio or 0 for each in readings) > 0.9
    assert min(each.tensor_activity_ratio or 0 for each in readings) > 0.4
    assert min(watts(each) for each in readings) > 500
    assert max(watts(each) for each in readings) <= LIMIT_WATTS


def test_a_hung_collective_is_busy_at_idle_power() -> None:
    """Reported 100 %, no tensor activity, power near idle."""
    last = watch(Silicon("demo:4"), 20, HANG)[-1]

    assert last.utilization_ratio == 1.0
    assert last.tensor_activity_ratio == 0
    assert watts(last) == pytest.approx(110, abs=5)


def test_waiting_for_input_shows_within_a_second() -> None:
    """Utilization and power fall for the stall and come back after it."""
    silicon = Silicon("demo:2")
    before = watch(silicon, 5, COMPUTE)[-1]
    during = watch(silicon, 1, STALL, since=START + 5)[-1]
    after = watch(silicon, 2, COMPUTE, since=START + 6)[-1]

    assert (during.utilization_ratio or 0) < 0.05
    assert watts(during) < 0.6 * watts(before)
    assert watts(after) > 0.9 * watts(before)


def test_a_hot_device_throttles_and_recovers_in_turns() -> None:
    """Over its limit the clocks and the power go down and throttle time counts; below it they come back."""
    readings = watch(Silicon("demo:6", hot=True), 240, COMPUTE)
    clocks = [each.clock_hz["sm"] for each in readings]
    throttled = [each.throttle_seconds["sw_thermal"] for each in readings]

    assert max(each.temperature_celsius["gpu"] for each in readings) < 95
    assert min(clocks) < 0.8 * max(clocks)
    assert sum(now > before for before, now in pairwise(clocks)) >= 2
    assert 10 < throttled[-1] < 200
    assert throttled == sorted(throttled)


def test_a_cool_device_never_throttles() -> None:
    """Full load alone is not too hot."""
    last = watch(Silicon("demo:0"), 300, COMPUTE)[-1]

    assert last.throttle_seconds["sw_thermal"] == 0
    assert 60 < last.temperature_celsius["gpu"] < 85


def test_temperature_follows_power_slowly() -> None:
    """There is thermal inertia: a second of load is hardly felt, a minute is."""
    readings = watch(Silicon("demo:0"), 61, COMPUTE)
    celsius = [each.temperature_celsius["gpu"] for each in readings]

    assert celsius[2] - celsius[0] < 8
    assert celsius[60] - celsius[0] > 25


def test_the_energy_counter_is_the_integral_of_the_power() -> None:
    """The counter and the trapezoid of the average sensor agree on a run with load, stalls and idling."""
    silicon = Silicon("demo:0")
    readings = []
    for second in range(300):
        present = (STALL if second % 7 == 0 else COMPUTE,) if second % 100 < 80 else ()
        silicon.advance(START + second, present)
        readings.append(silicon.reading(START + second, present))
    trapezoid = sum((watts(one) + watts(two)) / 2 for one, two in pairwise(readings))

    counted = (readings[-1].energy_joules or 0) - (readings[0].energy_joules or 0)

    assert counted == pytest.approx(trapezoid, rel=0.01)


def test_the_meter_tells_the_phases_apart() -> None:
    """Through the real state rule: training works, a hung collective spins, a holder is idle."""
    found = {}
    for uid, holder in {"demo:0": COMPUTE, "demo:4": HANG, "demo:3": IDLE}.items():
        silicon, meter = Silicon(uid), Meter()
        for reading in watch(silicon, 5):
            meter.advance(reading.time, {uid: reading})
        holding = Holding(JobKey("job", 0), uid, 1.0, "holders")
        for reading in watch(silicon, 30, holder, since=START + 5):
            meter.advance(reading.time, {uid: reading}, [holding])
        states = meter.rows[holding.row].state_seconds
        found[uid] = max(states, key=states.__getitem__)

    assert found == {"demo:0": "working", "demo:4": "spinning", "demo:3": "idle"}


def test_the_same_times_and_loads_give_the_same_readings() -> None:
    """Deterministic; another device has other noise."""
    assert watch(Silicon("demo:1"), 30, COMPUTE) == watch(Silicon("demo:1"), 30, COMPUTE)
    assert watts(watch(Silicon("demo:1"), 30, COMPUTE)[-1]) != watts(watch(Silicon("demo:2"), 30, COMPUTE)[-1])


def test_a_clock_that_leaps_is_no_energy() -> None:
    """A year forward costs at most minutes of power, an hour back costs nothing; the counter never falls."""
    silicon = Silicon("demo:0")
    before = watch(silicon, 5, COMPUTE)[-1].energy_joules or 0
    forward = watch(silicon, 1, COMPUTE, since=START + 365 * 86400)[-1].energy_joules or 0
    back = watch(silicon, 1, COMPUTE, since=START - 3600)[-1].energy_joules or 0

    assert before < forward < before + 130 * LIMIT_WATTS
    assert back == forward


# Drivers hand out pages; 2**32 - 1 bytes are how some say that they do not know.
pages = st.integers(0, 90 * 2**18).map(lambda count: count * 4096)
loads = st.builds(
    Holder,
    st.integers(1, 2**22),
    st.builds(Load, st.sampled_from(PHASES), st.floats(0, 1), pages),
)


@given(
    course=st.lists(st.tuples(st.floats(0, 30), st.lists(loads, max_size=3)), min_size=1, max_size=12),
    hot=st.booleans(),
)
def test_every_reading_is_believable(course: list[tuple[float, list[Holder]]], hot: bool) -> None:
    """Whatever is run at whatever cadence: all values in range, counters never fall, power within the limit."""
    silicon, now = Silicon("demo:0", hot), START
    counters = [0.0, 0.0]
    for seconds, present in course:
        now += seconds
        silicon.advance(now, present)
        reading = silicon.reading(now, present)
        latest = [reading.energy_joules or 0.0, reading.throttle_seconds["sw_thermal"]]

        assert checked(reading)[0] is reading
        assert watts(reading) <= LIMIT_WATTS
        assert all(new >= old for old, new in zip(counters, latest, strict=True))
        counters = latest


def test_devices_are_listed_with_stable_uids(tmp_path: Path) -> None:
    """`demo:0` to `demo:N-1`, each an accelerator of the demo's model."""
    devices = demo(tmp_path, devices=3).scan(START)

    assert [device.uid for device in devices] == ["demo:0", "demo:1", "demo:2"]
    assert {(device.vendor, device.model, device.node) for device in devices} == {
        ("demo", "Demo Accelerator 80GB", "n0")
    }


def test_load_arrives_through_the_driver_directory(tmp_path: Path) -> None:
    """A living process that opens a device is seen on it, and only there."""
    source = demo(tmp_path)
    devices = source.scan(START)
    handle = Handle(tmp_path, 1)
    handle.set(Load("compute", 1.0, 2**30))
    for second in range(4):
        readings = [source.read(device, START + second) for device in devices[:2]]
    handle.close()

    assert [each.utilization_ratio or 0 for each in readings] == [0, pytest.approx(0.97, abs=0.04)]
    assert [len(each.processes or ()) for each in readings] == [0, 1]


def test_one_device_is_lost_for_a_while_and_returns(tmp_path: Path) -> None:
    """Every two minutes for twenty seconds; the others answer all the time."""
    source = demo(tmp_path, lost_device=5)
    devices = source.scan(START)
    lost = []
    for second in range(240):
        source.read(devices[0], START + second)
        try:
            source.read(devices[5], START + second)
        except Unavailable:
            lost.append(second)

    assert lost[0] == 100
    assert len(lost) == 40
    assert sum(after - before > 1 for before, after in pairwise(lost)) == 1
    assert len(source.scan(START)) == 8


def test_an_unknown_device_is_unavailable(tmp_path: Path) -> None:
    """Asked for what it has not, it says what there is."""
    small, big = demo(tmp_path, devices=1), demo(tmp_path, devices=2)

    with pytest.raises(Unavailable, match="demo:0"):
        small.read(big.scan(START)[1], START)


def test_no_driver_directory_means_no_load(tmp_path: Path) -> None:
    """The plugin starts before anything has opened a device."""
    source = demo(tmp_path / "not" / "there")
    reading = source.read(source.scan(START)[0], START)
    source.close()

    assert reading.processes == ()


def test_links_move_with_the_work_and_stand_still_without() -> None:
    """Batches come in while it computes; a hung collective moves nothing."""
    silicon = Silicon("demo:0")
    worked = watch(silicon, 60, COMPUTE)[-1]
    hung = watch(silicon, 60, HANG, since=START + 60)[-1]

    assert worked.pcie_bytes["receive"] > worked.pcie_bytes["transmit"] > 0
    assert worked.nvlink_bytes["receive"] == worked.nvlink_bytes["transmit"] > worked.pcie_bytes["receive"]
    assert hung.pcie_bytes["receive"] == pytest.approx(worked.pcie_bytes["receive"], rel=0.02)
