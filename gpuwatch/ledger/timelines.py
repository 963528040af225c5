"""Values that change at certain times, and their means over any time, exactly.

Pure. A timeline knows the integral of its value up to every change, so a mean takes two look-ups however many
changes lie between; fractions make it the same whatever the time is cut into.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

Amount = Fraction | None
"""A value; None: not known."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """`values[i]` holds from `cuts[i - 1]` to `cuts[i]` (Unix seconds), the first and last without bound."""

    cuts: tuple[float, ...]
    values: tuple[Amount, ...]
    _sums: tuple[Fraction, ...]
    _unknown: tuple[int, ...]

    @classmethod
    def of(cls, cuts: Iterable[float], values: Iterable[Amount]) -> Timeline:
        """One value more than cuts, which ascend; where a value stays as it was nothing changes."""
        all_values = [*values]
        kept_cuts: list[float] = []
        kept = all_values[:1]
        for cut, value in zip(cuts, all_values[1:], strict=True):
            if value != kept[-1]:
                kept_cuts.append(cut)
                kept.append(value)
        sums = [Fraction()] * bool(kept_cuts)
        for (begins, ends), value in zip(pairwise(kept_cuts), kept[1:], strict=False):
            sums.append(sums[-1] + (value or 0) * (Fraction(ends) - Fraction(begins)))
        unknown = [0]
        for value in kept:
            unknown.append(unknown[-1] + (value is None))
        return cls(tuple(kept_cuts), tuple(kept), tuple(sums), tuple(unknown))

    def at(self, time: float) -> Amount:
        """The value at a time."""
        return self.values[bisect_right(self.cuts, time)]

    def mean(self, begins: float, ends: float) -> Amount:
        """The mean over [begins, ends), at `begins` where that is no time; None where any of it is not known."""
        first, last = bisect_right(self.cuts, begins), bisect_left(self.cuts, ends)
        if first >= last:
            return self.values[first]
        if self._unknown[last + 1] > self._unknown[first]:
            return None
        return (self._integral(last, ends) - self._integral(first, begins)) / (Fraction(ends) - Fraction(begins))

    def changes(self, begins: float, ends: float) -> Sequence[float]:
        """The times at which it changes, after `begins` and before `ends`."""
        return self.cuts[bisect_right(self.cuts, begins) : bisect_left(self.cuts, ends)]

    def _integral(self, place: int, time: float) -> Fraction:
        """From the first cut to a time in segment `place`."""
        before = max(place - 1, 0)
        value = self.values[place] or Fraction()
        return self._sums[before] + value * (Fraction(time) - Fraction(self.cuts[before]))


def combined(left: Timeline, right: Timeline, combine: Callable[[Amount, Amount], Amount]) -> Timeline:
    """What follows from two timelines at each time."""
    cuts = sorted({*left.cuts, *right.cuts})
    first = combine(left.values[0], right.values[0])
    return Timeline.of(cuts, [first, *(combine(left.at(time), right.at(time)) for time in cuts)])


def product(left: Amount, right: Amount) -> Amount:
    """Left times right; None where either is not known."""
    return None if left is None or right is None else left * right
