"""What a run comes to by its own progress: what it used for how much of the whole. Pure.

Used is everything: downtime, work that was lost and done again. What lies before the first report, and in the
first tenth of them, is warm-up and does not count for the rate. Where no report came for longer than one usually
takes, what was used meanwhile is added: it did not bring the end nearer.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

BUCKETS = (0.0, 0.03, 0.06, 0.12, 0.25, 0.5, 0.75, 0.9, 1.0)
"""How far a run must be for what is known of errors of projections from there on."""

ERRORS = (0.5, 0.4, 0.35, 0.3, 0.15, 0.09, 0.06, 0.04, 0.04)
"""The standard deviation of log(total / projected) in each bucket, where a site knows nothing yet."""

LEAST_RATIO = 0.02
"""So much must be done between two reports before a rate is known from them."""

LEAST_DONE = 1e-9
"""Less than that of a whole says nothing: its unit is wrong."""


class BurnUp(NamedTuple):
    """Where a run would end at its rate (`total`), and how far it is (`ratio`; beyond 1: farther than planned)."""

    total: float
    ratio: float

    @property
    def bucket(self) -> int:
        """Which of `BUCKETS` it is in."""
        return bisect_right(BUCKETS, self.ratio) - 1


def burn_up(used_at: Sequence[float], ratios: Sequence[float], used: float, begun: float = 0.0) -> BurnUp | None:
    """What a run will have used at its end, from what it had used (rising) when it reported how far it was.

    It is never less than what was used by the last report. Reports beyond `used` are not known yet. `begun` is how
    far the whole was when it took it up, from a checkpoint say. None where no report says anything.
    """
    known = bisect_right(used_at, used)
    if known == 0 or ratios[known - 1] - begun < LEAST_DONE or used_at[known - 1] <= 0:
        return None
    at, ratio = used_at[known - 1], ratios[known - 1]
    first = known // 10
    made, spent = ratio - ratios[first], at - used_at[first]
    usual_gap = at
    if known >= 3 and made > LEAST_RATIO and spent > 0:
        total = at + max(0.0, 1.0 - ratio) * spent / made
        usual_gap = (at - used_at[0]) / (known - 1)
    else:
        # Where it said that it had done nothing yet, what was used by then had brought it nowhere.
        in_vain = used_at[0] if ratios[0] <= begun else 0.0
        total = at + max(0.0, 1.0 - ratio) * (at - in_vain) / (ratio - begun)
    return BurnUp(total + max(0.0, used - at - usual_gap), ratio)


def first_in_each_bucket(
    used_at: Sequence[float], ratios: Sequence[float], begun: float = 0.0
) -> tuple[tuple[int, float], ...]:
    """Of a run that is over: what its projections were as it first came into each bucket."""
    found: dict[int, float] = {}
    for at in used_at:
        seen = burn_up(used_at, ratios, at, begun)
        if seen is not None and seen.bucket not in found:
            found[seen.bucket] = seen.total
    return tuple(found.items())
