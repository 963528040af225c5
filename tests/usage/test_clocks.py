"""A mark that was made by a clock ahead of ours."""

from __future__ import annotations

from gpuwatch.usage.clocks import MOST_SKEW_SECONDS, in_future


def test_only_a_mark_beyond_the_skew_is_in_the_future() -> None:
    """At the limit it is not."""
    assert in_future(1000.0 + MOST_SKEW_SECONDS, 1000.0) is None
    assert "was read up to 61 s after now; a clock was wrong" == in_future(1061.0, 1000.0)
    assert "was read up to 31 s after now; a clock was wrong" == in_future(1031.0, 1000.0, 30.0)
