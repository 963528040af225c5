"""What was forecast of a run while it ran, beside what it came to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.forecast.trials import (
    CUT_STATES,
    FAILED_STATES,
    INTERVALS,
    LEVELS,
    SHARES,
    STAGES,
    THRESHOLDS,
    Call,
    Mark,
    Stage,
    Trial,
    at_end,
    stage_of,
)  # fmt: skip

MARK = Mark(0.0, (10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0))


def test_intervals_lie_between_quantiles_that_there_are() -> None:
    """Each holds what it promises."""
    for percent, (low, high) in INTERVALS.items():
        assert {low, high} <= set(LEVELS)
        assert pytest.approx(percent / 100) == high - low


@pytest.mark.parametrize(
    ("share", "stage"),
    [
        (0.0, "submit"), (0.0999, "submit"), (0.1, "0.1"), (0.3, "0.25"), (0.5, "0.5"), (0.74, "0.5"),
        (0.75, "0.75"), (9.0, "0.75"),
    ],
)  # fmt: skip
def test_a_stage_is_the_last_that_was_reached(share: float, stage: Stage) -> None:
    """By how much of what is declared is used."""
    assert stage == stage_of(share)


def test_stages_are_called_by_their_share() -> None:
    """In rising order."""
    assert STAGES == tuple(SHARES)
    assert [float(stage) for stage in STAGES[1:]] == sorted(SHARES.values())[1:]


def test_failed_runs_are_cut_too() -> None:
    """Whatever a failed run would have come to, nobody knows."""
    assert FAILED_STATES < CUT_STATES
    assert {"CANCELLED", "TIMEOUT"} <= CUT_STATES - FAILED_STATES


@pytest.mark.parametrize(
    ("final", "place"),
    [(5.0, 0.025), (10.0, 0.05), (100.0, 0.5), (1000.0, 0.95), (1001.0, 0.975), (200.0**0.5 * 100.0**0.5, 0.625)],
)
def test_a_place_is_which_quantile_a_run_came_to(final: float, place: float) -> None:
    """Between two by their logarithms; beyond the outermost in the middle of what is left."""
    assert pytest.approx(place) == MARK.place(final)


def test_a_place_is_the_raw_one() -> None:
    """Not the one that it was corrected to."""
    raw = (0.01, 0.02, 0.1, 0.4, 0.8, 0.98, 0.99)

    assert [0.4, 0.005, 0.995] == [MARK._replace(places=raw).place(final) for final in (100.0, 1.0, 5000.0)]


_rising = st.lists(st.floats(0, 1e12), min_size=len(LEVELS), max_size=len(LEVELS)).map(
    lambda each: tuple(sorted(each))
)


@given(_rising, st.lists(st.floats(0, 1e13), min_size=2, max_size=8))
def test_a_place_rises_with_what_a_run_came_to(quantiles: tuple[float, ...], finals: list[float]) -> None:
    """Also where several quantiles are one amount, and where they are nothing."""
    mark = Mark(0.0, quantiles)

    places = [mark.place(final) for final in sorted(finals)]

    assert all(0.0 < each < 1.0 for each in places)
    assert (np.diff(places) >= -1e-12).all()


@given(_rising, st.floats(0.05, 0.95))
def test_a_place_is_the_inverse_of_the_quantiles(quantiles: tuple[float, ...], level: float) -> None:
    """Within them."""
    rising = tuple(1.0 + each + number for number, each in enumerate(quantiles))
    amount = float(np.exp(np.interp(level, LEVELS, np.log(rising))))
    amount = min(max(amount, rising[0]), rising[-1])

    # Amounts that differ by less than is computed exactly have no place of their own.
    if min(np.diff(np.log(rising))) > 1e-6:
        assert pytest.approx(level, abs=1e-6) == Mark(0.0, rising).place(amount)


@pytest.mark.parametrize(("final", "over"), [(109.0, False), (110.0, False), (111.0, True)])
def test_an_overrun_is_above_the_tolerance(final: float, over: bool) -> None:
    """A tenth more is none."""
    assert over == Trial("ada", 100.0, final, {}, {}).is_over(0.1 + 1e-12)


def test_an_overrun_that_nobody_called_became_one_when_the_tolerance_was_used_up() -> None:
    """One that was called earlier keeps its call; what stayed within keeps what was called of it."""
    early = Call(40.0, 0.6)

    assert {**dict.fromkeys(THRESHOLDS, Call(1250.0, 1.0)), 0.5: early} == at_end(
        {0.5: early}, 1000.0, 1300.0, 0.25
    )
    assert {0.5: early} == at_end({0.5: early}, 1000.0, 1250.0, 0.25)
