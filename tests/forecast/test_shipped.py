"""What is assumed where a site knows nothing yet."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest

from gpuwatch.forecast import shipped
from gpuwatch.forecast.burnup import BUCKETS, ERRORS
from gpuwatch.forecast.reference import MASS, MIDDLE, Array

DAY = 86_400.0


def quantile(row: Array, place: float) -> float:
    return exp(float(np.interp(place, MIDDLE, row)))


def test_trainings_estimated_by_their_flops_are_spread_as_the_published_ones() -> None:
    """Beside their median: .68 to 1.41 are the middle 80 %; a row has amounts near those places, not at them."""
    row = shipped.ratio("flops")

    assert pytest.approx([0.68, 1.0, 1.41], rel=0.05) == [quantile(row, place) for place in (0.1, 0.5, 0.9)]


@pytest.mark.parametrize("method", [None, "guess", "pilot", "history", "something new"])
def test_any_other_declaration_is_taken_for_a_guess(method: str | None) -> None:
    """Wide, and not above or below on the whole."""
    row = shipped.ratio(method)

    assert pytest.approx([0.3, 1.0, 2.0], rel=0.08) == [quantile(row, place) for place in (0.1, 0.5, 0.9)]


@pytest.mark.parametrize("limit", [100.0, 3600.0, 30 * DAY])
def test_with_a_limit_any_order_up_to_it_is_as_likely(limit: float) -> None:
    """From half a minute on; half lies below the middle of the logarithms."""
    row = shipped.total(limit)

    assert log(30.0) < row[0] < row[-1] < log(limit)
    assert pytest.approx((30.0 * limit) ** 0.5, rel=0.01) == quantile(row, 0.5)


@pytest.mark.parametrize("limit", [None, 0.0, 30.0])
def test_without_a_limit_a_run_may_come_to_months(limit: float | None) -> None:
    """One that is no limit, or shorter than anything lasts, is none."""
    row = shipped.total(limit)

    assert 30 * DAY < exp(row[-1])
    assert (np.diff(row) > 0).all()


def test_projections_are_off_by_less_and_less() -> None:
    """One row for each bucket of progress, without a lean to either side."""
    deviations = [float(((shipped.error(bucket) ** 2) * MASS).sum()) ** 0.5 for bucket in range(len(BUCKETS))]

    assert pytest.approx(list(ERRORS), rel=0.1) == deviations
    assert [pytest.approx(1.0)] * len(BUCKETS) == [
        quantile(shipped.error(bucket), 0.5) for bucket in range(len(BUCKETS))
    ]
