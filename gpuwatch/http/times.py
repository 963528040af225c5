"""What headers of an answer say of time: the server's clock, and how long it wants to be left alone. Pure."""

from __future__ import annotations

import math
from email.utils import parsedate_to_datetime

MOST_WAIT_SECONDS = 600.0


def date_of(text: str | None) -> float | None:
    """A `Date` header in Unix seconds; None where there is none that can be read."""
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except (TypeError, ValueError, OverflowError):
        return None


def retry_after(text: str | None, now: float | None) -> float | None:
    """Seconds to wait by a `Retry-After` header, at most 600; None where there is none that can be read.

    `now` is the server's clock in Unix seconds; without it a date in the header says nothing.
    """
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        until = date_of(text)
        if until is None or now is None:
            return None
        seconds = until - now
    return min(max(seconds, 0.0), MOST_WAIT_SECONDS) if math.isfinite(seconds) else None


def skew_text(ahead_seconds: float) -> str:
    """How far a server's clock is from ours; it is ahead where the number is positive."""
    if abs(ahead_seconds) < 1.0:
        return "its clock agrees with ours"
    return f"its clock is {abs(ahead_seconds):.0f} s {'ahead of' if ahead_seconds > 0 else 'behind'} ours"
