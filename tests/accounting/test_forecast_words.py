"""Forecasts in words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.accounting.forecast_words import current_lines, forecast_lines, percent
from gpuwatch.model import Estimate, Forecast, Scope

T0 = 1_764_000_000.0
HOUR = 3600.0
LIKE = "burn-up of 37 % of 9000 steps; 41 jobs like it (ada, train-#)"
RECORD = "80 % intervals held 79 % of the time in 412 finished forecasts"


def forecast(quantity: str = "device-hours", **changed: Any) -> Forecast:
    """640 device-hours were declared, 260 are used, and it is forecast to need 590 to 910."""
    values: dict[str, Any] = {
        "scope": Scope("job", "7"), "quantity": quantity, "used": 260 * HOUR, "declared": None, "basis": LIKE,
        "quantiles": {0.1: 590 * HOUR, 0.5: 702 * HOUR, 0.9: 910 * HOUR}, "time": T0, "p_over": 0.78,
        "crosses_at": T0 + 40_000.0, "crosses_between": (T0 + 30_000.0, None), "against": "declared",
        "reference": 640 * HOUR, "record": RECORD, **changed,
    }  # fmt: skip
    return Forecast(**values)


def test_a_forecast_says_where_it_ends_and_whether_that_is_too_much() -> None:
    """And why, and how right such forecasts were."""
    assert [
        "device-hours: 80 % between 590 and 910, most likely 702 (declared 640)",
        "  over the declaration by more than the tolerance with probability 78 %; "
        "crossed about 2025-11-25 03:06Z (80 %: 00:20Z to never)",
        "will be killed by its time limit with probability 63 %",
        f"because: {LIKE}",
        f"record: {RECORD}",
    ] == [*forecast_lines([forecast(p_limit=0.63)])]


def test_what_is_the_same_for_all_quantities_is_said_once() -> None:
    """Why, the record and the time limit; the rest by quantity, in units that fit."""
    energy = forecast(
        "energy", quantiles={0.1: 9e8, 0.5: 1.2e9, 0.9: 4e9}, used=6e8, reference=3e9, p_over=0.1, p_limit=0.63,
        crosses_at=None, crosses_between=(T0 + 90_000.0, None),
    )  # fmt: skip

    assert [
        "device-hours: 80 % between 590 and 910, most likely 702 (declared 640)",
        "  over the declaration by more than the tolerance with probability 78 %; "
        "crossed about 2025-11-25 03:06Z (80 %: 00:20Z to never)",
        "energy: 80 % between 0.25 and 1.1 MWh, most likely 0.33 (declared 0.83)",
        "  over the declaration by more than the tolerance with probability 10 %; "
        "crossed 2025-11-25 17:00Z at the earliest, most likely never",
        "will be killed by its time limit with probability 63 %",
        f"because: {LIKE}",
        f"record: {RECORD}",
    ] == [*forecast_lines([forecast(p_limit=0.63), energy])]


def test_what_differs_is_said_of_which_quantity_it_is() -> None:
    """As energy that was not measured for a part."""
    why = f"{LIKE}; not measured for 10 % of the held time"

    lines = [*forecast_lines([forecast(record=""), forecast("energy", basis=why, record="")])]

    assert [f"because (device-hours): {LIKE}", f"because (energy): {why}"] == lines[-2:]


def test_an_expectation_is_not_called_declared() -> None:
    """Nobody declared it."""
    text = "\n".join(forecast_lines([forecast(against="expected")]))

    assert "most likely 702 (at first expected at most 640)" in text
    assert "over what was expected at first by more than the tolerance with probability 78 %" in text
    assert "decla" not in text


def test_without_anything_to_compare_with_there_is_no_overrun() -> None:
    """Only where it ends."""
    alone = forecast(against="", reference=None, p_over=None, crosses_at=None, crosses_between=None, record="")

    assert [
        "device-hours: 80 % between 590 and 910, most likely 702",
        f"because: {LIKE}",
    ] == [*forecast_lines([alone])]


@pytest.mark.parametrize(
    ("p_over", "line"),
    [
        (0.4, "  over the declaration already: 700 used; by more than the tolerance with probability 40 %"),
        (1.0, "  over the declaration already: 700 used"),
    ],
)
def test_an_overrun_that_has_happened_is_no_forecast(p_over: float, line: str) -> None:
    """But for whether it becomes one beyond what is tolerated."""
    assert line == [*forecast_lines([forecast(used=700 * HOUR, p_over=p_over)])][1]


@pytest.mark.parametrize(
    ("at", "between", "words"),
    [
        (None, None, ""),
        (T0 + HOUR, None, "; crossed about 2025-11-24 17:00Z"),
        (T0 + HOUR, (T0 + HOUR, T0 + HOUR), "; crossed about 2025-11-24 17:00Z"),
        (T0 + HOUR, (T0 + HOUR, None), "; crossed about 2025-11-24 17:00Z, if at all"),
        (T0 + HOUR, (T0, T0 + 2 * HOUR), "; crossed about 2025-11-24 17:00Z (80 %: 16:00Z to 18:00Z)"),
        (
            T0 + 9 * HOUR,
            (T0, T0 + 10 * HOUR),
            "; crossed about 2025-11-25 01:00Z (80 %: 2025-11-24 16:00Z to 2025-11-25 02:00Z)",
        ),
    ],
)
def test_when_it_is_crossed_is_said_as_far_as_it_is_known(
    at: float | None, between: tuple[float, float | None] | None, words: str
) -> None:
    """The day where it is another one, ends of an interval where they are different moments, and nothing else."""
    line = [*forecast_lines([forecast(crosses_at=at, crosses_between=between)])][1]

    assert "  over the declaration by more than the tolerance with probability 78 %" + words == line


@pytest.mark.parametrize(
    ("low", "high", "words"), [(640, 640, "(declared 640)"), (500, 640, "(declared at most 640)")]
)
def test_of_a_declared_range_it_is_held_against_the_end(low: float, high: float, words: str) -> None:
    """And it says so, as the list of jobs has the likely amount."""
    declared = Estimate(Scope("job", "7"), "device-hours", low * HOUR, low * HOUR, high * HOUR, "s")

    assert words in next(iter(forecast_lines([forecast(declared=declared)])))


def test_without_a_forecast_it_is_said_why() -> None:
    """Once for all quantities."""
    nothing: Any = {"quantiles": {}, "basis": "no progress reported", "p_over": None}

    assert ["no forecast: no progress reported"] == [
        *forecast_lines([forecast(**nothing), forecast("energy", **nothing)])
    ]


def test_what_has_ended_came_to_what_it_used() -> None:
    """Nothing is forecast of it any more."""
    ended = forecast(quantiles={0.5: 700 * HOUR}, used=700 * HOUR, basis="ended", p_over=1.0)

    assert ["device-hours: came to 700 (declared 640)"] == [*forecast_lines([ended])]


def test_an_interval_without_width_is_an_amount() -> None:
    """As where the time limit is an end to all of it."""
    limited = forecast("wall", quantiles={0.1: 4 * HOUR, 0.5: 4 * HOUR, 0.9: 4 * HOUR}, against="", reference=None)

    assert "wall: 4 h" == next(iter(forecast_lines([limited])))


def test_a_median_alone_is_most_likely() -> None:
    """As long as there is no interval."""
    thin = forecast("energy", quantiles={0.5: 1.62e9}, against="", reference=None)

    assert "energy: most likely 450 kWh" == next(iter(forecast_lines([thin])))


@pytest.mark.parametrize(
    ("probability", "text"), [(0.0, "below 1 %"), (0.009, "below 1 %"), (0.5, "50 %"), (0.999, "above 99 %")]
)
def test_nobody_is_quite_sure(probability: float, text: str) -> None:
    """A probability is never 0 or 1."""
    assert text == percent(probability)


@given(
    st.floats(0, 1e300), st.floats(0, 1e300), st.floats(0, 1e300), st.floats(0, 1), st.floats(0, 1e300),
    st.sampled_from(("device-hours", "energy", "wall")),
)  # fmt: skip
def test_any_amount_has_words(low: float, high: float, reference: float, p: float, time: float, of: str) -> None:
    """However odd it is."""
    odd = forecast(
        of, quantiles={0.1: low, 0.5: low, 0.9: high}, reference=reference, p_over=p, crosses_at=time,
        crosses_between=(time, time), p_limit=p,
    )  # fmt: skip

    lines = [*forecast_lines([odd])]

    assert lines[0].startswith(f"{of}: ")


@pytest.mark.parametrize(
    ("forecasts", "first"),
    [
        ([], "no forecast yet: the next pass makes it"),
        ([forecast(time=T0 - 900.0)], "device-hours: 80 % between 590 and 910, most likely 702 (declared 640)"),
        ([forecast(time=T0 - 901.0)], "as of 2025-11-24 15:44Z: no pass was made since"),
    ],
)
def test_what_runs_is_told_of_by_the_latest_pass(forecasts: list[Forecast], first: str) -> None:
    """Where there was none yet, or none for long, that is said."""
    lines = [*current_lines({each.quantity: each for each in forecasts}, T0)]

    told = [*forecast_lines(forecasts)]
    assert first == lines[0]
    assert told == lines[len(lines) - len(told) :]
