"""How fast lines are sent, and how long to wait after a failure."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from threading import Event
from typing import Protocol
from zlib import crc32

FIRST_SECONDS = 1.0
MOST_SECONDS = 30.0


class Waiting(Protocol):
    """Time as a sender sees it; tests have their own."""

    def now(self) -> float:
        """The wall clock, Unix seconds."""
        ...

    def monotonic(self) -> float:
        """Seconds since whenever."""
        ...

    def pause(self, seconds: float) -> bool:
        """Wait; whether the sender shall go on, which is said at once when it shall not."""
        ...


class RealWaiting:
    """Waiting that `end` ends."""

    def __init__(self) -> None:
        self._ended = Event()

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def pause(self, seconds: float) -> bool:
        return not self._ended.wait(seconds)

    def end(self) -> None:
        """Whoever waits, or will, goes home."""
        self._ended.set()


class Pace:
    """A token bucket: so many lines a second, and at most `burst` at once."""

    def __init__(self, lines_per_second: float, burst: int) -> None:
        self._rate, self._burst = lines_per_second, float(burst)
        self._tokens, self._at = self._burst, 0.0

    def take(self, lines: int, now: float) -> float:
        """Take lines at the monotonic time `now`; seconds to wait before they are sent."""
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._at) * self._rate) - lines
        self._at = now
        return max(0.0, -self._tokens / self._rate)


class Backoff:
    """Full jitter: after the nth failure in a row, anything up to 2ⁿ seconds, at most 30."""

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        self._draw = draw
        self.failures = 0

    def failed(self, asked: float | None = None) -> float:
        """Seconds to wait after one more failure; `asked` is what the server asked for, if it did."""
        most = min(MOST_SECONDS, FIRST_SECONDS * 2.0 ** min(self.failures, 10))
        self.failures += 1
        if asked:
            # Thousands are told the same: they come back within a second, not at one moment.
            return asked + self._draw() * FIRST_SECONDS
        return self._draw() * most

    def succeeded(self) -> None:
        """Begin anew."""
        self.failures = 0


def phase(node: str, seconds: float) -> float:
    """A part of `seconds` that is the node's own, so that nodes started together do not arrive together."""
    return crc32(node.encode("utf-8", "surrogatepass")) / 2**32 * seconds
