"""The distribution of what runs came to, from weighted samples of which some are cut short. Pure.

Kaplan–Meier: a run that was cut short needed more than it came to, and says nothing about how much more. Where the
longest ones were cut short the distribution does not end, and its high quantiles are not known.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

_WHOLE = 1.0 - 1e-9


class Sample(NamedTuple):
    """What one run came to; `cut` is one that would have come to more. Amounts are more than 0."""

    amount: float
    cut: bool = False
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Distribution:
    """Amounts in rising order with the mass up to each; `mass[-1]` below 1: the rest lies beyond, not known where.

    `n` counts the samples, `cut` those of them that were cut short; `effective` is how many samples of weight 1
    say as much.
    """

    amounts: tuple[float, ...] = ()
    mass: tuple[float, ...] = ()
    n: int = 0
    cut: int = 0
    effective: float = 0.0

    def quantile(self, q: float, beyond: float = 0.0) -> float | None:
        """The amount that the fraction `q` does not exceed, of those that come to more than `beyond`.

        None where it lies in what is not known, or where nothing came to more. Between amounts it is interpolated.
        """
        first = bisect_right(self.amounts, beyond)
        gone = self.mass[first - 1] if first else 0.0
        if not self.amounts or gone >= _WHOLE:
            return None
        wanted = gone + q * (1.0 - gone)
        place = bisect_left(self.mass, wanted)
        if place == len(self.mass):
            return self.amounts[-1] if self.mass[-1] >= _WHOLE else None
        return self.amounts[first] if place <= first else self._between(place, wanted)

    def _between(self, place: int, wanted: float) -> float:
        """Between two amounts over the mass of one sample: of an amount that many came to, the rest is its own."""
        low, high = self.amounts[place - 1], self.amounts[place]
        below, above = self.mass[place - 1], self.mass[place]
        step = min(above - below, 1.0 / self.effective)
        return min(high, low + (high - low) * (wanted - below) / step)

    def foreseen(self, q: float) -> float | None:
        """The same for one run more: with few samples the ends are farther out, and None where none are so far.

        Of n runs and one more, that one exceeds the k-th with the probability 1 - k / (n + 1), whatever they are.
        """
        one = 1.0 / (self.effective + 1.0)
        if not one * _WHOLE <= q <= (1.0 - one) / _WHOLE:
            return None
        return self.quantile(min(1.0, q / (1.0 - one)))


def distribution(samples: Iterable[Sample]) -> Distribution:
    """The distribution of some samples; one without amounts where none came to its end."""
    ordered = sorted(each for each in samples if each.amount > 0 and each.weight > 0)
    weights = [each.weight for each in ordered]
    steps = list(_steps(ordered, sum(weights)))
    return Distribution(
        tuple(amount for amount, _ in steps),
        tuple(mass for _, mass in steps),
        len(ordered),
        sum(each.cut for each in ordered),
        sum(weights),
    )


def _steps(ordered: Sequence[Sample], at_risk: float) -> Iterator[tuple[float, float]]:
    """The amounts at which runs came to their end, with the mass up to each. A tie is cut after it ended."""
    left, seen = 1.0, 0
    for amount, those in groupby(ordered, itemgetter(0)):
        group = list(those)
        seen += len(group)
        ended = sum(each.weight for each in group if not each.cut)
        is_last = seen == len(ordered) and not any(each.cut for each in group)
        left = 0.0 if is_last else left * max(0.0, 1.0 - ended / at_risk)
        at_risk -= sum(each.weight for each in group)
        if ended > 0:
            yield amount, 1.0 - left
