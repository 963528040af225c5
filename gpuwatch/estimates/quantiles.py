"""Uncertain amounts as quantiles at fixed levels, and the little arithmetic that estimates do with them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from math import exp, hypot, log
from statistics import NormalDist
from types import MappingProxyType

Quantiles = Mapping[float, float]
"""A positive amount by level, at each of `LEVELS`, never falling."""

LEVELS = (0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95)
NAMES: Mapping[float, str] = MappingProxyType({level: f"q{round(100 * level):02d}" for level in LEVELS})
"""As JSON has them: q05 to q95."""


def certain(amount: float) -> Quantiles:
    """An amount that is taken as known."""
    return dict.fromkeys(LEVELS, amount)


def log_normal(median: float, log_sd: float) -> Quantiles:
    """Those of a log-normal distribution."""
    return {level: median * exp(log_sd * NormalDist().inv_cdf(level)) for level in LEVELS}


def over(amount: float, divisor: Quantiles) -> Quantiles:
    """A known amount divided by an uncertain one: where the divisor is low, the quotient is high."""
    return {level: amount / low for level, low in zip(LEVELS, reversed(_in_order(divisor)), strict=True)}


def scaled(quantiles: Quantiles, factor: float) -> Quantiles:
    """The same in another unit, or times a known factor."""
    return {level: factor * quantiles[level] for level in LEVELS}


def product(left: Quantiles, right: Quantiles) -> Quantiles:
    """The product of two amounts that know nothing of each other.

    Medians multiply; distances from the median add up as the sides of a right angle do, on the logarithmic scale.
    That is exact for log-normal amounts.
    """
    middle = left[0.5] * right[0.5]
    found = {}
    for level in LEVELS:
        away = hypot(log(left[level] / left[0.5]), log(right[level] / right[0.5]))
        found[level] = middle * exp(away if level > 0.5 else -away)
    return found


def _in_order(quantiles: Quantiles) -> list[float]:
    return [quantiles[level] for level in LEVELS]
