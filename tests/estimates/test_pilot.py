"""A large run from small ones: exponents are found, intervals hold, and too little is said to be too little."""

from __future__ import annotations

import random
from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.errors import Rejected
from gpuwatch.estimates.pilot import Pilot, Prediction, predict, students_t, suggested


def law(sizes: dict[str, float], exponents: dict[str, float], factor: float = 2.0, **more: float) -> Pilot:
    """A run that keeps to a power law to the last digit."""
    hours = factor
    for name, exponent in exponents.items():
        hours *= {**sizes, **more}[name] ** exponent
    return Pilot("run", sizes, hours, more.get("devices"))


@given(st.floats(0.2, 2.5), st.floats(0.01, 100))
def test_the_exponent_of_a_power_law_is_found(exponent: float, factor: float) -> None:
    """And what it says ten times farther."""
    runs = [law({"params": size}, {"params": exponent}, factor) for size in (1e6, 4e6, 1.6e7)]
    found = predict(runs, {"params": 1.6e8})

    assert exponent == pytest.approx(found.exponents["params"].value, abs=1e-6)
    assert factor * 1.6e8**exponent == pytest.approx(found.quantiles[0.5], rel=1e-6)
    assert 10 == pytest.approx(found.extrapolation)


def test_each_size_has_an_exponent_of_its_own() -> None:
    """Parameters and tokens, that were changed apart."""
    powers = {"params": 0.9, "tokens": 1.1}
    runs = [law({"params": p, "tokens": t}, powers) for p in (1e6, 4e6, 1.6e7) for t in (1e8, 4e8, 1.6e9)]
    found = predict(runs, {"params": 1e8, "tokens": 1e10})

    assert powers == {name: pytest.approx(each.value) for name, each in found.exponents.items()}


def test_scaling_over_devices_is_a_term_of_its_own() -> None:
    """Eight times the devices cost a tenth more; asked for 64, the answer has that in it."""
    powers = {"params": 1.0, "devices": 0.05}
    runs = [law({"params": p}, powers, devices=d) for p in (1e6, 4e6, 1.6e7) for d in (1.0, 8.0)]
    few, many = (predict(runs, {"params": 1.6e7}, devices) for devices in (8.0, 64.0))

    assert 0.05 == pytest.approx(few.exponents["devices"].value)
    assert 8**0.05 == pytest.approx(many.quantiles[0.5] / few.quantiles[0.5])


def test_the_number_of_devices_is_the_largest_run_s_where_nobody_says() -> None:
    """And it is said so."""
    runs = [law({"a": a}, {"a": 1.0}, devices=d) for a in (1.0, 2.0, 4.0) for d in (1.0, 8.0)]

    assert "for 8 devices" in predict(runs, {"a": 8.0}).warnings[0]


def test_a_size_that_no_run_changed_and_that_stays_has_no_exponent() -> None:
    """It is in the factor."""
    runs = [law({"a": a, "b": 3.0}, {"a": 1.0}) for a in (1.0, 2.0, 4.0)]

    assert {"a"} == set(predict(runs, {"a": 8.0, "b": 3.0}).exponents)


@pytest.mark.parametrize(
    ("runs", "to", "devices", "named"),
    [
        ([law({"a": 1e6}, {})], {"a": 1e9}, None, "of 3 different a are needed.*run a=4e.06 and a=1.6e.07 too"),
        ([law({"a": 1e6}, {}), law({"a": 4e6}, {})], {"a": 1e9}, None, "run a=1.6e.07 too"),
        ([law({"a": 1e6}, {})] * 5, {"a": 2e6}, None, "run a=6.25e.04 and a=2.5e.05 too"),
        ([], {"a": 1e9}, None, "runs of 3 different a are needed, there is none"),
        ([law({"b": 1.0}, {})], {"a": 1.0}, None, "has no 'a'"),
        ([law({"a": a}, {}, devices=8.0) for a in (1.0, 2.0, 4.0)], {"a": 9.0}, 64.0, "all runs had 8 devices"),
        ([law({"a": a}, {}, devices=a) for a in (1.0, 2.0, 4.0)], {"a": 9.0}, 9.0, "run 4 at least"),
        (
            [law({"a": a}, {}, devices=a) for a in (1.0, 2.0, 4.0, 8.0)], {"a": 9.0}, 9.0, "changed together",
        ),
        ([law({"a": 1.0}, {}, factor=0.0)], {"a": 9.0}, None, "must be more than 0"),
        ([law({"a": 1.0}, {}, factor=float("nan"))], {"a": 9.0}, None, "must be more than 0"),
        ([], {"a": -1.0}, None, "more than 0 and at most"),
        ([], {"a": 1e300}, None, "more than 0 and at most"),
        ([], {"a": 1.0}, 0.0, "devices=0 is not possible"),
        ([], {"a": 1.0}, float("nan"), "devices=nan is not possible"),
        ([], {"a": 1.0, "devices": 64.0}, None, "write --devices 64"),
        ([law({"a": 1.0}, {}, factor=1e200)], {"a": 9.0}, None, "must be more than 0"),
        ([law({"a": a}, {"a": 9.0}) for a in (1.0, 4.0, 16.0)], {"a": 1e6}, None, "may be anything"),
        ([law({"a": 1.0 + a}, {"a": 1e3}) for a in (0.0, 1e-9, 2e-9)], {"a": 2.0}, None, "may be anything"),
        ([law({"a": 1.0, "b": 1.0}, {})], {"a": 1.0, "b": 1.0}, None, "run 2 at least"),
        ([], {}, None, "no size to predict for"),
    ],
)  # fmt: skip
def test_too_little_is_no_line_but_what_to_run(
    runs: list[Pilot], to: dict[str, float], devices: float | None, named: str
) -> None:
    """Which sizes, how many, or what is wrong."""
    with pytest.raises(Rejected, match=named):
        predict(runs, to, devices)


def test_sizes_to_run_stay_below_the_goal() -> None:
    """Four times larger where that is below it, else smaller ones."""
    assert [4e6, 1.6e7] == suggested([1e6], 1e9)
    assert [1e6 / 16, 1e6 / 4] == suggested([1e6], 2e6)
    assert 3 == len(suggested([], 1e9))


def test_far_beyond_is_warned_of() -> None:
    """A thousand times the largest size, with what would be near enough."""
    runs = [law({"a": a}, {"a": 1.0}) for a in (1e6, 4e6, 1.6e7)]

    assert "1,000 times beyond" in predict(runs, {"a": 1.6e10}).warnings[0]
    assert () == predict(runs, {"a": 1.6e8}).warnings


def test_farther_is_wider_and_so_are_fewer_runs() -> None:
    """The interval grows with the distance, though all keep to the line."""
    runs = [law({"a": 4.0**n}, {"a": 1.0}) for n in range(6)]

    def width(found: Prediction) -> float:
        return found.quantiles[0.9] / found.quantiles[0.1]

    near, far, few = predict(runs, {"a": 2e3}), predict(runs, {"a": 2e4}), predict(runs[:3], {"a": 2e3})
    assert width(near) < width(far)
    assert width(near) < width(few)


@pytest.mark.parametrize(
    ("q", "freedom", "known"),
    [
        (0.9, 1, 3.0777), (0.975, 1, 12.7062), (0.9, 2, 1.8856), (0.975, 2, 4.3027), (0.9, 3, 1.6377),
        (0.975, 3, 3.1824), (0.975, 4, 2.7764), (0.9, 5, 1.4759), (0.975, 10, 2.2281), (0.9, 30, 1.3104),
    ],
)  # fmt: skip
def test_student_s_t_is_that_of_the_tables(q: float, freedom: int, known: float) -> None:
    """Both ends of it."""
    assert known == pytest.approx(students_t(q, freedom), abs=6e-5)
    assert -known == pytest.approx(students_t(1 - q, freedom), abs=6e-5)


@pytest.mark.parametrize(
    ("runs", "noise", "times"),
    [(3, 0.1, 10), (4, 0.1, 10), (6, 0.2, 10), (6, 0.15, 30), (8, 0.2, 10), (12, 0.1, 3)],
)
def test_intervals_hold_what_they_say(runs: int, noise: float, times: float) -> None:
    """Of 600 runs whose exponent changes a little beyond the pilots, 75 to 90 % lie in the 80 % intervals."""
    chance = random.Random(runs)
    inside = 0
    for _ in range(600):
        exponent = chance.uniform(0.8, 1.3)
        sizes = [10 ** (1.5 * n / (runs - 1)) for n in range(runs)]
        pilots = [Pilot("run", {"a": a}, a**exponent * exp(chance.gauss(0, noise))) for a in sizes]
        found = predict(pilots, {"a": sizes[-1] * times})
        truth = sizes[-1] ** exponent * times ** chance.gauss(exponent, 0.05) * exp(chance.gauss(0, noise))
        inside += found.quantiles[0.1] <= truth <= found.quantiles[0.9]

    assert 0.75 <= inside / 600 <= 0.9
