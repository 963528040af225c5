"""What a class of runs came to, as a row of amounts."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.forecast.reference import (
    CUT_SCALE,
    LEAST_SCALE,
    MASS,
    MIDDLE,
    Array,
    Going,
    Member,
    ReferenceClass,
    Tail,
    completed,
    row_around,
    row_of,
    row_through,
)  # fmt: skip


def class_of(
    amounts: Sequence[float], most: int = 2000, people: int = 1, batch: str | None = None
) -> ReferenceClass:
    """Runs that came to these amounts, logarithms, each submitted alone unless a batch is named."""
    found = ReferenceClass(most, Tail(), people)
    for number, amount in enumerate(amounts):
        found.add(Member(amount, batch or f"b{number}", "ada"))
    return found


def row(found: ReferenceClass, now: float = 0.0) -> Array:
    made = found.row(now)
    assert made is not None
    return made


def quantile(found: Array, place: float) -> float:
    return float(np.interp(place, MIDDLE, found))


def test_the_masses_of_a_row_are_all_there_is() -> None:
    """Each amount stands for its part of the whole, in the middle of it."""
    assert pytest.approx(1.0) == MASS.sum()
    assert len(MASS) == len(MIDDLE)
    assert pytest.approx(MASS[:-1].cumsum() + MASS[1:] / 2) == MIDDLE[1:]


def slow_kaplan_meier(members: Sequence[tuple[float, bool, float]]) -> dict[float, float]:
    """The textbook's: at each amount, survival falls by the weight that ended there beside that at risk."""
    survival, mass = 1.0, {}
    for at in sorted({amount for amount, cut, _ in members if not cut}):
        at_risk = sum(weight for amount, _, weight in members if amount >= at)
        ended = sum(weight for amount, cut, weight in members if amount == at and not cut)
        mass[at] = survival * ended / at_risk
        survival *= 1.0 - ended / at_risk
    return mass


_members = st.lists(
    st.tuples(st.integers(1, 12).map(float), st.booleans(), st.floats(0.01, 10)), min_size=1, max_size=25
)


@given(_members)
def test_what_is_cut_short_is_weighted_as_the_textbook_has_it(members: list[tuple[float, bool, float]]) -> None:
    """Kaplan and Meier, with weights and ties: what was cut at an amount came to more than what ended there."""
    members.sort(key=lambda each: (each[0], each[1]))
    weights = np.array([weight for _, _, weight in members])

    mass = completed(weights, np.array([cut for _, cut, _ in members])) / weights.sum()

    found: dict[float, float] = {}
    for (amount, cut, _), part in zip(members, mass.tolist(), strict=True):
        if not cut:
            found[amount] = found.get(amount, 0.0) + part
    assert pytest.approx(slow_kaplan_meier(members), abs=1e-9) == found


@pytest.mark.parametrize("cut_first", [True, False])
def test_a_class_takes_a_cut_run_for_longer_than_one_that_ended_there(cut_first: bool) -> None:
    """Whichever was told of first."""
    found, both = ReferenceClass(100, Tail()), [Member(2.0, "x", "ada", cut=True), Member(2.0, "y", "ada")]
    for member in [Member(1.0, "w", "ada"), *(both if cut_first else reversed(both)), Member(3.0, "z", "ada")]:
        found.add(member)
    same = row_of(np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.0, 2.0]), 4.0, 0.15)

    assert pytest.approx(same) == row(found)


_amounts = st.lists(st.floats(-20, 40), min_size=1, max_size=40)


@given(_amounts, st.lists(st.booleans(), min_size=40, max_size=40))
def test_a_row_rises(amounts: list[float], cuts: list[bool]) -> None:
    """Whatever ended and whatever was cut."""
    found = ReferenceClass(100, Tail())
    for number, (amount, cut) in enumerate(zip(amounts, cuts, strict=False)):
        found.add(Member(amount, f"b{number % 7}", "ada", cut))

    made = found.row(0.0)

    assert made is None or (np.isfinite(made).all() and (np.diff(made) >= -1e-9).all())
    assert (made is None) == all(cuts[: len(amounts)])


@given(_amounts, st.floats(-10, 10))
def test_runs_that_are_longer_by_a_factor_have_a_row_that_is(amounts: list[float], more: float) -> None:
    """Nothing but the shape is told by a class: amounts are logarithms."""
    assert pytest.approx(row(class_of(amounts)) + more, abs=1e-6) == row(
        class_of([each + more for each in amounts])
    )


def test_many_runs_are_told_by_their_own_quantiles() -> None:
    """A thousand runs from 0 to 1."""
    made = row(class_of(np.linspace(0.0, 1.0, 1000).tolist()))

    assert pytest.approx([0.1, 0.5, 0.9], abs=0.01) == [quantile(made, place) for place in (0.1, 0.5, 0.9)]


def test_one_run_more_is_as_likely_as_not_each_of_those_before() -> None:
    """Of nine runs a tenth lies below all of them, and a tenth above."""
    made = row(class_of([float(each) for each in range(9)]))

    assert pytest.approx(0.1, abs=0.02) == float(MASS[made < 0.0].sum())
    assert pytest.approx(0.1, abs=0.02) == float(MASS[made > 8.0].sum())


def test_one_run_alone_has_half_below_and_half_above() -> None:
    """Nothing else is known."""
    made = row(class_of([5.0]))

    assert pytest.approx(5.0) == quantile(made, 0.5)
    assert made[0] < 5.0 < made[-1]


def test_an_array_makes_no_certainty() -> None:
    """Of 50,000 tasks of one hour the latest count, and as many as their root says."""
    array = class_of([1.0 + number % 2 for number in range(50_000)], batch="ada 1")
    alone = class_of([1.0 + number % 2 for number in range(2000)])
    row(array), row(alone)

    assert (2000, pytest.approx(sqrt(2000)), 2000.0) == (len(array), array.n, alone.n)
    assert row(array)[0] < row(alone)[0]
    assert row(alone)[-1] < row(array)[-1]


def test_an_array_does_not_outvote_runs_of_other_times() -> None:
    """A hundred tasks of one hour count ten times, beside ten others that came to twice as much."""
    found = class_of([0.0] * 100, batch="ada 1")
    for number in range(10):
        found.add(Member(log(2.0), f"b{number}", "ada"))

    made = row(found)

    assert (20.0, pytest.approx(0.0)) == (pytest.approx(found.n), quantile(made, 0.3))
    assert pytest.approx(log(2.0)) == quantile(made, 0.7)


def test_a_class_of_several_says_nothing_before_enough_people_are_in_it() -> None:
    """One person's runs must not be told to others."""
    found = ReferenceClass(100, Tail(), people=3)
    seen = []
    for person in ("ada", "ada", "bob", "cleo"):
        found.add(Member(1.0, person, person))
        seen.append(found.row(0.0) is not None)

    assert [False, False, False, True] == seen


def test_people_who_have_left_a_class_count_no_more() -> None:
    """The latest two runs are of one person."""
    found = ReferenceClass(2, Tail(), people=2)
    for person in ("ada", "bob", "bob"):
        found.add(Member(1.0, person, person))

    assert None is found.row(0.0)


def test_the_latest_runs_count_and_no_others_are_kept() -> None:
    """Ten thousand runs that were long, then a hundred short ones."""
    found = class_of([9.0] * 10_000 + [1.0] * 100, most=100)

    assert (100, pytest.approx(1.0), 1.0) == (len(found), quantile(row(found), 0.5), found.highest)


def test_of_runs_that_go_on_no_more_are_kept_than_of_those_that_ended() -> None:
    """Each of the first ten is in it until it is over, and none of the others."""
    found = class_of([log(100.0)] * 3, most=10)
    for number in range(1000):
        found.begin(f"j{number}", Going(0.0, 1.0, 0.0, f"g{number}", "ada"))
    for number in range(10):
        found.over(f"j{number}")

    # None of those that were left out is cut at 1e6 seconds, above all that ended.
    assert log(100.0) == pytest.approx(quantile(row(found, now=1e6), 0.5))
    assert 3.0 == found.n


def test_a_run_that_used_nothing_yet_is_no_member() -> None:
    """It came to nothing so far, which says nothing."""
    going = Going(100.0, 2.0, log(50.0), "b", "ada")

    assert None is going.member(100.0)
    assert Member(pytest.approx(0.0), "b", "ada", cut=True) == going.member(125.0)


def test_a_class_of_which_all_goes_on_says_nothing() -> None:
    """Nobody knows where any of them ends."""
    found = ReferenceClass(10, Tail())
    found.begin("a", Going(0.0, 1.0, 0.0, "b", "ada"))

    assert None is found.row(1000.0)


def test_siblings_that_go_on_keep_short_ones_from_speaking_for_all() -> None:
    """Two hundred begin together: half take 1 h, half 10 h. After 2 h those that ended were all short."""
    alone, beside = ReferenceClass(200, Tail()), ReferenceClass(200, Tail())
    now = 2 * 3600.0
    for number in range(200):
        name, short = f"j{number}", number % 2 == 0
        beside.begin(name, Going(0.0, 1.0, 0.0, name, "ada"))
        if short:
            beside.over(name)
            for found in (alone, beside):
                found.add(Member(log(3600.0 + number), name, "ada"))

    long_alone, long_beside = (float(MASS[row(found, now) > log(7200.0)].sum()) for found in (alone, beside))

    assert long_alone < 0.02
    assert pytest.approx(0.5, abs=0.02) == long_beside


def test_once_the_long_ones_end_too_the_class_is_what_it_was() -> None:
    """Half 1 h, half 10 h: once all are over, siblings change nothing."""
    found = ReferenceClass(200, Tail())
    for number in range(200):
        name = f"j{number}"
        found.begin(name, Going(0.0, 1.0, 0.0, name, "ada"))
        found.over(name)
        found.add(Member(log(3600.0 if number % 2 else 36_000.0), name, "ada"))

    made = row(found, 40_000.0)

    assert pytest.approx([3600.0, 36_000.0]) == [exp(quantile(made, place)) for place in (0.3, 0.7)]


def test_beyond_runs_that_were_all_cut_the_tail_is_wide() -> None:
    """Half ended at 1, half were cut at 2: of those nobody knows how far they go."""
    found = ReferenceClass(100, Tail())
    for number in range(50):
        found.add(Member(1.0, f"e{number}", "ada"))
        found.add(Member(2.0, f"c{number}", "ada", cut=True))

    made = row(found)

    assert pytest.approx(2.0 + CUT_SCALE * log(2.0), abs=0.1) == quantile(made, 0.75)
    assert pytest.approx(1.0) == quantile(made, 0.3)


def test_a_tail_follows_the_median_of_what_lies_beyond() -> None:
    """Excesses of an exponential with scale .6 are learned for classes of that size, and for no others."""
    tail, random = Tail(), np.random.default_rng(1)
    before = [tail.scale(n) for n in (1, 3, 50)]
    for excess in random.exponential(0.6, 4000):
        tail.learn(50, float(excess))

    assert pytest.approx(0.6, rel=0.3) == tail.scale(50)
    assert before[:2] == [tail.scale(n) for n in (1, 3)]


@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(0, 1e6)), max_size=300))
def test_a_tail_has_bounds(learned: list[tuple[int, float]]) -> None:
    """Whatever lies beyond, however far."""
    tail = Tail()
    for n, excess in learned * 3:
        tail.learn(n, excess)

    assert all(LEAST_SCALE <= tail.scale(n) <= 3.0 for n in (0, 1, 3, 10**6))


def test_a_class_widens_with_runs_that_lay_outside_of_it() -> None:
    """And does not with those within."""
    found = class_of([1.0, 2.0, 3.0])
    before = row(found)
    for _ in range(50):
        found.learn(2.5)
    found.add(Member(2.0, "x", "ada"))
    same = row(found)
    for _ in range(50):
        found.learn(9.0)
    found.add(Member(2.0, "y", "ada"))
    wider = row(found)

    assert pytest.approx(0.0, abs=0.2) == same[-1] - before[-1]
    assert wider[-1] > same[-1] + 1.0


def test_before_its_row_was_made_a_class_learns_nothing() -> None:
    """It had foretold nothing."""
    tail = Tail()
    found = ReferenceClass(10, tail)
    found.learn(100.0)

    assert Tail().scales == tail.scales


def test_a_row_is_made_again_once_there_is_news() -> None:
    """At once in a small class; after a tenth more in a large one."""
    small, large = class_of([1.0] * 5), class_of([1.0] * 1000)
    before_small, before_large = row(small), row(large)
    small.add(Member(9.0, "x", "ada"))
    large.add(Member(9.0, "x", "ada"))

    assert row(small) is not before_small
    assert row(large) is before_large

    for number in range(110):
        large.add(Member(9.0, f"y{number}", "ada"))

    assert row(large) is not before_large


def test_a_row_of_known_quantiles_goes_through_them() -> None:
    """Amounts are no logarithms here."""
    made = row_through((0.0, 0.5, 1.0), (10.0, 100.0, 1000.0))

    assert pytest.approx(100.0) == exp(quantile(made, 0.5))
    assert log(10.0) < made[0] < made[-1] < log(1000.0)


@given(st.floats(0.01, 2.0))
def test_an_error_has_the_deviation_that_it_is_given(deviation: float) -> None:
    """As a row can have it: its outermost masses lack what lies beyond their middle."""
    made = row_around(deviation)

    assert pytest.approx(0.0, abs=1e-9) == float((made * MASS).sum())
    assert pytest.approx(deviation, rel=0.1) == sqrt(float((made**2 * MASS).sum()))
    assert (np.diff(made) > 0).all()
