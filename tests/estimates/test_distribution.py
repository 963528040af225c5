"""Distributions of what runs came to: quantiles, runs that were cut short, what is left of the longer ones."""

from __future__ import annotations

import random
from statistics import quantiles

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.estimates.distribution import Distribution, Sample, distribution

_amounts = st.floats(1e-3, 1e6)
_samples = st.lists(st.builds(Sample, _amounts, st.booleans(), st.floats(0.05, 1.0)), min_size=1, max_size=40)
_ratios = st.lists(st.floats(0.001, 0.999), min_size=2, max_size=5).map(sorted)


def of(*amounts: float, cut: tuple[float, ...] = ()) -> Distribution:
    """Runs that came to these amounts, and some that were cut short at theirs."""
    return distribution([*(Sample(each) for each in amounts), *(Sample(each, True) for each in cut)])


def test_quantiles_of_runs_that_all_ended_are_theirs() -> None:
    """The median of five is the third, and the mass up to each rises evenly."""
    found = of(5, 1, 4, 2, 3)

    assert (1, 2, 3, 4, 5) == found.amounts
    assert pytest.approx((0.2, 0.4, 0.6, 0.8, 1.0)) == found.mass
    assert found.quantile(0.6) == pytest.approx(3)
    assert found.quantile(1.0) == 5


def test_a_run_that_was_cut_short_moves_its_mass_to_the_longer_ones() -> None:
    """By hand: of four at risk one ends at 1, one is cut at 2, one of two ends at 3, then the last."""
    found = of(1, 3, 4, cut=(2,))

    assert (1, 3, 4) == found.amounts
    assert pytest.approx((0.25, 0.625, 1.0)) == found.mass
    assert (4, 1) == (found.n, found.cut)


def test_what_the_longest_cut_run_hides_is_not_known() -> None:
    """Half of the mass lies beyond 10, nobody knows where."""
    found = of(1, 2, cut=(10, 10))

    assert found.quantile(0.5) == 2
    assert found.quantile(0.6) is None


def test_a_tie_ends_before_it_is_cut() -> None:
    """A run cut at the amount at which another ended was at risk of it."""
    assert pytest.approx((0.5,)) == of(3, cut=(3,)).mass


def test_no_run_that_ended_is_no_distribution() -> None:
    """Neither of nothing nor of runs that were all cut short is there a quantile."""
    assert of().quantile(0.5) is None
    assert of(cut=(1, 2)).quantile(0.5) is None


def test_weights_count_as_repetitions_do() -> None:
    """A run of twice the weight is two."""
    weighted = distribution([Sample(1, weight=2.0), Sample(2), Sample(3, True)])

    assert of(1, 1, 2, cut=(3,)).mass == pytest.approx(weighted.mass)


def test_one_run_more_may_lie_beyond_all() -> None:
    """Of nine runs the outer tenths are theirs at best; of eight they are not known."""
    nine, eight = of(*range(1, 10)), of(*range(1, 9))

    assert (1, 9) == (nine.foreseen(0.1), pytest.approx(nine.foreseen(0.9)))
    assert eight.foreseen(0.1) is None
    assert eight.foreseen(0.9) is None
    assert eight.foreseen(0.5) is not None


def test_intervals_for_one_run_more_cover_what_they_say() -> None:
    """Of 4,000 draws the 80 % interval of 30 others holds 77 to 83 %, and that of 12 no less."""
    chance = random.Random(4)
    for others in (12, 30):
        inside = 0
        for _ in range(4000):
            found = of(*(chance.lognormvariate(0, 1.5) for _ in range(others)))
            low, high = found.foreseen(0.1), found.foreseen(0.9)
            assert low is not None
            assert high is not None
            inside += low <= chance.lognormvariate(0, 1.5) <= high
        assert 0.77 <= inside / 4000 <= 0.83


@given(_samples, _ratios)
def test_quantiles_rise_and_stay_within_what_was_seen(samples: list[Sample], ratios: list[float]) -> None:
    """Whatever was cut and however it is weighted; what is not known lies above all that is."""
    found = distribution(samples)

    known = [found.quantile(q) for q in ratios]
    amounts = [each for each in known if each is not None]
    assert amounts == sorted(amounts)
    assert known[: len(amounts)] == amounts
    assert all(min(samples).amount <= each <= max(samples).amount for each in amounts)


@given(_samples, _amounts, _ratios)
def test_what_is_used_already_is_never_foreseen(samples: list[Sample], used: float, ratios: list[float]) -> None:
    """Conditioned, every quantile is at least what was used, and at least what it was without."""
    found = distribution(samples)

    for q in ratios:
        plain, later = found.quantile(q), found.quantile(q, used)
        if later is not None:
            assert later >= used
            assert plain is not None
            assert later >= plain * (1 - 1e-9)


@given(st.lists(_amounts, min_size=50, max_size=200, unique=True))
def test_many_runs_have_the_quantiles_that_statistics_knows(amounts: list[float]) -> None:
    """Between the neighbours of the same rank."""
    ordered = sorted(amounts)
    found = of(*amounts)

    place = len(ordered) // 2
    median = found.quantile(0.5)
    assert median is not None
    assert ordered[place - 1] * (1 - 1e-9) <= median <= ordered[min(place + 1, len(ordered) - 1)] * (1 + 1e-9)
    assert quantiles(amounts, n=2)[0] == pytest.approx(median, abs=ordered[place + 1] - ordered[place - 2])
