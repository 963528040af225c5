"""Energy of a device whose power nobody measures: modelled, labelled so, and never mixed with what is measured."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.meter import Holding, Meter, StateRule, classify
from gpuwatch.meter.documents import meter_document, meter_of
from gpuwatch.model import JobKey, Reading, RowKey

A, B = JobKey("a", 1), JobKey("b", 1)
D = "tpu:0000:00:05.0"

watts = st.none() | st.floats(0, 1000)


def reading(modelled=None, power=None, joules=None, utilization=None, tensor=None, memory=None):
    return Reading(
        D, 0.0, utilization_ratio=utilization, tensor_activity_ratio=tensor, memory_utilization_ratio=memory,
        power_watts={} if power is None else {("average", "device"): power}, energy_joules=joules,
        modelled_watts=modelled,
    )  # fmt: skip


def run(steps, meter=None):
    """Each step: (time, reading, shares by job)."""
    meter = meter or Meter()
    for now, each, shares in steps:
        meter.advance(now, {D: each}, [Holding(job, D, share, "whole") for job, share in shares.items()])
    return meter


def joules(meter, job):
    return dict(meter.rows[RowKey(job.job_id, job.started, D)].energy_joules)


def test_modelled_watts_are_integrated_and_say_so():
    """By share, to jobs and to the device, under their own method."""
    meter = run([(t, reading(100.0 + t), {A: 0.25, B: 0.75}) for t in range(3)])

    assert {"modelled": pytest.approx(50.5)} == joules(meter, A)
    assert {"modelled": pytest.approx(151.5)} == joules(meter, B)
    assert {"modelled": pytest.approx(202.0)} == meter.devices[D].energy_joules


@pytest.mark.parametrize(
    ("told", "method"),
    [({"power": 50.0}, "integrated"), ({"joules": 0.0}, "counter"), ({"power": 50.0, "joules": 0.0}, "counter")],
)
def test_what_is_measured_comes_before_what_is_modelled(told, method):
    """No joule of the model where there is power or a counter."""
    counted = "joules" in told
    steps = [
        (t, reading(modelled=900.0, **(told | ({"joules": 50.0 * t} if counted else {}))), {A: 1.0})
        for t in range(4)
    ]

    assert {method: pytest.approx(150.0)} == joules(run(steps), A)


def test_time_without_a_model_is_unmeasured():
    """A device whose utilization is not known has no modelled power, and no joule is made up for the gap."""
    steps = [(t, reading(100.0 if t < 2 or t > 60 else None), {A: 1.0}) for t in range(64)]
    meter = run(steps)
    usage = meter.rows[RowKey("a", 1, D)]

    assert {"modelled": pytest.approx(100.0 + 200.0)} == dict(usage.energy_joules)
    assert 60.0 == pytest.approx(usage.energy_unmeasured_seconds)
    assert 60.0 == pytest.approx(usage.energy_gap_seconds, abs=1.0)


def test_a_device_that_is_measured_from_now_on_loses_what_the_model_waited_for():
    """Nothing is counted twice at the change, and nothing is lost silently."""
    meter = run([(0, reading(100.0), {A: 1.0}), (1, reading(100.0), {A: 1.0}), (2, reading(), {A: 1.0})])
    run([(3, reading(power=50.0), {A: 1.0}), (4, reading(power=50.0), {A: 1.0})], meter)
    usage = meter.rows[RowKey("a", 1, D)]

    assert {"modelled": pytest.approx(100.0), "integrated": pytest.approx(50.0)} == dict(usage.energy_joules)
    assert 2.0 == pytest.approx(usage.energy_unmeasured_seconds)


def test_a_row_waits_for_the_model_and_not_for_ever():
    """Between two known values it is not settled; once one is known, it is."""
    meter = run([(0, reading(100.0), {A: 1.0}), (1, reading(None), {A: 1.0}), (2, reading(None), {})])
    waits = meter.settled(RowKey("a", 1, D))
    run([(3, reading(100.0), {})], meter)

    assert (False, True) == (waits, meter.settled(RowKey("a", 1, D)))
    assert {"modelled": pytest.approx(200.0)} == joules(meter, A)


def test_the_model_goes_on_after_a_save():
    """A state that was written and read is the same meter; one from before there was a model has none."""
    meter = run([(0, reading(100.0), {A: 1.0}), (1, reading(100.0), {A: 1.0})])
    saved = json.loads(json.dumps(meter_document(meter.state()[D])))
    later = Meter()
    later.resume(meter.rows, meter.devices, {D: meter_of(saved)}, watched=True)
    run([(2, reading(100.0), {A: 1.0})], later)
    del saved["energy"]["modelled"]

    assert {"modelled": pytest.approx(200.0)} == joules(later, A)
    assert meter_of(saved).energy.modelled.time is None


@given(
    st.lists(
        st.tuples(st.floats(0.01, 20), watts, watts, st.none() | st.floats(0, 500), st.floats(0.01, 1)),
        min_size=1, max_size=30,
    )
)  # fmt: skip
def test_energy_adds_up_however_devices_change_between_model_and_measurement(script):
    """Σ jobs + unallocated = device, and every held second has energy or is unmeasured, up to what still waits."""
    meter, now, counter = Meter(), 0.0, 0.0
    for seconds, modelled, power, draw, share in script:
        now += seconds
        counter += (draw or 0.0) * seconds
        run([(now, reading(modelled, power, None if draw is None else counter), {A: share})], meter)
    meter.finish()
    usage = meter.devices[D]

    assert 0.0 == pytest.approx(usage.residual_joules, abs=1e-6 * (1 + sum(usage.energy_joules.values())))
    assert 0.0 == pytest.approx(usage.residual_seconds, abs=1e-6)
    row = meter.rows[RowKey("a", 1, D)]
    assert row.energy_unmeasured_seconds <= row.held_seconds + 1e-6


@pytest.mark.parametrize(
    ("utilization", "tensor", "memory", "state"),
    [
        (1.0, None, None, "working"),
        (0.5, None, None, "working"),
        (0.0, None, None, "idle"),
        (None, None, None, "unknown"),
        (1.0, 0.0, None, "spinning"),
        (1.0, 0.4, None, "working"),
        (1.0, 0.0, 0.3, "working"),
        (0.5, 0.0, None, "working"),
    ],
)
def test_state_without_power_is_what_the_rest_says(utilization, tensor, memory, state):
    """Busy is working unless tensor units are known to rest all of the time; a model of power says nothing."""
    told = reading(500.0, utilization=utilization, tensor=tensor, memory=memory)

    assert state == classify(told, 90.0, 170.0, StateRule())
