"""Slices of a device: each has its fraction, the parent keeps the rest, and together they are what is there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.meter import Holding, Meter, Nature
from gpuwatch.meter.meter import MOST_DEVICES
from gpuwatch.model import JobKey, Reading, RowKey

PARENT = "GPU-1"
SEVEN = [f"MIG-{number}" for number in range(7)]
WATTS = 350.0


def nature_of_slice(fraction: float) -> Nature:
    return Nature("Test MIG", parent=PARENT, fraction=fraction)


def electric(now: float, watts: float = WATTS, joules: float | None = None, **more: object) -> Reading:
    counter = watts * now if joules is None else joules
    return Reading(PARENT, now, power_watts={("average", "device"): watts}, energy_joules=counter, **more)


def of_slice(uid: str, now: float, **more: object) -> Reading:
    return Reading(uid, now, **more)


def holding(job: str, uid: str, share: float) -> Holding:
    return Holding(JobKey(job, 1), uid, share, "mig")


def advance(meter, now, slices, holdings=(), parent=True, unread=(), **more):
    """One look at the parent and these slices (uid to fraction)."""
    readings = {PARENT: electric(now) if parent else None}
    readings |= {uid: None if uid in unread else of_slice(uid, now, **more) for uid in slices}
    natures = {PARENT: Nature("Test", 70.0, 700.0)} | {
        uid: nature_of_slice(fraction) for uid, fraction in slices.items()
    }
    meter.advance(now, readings, holdings, (), natures)


def totals(meter):
    """Seconds and joules over all devices."""
    usages = meter.devices.values()
    return sum(each.seconds for each in usages), sum(sum(each.energy_joules.values()) for each in usages)


def assert_each_is_conserved(meter):
    for usage in meter.devices.values():
        assert usage.residual_seconds == pytest.approx(0, abs=1e-6)
        assert usage.residual_joules == pytest.approx(0, abs=1e-6)


def test_seven_slices_have_a_seventh_each_and_nothing_is_left():
    """Seven jobs on seven slices for a hundred seconds: a seventh of time and energy each, none for the parent."""
    meter, slices = Meter(), dict.fromkeys(SEVEN, 1 / 7)
    holdings = [holding(f"job-{uid}", uid, 1 / 7) for uid in SEVEN]
    for second in range(101):
        advance(meter, float(second), slices, holdings)

    rows = [meter.rows[RowKey(f"job-{uid}", 1, uid)] for uid in SEVEN]
    assert [row.held_seconds for row in rows] == [pytest.approx(100 / 7)] * 7
    assert [row.energy_joules for row in rows] == [{"counter": pytest.approx(WATTS * 100 / 7)}] * 7
    assert (meter.devices[PARENT].seconds, dict(meter.devices[PARENT].energy_joules)) == (0, {})
    assert totals(meter) == (pytest.approx(100), pytest.approx(WATTS * 100))
    assert_each_is_conserved(meter)


def test_what_is_in_no_slice_stays_with_the_parent():
    """Two slices of 3/7 leave a seventh, which nobody can hold: the parent's, unallocated."""
    meter = Meter()
    for second in range(11):
        advance(meter, float(second), {"MIG-0": 3 / 7, "MIG-1": 3 / 7}, [holding("a", "MIG-0", 3 / 7)])

    parent = meter.devices[PARENT]
    assert parent.seconds == parent.unallocated_seconds == pytest.approx(10 / 7)
    assert parent.unallocated_energy_joules == pytest.approx(WATTS * 10 / 7)
    assert meter.devices["MIG-1"].unallocated_seconds == pytest.approx(30 / 7)


def test_holders_of_one_slice_share_its_fraction():
    """Two jobs on a slice of a seventh have half of that each."""
    meter = Meter()
    for second in range(11):
        both = [holding("a", "MIG-0", 1 / 14), holding("b", "MIG-0", 1 / 14)]
        advance(meter, float(second), {"MIG-0": 1 / 7}, both)

    assert meter.rows[RowKey("a", 1, "MIG-0")].held_seconds == pytest.approx(10 / 14)
    assert meter.rows[RowKey("b", 1, "MIG-0")].joules == pytest.approx(WATTS * 10 / 14)


def test_claims_above_a_slice_are_reported_and_not_charged():
    """A job that claims the whole board through a slice of a seventh gets a seventh."""
    meter = Meter()
    for second in range(3):
        advance(meter, float(second), {"MIG-0": 1 / 7}, [holding("a", "MIG-0", 1.0)])

    assert meter.rows[RowKey("a", 1, "MIG-0")].held_seconds == pytest.approx(2 / 7)
    assert meter.share_excess == pytest.approx(6 / 7)


def test_memory_of_a_slice_is_all_its_own_and_activity_its_fraction():
    """5 GiB for 10 s are 50 GiB s; full tensor activity of a seventh is a seventh of a device-second a second."""
    meter = Meter()
    for second in range(11):
        told = {"memory_used_bytes": 5 * 2**30, "tensor_activity_ratio": 1.0}
        advance(meter, float(second), {"MIG-0": 1 / 7}, [holding("a", "MIG-0", 1 / 7)], **told)

    usage = meter.rows[RowKey("a", 1, "MIG-0")]
    assert usage.memory_byte_seconds == pytest.approx(50 * 2**30)
    assert usage.tensor_seconds == pytest.approx(10 / 7)


def test_throttling_of_the_parent_is_the_slices_in_their_fraction():
    """Two seconds of held down clocks are two sevenths of a device-second for who has a seventh."""
    meter = Meter()
    for second in range(3):
        readings = {
            PARENT: electric(float(second), throttle_seconds={"sw_thermal": second * 1.0}),
            "MIG-0": of_slice("MIG-0", float(second)),
        }
        natures = {PARENT: Nature("Test"), "MIG-0": nature_of_slice(1 / 7)}
        meter.advance(float(second), readings, [holding("a", "MIG-0", 1 / 7)], (), natures)

    assert meter.rows[RowKey("a", 1, "MIG-0")].throttled_seconds == {"sw_thermal": pytest.approx(2 / 7)}


def test_slice_works_by_its_own_activity_and_never_by_the_parents_power():
    """The parent draws half its limit for somebody else; a slice without activity is idle."""
    meter = Meter()
    for second in range(11):
        quiet = of_slice("MIG-0", float(second), sm_activity_ratio=0.0)
        loud = of_slice("MIG-1", float(second), sm_activity_ratio=0.9)
        natures = {uid: nature_of_slice(1 / 7) for uid in ("MIG-0", "MIG-1")}
        holdings = [holding("a", "MIG-0", 1 / 7), holding("b", "MIG-1", 1 / 7)]
        readings = {PARENT: electric(float(second)), "MIG-0": quiet, "MIG-1": loud}
        meter.advance(float(second), readings, holdings, (), natures)

    assert meter.rows[RowKey("a", 1, "MIG-0")].state_seconds == {"idle": pytest.approx(10 / 7)}
    assert meter.rows[RowKey("b", 1, "MIG-1")].state_seconds == {"working": pytest.approx(10 / 7)}


def test_slice_taken_apart_is_charged_to_its_end_and_the_parent_goes_on():
    """Ten seconds in slices, then ten whole: twenty in all, and the job has its seventh of the first ten."""
    meter = Meter()
    for second in range(21):
        sliced = second < 10
        holdings = [holding("a", "MIG-0", 1 / 7)] if sliced else []
        advance(meter, float(second), {"MIG-0": 1 / 7} if sliced else {}, holdings)

    assert meter.rows[RowKey("a", 1, "MIG-0")].held_seconds == pytest.approx(10 / 7)
    assert totals(meter) == (pytest.approx(20), pytest.approx(WATTS * 20))
    assert "MIG-0" not in meter.state()


def test_slice_that_comes_back_counts_on_and_not_twice():
    """The same slice again after a while in which the parent had its part: nothing of that while is its own."""
    meter = Meter()
    for second in range(31):
        sliced = not 10 <= second < 20
        advance(meter, float(second), {"MIG-0": 3 / 7} if sliced else {})

    assert meter.devices["MIG-0"].seconds == pytest.approx(20 * 3 / 7)
    assert totals(meter) == (pytest.approx(30), pytest.approx(WATTS * 30))


def test_over_a_gap_with_another_layout_time_and_energy_are_unattributed():
    """The agent was down while an administrator cut the board anew: nobody knows who had what."""
    meter = Meter()
    for second in range(11):
        advance(meter, float(second), {"MIG-0": 3 / 7}, [holding("a", "MIG-0", 3 / 7)])
    advance(meter, 70.0, {"MIG-1": 4 / 7}, [holding("a", "MIG-1", 4 / 7)])

    assert meter.rows[RowKey("a", 1, "MIG-0")].held_seconds == pytest.approx(10 * 3 / 7)
    assert meter.devices["MIG-0"].unattributed_seconds == pytest.approx(60 * 3 / 7)
    assert totals(meter) == (pytest.approx(70), pytest.approx(WATTS * 70))


def test_over_a_gap_the_holder_of_a_slice_is_charged_by_the_parents_counter():
    """The same job on the same slice at both ends of a minute: its seventh, by the counter."""
    meter = Meter()
    held = [holding("a", "MIG-0", 1 / 7)]
    for now in (0.0, 1.0, 61.0):
        advance(meter, now, {"MIG-0": 1 / 7}, held)

    usage = meter.rows[RowKey("a", 1, "MIG-0")]
    assert usage.energy_joules == {"counter": pytest.approx(WATTS * 61 / 7)}
    assert usage.held_seconds == pytest.approx(61 / 7)


def test_totals_of_slices_that_are_gone_are_bounded():
    """A board that is cut anew a thousand times does not fill the memory; those that are there stay."""
    meter = Meter()
    for second in range(1000):
        advance(meter, float(second), {f"MIG-{second}": 1 / 7})

    assert len(meter.devices) <= MOST_DEVICES
    assert {PARENT, "MIG-999", "MIG-998"} <= set(meter.devices)


layouts = st.lists(st.sampled_from([1, 2, 3, 4]), max_size=4).filter(lambda cut: sum(cut) <= 7)
looks = st.lists(
    st.tuples(st.floats(0.1, 20), layouts, st.sets(st.integers(0, 3)), st.booleans()), min_size=2, max_size=25
)


@given(looks)
def test_slices_and_what_they_leave_are_the_board_whatever_the_layout(script):
    """Time and energy over all devices are those of the board, through every change of layout and missed read."""
    meter, now = Meter(), 0.0
    for seconds, cut, unread, held in script:
        now += seconds
        slices = {f"MIG-{place}-{size}": size / 7 for place, size in enumerate(cut)}
        holdings = [holding("a", uid, part) for uid, part in slices.items()] if held else []
        missed = {uid for place, uid in enumerate(slices) if place in unread}
        advance(meter, now, slices, holdings, unread=missed)

        assert_each_is_conserved(meter)
    passed = now - script[0][0]
    assert totals(meter) == (pytest.approx(passed), pytest.approx(WATTS * passed))


@given(looks, st.data())
def test_energy_is_never_more_than_the_boards(script, data):
    """Where the parent cannot be read now and then, some energy may stay unknown, but none is made."""
    meter, now = Meter(), 0.0
    for seconds, cut, unread, held in script:
        now += seconds
        slices = {f"MIG-{place}-{size}": size / 7 for place, size in enumerate(cut)}
        holdings = [holding("a", uid, part) for uid, part in slices.items()] if held else []
        missed = {uid for place, uid in enumerate(slices) if place in unread}
        advance(meter, now, slices, holdings, parent=data.draw(st.booleans()), unread=missed)

    seconds, joules = totals(meter)
    assert seconds == pytest.approx(now - script[0][0])
    assert joules <= WATTS * (now - script[0][0]) * (1 + 1e-9)
