"""What a class of runs came to, as a row of amounts that can be mixed with others. Pure.

A class has n runs. Of one more like them nobody knows anything but that it is as likely as not each of them: it is
below all of them with the probability 1 / (n + 1), and above all with the same. So a class of few has wide tails,
whatever its runs look like; how far out they reach is learned from runs that came to lie there.

Amounts are natural logarithms. A row has one of them for each of `MASS`, in rising order.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection
from math import log, log2
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_EDGES = np.array(
    (
        0.0, 0.004, 0.012, 0.025, 0.05, 0.075, 0.1, 0.14, 0.18, 0.22, 0.26, 0.3, 0.34, 0.38, 0.42, 0.46, 0.5,
        0.54, 0.58, 0.62, 0.66, 0.7, 0.74, 0.78, 0.82, 0.86, 0.9, 0.925, 0.95, 0.975, 0.988, 0.996, 1.0,
    )
)  # fmt: skip

MASS: Array = np.diff(_EDGES)
"""The mass that each amount of a row stands for: finer in the tails."""

MIDDLE: Array = (_EDGES[1:] + _EDGES[:-1]) / 2
"""Which quantile each amount of a row is."""

_PLACES = tuple(MIDDLE.tolist())

LEAST_SCALE = 0.004
"""A tail reaches at least so far: nothing is known better than to half a percent."""

CUT_SCALE = 0.7
"""How far beyond all that is known runs go of which nothing but that is known: half of them 1.6 times as far."""

_SPANS = 4
_START_SCALE = 0.15
_STEP = 1.04
_MEDIAN_OF_SCALE = 0.7
_STALE, _SMALL = 0.1, 10


class Member(NamedTuple):
    """What one run came to (`amount`, a logarithm). `cut`: it would have come to more. `batch` names what was
    submitted together, `person` whose it is."""

    amount: float
    batch: str
    person: str
    cut: bool = False


class Going(NamedTuple):
    """A run that goes on: since `started`, Unix seconds, it uses `rate` device-seconds each second."""

    started: float
    rate: float
    anchor: float
    batch: str
    person: str

    def member(self, now: float) -> Member | None:
        """The run as it is known now: it will come to more. None before it used anything."""
        used = self.rate * (now - self.started)
        return Member(log(used) - self.anchor, self.batch, self.person, cut=True) if used >= 1.0 else None


class Tail:
    """How far beyond all runs of a class one more lies, where it does: learned, by how many runs there are.

    The median of such excesses is followed step by step; the tail is taken for exponential.
    """

    __slots__ = ("scales",)

    def __init__(self, scales: Collection[float] = (_START_SCALE,) * _SPANS) -> None:
        self.scales = list(scales)

    def scale(self, n: int) -> float:
        """The scale for a class of `n` runs."""
        return max(LEAST_SCALE, self.scales[_span(n)])

    def learn(self, n: int, excess: float) -> None:
        """One run more lay so far outside of a class of `n`."""
        place = _span(n)
        beyond = excess > self.scales[place] * _MEDIAN_OF_SCALE
        moved = self.scales[place] * (_STEP if beyond else 1.0 / _STEP)
        self.scales[place] = min(3.0, max(LEAST_SCALE / 4, moved))


def _span(n: int) -> int:
    return min(_SPANS - 1, int(log2(n + 1)))


class ReferenceClass:
    """The latest runs of one kind, `most` of them; it says nothing before `people` people have runs in it.

    `row` is made when it is asked for, and again once there is news: at once in a small class, and after a
    tenth more runs in a large one. Runs that go on are taken for cut short where they are: of many that began
    together the short ones end first, and would speak for all.
    """

    __slots__ = (
        "_cuts", "_ended", "_going", "_most", "_new", "_people", "_row", "_tail", "_weighed",
        "highest", "lowest", "n",
    )  # fmt: skip

    def __init__(self, most: int, tail: Tail, people: int = 1, weighed: bool = True) -> None:
        self._most, self._tail, self._people, self._weighed = most, tail, people, weighed
        # A list, as most classes have a handful: an empty deque takes as much as seventy.
        self._ended: list[Member] = []
        self._cuts = 0
        self._going: dict[str, Going] = {}
        self._new = 0
        self._row: Array | None = None
        self.n = 0.0
        """How many runs that were submitted one by one say as much."""
        self.lowest = self.highest = 0.0

    def __len__(self) -> int:
        return len(self._ended)

    def add(self, member: Member) -> None:
        """A run of this kind has ended."""
        self._ended.append(member)
        self._cuts += member.cut
        if len(self._ended) > self._most:
            self._cuts -= self._ended.pop(0).cut
        self._new += 1

    def begin(self, name: str, going: Going) -> None:
        """A run of this kind goes on; of very many some are looked at."""
        if len(self._going) < self._most:
            self._going[name] = going

    def over(self, name: str) -> None:
        """A run of this kind goes on no more, whatever became of it."""
        self._going.pop(name, None)

    def row(self, now: float) -> Array | None:
        """What a run of this kind comes to; None where too little is known."""
        if self._new and self._new > _STALE * (len(self._ended) - _SMALL):
            self._new = 0
            self._row = self._made(now)
        return self._row

    def learn(self, amount: float) -> None:
        """One run more came to this: how far outside it lies is learned, where it does."""
        excess = max(self.lowest - amount, amount - self.highest)
        if excess > 0 and self._row is not None:
            self._tail.learn(len(self._ended), excess)

    def _made(self, now: float) -> Array | None:
        if len(self._ended) < self._people or not self._is_of_several():
            return None
        going = [member for each in self._going.values() if (member := each.member(now)) is not None]
        values, batches, _, cuts = zip(*self._ended, *going, strict=True)
        unsorted, is_cut = np.array(values), np.array(cuts)
        is_known = not (self._cuts or going)
        # What was cut short at an amount came to more than what ended at it.
        order = unsorted.argsort(kind="stable") if is_known else np.lexsort((is_cut, unsorted))
        amounts = unsorted[order]
        weights = _weights(batches, order) if self._weighed else np.ones(len(order))
        known, mass, whole, end = amounts, weights, float(weights.sum()), None
        if not is_known:
            mass = completed(weights, is_cut[order])
            ended = mass.nonzero()[0]
            if not len(ended):
                return None
            known, mass, end = amounts[ended], mass[ended], _mean(amounts, weights, int(ended[-1]) + 1)
        self.n = whole if is_known else float(mass.sum())
        self.lowest, self.highest = float(known[0]), float(amounts[-1])
        return row_of(known, mass, whole, self._tail.scale(len(values)), end)

    def _is_of_several(self) -> bool:
        persons = set[str]()
        for each in self._ended:
            persons.add(each.person)
            if len(persons) >= self._people:
                return True
        return False


def _mean(amounts: Array, weights: Array, first: int) -> float | None:
    """The mean of amounts from a place on; None where there are none."""
    if first >= len(amounts):
        return None
    return float(amounts[first:] @ weights[first:] / weights[first:].sum())


def _weights(batches: Collection[str], order: NDArray[np.intp]) -> Array:
    """What was submitted together is not as many runs as it seems."""
    if len(set(batches)) == len(batches):
        return np.ones(len(batches))
    sizes = Counter(batches)
    weight = {batch: size**-0.5 for batch, size in sizes.items()}
    return np.array([weight[batch] for batch in batches])[order]


def completed(weights: Array, cut: NDArray[np.bool_]) -> Array:
    """Kaplan–Meier: the weight of what was cut short goes to all that came to more, in the order of amounts.

    What is cut last goes to nobody: the sum may be less than that of the weights.
    """
    at_risk = weights[::-1].cumsum()[::-1]
    left = np.maximum(at_risk - weights, 0.0)
    passed_on = np.where(cut & (left > 0), at_risk / np.where(left > 0, left, 1.0), 1.0)
    before = np.concatenate(([1.0], passed_on.cumprod()[:-1]))
    mass: Array = np.where(cut, 0.0, weights * before)
    return mass


def row_of(amounts: Array, mass: Array, weight: float, scale: float, end: float | None = None) -> Array:
    """The row of a class: amounts in rising order with their mass, which is `weight` where none lies beyond.

    `end` is how far those are known to go that lie beyond.
    """
    tail = 1.0 / (weight + 1.0)
    inside = float(mass.sum()) / weight
    upto = (mass.cumsum() - mass / 2) / weight
    # Half of an end's own mass is outside of it; a class of one run has half below it and half above.
    low, high = max(tail, 0.0), max(tail, 1.0 - inside)
    if len(amounts) == 1:
        low, high = inside / 2, 1.0 - inside / 2
    room = max(1.0 - low - high, 0.0)
    span = upto[-1] - upto[0]
    places = low + room * ((upto - upto[0]) / span if span > 0 else upto * 0.0)
    row: Array = np.interp(MIDDLE, places, amounts)
    first, last = float(places[0]), float(places[-1])
    below, above = bisect_left(_PLACES, first), bisect_right(_PLACES, last)
    row[:below] = amounts[0] + scale * np.log(MIDDLE[:below] / first)
    beyond = scale if high <= 2 * tail else max(scale, CUT_SCALE)
    row[above:] = (amounts[-1] if end is None else end) - beyond * np.log((1.0 - MIDDLE[above:]) / (1.0 - last))
    return row


def row_through(places: Collection[float], amounts: Collection[float]) -> Array:
    """The row of a distribution of which some quantiles are known: amounts are no logarithms here."""
    row: Array = np.interp(MIDDLE, np.array(list(places)), np.log(np.array(list(amounts))))
    return row


def row_around(deviation: float) -> Array:
    """The row of an error of this standard deviation, with the tails of a Laplace distribution."""
    sign = np.where(MIDDLE < 0.5, 1.0, -1.0)
    row: Array = sign * np.log(2.0 * np.minimum(MIDDLE, 1.0 - MIDDLE)) * deviation / np.sqrt(2.0)
    return row
