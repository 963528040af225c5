"""How tellings and epochs of what is measured come together: order and grouping do not matter."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.ledger.measures import COUNTERS, FIRST, LATEST, MEASURES, PLACES, Measures, merged, summed, usage_of
from gpuwatch.model import Usage

NOTHING: Measures = tuple(None for _ in MEASURES)

# Quarters, so that sums are exact in whatever order.
_values = st.one_of(st.none(), st.integers(0, 40).map(lambda quarter: quarter / 4))
measures = st.tuples(*(_values for _ in MEASURES))


def told(**values: Any) -> Measures:
    """Measures of which only these were told."""
    found = list(NOTHING)
    for name, value in values.items():
        found[PLACES[name]] = value
    return tuple(found)


@given(measures, measures, measures)
def test_tellings_merge_in_any_order_and_any_number_of_times(
    one: Measures, two: Measures, three: Measures
) -> None:
    """Commutative, associative, idempotent, and nothing is its zero."""
    assert merged(one, two) == merged(two, one)
    assert merged(merged(one, two), three) == merged(one, merged(two, three))
    assert one == merged(one, one) == merged(one, NOTHING)


@given(st.lists(measures, min_size=1, max_size=4), st.data())
def test_epochs_add_up_in_any_order(rows: list[Measures], data: st.DataObject) -> None:
    """And in any groups."""
    cut = data.draw(st.integers(0, len(rows)))
    groups = [each for each in (rows[:cut], rows[cut:]) if each]

    assert summed(rows) == summed(data.draw(st.permutations(rows))) == summed([summed(each) for each in groups])


@given(measures, measures)
def test_the_sum_is_that_of_the_usage(one: Measures, two: Measures) -> None:
    """Whether measures are added up or what they mean."""
    assert usage_of(summed([one, two])) == usage_of(one) + usage_of(two)


def test_counters_add_up_and_times_do_not() -> None:
    """The longest gap stays the longest, first use the first, the last sight the last."""
    one = told(held_seconds=10.0, energy_gap_seconds=3.0, first_working=100.0, last_idle=150.0, errors_xid=1.0)
    two = told(held_seconds=5.0, energy_gap_seconds=4.0, first_working=90.0, last_idle=140.0)

    found = usage_of(summed([one, two]))

    assert (15.0, 4.0, 90.0, {"idle": 150.0}, {"xid": 1.0}) == (
        found.held_seconds, found.energy_gap_seconds, found.first_working, found.last_in_state, found.errors,
    )  # fmt: skip


def test_what_was_never_told_stays_unknown() -> None:
    """Not 0, but for what is 0 where nothing was told."""
    assert Usage() == usage_of(NOTHING)


def test_every_measure_has_one_place() -> None:
    """In the order of the columns."""
    assert (*COUNTERS, *LATEST, *FIRST) == MEASURES
    assert list(range(len(MEASURES))) == sorted(PLACES.values())
