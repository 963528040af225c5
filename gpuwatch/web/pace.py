"""How often each person may have something changed."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

PEOPLE = 4096
"""Of so many people it is remembered how much they asked for."""


class Pace:
    """Takes `burst` at once of each person, and one more each `1 / per_second` seconds. Used in the loop only."""

    def __init__(
        self, burst: float = 60.0, per_second: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst = burst
        self._per_second = per_second
        self._clock = clock
        self._left: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def takes(self, person: Hashable) -> bool:
        """Whether one more of a person is taken now."""
        now = self._clock()
        left, since = self._left.pop(person, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._per_second)
        taken = left >= 1.0
        self._left[person] = (left - 1.0 if taken else left, now)
        if len(self._left) > PEOPLE:
            self._left.popitem(last=False)
        return taken
