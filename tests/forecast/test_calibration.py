"""Whether forecasts keep their promise, and what is done where they do not."""

from __future__ import annotations

from collections import deque
from math import erf, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.forecast.calibration import FEWEST, KINDS, Calibration, Places, kind_of
from gpuwatch.forecast.trials import LEVELS

LOW, HIGH = LEVELS.index(0.1), LEVELS.index(0.9)


def place_of(outcome: float, narrow: float, lean: float = 0.0) -> float:
    """Which quantile a standard normal outcome is to a forecaster whose spread is too small by a factor."""
    return 0.5 * (1.0 + erf(narrow * (outcome - lean) / sqrt(2.0)))


def after(runs: int, narrow: float, lean: float = 0.0, delay: int = 0, seed: int = 1) -> tuple[Places, float]:
    """What is known after so many runs, and how often the 80 % interval held in the later half of them."""
    random, known = np.random.default_rng(seed), Places()
    waiting: deque[float] = deque()
    held = []
    for outcome in random.standard_normal(runs).tolist():
        place = place_of(outcome, narrow, lean)
        held.append(known.in_force[LOW] <= place <= known.in_force[HIGH])
        waiting.append(place)
        if len(waiting) > delay:
            known = known.learned(waiting.popleft())
    return known, float(np.mean(held[runs // 2 :]))


@pytest.mark.parametrize(
    ("narrow", "lean"), [(0.5, 0.0), (1.0, 0.0), (2.0, 0.0), (0.5, 0.5), (1.0, 0.5), (1.5, 0.3)]
)
def test_a_distorted_forecaster_keeps_its_promise(narrow: float, lean: float) -> None:
    """Intervals half or twice as wide as they should be, also beside the middle: 80 % hold 80 % of the time."""
    _, held = after(6000, narrow, lean)

    assert pytest.approx(0.80, abs=0.03) == held


def test_uncorrected_it_would_not() -> None:
    """The forecaster of that test holds half of what it promises."""
    random = np.random.default_rng(1)
    places = [place_of(outcome, 2.0) for outcome in random.standard_normal(3000)]

    assert np.mean([0.1 <= each <= 0.9 for each in places]) < 0.55


def test_a_right_forecaster_is_left_as_it_is() -> None:
    """What is corrected is noise about the levels."""
    known, _ = after(6000, 1.0)

    assert pytest.approx(LEVELS, abs=0.08) == known.in_force


@pytest.mark.parametrize("delay", [50, 200])
def test_endings_that_come_late_do_not_overshoot(delay: int) -> None:
    """So many runs are always under way: intervals are neither much too wide nor too narrow for it."""
    known, held = after(8000, 2.0, delay=delay)

    assert pytest.approx(0.80, abs=0.03) == held
    assert known.in_force[HIGH] < 0.9985


def test_before_enough_runs_have_ended_nothing_is_corrected() -> None:
    """However wrong the first ones were."""
    known = Places()
    for _ in range(FEWEST - 1):
        known = known.learned(0.999)

    assert (LEVELS, 0.42) == (known.in_force, known.corrected(0.42))
    assert known.learned(0.999).in_force > LEVELS


@given(st.lists(st.floats(0, 1), min_size=FEWEST, max_size=FEWEST + 150))
def test_places_rise_within_all_there_is(told: list[float]) -> None:
    """Whatever outcomes were."""
    known = Places()
    for place in told:
        known = known.learned(place)

    assert len(told) == known.n
    assert list(known.in_force) == sorted(known.in_force)
    assert 0.0 < known.in_force[0] <= known.in_force[-1] < 1.0


@given(st.floats(0.3, 3.0), st.floats(-0.5, 0.5), st.lists(st.floats(0, 1), min_size=2, max_size=9))
def test_what_is_corrected_is_the_inverse_of_the_places(narrow: float, lean: float, asked: list[float]) -> None:
    """At each level; between them it rises, from nothing to certainty."""
    known, _ = after(400, narrow, lean)
    corrected = [known.corrected(each) for each in sorted(asked)]

    for place, level in zip(known.in_force, LEVELS, strict=True):
        if known.in_force.count(place) == 1:
            assert pytest.approx(level) == known.corrected(place)
    assert sorted(corrected) == corrected
    assert (0.0, 1.0) == (known.corrected(0.0), known.corrected(1.0))


def test_stages_learn_for_themselves() -> None:
    """What is known of one says nothing of another."""
    known, kind = Calibration(), KINDS[0]
    for _ in range(150):
        known.learn("submit", kind, 0.99)

    assert (150, 0) == (known.at("submit", kind).n, known.at("0.5", kind).n)
    assert known.at("submit", kind).in_force[HIGH] > 0.9
    assert LEVELS == known.at("0.5", kind).in_force


def test_kinds_of_runs_learn_for_themselves_once_there_are_enough() -> None:
    """Until then all that reached the stage speak for them."""
    known, (often, seldom) = Calibration(), KINDS[:2]
    for _ in range(150):
        known.learn("submit", often, 0.99)
    early = known.at("submit", seldom)
    for _ in range(120):
        known.learn("submit", seldom, 0.01)

    assert (150, 120) == (early.n, known.at("submit", seldom).n)
    assert known.at("submit", seldom).in_force[HIGH] < known.at("submit", often).in_force[HIGH]


def test_what_was_submitted_together_moves_less_than_its_number() -> None:
    """Those of one batch, each with the weight of its place in it, move less than as many single ones."""
    batch, single = Places(), Places()
    for number in range(20):
        batch = batch.learned(0.99, (number + 1) ** -0.5)
        single = single.learned(0.99)

    assert LEVELS[HIGH] < batch.places[HIGH] < single.places[HIGH]


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("progress", [True, False])
def test_each_kind_of_run_has_a_name(declared: bool, progress: bool) -> None:
    """By whether it says how far it is, and whether it was declared."""
    found = kind_of(progress, declared)

    assert (progress, not declared) == ("with progress" in found, found.startswith("expected"))
