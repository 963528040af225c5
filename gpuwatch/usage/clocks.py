"""What is said of a clock that disagrees with that by which something was read before. Pure."""

from __future__ import annotations

MOST_SKEW_SECONDS = 60.0
"""By more, a job's start on its node and in the batch system do not fit together any more."""


def in_future(until: float, now: float, most_seconds: float = MOST_SKEW_SECONDS) -> str | None:
    """Why nothing can be read after `until`, a mark (Unix seconds) that is yet to come; None where it is not."""
    if until <= now + most_seconds:
        return None
    return f"was read up to {until - now:.0f} s after now; a clock was wrong"
