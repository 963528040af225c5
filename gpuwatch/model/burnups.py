"""How a job came to where it is: what it had used by when, in a bounded number of points about evenly apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

MOST_POINTS = 128
FIRST_SPACING_SECONDS = 60.0


class BurnUpPoint(NamedTuple):
    """What was used by a Unix time, and how far the job said it was: step `step` of `total`; None is unknown."""

    time: float
    used: float
    """Device-seconds since the job began."""
    joules: float | None = None
    step: float | None = None
    total: float | None = None


@dataclass(frozen=True, slots=True)
class BurnUp:
    """The points of a job that began at `started`, Unix seconds: time rises, and what is used never falls.

    Steps may fall: that is work that was lost. All points but the last are at least `spacing_seconds` apart; the
    last is the latest that is known, however near.
    """

    started: float
    points: tuple[BurnUpPoint, ...] = ()
    spacing_seconds: float = FIRST_SPACING_SECONDS

    @property
    def settled(self) -> tuple[BurnUpPoint, ...]:
        """The points that stay when the next one comes: the last is not among them where it is too near."""
        has_tail = len(self.points) > 1 and self.points[-1].time - self.points[-2].time < self.spacing_seconds
        return self.points[:-1] if has_tail else self.points


def grown(burnup: BurnUp, point: BurnUpPoint) -> BurnUp:
    """A burn-up with what is known now; the same one where the point is older than its last and says less.

    What contradicts the point is forgotten: a clock was set back, or an amount was restated. When there are too
    many points every second one goes, and the spacing doubles.
    """
    if burnup.points and _is_stale(point, burnup.points[-1]):
        return burnup
    kept = burnup.settled
    while kept and not _follows(point, kept[-1]):
        kept = kept[:-1]
    points = (*kept, point)
    if len(points) <= MOST_POINTS:
        return BurnUp(burnup.started, points, burnup.spacing_seconds)
    # Their number is odd, so that the first and the last stay.
    return BurnUp(burnup.started, points[::2], 2.0 * burnup.spacing_seconds)


def _is_stale(point: BurnUpPoint, last: BurnUpPoint) -> bool:
    """Whether it was told late: a clock that was set back would have let the job use more meanwhile."""
    return point == last or (point.time < last.time and point.used < last.used)


def _follows(point: BurnUpPoint, before: BurnUpPoint) -> bool:
    return point.time > before.time and point.used >= before.used
