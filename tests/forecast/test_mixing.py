"""Many outlooks at once to what each run comes to."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.forecast.evidence import Outlook
from gpuwatch.forecast.mixing import Distribution, distributions
from gpuwatch.forecast.reference import MASS, row_around
from tests.forecast.rows import about, between, outlook

PLACES = (0.002, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.998)

_piece = st.tuples(st.floats(0.01, 1.0), st.floats(0.01, 2.0).map(row_around), st.floats(0.01, 1e12))
_outlook = st.builds(
    lambda pieces, used: outlook(*pieces, used=used),
    st.lists(_piece, min_size=1, max_size=4),
    st.one_of(st.just(0.0), st.floats(0, 1e13)),
)


@given(_outlook)
def test_quantiles_rise_from_what_is_used(given_outlook: Outlook) -> None:
    """Whatever the evidence says."""
    found = next(distributions([given_outlook]))

    quantiles = found.quantiles(PLACES)

    assert (np.diff(quantiles) >= 0).all()
    assert quantiles[0] >= given_outlook.case.used
    assert np.isfinite(quantiles).all()


@given(_outlook, st.lists(st.floats(0, 1e14), min_size=2, max_size=8))
def test_what_lies_beyond_is_a_probability_that_falls(given_outlook: Outlook, amounts: list[float]) -> None:
    """The larger the amount the less likely; certain up to what is used."""
    found = next(distributions([given_outlook]))

    beyond = [found.beyond(amount) for amount in sorted(amounts)]

    assert all(0.0 <= each <= 1.0 for each in beyond)
    assert sorted(beyond, reverse=True) == beyond
    assert 1.0 == found.beyond(given_outlook.case.used)


@given(st.lists(_outlook, min_size=1, max_size=6))
def test_many_at_once_are_what_each_is_alone(outlooks: list[Outlook]) -> None:
    """To the last digit, however many pieces the others have, and however little is used."""
    together = list(distributions(outlooks))
    alone = [next(distributions([each])) for each in outlooks]

    for one, other in zip(alone, together, strict=True):
        assert one.amounts.tolist() == other.amounts.tolist()
        assert one.upto.tolist() == other.upto.tolist()
        assert one.weights.tolist() == other.weights.tolist()


def test_very_many_are_in_their_order() -> None:
    """They are taken a thousand at a time."""
    amounts = [float(number) for number in range(1, 2501)]
    found = distributions([outlook((1.0, row_around(0.1), amount)) for amount in amounts])

    assert pytest.approx(amounts) == [float(each.quantiles((0.5,))[0]) for each in found]


def test_none_at_all_are_none() -> None:
    """A pass without a running job."""
    assert [] == list(distributions([]))


def test_a_single_piece_is_told_as_it_is() -> None:
    """Its own quantiles."""
    found = between(1.0, 1e4)

    assert pytest.approx([10.0, 100.0, 1000.0], rel=0.02) == found.quantiles((0.25, 0.5, 0.75)).tolist()
    assert pytest.approx(0.25, abs=0.005) == found.beyond(1000.0)
    assert (0.0, 1.0) == (found.place(0.5), found.place(1e5))


def test_what_was_outlived_is_left_out() -> None:
    """Any order from 1 to 10,000 was as likely; 100 are used: any from there on is."""
    found = between(1.0, 1e4, used=100.0)

    assert pytest.approx(1000.0, rel=0.05) == float(found.quantiles((0.5,))[0])
    assert pytest.approx(0.5, abs=0.02) == found.beyond(1000.0)


def test_a_class_that_was_outlived_loses_its_say() -> None:
    """Three of four said 10, one said 1000; 100 are used."""
    before, after = (
        next(distributions([outlook((0.75, row_around(0.2), 10.0), (0.25, row_around(0.2), 1000.0), used=used)]))
        for used in (0.0, 100.0)
    )

    assert pytest.approx([0.75, 0.25]) == before.weights.tolist()
    assert pytest.approx([0.0, 1.0], abs=1e-3) == after.weights.tolist()
    assert pytest.approx(1000.0, rel=0.05) == float(after.quantiles((0.5,))[0])


def test_what_outlived_all_lasts_as_long_again_as_such_do() -> None:
    """Nothing that is known goes as far: a little more, with a wide tail, and no piece has a say."""
    found = about(10.0, 0.1, used=1e6)

    quantiles = found.quantiles((0.0, 0.25, 0.6, 1.0)).tolist()

    assert pytest.approx([1e6, 1e6 * np.exp(0.05), 1e6 * np.exp(0.5), 1e6 * np.exp(2.0)]) == quantiles
    assert [0.0] == found.weights.tolist()
    assert 1.0 == found.beyond(1e6)


def test_one_that_outlived_all_leaves_the_others_as_they_are() -> None:
    """Three at once, the middle one past everything."""
    alive = outlook((1.0, row_around(0.1), 10.0))
    past = outlook((1.0, row_around(0.1), 10.0), used=1e6)

    found = [float(each.quantiles((0.5,))[0]) for each in distributions([alive, past, alive])]

    assert (pytest.approx(10.0), pytest.approx(10.0)) == (found[0], found[2])
    assert found[1] > 1e6


def test_a_place_is_the_inverse_of_a_quantile() -> None:
    """Within what is known."""
    found = about(500.0)

    assert pytest.approx(PLACES[1:-1]) == [found.place(each) for each in found.quantiles(PLACES[1:-1]).tolist()]


def test_all_evidence_is_in_the_mean() -> None:
    """Two pieces of a half each: their masses, side by side."""
    found: Distribution = next(
        distributions([outlook((0.5, row_around(0.01), 10.0), (0.5, row_around(0.01), 1000.0))])
    )

    assert pytest.approx(0.5) == found.beyond(100.0)
    assert pytest.approx([log(10.0), log(1000.0)], abs=0.02) == [
        float(np.interp(place, found.upto, found.amounts)) for place in (0.25, 0.75)
    ]
    assert 2 * len(MASS) == len(found.amounts)


@given(st.floats(0.05, 0.9), st.floats(1.0, 3.0))
def test_more_use_leaves_out_what_is_below_it(share: float, factor: float) -> None:
    """As if all of it had been mixed anew, to the width of a piece of the row."""
    before = about(1000.0)
    used = float(before.quantiles((share,))[0])

    anew = about(1000.0, used=used).place(used * factor)

    assert pytest.approx(anew, abs=0.25 if share > 0.8 else 0.1) == before.place_after(used, used * factor)


def test_more_use_than_all_that_is_known_goes_on_as_such_do() -> None:
    """Nothing speaks of it any more."""
    before, used = about(1000.0), 1e9

    assert pytest.approx(about(1000.0, used=used).place(1.2 * used)) == before.place_after(used, 1.2 * used)
