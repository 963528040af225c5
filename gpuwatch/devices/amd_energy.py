"""Whether the energy counter of an AMD card can be believed: it is, once it has agreed with the card's own power.

It is known to stand still (MI100, ROCm/amdsmi#38) and to go backwards (ROCm/amdsmi#115), and its unit is written
down for newer chips alone. So the rise of the counter is compared with the integral of power, half a minute at a
time. Until both agreed for the first time the counter is not used, and no longer once they disagreed twice on end.
A fall is left to the meter, which begins anew with it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

logger = logging.getLogger(__name__)

WINDOW_SECONDS = 30.0
GAP_SECONDS = 5.0
TOLERANCE = 0.3
"""A steady load differs by less than sensors do; one that comes in steps by what a look a second misses."""
LEAST_WATTS = 15.0
"""A difference below this is not held against a counter: at rest, sensors are at their worst."""
STRIKES = 2


@dataclass(slots=True)
class CounterTrust:
    """What is known of one card's counter."""

    uid: str
    trusted: bool = False
    refused: bool = False
    _time: float | None = None
    _joules: float | None = None
    _watts: float | None = None
    _seconds: float = 0.0
    _counted: float = 0.0
    _integrated: float = 0.0
    _strikes: int = 0

    @property
    def verdict(self) -> str:
        """In words, for who looks at this node."""
        if self.refused:
            return "disagrees with power and is not used; power is integrated"
        return "agrees with power" if self.trusted else "is used once it has agreed with power"

    def believed(self, now: float, joules: float | None, watts: float | None) -> float | None:
        """The counter, where it may be used; `now` is monotonic. Without any power there is nothing better."""
        if joules is not None and watts is None and self._watts is None:
            return None if self.refused else joules
        self._compare(now, joules, watts)
        return joules if self.trusted else None

    def _compare(self, now: float, joules: float | None, watts: float | None) -> None:
        then, before, power = self._time, self._joules, self._watts
        self._time, self._joules, self._watts = now, joules, watts
        if then is None or before is None or power is None or joules is None or watts is None:
            return
        if self.refused or not 0.0 < now - then <= GAP_SECONDS or joules < before:
            return
        self._seconds += now - then
        self._counted += joules - before
        self._integrated += (watts + power) / 2 * (now - then)
        if self._seconds >= WINDOW_SECONDS:
            self._judge()
            self._seconds = self._counted = self._integrated = 0.0

    def _judge(self) -> None:
        difference = abs(self._counted - self._integrated)
        if difference <= TOLERANCE * self._integrated:
            self.trusted, self._strikes = True, 0
        elif difference > LEAST_WATTS * self._seconds:
            self._strikes += 1
            if self._strikes >= STRIKES:
                self._refuse()

    def _refuse(self) -> None:
        self.trusted, self.refused = False, True
        logger.warning(
            "energy counter disagrees with power and is not used device=%s counter_watts=%.1f power_watts=%.1f",
            self.uid, self._counted / self._seconds, self._integrated / self._seconds,
        )  # fmt: skip
