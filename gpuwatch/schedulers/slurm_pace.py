"""When a query may be made again, so that no batch system is hurt by being asked."""

from __future__ import annotations

LONGEST_SECONDS = 900.0
"""The longest wait, after whatever happened."""
FIRST_SECONDS = 60.0
"""The wait after a first failure, unless a site wants another."""
_SHARE = 0.1


class Pace:
    """The wait of one query: a tenth of the time at most is spent in it, and failures double the wait."""

    def __init__(self, first: float = FIRST_SECONDS) -> None:
        self._first = first
        self._next = 0.0
        self._failures = 0
        self._longest = LONGEST_SECONDS
        self.reason = ""
        """Why it failed last."""

    @property
    def failures(self) -> int:
        """How many times it failed since it last succeeded."""
        return self._failures

    def wait(self, now: float) -> float:
        """Seconds to wait yet. A clock that was set back does not make it longer."""
        left = self._next - now
        return left if 0 < left <= self._longest else 0.0

    def succeeded(self, now: float, took: float, every: float = 0.0) -> None:
        """It was answered after `took` seconds, and is wanted `every` so many."""
        self._failures = 0
        self._next = now + max(min(took / _SHARE, LONGEST_SECONDS), every)
        self._longest = max(LONGEST_SECONDS, every)

    def failed(self, now: float, reason: str) -> None:
        """It was not answered."""
        self.reason = reason
        self._failures += 1
        self._next = now + min(self._first * 2.0 ** min(self._failures - 1, 10), LONGEST_SECONDS)
