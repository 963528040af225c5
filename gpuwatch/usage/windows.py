"""Which windows of time a source of time series has to read: all since the last one taken, in order. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from gpuwatch.errors import Unavailable

MOST_AHEAD_SECONDS = 30.0
"""So much later than by the server's clock a window may end: clocks differ a little."""


class Window(NamedTuple):
    """The time after `start` up to and with `end`, in whole Unix seconds."""

    start: int
    end: int

    @property
    def seconds(self) -> int:
        """How long it is."""
        return self.end - self.start


def windows(
    mark_until: float | None,
    now: float,
    lag_seconds: float,
    window_seconds: float,
    first_seconds: float,
    most: int,
) -> Iterator[Window]:
    """The windows from `mark_until` to `lag_seconds` before `now`, the oldest `most` of them.

    They end at multiples of `window_seconds`, so that a window that is read again is the same one, but for the
    last, which ends where there is no more yet. Where nothing was read before, they reach back `first_seconds`.
    A clock that went back before the mark gives none.
    """
    length = max(1, round(window_seconds))
    last = math.floor(now - lag_seconds)
    start = math.ceil(mark_until) if mark_until is not None else math.floor(last - first_seconds)
    start = max(start, 0)
    for _ in range(most):
        if start >= last:
            return
        end = min(start - start % length + length, last)
        yield Window(start, end)
        start = end


def check_over(end: float, date: float | None) -> None:
    """Raise `Unavailable` where a window ends after `date`, the server's clock: there will be more in it.

    Our clock is wrong, or the server's. Once the mark was moved over that time nobody would read it again.
    """
    if date is not None and end > date + MOST_AHEAD_SECONDS:
        raise Unavailable(
            f"its clock is {end - date:.0f} s before the end of what is to be read; a clock is wrong"
        )


def halves(window: Window, least_seconds: float) -> tuple[Window, ...]:
    """The window in two, for a server to which it is too much; nothing where they would be shorter than that."""
    middle = window.start + window.seconds // 2
    if middle - window.start < max(1, least_seconds):
        return ()
    return Window(window.start, middle), Window(middle, window.end)
