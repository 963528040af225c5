"""Clocks that disagree are said with by how much, and which way."""

from __future__ import annotations

import pytest

from gpuwatch.usage.clocks import MOST_SKEW_SECONDS, in_future, skew_text


@pytest.mark.parametrize(
    ("ahead", "said"),
    [(0.4, "agrees with ours"), (300.0, "is 300 s ahead of ours"), (-80.0, "is 80 s behind ours")],
)
def test_skew_is_said_with_its_direction(ahead: float, said: str) -> None:
    """Less than a second is none: a `Date` header has no more."""
    assert f"its clock {said}" == skew_text(ahead)


def test_only_a_mark_beyond_the_skew_is_in_the_future() -> None:
    """At the limit it is not."""
    assert in_future(1000.0 + MOST_SKEW_SECONDS, 1000.0) is None
    assert "was read up to 61 s after now; a clock was wrong" == in_future(1061.0, 1000.0)
    assert "was read up to 31 s after now; a clock was wrong" == in_future(1031.0, 1000.0, 30.0)
