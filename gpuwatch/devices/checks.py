"""What may be believed of a reading: known, finite, in the range of its metric, and no driver's word for unknown.

Pure and fast: it runs for every reading of every device in every second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from operator import attrgetter
from sys import float_info
from typing import Any, NamedTuple

from gpuwatch.model import EMPTY, Labels, Process, Reading, metrics_of

REASONS = ("not_a_number", "not_finite", "too_low", "too_high", "sentinel")

# A device at 20 kW needs fifteen years for this.
MOST_JOULES = 1e13
MOST_BYTES = 2.0**44
MOST_WATTS = 20_000.0


class Bound(NamedTuple):
    """The believable range of one field of a reading; `labelled` where the field maps labels to numbers."""

    field: str
    low: float
    high: float
    labelled: bool


def _bounds() -> tuple[Bound, ...]:
    most = float_info.max
    known = [
        Bound(
            each.field,
            -most if each.metric.low is None else each.metric.low,
            most if each.metric.high is None else each.metric.high,
            bool(each.metric.labels),
        )
        for each in metrics_of(Reading)
    ]
    return (
        *known,
        Bound("energy_joules", 0.0, MOST_JOULES, False),
        Bound("modelled_watts", 0.0, MOST_WATTS, False),
    )


BOUNDS = _bounds()
_values_of = attrgetter(*(bound.field for bound in BOUNDS))

# Integers that drivers give for "not available", also after a conversion to base units.
SENTINELS = frozenset(
    kind(raw * scale)
    for raw in (2**32 - 1, 2**63 - 1, 2**64 - 1)
    for scale in (1, 1e-3, 1e-6, 1e-9, 1000, 10**6, 1024, 1024**2)
    for kind in ((int, float) if isinstance(scale, int) else (float,))
)


def reason_against(value: object, low: float, high: float) -> str | None:
    """Why a number is not to be believed, one of `REASONS`; None where nothing speaks against it."""
    if not isinstance(value, (int, float)):
        return "not_a_number"
    if low <= value <= high and value not in SENTINELS:
        return None
    if value in SENTINELS:
        return "sentinel"
    if value != value or abs(value) == float("inf"):
        return "not_finite"
    return "too_low" if value < low else "too_high"


def checked(reading: Reading) -> tuple[Reading, Mapping[str, int]]:
    """The reading without the values that cannot be believed, and how many were dropped for which reason.

    A reading that is fine comes back as the same object.
    """
    changes: dict[str, Any] = {}
    rejected: dict[str, int] = dict(reading.rejected)
    for (field, low, high, labelled), value in zip(BOUNDS, _values_of(reading), strict=True):
        if value is None or value is EMPTY:
            continue
        if labelled:
            kept = _believable(value, low, high, rejected)
            if kept is not value:
                changes[field] = kept
        elif (reason := reason_against(value, low, high)) is not None:
            changes[field] = None
            rejected[reason] = rejected.get(reason, 0) + 1
    processes = _checked_processes(reading.processes, rejected)
    if processes is not reading.processes:
        changes["processes"] = processes
    return replace(reading, **changes) if changes else reading, rejected or EMPTY


def _believable(
    values: Mapping[Labels, float], low: float, high: float, rejected: dict[str, int]
) -> Mapping[Labels, float]:
    """The same mapping where all of it is believable."""
    bad: set[Labels] = set()
    for labels, value in values.items():
        reason = reason_against(value, low, high)
        if reason is not None:
            bad.add(labels)
            rejected[reason] = rejected.get(reason, 0) + 1
    return {labels: value for labels, value in values.items() if labels not in bad} if bad else values


def _checked_processes(
    processes: tuple[Process, ...] | None, rejected: dict[str, int]
) -> tuple[Process, ...] | None:
    """A process stays, whatever is said of its memory: who holds a device must not get lost over it."""
    if not processes:
        return processes
    kept = tuple(_checked_process(process, rejected) for process in processes)
    return kept if any(old is not new for old, new in zip(processes, kept, strict=True)) else processes


def _checked_process(process: Process, rejected: dict[str, int]) -> Process:
    if process.memory_bytes is None:
        return process
    reason = reason_against(process.memory_bytes, 0, MOST_BYTES)
    if reason is None:
        return process
    rejected[reason] = rejected.get(reason, 0) + 1
    return replace(process, memory_bytes=None)
