"""Quantiles: known distributions, and arithmetic that keeps their order."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.estimates.quantiles import LEVELS, NAMES, certain, log_normal, over, product, scaled

medians = st.floats(1e-6, 1e12)
spreads = st.floats(0, 2)


def test_names_are_those_of_json() -> None:
    """Two digits each."""
    assert ["q05", "q10", "q25", "q50", "q75", "q90", "q95"] == list(NAMES.values())


def test_log_normal_has_its_known_quantiles() -> None:
    """exp(±1.2816 σ) around the median at 10 and 90 %."""
    found = log_normal(2.0, 0.5)

    assert [2 * 0.526881, 2, 2 * 1.897960] == pytest.approx([found[0.1], found[0.5], found[0.9]], rel=1e-5)


def test_division_turns_the_order_around() -> None:
    """Where utilization is low, hours are high."""
    found = over(12.0, dict(zip(LEVELS, (1, 2, 3, 4, 6, 8, 12), strict=True)))

    assert [1, 1.5, 2, 3, 4, 6, 12] == [found[level] for level in LEVELS]


def test_product_with_what_is_certain_only_scales() -> None:
    """A known factor adds no doubt."""
    amounts = log_normal(3.0, 0.4)

    found = product(amounts, certain(5.0))

    assert [found[level] for level in LEVELS] == pytest.approx([5 * amounts[level] for level in LEVELS])


@given(medians, spreads, medians, spreads)
def test_product_of_log_normals_is_exact(left: float, a: float, right: float, b: float) -> None:
    """Variances of the logarithms add up."""
    found = product(log_normal(left, a), log_normal(right, b))
    expected = log_normal(left * right, (a * a + b * b) ** 0.5)

    assert [expected[level] for level in LEVELS] == pytest.approx([found[level] for level in LEVELS], rel=1e-6)


@given(medians, spreads, st.floats(1e-6, 1e6))
def test_order_is_kept(median: float, spread: float, factor: float) -> None:
    """No quantile is below one of a lower level."""
    amounts = log_normal(median, spread)
    for found in (amounts, over(factor, amounts), scaled(amounts, factor), product(amounts, amounts)):
        assert all(low <= high for low, high in pairwise(found[level] for level in LEVELS))
