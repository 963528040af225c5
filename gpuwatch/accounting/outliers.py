"""One device of a job that is held down, told from its others by its clock at work. Pure.

In a job whose devices do the same the slowest one sets the pace. What is unlike the others by design must not be
told: stages of a pipeline draw unlike power, a device that evaluates or serves works less of the time. What works
less, or draws less, at the clock of the others has another part of the job; what is held down by heat, a brake, a
wrong limit or a broken supply has a lower clock while it works. Hence a device is told of where its clock is much
below that of the others, or where its power is, and its clock clearly below as well. Without clocks none is told.

The others have to be alike: what they differ by among themselves says how much means anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from gpuwatch.accounting import condition_words as words
from gpuwatch.accounting.case_now import CaseNow
from gpuwatch.accounting.watched import DeviceLook, Outlier
from gpuwatch.model import Alert

OUTLIER = "outlier_device"

KEPT = 0.8
"""An alert stays while a device is farther below than this part of the threshold."""

BESIDE = 0.25
"""Where power is as far below as the threshold, the clock has to be below by this part of it."""

PART = 8
"""At most one in so many devices is an outlier, and one at least: more of them are a kind of their own."""

SIGMAS = 5.0
_SIGMA = 1.4826
_LEAST_WORK = 0.25
_LIKE_WORK = 0.5
LEAST_CLOCK_SECONDS = 60.0


class Doing(NamedTuple):
    """What one device did in a time: its clock at work, Hz, watts, and what part of the time it worked."""

    node: str
    uuid: str
    clock: float | None
    watts: float | None
    work: float


def outliers(devices: Sequence[Doing], ratio: float, seconds: float) -> tuple[Outlier, ...]:
    """The devices that are held down, beside the others of the same model; the farthest below first."""
    clocks = [each.clock for each in devices if each.clock is not None]
    if len(clocks) < len(devices):
        return ()
    # Most jobs have none, and there are many jobs.
    lowest, ordered = _lowest(clocks, BESIDE * ratio)
    if not lowest:
        return ()
    works = sorted([each.work for each in devices])
    usual_work = works[len(works) // 2]
    if usual_work < _LEAST_WORK:
        return ()
    known = [each.watts for each in devices if each.watts is not None]
    low_watts: set[int] = set()
    usual_watts: float | None = None
    if len(known) == len(devices):
        low, others = _lowest(known, KEPT * ratio)
        low_watts, usual_watts = set(low), median(others)
    found = []
    for place in lowest:
        each = devices[place]
        far = 1.0 - clocks[place] / median(ordered)
        if place in low_watts and each.watts is not None and usual_watts:
            far = max(far, 1.0 - each.watts / usual_watts)
        if far >= KEPT * ratio and each.work >= _LIKE_WORK * usual_work:
            found.append(
                Outlier(
                    each.node, each.uuid, far, clocks[place], median(ordered), each.watts, usual_watts, each.work,
                    usual_work, len(ordered), seconds,
                )
            )  # fmt: skip
    return tuple(sorted(found, key=lambda each: (-each.far, each.node, each.uuid)))


def _lowest(values: Sequence[float], ratio: float) -> tuple[list[int], list[float]]:
    """Where the few values are that are below the others by more than the ratio and chance; and the others."""
    ordered = sorted(values)
    bound = (1.0 - ratio) * ordered[len(ordered) // 2]
    if ordered[0] >= bound:
        return [], ordered
    count = sum([value < bound for value in ordered])
    if count > max(1, len(ordered) // PART):
        return [], ordered
    others = ordered[count:]
    middle = median(others)
    spread = _SIGMA * median([abs(value - middle) for value in others])
    if ordered[count - 1] >= (1.0 - ratio) * middle or middle - ordered[count - 1] < SIGMAS * spread:
        return [], ordered
    return [place for place, value in enumerate(values) if value <= ordered[count - 1]], others


def outlying(case: CaseNow, look: DeviceLook | None) -> Alert | None:
    """The alert on the job's device that is farthest below, as the slow look found it."""
    known = case.standing.get(OUTLIER)
    ratio = case.thresholds.outlier_ratio
    if look is None or not look.outliers:
        return None if case.key in case.watched.compared else known
    far = look.outliers[0].far
    if known is None and (far <= ratio or case.job.device_seconds < case.floor_seconds):
        return None
    if far < KEPT * ratio:
        return None
    return case.alert(OUTLIER, "device", far, ratio, words.outlying(case, look))
