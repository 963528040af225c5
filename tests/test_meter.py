"""The meter: conservation, gaps, splitting, states, and what a counter may do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.meter import Holding, Meter, MeterSettings, Nature, StateRule, classify
from gpuwatch.model import JobKey, Reading, RowKey, Usage

A, B = JobKey("a", 1), JobKey("b", 1)
D = "demo:0"
NATURE = {D: Nature("Test", 70.0, 700.0)}


def reading(time=0.0, watts=None, joules=None, utilization=None, memory=None, tensor=None, throttle=None):
    power = {} if watts is None else {("average", "device"): watts}
    return Reading(
        D, time, utilization_ratio=utilization, power_watts=power, energy_joules=joules, memory_used_bytes=memory,
        tensor_activity_ratio=tensor, throttle_seconds=throttle or {},
    )  # fmt: skip


def holding(job, share=1.0):
    return Holding(job, D, share, "whole")


def run(meter, steps):
    """Each step: (time, reading or None, holdings)."""
    for now, each, holdings in steps:
        meter.advance(now, {D: each}, holdings, (), NATURE)
    return meter


def row(job):
    return RowKey(job.job_id, job.started, D)


def assert_conserved(meter):
    for usage in meter.devices.values():
        assert usage.residual_seconds == pytest.approx(0, abs=1e-6)
        assert usage.residual_joules == pytest.approx(0, abs=1e-6 * (1 + sum(usage.energy_joules.values())))
    jobs = sum((usage for usage in meter.rows.values()), Usage())
    held = sum(usage.held_seconds for usage in meter.devices.values())
    assert jobs.held_seconds == pytest.approx(held, abs=1e-6)
    assert jobs.joules == pytest.approx(
        sum(u.held_energy_joules for u in meter.devices.values()), rel=1e-9, abs=1e-6
    )
    for usage in meter.rows.values():
        assert sum(usage.state_seconds.values()) == pytest.approx(usage.held_seconds, abs=1e-6)


watts = st.none() | st.floats(0, 1000)
ratio = st.none() | st.floats(0, 1)
shares = st.lists(st.tuples(st.sampled_from([A, B, JobKey("c", 2)]), st.floats(0, 1.5)), max_size=3)
steps = st.lists(
    st.tuples(
        st.floats(0.01, 30),
        st.none() | st.tuples(watts, ratio, st.none() | st.floats(0, 700)),
        shares,
        st.booleans(),
    ),
    min_size=1,
    max_size=30,
)


@given(steps, st.booleans())
def test_jobs_unallocated_and_unattributed_sum_to_the_device(script, has_counter):
    """Whatever is read or not read, held or not, known or not: nothing is lost and nothing is made."""
    meter, now, counter = Meter(), 0.0, 0.0
    for seconds, told, held, unknown in script:
        now += seconds
        each = None
        if told is not None:
            power, utilization, draw = told
            if has_counter and draw is not None:
                counter += draw * seconds
            each = reading(now, power, counter if has_counter and draw is not None else None, utilization)
        meter.advance(now, {D: each}, [holding(job, s) for job, s in held], {D} if unknown else (), NATURE)

        assert_conserved(meter)
    assert meter.devices[D].seconds == pytest.approx(sum(step[0] for step in script[1:]), abs=1e-6)


@given(st.floats(0, 1000), st.floats(0, 1000), st.floats(0.01, 7), st.floats(0.01, 0.99))
def test_splitting_an_interval_changes_nothing(first, last, seconds, cut):
    """A reading in between, on the line between its neighbours, leaves every amount as it was."""
    middle, at = first + (last - first) * cut, seconds * cut
    whole = run(Meter(), [(0, reading(0, first), [holding(A)]), (seconds, reading(0, last), [holding(A)])])
    split = run(
        Meter(),
        [(0, reading(0, first), [holding(A)]), (at, reading(0, middle), [holding(A)]),
         (seconds, reading(0, last), [holding(A)])],
    )  # fmt: skip

    assert split.rows[row(A)].joules == pytest.approx(whole.rows[row(A)].joules, rel=1e-9, abs=1e-9)
    assert split.rows[row(A)].held_seconds == pytest.approx(whole.rows[row(A)].held_seconds)


def test_gap_is_not_energy():
    """Power read twice with a minute between says nothing about that minute."""
    meter = run(Meter(), [(0, reading(0, 500), [holding(A)]), (60, reading(60, 500), [holding(A)])])

    usage = meter.rows[row(A)]
    assert (usage.joules, usage.energy_unmeasured_seconds, usage.held_seconds) == (0, 60, 60)
    assert usage.state_seconds == {"unknown": 60}


def test_missed_reading_is_bridged_and_nothing_is_unmeasured():
    """One lost read between two good ones leaves the trapezoid over both intervals."""
    held = [holding(A)]
    meter = run(Meter(), [(0, reading(0, 100), held), (1, None, held), (2, reading(2, 300), held)])

    assert meter.rows[row(A)].energy_joules == {"integrated": pytest.approx(400)}
    assert meter.rows[row(A)].energy_unmeasured_seconds == 0


def test_counter_bridges_a_gap_that_power_cannot():
    """The hardware counted while nobody looked."""
    held = [holding(A)]
    meter = run(
        Meter(),
        [(0, reading(0, 500, 1000), held), (1, None, held), (100, reading(100, 500, 51_000), held)],
    )

    assert meter.rows[row(A)].energy_joules == {"counter": pytest.approx(50_000)}
    assert meter.rows[row(A)].energy_unmeasured_seconds == 0


def test_counter_wins_over_power_and_nothing_is_counted_twice():
    """With both at hand only the counter is booked."""
    held = [holding(A)]
    meter = run(Meter(), [(t, reading(t, 999, 300.0 * t), held) for t in range(11)])

    assert meter.devices[D].energy_joules == {"counter": pytest.approx(3000)}


@pytest.mark.parametrize(("watched", "held"), [(True, 5.0), (False, 0.0)])
def test_a_holder_that_changed_over_a_restart_is_charged_where_somebody_watched(watched, held):
    """Who reads later what others recorded has missed nothing; an agent that was down has."""
    first = run(Meter(), [(0, reading(0, 100), [holding(A)])])
    second = Meter()
    second.resume(first.rows, first.devices, first.state(), watched)
    run(second, [(5, reading(5, 100), [holding(B)])])

    assert second.rows[row(A)].held_seconds == held
    assert second.devices[D].unattributed_seconds == 5.0 - held
    assert_conserved(second)


def test_counter_that_was_reset_counts_from_zero():
    """After a driver reload the counter says what was used since."""
    held = [holding(A)]
    meter = run(Meter(), [(0, reading(0, 300, 1e6), held), (1, reading(1, 300, 200), held)])

    assert meter.rows[row(A)].energy_joules == {"counter": pytest.approx(200)}


def test_impossible_jump_of_the_counter_is_not_believed_and_power_stands_in():
    """A device of 700 W does not use a gigajoule in a second."""
    held = [holding(A)]
    meter = run(
        Meter(),
        [(0, reading(0, 300, 100), held), (1, reading(1, 300, 1e9), held), (2, reading(2, 300, 1e9 + 300), held)],
    )

    assert meter.rows[row(A)].energy_joules == {"integrated": pytest.approx(300), "counter": pytest.approx(300)}
    assert meter.rejected_counters == {D: 1}


def test_counter_that_stays_away_gives_way_to_power():
    """After the longest wait for the counter, power is integrated again."""
    held = [holding(A)]
    steps = [(0, reading(0, 100, 50), held), *((t, reading(t, 100), held) for t in range(5, 2000, 5))]
    meter = run(Meter(), steps)

    assert meter.rows[row(A)].energy_joules == {"integrated": pytest.approx(199_500)}


def test_interval_is_charged_to_who_held_when_it_began():
    """A job is charged from the moment it is first seen to the moment it is seen gone."""
    meter = run(
        Meter(),
        [(0, reading(0, 100), []), (1, reading(1, 100), [holding(A)]), (3, reading(3, 100), [holding(B)]),
         (4, reading(4, 100), [])],
    )  # fmt: skip

    assert meter.rows[row(A)].held_seconds == 2
    assert meter.rows[row(B)].held_seconds == 1
    assert meter.devices[D].unallocated_seconds == 1


def test_over_a_gap_only_who_held_at_both_ends_is_charged():
    """The agent was down and the holder changed: the time in between is nobody's."""
    meter = run(Meter(), [(0, reading(0), [holding(A)]), (100, reading(100), [holding(B)])])

    assert meter.devices[D].unattributed_seconds == 100
    assert meter.rows[row(A)].held_seconds == 0


def test_over_a_gap_the_same_holder_is_charged():
    """The agent was down and the job held the device before and after."""
    meter = run(Meter(), [(0, reading(0), [holding(A)]), (100, reading(100), [holding(A)])])

    assert meter.rows[row(A)].held_seconds == 100
    assert meter.devices[D].unattributed_seconds == 0


@pytest.mark.parametrize(
    "driver, joules", [("570", 50.0), ("580", 90_000.0)], ids=["its counter fell", "it is another version"]
)
def test_over_a_gap_in_which_the_driver_was_reloaded_nobody_is_charged(driver, joules):
    """Whoever holds at both ends did not hold while there was no driver."""
    meter = Meter()
    for now, counter, version in ((0.0, 1000.0, "570"), (1.0, 1500.0, "570"), (101.0, joules, driver)):
        natures = {D: Nature("Test", 70.0, 700.0, driver=version)}
        meter.advance(now, {D: reading(now, 500, counter)}, [holding(A)], (), natures)

    assert meter.rows[row(A)].held_seconds == 1
    assert meter.devices[D].unattributed_seconds == 100
    assert_conserved(meter)


def test_shares_above_the_whole_are_reported_and_not_charged():
    """Two jobs that each claim all of a device are charged half, and the excess is shown."""
    meter = run(Meter(), [(0, reading(0), [holding(A), holding(B)]), (10, reading(10), [holding(A), holding(B)])])

    assert meter.share_excess == 1
    assert (meter.rows[row(A)].held_seconds, meter.rows[row(B)].held_seconds) == (5, 5)


def test_unknown_holder_is_unattributed_rather_than_free():
    """Where nobody can say who holds a device it is not called free."""
    meter = Meter()
    meter.advance(0, {D: reading(0, 100)}, [], {D}, NATURE)
    meter.advance(2, {D: reading(2, 100)}, [], {D}, NATURE)

    assert meter.devices[D].unattributed_seconds == 2
    assert meter.devices[D].unattributed_energy_joules == pytest.approx(200)


def test_what_was_never_measured_is_none_and_not_zero():
    """A device without utilization, memory or tensor readings has none of their integrals."""
    meter = run(Meter(), [(0, reading(0, 100), [holding(A)]), (1, reading(1, 100), [holding(A)])])

    usage = meter.rows[row(A)]
    assert (usage.busy_seconds, usage.memory_byte_seconds, usage.tensor_seconds) == (None, None, None)


def test_busy_memory_tensor_and_throttle_are_integrated():
    """Utilization, memory, tensor activity and throttle time each feed their counter."""
    held = [holding(A, 0.5)]
    meter = run(
        Meter(),
        [(0, reading(0, 100, utilization=0.5, memory=10, tensor=0.2, throttle={"thermal": 5.0}), held),
         (2, reading(2, 100, utilization=1.0, memory=30, tensor=0.4, throttle={"thermal": 6.0}), held)],
    )  # fmt: skip

    usage = meter.rows[row(A)]
    assert usage.busy_seconds == pytest.approx(0.75)
    assert usage.memory_byte_seconds == pytest.approx(20)
    assert usage.tensor_seconds == pytest.approx(0.3)
    assert usage.throttled_seconds == {"thermal": pytest.approx(0.5)}


@pytest.mark.parametrize(
    ("told", "state"),
    [
        (None, "unknown"),
        (reading(), "unknown"),
        (reading(watts=600, utilization=0.9), "working"),
        (reading(watts=110, utilization=1.0), "spinning"),
        (reading(watts=110, utilization=1.0, tensor=0.3), "working"),
        (reading(watts=110, utilization=1.0, tensor=0.0), "spinning"),
        (reading(watts=600, utilization=1.0, tensor=0.0), "working"),
        (reading(watts=75, utilization=0.0), "idle"),
        (reading(watts=75), "idle"),
        (reading(watts=400), "working"),
        (reading(utilization=0.5), "working"),
        (reading(utilization=0.0), "idle"),
        (reading(utilization=1.0, tensor=0.0), "spinning"),
    ],
)
def test_state_follows_activity_and_power(told, state):
    """Working needs activity and power; busy at idle power is spinning; nothing known is unknown."""
    assert state == classify(told, 70.0, 700.0, StateRule())


def test_busy_device_of_unknown_idle_level_is_not_called_hung():
    """Spinning is said only where the device's own idle level is known."""
    assert classify(reading(watts=80, utilization=1.0), None, 700.0, StateRule()) == "working"


def test_busy_device_of_unknown_idle_level_that_moves_no_data_is_called_hung():
    """A device that was never idle since it is watched: what is little for one that draws nothing is little."""
    hung = reading(watts=120, utilization=1.0, tensor=0.0)

    assert classify(hung, None, 700.0, StateRule()) == "spinning"
    assert classify(hung, None, 300.0, StateRule()) == "working"


def test_rule_of_a_model_is_the_longest_name_it_contains():
    """`H100 PCIe` beats `H100` for an H100 PCIe."""
    short, long = StateRule(0.1), StateRule(0.2)
    settings = MeterSettings(models={"H100": short, "H100 PCIe": long})

    assert settings.rule_of("NVIDIA H100 PCIe") is long
    assert settings.rule_of("NVIDIA H100 80GB HBM3") is short
    assert settings.rule_of("NVIDIA A100") is settings.rule


@given(st.lists(st.floats(0, 1e6), min_size=3, max_size=3))
def test_usage_adds_up_in_any_order_and_has_a_zero(amounts):
    """Usage is a commutative monoid."""
    first, second, third = (
        Usage(held_seconds=x, busy_seconds=None if x < 10 else x, energy_joules={"counter": x}) for x in amounts
    )

    assert first + Usage() == first
    assert first + second == second + first
    assert ((first + second) + third).held_seconds == pytest.approx((first + (second + third)).held_seconds)


def test_row_is_settled_once_its_energy_is_known():
    """A job that ended while a counter was awaited is not final before the counter has spoken."""
    meter = run(Meter(), [(0, reading(0, 100, 50), [holding(A)]), (1, None, [])])
    waiting = meter.settled(row(A))
    run(meter, [(2, reading(2, 100, 250), [])])

    assert not waiting
    assert meter.settled(row(A))
    assert meter.rows[row(A)].energy_joules == {"counter": pytest.approx(100)}


def test_device_without_throttle_counters_remembers_no_holders_for_them():
    """A thousand jobs on a device that never says why it is slow leave nothing behind."""
    meter = Meter()
    for second in range(1000):
        job = JobKey(f"job{second}", second)
        meter.advance(second, {D: reading(second, 100, utilization=0.5)}, [holding(job)], (), NATURE)

    (device,) = meter.state().values()
    assert device.throttle_since == {}
    assert len(device.energy.pending.seconds) + len(device.busy.since) + len(device.memory.since) == 0
