"""What the meter keeps of a job for later: clock at work, links, errors, gaps, waiting, first and last times."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.meter import Holding, Meter, Nature
from gpuwatch.model import JobKey, Reading, RowKey

A, B = JobKey("a", 1000), JobKey("b", 1000)
D = "demo:0"
NATURE = {D: Nature("Test", 70.0, 700.0)}
WALL = 1_764_000_000.0


def reading(time: float, utilization: float = 0.9, watts: float | None = 600.0, **more: object) -> Reading:
    power = {} if watts is None else {("average", "device"): watts}
    return Reading(D, time, utilization_ratio=utilization, power_watts=power, **more)


def holding(job: JobKey, share: float = 1.0) -> Holding:
    return Holding(job, D, share, "whole")


def look(meter, now, told, *holdings, waits=None, wall=None):
    """One look at the device; the wall clock is right unless said otherwise."""
    meter.advance(now, {D: told}, holdings, (), NATURE, waits or {}, WALL + now if wall is None else wall)


def usage(meter: Meter, job: JobKey = A):
    return meter.rows[RowKey(job.job_id, job.started, D)]


# Clock.


def test_clock_is_that_of_time_at_work():
    """Two seconds at work at 2 GHz and two idle at 300 MHz: the mean clock at work is 2 GHz."""
    meter = Meter()
    for now, utilization, hertz in ((0, 0.9, 2e9), (1, 0.9, 2e9), (2, 0.9, 2e9), (3, 0.0, 3e8), (4, 0.0, 3e8)):
        look(meter, now, reading(now, utilization, clock_hz={"sm": hertz}), holding(A, 0.5))

    assert (usage(meter).clock_cycles, usage(meter).clock_seconds) == (pytest.approx(2e9), pytest.approx(1.0))


def test_clock_that_is_not_told_is_unknown():
    """Working time without a clock is in neither the cycles nor their seconds."""
    meter = Meter()
    for now, clock in ((0, {}), (1, {}), (2, {"graphics": 1e9}), (3, {"memory": 2e9})):
        look(meter, now, reading(now, clock_hz=clock), holding(A))

    assert (usage(meter).clock_cycles, usage(meter).clock_seconds) == (1e9, 1)
    assert usage(meter).state_seconds == {"working": 3}


# Links.


def linked(now: float, received: float, **more: object) -> Reading:
    return reading(now, pcie_bytes={"receive": received, "transmit": 0.0}, **more)


def test_bytes_over_links_are_divided_by_share():
    """Two holders, three quarters and one quarter: so are the bytes."""
    meter = Meter()
    for now in range(3):
        look(meter, now, linked(now, 100.0 * now), holding(A, 0.75), holding(B, 0.25))

    assert usage(meter).link_bytes == {"pcie_receive": 150.0, "pcie_transmit": 0.0}
    assert usage(meter, B).link_bytes["pcie_receive"] == 50


def test_counter_of_a_link_that_began_anew_counts_from_zero():
    """After a driver reload it says what went over the link since."""
    meter = Meter()
    for now, received in ((0, 1e9), (1, 1e9 + 10), (2, 7.0)):
        look(meter, now, linked(now, received), holding(A))

    assert usage(meter).link_bytes["pcie_receive"] == 17


def test_counter_that_is_repeated_is_divided_among_all_who_held_since_it_moved():
    """A driver is asked every ten seconds: what it says then is of those ten seconds, not of the last one."""
    meter = Meter()
    for now in range(11):
        look(meter, now, linked(now, 1000.0 if now == 10 else 0.0), holding(A if now < 6 else B))

    assert usage(meter).link_bytes["pcie_receive"] == pytest.approx(600)
    assert usage(meter, B).link_bytes["pcie_receive"] == pytest.approx(400)


def test_row_waits_for_its_links_and_then_is_settled():
    """What went over the link in a job's last seconds is told a little later."""
    meter = Meter()
    for now in range(3):
        look(meter, now, linked(now, 0.0), holding(A))
    look(meter, 3, linked(3, 0.0))
    waiting = meter.settled(RowKey("a", 1000, D))
    look(meter, 9, linked(9, 500.0))

    assert not waiting
    assert meter.settled(RowKey("a", 1000, D))
    assert usage(meter).link_bytes["pcie_receive"] == pytest.approx(500 * 3 / 9)


def test_row_waits_for_links_that_stand_still_no_longer_than_they_are_repeated():
    """An idle device ends no job late."""
    meter = Meter()
    look(meter, 0, linked(0, 5.0), holding(A))
    for now in range(1, 20):
        look(meter, now, linked(now, 5.0))

    assert meter.settled(RowKey("a", 1000, D))
    assert usage(meter).link_bytes == {"pcie_receive": 0.0, "pcie_transmit": 0.0}


def test_links_that_stay_away_are_forgotten():
    """Nobody is charged for what went over a link that was not read for more than a minute."""
    meter = Meter()
    look(meter, 0, linked(0, 0.0), holding(A))
    for now in range(5, 100, 5):
        look(meter, now, reading(now), holding(A))
    look(meter, 100, linked(100, 9e9), holding(B))
    look(meter, 101, linked(101, 9e9 + 5), holding(B))

    assert usage(meter).link_bytes == {}
    assert usage(meter, B).link_bytes["pcie_receive"] == 5


def test_links_of_a_kind_that_nobody_knows_are_left_out():
    """A driver's new direction is no column of the ledger."""
    meter = Meter()
    for now in range(2):
        look(meter, now, reading(now, nvlink_bytes={"receive": now * 8.0, "sideways": now * 9.0}), holding(A))

    assert usage(meter).link_bytes == {"nvlink_receive": 8.0}


@given(st.lists(st.tuples(st.sampled_from("ab-"), st.integers(0, 1000)), min_size=2, max_size=40))
def test_bytes_of_jobs_are_never_more_than_the_devices(script):
    """Whoever holds, and however the counter stutters: what jobs have of it has gone over it."""
    meter, received = Meter(), 0.0
    for now, (who, rise) in enumerate(script):
        received += rise if now else 0
        holdings = [] if who == "-" else [holding(A if who == "a" else B)]
        look(meter, float(now), linked(now, received), *holdings)

    total = sum(each.link_bytes.get("pcie_receive", 0.0) for each in meter.rows.values())
    assert total <= received * (1 + 1e-9)


# Errors.


def test_error_is_counted_whole_for_every_holder():
    """Three errors of a device that two jobs share strike both."""
    meter = Meter()
    for now, count in ((0, 5.0), (1, 8.0)):
        told = reading(now, ecc_errors={("corrected", "volatile"): count, ("corrected", "aggregate"): 900 + count})
        look(meter, now, told, holding(A, 0.5), holding(B, 0.5))

    assert (usage(meter).errors, usage(meter, B).errors) == ({"ecc_corrected": 3.0}, {"ecc_corrected": 3.0})


def test_errors_of_the_devices_life_stand_in_where_there_are_no_others():
    """A device without volatile counts has the other ones; none is counted twice."""
    meter = Meter()
    for now in range(3):
        look(meter, now, reading(now, ecc_errors={("uncorrected", "aggregate"): now * 2.0}), holding(A))

    assert usage(meter).errors == {"ecc_uncorrected": 4.0}


def test_xids_of_all_codes_are_counted_for_who_held_the_device():
    """One that came before the job is not the job's, and where none came there is no number."""
    meter = Meter()
    for now, xids in ((0, {"31": 1.0}), (1, {"31": 1.0}), (2, {"31": 2.0, "79": 1.0})):
        look(meter, now, reading(now, xid_errors=xids), *([holding(A)] if now else []))
    look(meter, 3, reading(3), holding(B))
    look(meter, 4, reading(4), holding(B))

    assert (usage(meter).errors, usage(meter, B).errors) == ({"xid": 2.0}, {})


# Energy that nobody measured.


def test_longest_gap_of_energy_is_of_the_clock_and_not_of_the_share():
    """Half a device for a minute that nobody watched: half of it unmeasured, on end for a minute."""
    meter = Meter()
    for now in (0, 1, 61, 62):
        look(meter, now, reading(now), holding(A, 0.5))

    assert (usage(meter).energy_unmeasured_seconds, usage(meter).energy_gap_seconds) == (30, 60)


def test_gap_goes_on_while_the_sensor_is_silent_and_ends_with_it():
    """Twenty seconds without power, one with, ten without: the longest gap has twenty."""
    meter = Meter()
    known = {0, 1, 21, 22, 32, 33}
    for now in range(34):
        look(meter, now, reading(now, watts=600.0 if now in known else None), holding(A))

    assert usage(meter).energy_gap_seconds == 20
    assert usage(meter).energy_unmeasured_seconds == 30


def test_gap_that_is_bridged_is_none():
    """A trapezoid over two seconds, or a counter over a minute, leaves nothing unmeasured."""
    meter = Meter()
    for now, told in ((0, reading(0)), (1, None), (2, reading(2, energy_joules=0.0)), (60, None)):
        look(meter, now, told, holding(A))
    look(meter, 61, reading(61, energy_joules=30_000.0), holding(A))

    assert (usage(meter).energy_gap_seconds, usage(meter).energy_unmeasured_seconds) == (0, 0)


def test_device_without_energy_is_one_gap_and_remembers_only_who_holds_it():
    """A thousand jobs on a device that has no sensor leave nothing behind."""
    meter = Meter()
    for second in range(1000):
        look(meter, second, reading(second, watts=None), holding(JobKey(f"job{second // 2}", 1000)))

    (device,) = meter.state().values()
    assert usage(meter, JobKey("job7", 1000)).energy_gap_seconds == 2
    assert len(device.energy.dark) <= 2


@given(st.lists(st.tuples(st.floats(0.1, 20), st.none() | st.floats(0, 700)), min_size=1, max_size=30))
def test_longest_gap_is_within_what_is_unmeasured(script):
    """For a whole device: no gap is longer than all gaps, and there is one where anything is unmeasured."""
    meter, now = Meter(), 0.0
    for seconds, watts in script:
        now += seconds
        look(meter, now, reading(now, watts=watts), holding(A))

    known = usage(meter)
    assert known.energy_gap_seconds <= known.energy_unmeasured_seconds * (1 + 1e-9)
    assert (known.energy_gap_seconds > 0) == (known.energy_unmeasured_seconds > 0)


# Waiting for storage.


def test_waiting_for_storage_is_the_jobs_by_its_share():
    """Two of five seconds, as its control group says, of half a device are one."""
    meter = Meter()
    for now in range(6):
        waits = {"a": 100.0, "other": 1.0} if now == 0 else {"a": 102.0} if now == 5 else {}
        look(meter, now, reading(now), holding(A, 0.5), waits=waits)

    assert usage(meter).storage_wait_seconds == pytest.approx(1.0)


def test_wait_is_only_that_of_the_time_in_which_the_device_was_held():
    """A job that gave its device back after two of four seconds waited for two."""
    meter = Meter()
    look(meter, 0, reading(0), holding(A), waits={"a": 0.0})
    look(meter, 2, reading(2))
    look(meter, 4, reading(4), holding(A), waits={"a": 4.0})
    look(meter, 6, reading(6), holding(A), waits={"a": 6.0})

    assert usage(meter).storage_wait_seconds == pytest.approx(2.0)


def test_control_group_that_was_made_anew_counts_from_zero():
    """A job that was requeued begins with another one."""
    meter = Meter()
    for now, waited in ((0, 50.0), (5, 51.0), (10, 0.5)):
        look(meter, now, reading(now), holding(A), waits={"a": waited})

    assert usage(meter).storage_wait_seconds == pytest.approx(1.5)


def test_wait_that_nobody_tells_is_unknown():
    """None, not 0; and a job that is over leaves nothing behind."""
    meter = Meter()
    for now in range(3):
        look(meter, now, reading(now), holding(A), holding(B), waits={"b": 0.0})
    look(meter, 3, reading(3))

    (device,) = meter.state().values()
    assert (usage(meter).storage_wait_seconds, usage(meter, B).storage_wait_seconds) == (None, 0)
    assert (device.storage.counters, device.storage.since) == ({}, {})


@given(st.lists(st.tuples(st.floats(0.1, 20), st.none() | st.floats(0, 100), st.floats(0, 1)), max_size=30))
def test_nobody_waits_longer_than_he_holds(script):
    """Whatever the control group says."""
    meter, now = Meter(), 0.0
    for seconds, waited, share in script:
        now += seconds
        look(meter, now, reading(now), holding(A, share), waits={} if waited is None else {"a": waited})

    for each in meter.rows.values():
        assert (each.storage_wait_seconds or 0.0) <= each.held_seconds * (1 + 1e-9)


# When a state was seen.


def test_first_work_and_the_last_of_each_state_are_told():
    """Idle for two seconds, at work for two, idle again."""
    meter = Meter()
    for now, utilization in enumerate((0.0, 0.0, 0.0, 0.9, 0.9, 0.0)):
        look(meter, now, reading(now, utilization, watts=75 if not utilization else 600), holding(A))

    assert usage(meter).first_working == WALL + 3
    assert usage(meter).last_in_state == {"working": WALL + 4, "idle": WALL + 5}


def test_without_a_wall_clock_nothing_is_told_of_when():
    """A replay of a file without dates, say."""
    meter = Meter()
    for now in range(3):
        meter.advance(now, {D: reading(now)}, [holding(A)], (), NATURE)

    assert (usage(meter).first_working, usage(meter).last_in_state) == (None, {})


@given(
    st.lists(
        st.tuples(st.floats(0.1, 20), st.floats(0, 4e9), st.none() | st.floats(0, 1)), min_size=1, max_size=30
    )
)
def test_times_stay_in_order_whatever_the_clock_does(script):
    """Not before the job, nor the first after the last; neither goes back."""
    meter, now, before = Meter(), 0.0, {}
    for seconds, wall, utilization in script:
        now += seconds
        told = None if utilization is None else reading(now, utilization)
        look(meter, now, told, holding(A), wall=wall)
        known = usage(meter)

        assert all(known.last_in_state[state] >= at for state, at in before.items())
        assert all(at >= A.started for at in known.last_in_state.values())
        assert known.first_working is None or known.first_working <= known.last_in_state["working"]
        before = dict(known.last_in_state)


# Slices.


def test_slice_has_its_fraction_of_links_and_clock_and_all_errors():
    """A seventh of a board: a seventh of the bytes, of the cycles and of the time, and every error."""
    meter = Meter()
    natures = {"GPU-1": Nature("Test", 70.0, 700.0), "MIG-1": Nature("Test", parent="GPU-1", fraction=1 / 7)}
    for now in range(3):
        board = Reading(
            "GPU-1", now, clock_hz={"sm": 1e9}, pcie_bytes={"receive": 700.0 * now},
            ecc_errors={("corrected", "volatile"): now * 1.0}, xid_errors={"94": now * 1.0},
        )  # fmt: skip
        part = Reading("MIG-1", now, sm_activity_ratio=0.9)
        holdings = [Holding(A, "MIG-1", 1 / 7, "mig")]
        meter.advance(now, {"GPU-1": board, "MIG-1": part}, holdings, (), natures, wall=WALL + now)

    known = meter.rows[RowKey("a", 1000, "MIG-1")]
    assert known.link_bytes == {"pcie_receive": pytest.approx(200)}
    assert known.errors == {"ecc_corrected": 2.0, "xid": 2.0}
    assert (known.clock_cycles, known.clock_seconds) == (pytest.approx(2e9 / 7), pytest.approx(2 / 7))
