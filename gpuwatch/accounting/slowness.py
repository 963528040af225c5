"""Running jobs that make no progress, or are slowed down. Pure.

`stalled_progress`: what looks like it and is not told is a job whose steps take long (four times the longest that
it took before), one that has reported its last step, a notebook; and what is told as idle or hung already.

`throttled`: a device at its power limit is not, nor one that idles hot: the job has to work for half of the time.
"""

from __future__ import annotations

from gpuwatch.accounting import condition_words as words
from gpuwatch.accounting.case_now import CaseNow, Rest, steps_lately
from gpuwatch.accounting.cases import is_open_ended
from gpuwatch.model import Alert

STALLED, THROTTLED = "stalled_progress", "throttled"

GAPS = 4.0
"""A step may take so many times as long as the longest before it."""

CEASED = 0.8
"""An alert stays while what raised it is above this part of the threshold."""

AT_WORK = 0.5
"""A job that is slowed down has to work for this part of the time."""


def stalled(case: CaseNow, rest: Rest | None) -> Alert | None:
    """No step for longer than ever, by far."""
    known = case.standing.get(STALLED)
    if is_open_ended(case.job, case.watched.open_ended):
        return None
    if rest is None:
        return known
    if known is None and steps_lately(case, case.thresholds.stalled_seconds):
        return None
    steps = case.steps()
    if steps is None:
        return known
    if steps.step >= steps.total:
        return None
    seconds = min(rest.last_seen, case.now) - max(steps.last, float(case.run.started))
    limit = max(case.thresholds.stalled_seconds, GAPS * steps.longest_gap)
    if known is None and not _is_worth_it(case, rest, seconds):
        return None
    if seconds < limit:
        return None
    return case.alert(STALLED, "progress", seconds, limit, words.stalled(case, steps, seconds, limit, rest))


def _is_worth_it(case: CaseNow, rest: Rest, seconds: float) -> bool:
    """Whether enough is lost; what rests for a good part of it will be told as idle or hung, and once."""
    return seconds * rest.share >= case.floor_seconds and rest.seconds < 0.5 * seconds


def throttled(case: CaseNow) -> Alert | None:
    """Clocks held down by heat or a power brake, for a good part of the window."""
    known = case.standing.get(THROTTLED)
    earlier = case.earlier(case.thresholds.window_seconds)
    if case.snapshot is None or earlier is None:
        return known
    held = case.snapshot.held - earlier.held
    if held <= 0.0:
        return known
    # Several reasons may hold at once: the one that held longest is no more than it was.
    each = [after - first for after, first in zip(case.snapshot.faults, earlier.faults, strict=True)]
    ratio, least = max(each) / held, case.thresholds.throttled_ratio
    works = case.snapshot.working - earlier.working >= AT_WORK * held
    if known is None and (not works or ratio < least or case.job.device_seconds < case.floor_seconds):
        return None
    if ratio < CEASED * least:
        return None
    said = words.throttled(case, each, held, case.snapshot.seen - earlier.seen)
    return case.alert(THROTTLED, "time", ratio, least, said)
