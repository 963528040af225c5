"""What is expected of an account's running jobs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.accounting.expected_use import expecting, group_expecting
from gpuwatch.ledger.budgets import Budget, Committed, Expected
from gpuwatch.ledger.groups import GroupBudget
from gpuwatch.schedulers.base import Grant

HOUR = 3600.0
ONE = tuple(HOUR * hours for hours in (1, 2, 3, 4, 5, 6, 7))


def budget(*remaining: tuple[float, ...], **changed: Any) -> Budget:
    """An account that was granted 10 hours and used 5."""
    grant = Grant("default", "ml", "", "gres/gpu", 10 * HOUR, 5 * HOUR, 0.0)
    values: dict[str, Any] = {"grant": grant, "words": (), "committed": Committed(), **changed}
    return Budget(
        "default", "ml", "gres/gpu", 0.0, recorded_seconds=0.0, recorded_since=None, unknown_jobs=0, pace=0.0,
        remaining=remaining, **values,
    )  # fmt: skip


def expected(found: Budget) -> Expected | None:
    (each,) = expecting([found])
    return each.expected


def test_of_one_job_it_is_what_is_forecast_of_it() -> None:
    """5 hours are left, and 3 of 4 such jobs use no more."""
    assert Expected(2 * HOUR, 4 * HOUR, 6 * HOUR, 1, pytest.approx(0.25)) == expected(budget(ONE))


def test_what_waits_may_use_all_of_its_limit() -> None:
    """Nothing is forecast of it, so that it is taken at its ceiling."""
    waiting = expected(budget(ONE, committed=Committed(0.0, 2 * HOUR, 1, 1)))

    assert waiting is not None
    assert pytest.approx(0.75) == waiting.p_over


def test_nothing_is_expected_where_nothing_is_forecast() -> None:
    """Unknown is not 0; and without a limit nobody can say whether it is enough."""
    unlimited = expected(budget(ONE, grant=None))

    assert None is expected(budget())
    assert unlimited is not None
    assert None is unlimited.p_over


def test_a_group_is_less_uncertain_than_the_sum_of_its_accounts() -> None:
    """Not everything goes wrong at once."""
    found = group_expecting(GroupBudget("vision", "gres/gpu", 0.0, (budget(ONE), budget(ONE))))

    assert found.expected is not None
    assert 2 == found.expected.jobs
    assert pytest.approx(8 * HOUR, rel=0.02) == found.expected.seconds
    assert 4 * HOUR < found.expected.low_seconds < found.expected.high_seconds < 12 * HOUR


@given(
    st.lists(st.lists(st.floats(0, 1e9), min_size=7, max_size=7).map(lambda row: tuple(sorted(row))), max_size=8)
)
def test_intervals_are_in_order_and_within_what_is_possible(remaining: list[tuple[float, ...]]) -> None:
    """Between the sums of the least and of the most."""
    found = expected(budget(*remaining))

    assert (found is None) is (not remaining)
    if found is not None:
        least, most = sum(row[0] for row in remaining), sum(row[-1] for row in remaining)
        amounts = (least * (1 - 1e-9), found.low_seconds, found.seconds, found.high_seconds, most * (1 + 1e-9))
        assert list(amounts) == sorted(amounts)
        assert 0.0 <= (found.p_over or 0.0) <= 1.0
