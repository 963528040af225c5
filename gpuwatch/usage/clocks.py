"""What is said of clocks that disagree: a server's, or that by which something was read before. Pure."""

from __future__ import annotations

MOST_SKEW_SECONDS = 60.0
"""By more, a job's start on its node and in the batch system do not fit together any more."""


def skew_text(ahead_seconds: float) -> str:
    """How far a server's clock is from ours; it is ahead where the number is positive."""
    if abs(ahead_seconds) < 1.0:
        return "its clock agrees with ours"
    return f"its clock is {abs(ahead_seconds):.0f} s {'ahead of' if ahead_seconds > 0 else 'behind'} ours"


def in_future(until: float, now: float, most_seconds: float = MOST_SKEW_SECONDS) -> str | None:
    """Why nothing can be read after `until`, a mark (Unix seconds) that is yet to come; None where it is not."""
    if until <= now + most_seconds:
        return None
    return f"was read up to {until - now:.0f} s after now; a clock was wrong"
