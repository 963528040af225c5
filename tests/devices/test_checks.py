"""The range check: what cannot be believed is dropped and counted, all else passes untouched."""

from __future__ import annotations

from dataclasses import fields, replace
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.devices.checks import BOUNDS, MOST_JOULES, REASONS, SENTINELS, checked, reason_against
from gpuwatch.model import Process, Reading, metrics_of

GOOD = Reading(
    device="GPU-0",
    time=1000.0,
    utilization_ratio=0.0,
    memory_used_bytes=0,
    power_watts={("average", "device"): 700.0, ("instant", "device"): 0.0},
    energy_joules=0.0,
    temperature_celsius={"gpu": 35.0},
    throttle_seconds={"sw_thermal": 0.0},
    processes=(Process(4242, 1024),),
)

NUMBERS = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(-(2**70), 2**70),
    st.just(10**400),
    st.sampled_from(sorted(SENTINELS)),
)


def test_a_believable_reading_is_the_same_object() -> None:
    """Zero is a reading; nothing is copied and nothing counted where all is well."""
    reading, rejected = checked(GOOD)

    assert reading is GOOD
    assert dict(rejected) == {}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (nan, "not_finite"),
        (inf, "not_finite"),
        (-inf, "not_finite"),
        (-0.001, "too_low"),
        (1.001, "too_high"),
        (4294967295, "sentinel"),
        (18446744073709551615, "sentinel"),
        ("12 %", "not_a_number"),
    ],
)
def test_an_unbelievable_value_becomes_unknown(value: object, reason: str) -> None:
    """The value goes, with its reason; the rest of the reading stays."""
    reading, rejected = checked(replace(GOOD, utilization_ratio=value))  # type: ignore[arg-type]

    assert reading == replace(GOOD, utilization_ratio=None)
    assert dict(rejected) == {reason: 1}


def test_one_bad_series_leaves_its_neighbours() -> None:
    """Of a labelled value only the bad key goes."""
    reading, rejected = checked(
        replace(GOOD, power_watts={("average", "device"): 300.0, ("instant", "device"): 4294967.295})
    )

    assert reading.power_watts == {("average", "device"): 300.0}
    assert dict(rejected) == {"sentinel": 1}


@pytest.mark.parametrize("joules", [-1.0, 2.0 * MOST_JOULES, nan, 4294967295.0])
def test_the_energy_counter_has_a_range_too(joules: float) -> None:
    """It is no exported metric of a reading, and is checked all the same."""
    reading, rejected = checked(replace(GOOD, energy_joules=joules))

    assert reading.energy_joules is None
    assert sum(rejected.values()) == 1


def test_what_the_source_rejected_is_counted_with_the_rest() -> None:
    """A source knows what was malformed before it became a number; the reading stays as it is."""
    told = replace(GOOD, rejected={"malformed": 2, "too_high": 1})
    reading, rejected = checked(told)
    _, both = checked(replace(told, utilization_ratio=7.0))

    assert reading is told
    assert dict(rejected) == {"malformed": 2, "too_high": 1}
    assert dict(both) == {"malformed": 2, "too_high": 2}


def test_a_process_outlives_its_unbelievable_memory() -> None:
    """Who holds the device is kept; how much memory is not."""
    reading, rejected = checked(replace(GOOD, processes=(Process(7, 2**64 - 1), Process(8, 5))))

    assert (Process(7, None), Process(8, 5)) == reading.processes
    assert dict(rejected) == {"sentinel": 1}


def test_every_value_of_a_reading_has_a_bound() -> None:
    """A field added to the model is checked without anybody thinking of it."""
    exported = {each.field for each in metrics_of(Reading)}
    rest = {each.name for each in fields(Reading)} - exported - {"device", "time", "processes", "rejected"}

    assert {bound.field for bound in BOUNDS} == exported | rest


@given(value=NUMBERS, bound=st.sampled_from(BOUNDS))
def test_what_passes_is_in_range_and_what_does_not_is_counted_once(value: float, bound: object) -> None:
    """For any number in any field: kept and believable, or dropped and counted, never both."""
    name, low, high, labelled = bound  # type: ignore[misc]
    shown = {"label": value} if labelled else value

    reading, rejected = checked(Reading("GPU-0", 1.0, **{name: shown}))

    kept = getattr(reading, name)
    kept = kept.get("label") if labelled else kept
    if kept is None:
        assert sum(rejected.values()) == 1
        assert set(rejected) <= set(REASONS)
    else:
        assert kept == value
        assert low <= kept <= high
        assert not rejected
        assert value not in SENTINELS


@given(value=NUMBERS)
def test_checking_twice_changes_nothing_more(value: float) -> None:
    """The check is idempotent."""
    once, _ = checked(replace(GOOD, power_limit_watts=value))

    again, rejected = checked(once)

    assert again is once
    assert not rejected


@given(value=st.floats(0, 1))
def test_a_ratio_in_its_range_is_believed(value: float) -> None:
    """Nothing speaks against any number between the bounds."""
    assert reason_against(value, 0, 1) is None
