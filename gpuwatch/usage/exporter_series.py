"""From series of samples, as a server of PromQL has them, to what each device said at which time. Pure."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from gpuwatch.model import EMPTY, Reading
from gpuwatch.usage.exporter_names import (
    LABELS,
    OF_THE_BOARD,
    PER_METRIC,
    SERIES,
    Kind,
    Series,
    Signal,
    Source,
    is_other_clock,
    of_a_slice,
    source_of,
)
from gpuwatch.usage.windows import Window

Points = Sequence[tuple[float, float]]
"""Times, in Unix seconds, and values."""

_MOST: Mapping[Signal, float] = {
    "energy": 1e12, "power": 20_000.0, "utilization": 1.0, "memory": 2.0**44, "clock": 2e10, "sm_activity": 1.0,
    "tensor": 1.0,
}  # fmt: skip
"""More than that, as DCGM says where it has no value, is not believed."""


class Seen(NamedTuple):
    """A device in a window: what its labels say, what it said, oldest first, and how often it is asked."""

    source: Source
    readings: tuple[Reading, ...]
    spacing_seconds: float | None


Group = frozenset[tuple[str, str]]
Values = dict[Signal, float]


@dataclass(slots=True)
class _Kept:
    """What one exporter tells of one device: values by the labels of their series, the metric's rank and time."""

    source: Source
    sliced: bool = False
    info: Source | None = None
    values: dict[Group, dict[float, dict[Signal, tuple[int, float]]]] = field(default_factory=dict)


def seen(
    series: Iterable[tuple[Mapping[str, str], Points]], window: Window, node_label: str = ""
) -> dict[str, Seen]:
    """What every device said in a window, by its uid; a device that two exporters know is the first one's."""
    kept: dict[str, dict[Kind, _Kept]] = defaultdict(dict)
    for labels, points in series:
        metric = SERIES.get(labels.get("__name__", ""))
        source = source_of(metric.kind, labels, node_label) if metric is not None else None
        if metric is None or source is None:
            continue
        of_kind = kept[source.uid].setdefault(metric.kind, _Kept(source))
        of_kind.sliced |= source.sliced
        if metric.signal == "info":
            of_kind.info = source
        elif _counts(metric, labels):
            _take(of_kind, metric, labels, points, window)
    found = {uid: _seen(uid, kinds) for uid, kinds in kept.items()}
    return {uid: each for uid, each in found.items() if each is not None}


def _counts(metric: Series, labels: Mapping[str, str]) -> bool:
    """Whether a series says something of the board, and of its first engine."""
    if metric.signal == "clock" and is_other_clock(labels):
        return False
    return metric.signal in OF_THE_BOARD or not of_a_slice(metric.kind, labels)


def _take(kept: _Kept, metric: Series, labels: Mapping[str, str], points: Points, window: Window) -> None:
    signal, rank = metric.signal, metric.rank
    times = kept.values.setdefault(_group(metric.kind, labels), {})
    for time, value in points:
        amount = value * metric.factor
        # A value that is no number is in no range either.
        if not (window.start < time <= window.end and 0 <= amount <= _MOST[signal]):
            continue
        values = times.setdefault(round(time, 3), {})
        if signal not in values or rank < values[signal][0]:
            values[signal] = rank, amount


def _group(kind: Kind, labels: Mapping[str, str]) -> Group:
    """What the series of one scrape of one device have in common; another server's have another replica label."""
    own = PER_METRIC | {*LABELS[kind].slices, "gpu_partition_id"}
    return frozenset((name, value) for name, value in labels.items() if name not in own)


def _seen(uid: str, kinds: Mapping[Kind, _Kept]) -> Seen | None:
    for kind in LABELS:
        kept = kinds.get(kind)
        if kept is None or not any(kept.values.values()):
            continue
        times, spacing = _times(kept)
        values = _together(kept)
        readings = tuple(_reading(uid, time, values[time]) for time in times)
        return Seen(_described(kept), readings, spacing)
    return None


def _described(kept: _Kept) -> Source:
    source, info = kept.source, kept.info
    if info is not None:
        source = source._replace(number=info.number, model=info.model)
    return source._replace(sliced=kept.sliced)


def _times(kept: _Kept) -> tuple[list[float], float | None]:
    """When the device was asked by the server that asked most; by another where that one has a hole."""
    groups = sorted(kept.values, key=lambda group: (-len(kept.values[group]), sorted(group)))
    times = sorted(kept.values[groups[0]])
    spacing = median(later - time for time, later in pairwise(times)) if len(times) > 1 else None
    for group in groups[1:]:
        near = (spacing or 0.0) / 2
        for time in [each for each in kept.values[group] if _distance(each, times) > near]:
            insort(times, time)
    if spacing is None and len(times) > 1:
        spacing = times[-1] - times[-2]
    return times, spacing


def _distance(time: float, times: Sequence[float]) -> float:
    """How far a time is from the nearest of others, which are in order; there may be very many of both."""
    place = bisect_left(times, time)
    return min((abs(time - each) for each in times[max(0, place - 1) : place + 1]), default=math.inf)


def _together(kept: _Kept) -> dict[float, dict[Signal, tuple[int, float]]]:
    """What all servers say of each time; of several metrics of a signal the better one."""
    found: dict[float, dict[Signal, tuple[int, float]]] = defaultdict(dict)
    for times in kept.values.values():
        for time, signals in times.items():
            at = found[time]
            for signal, ranked in signals.items():
                if signal not in at or ranked[0] < at[signal][0]:
                    at[signal] = ranked
    return found


def _reading(uid: str, time: float, ranked: Mapping[Signal, tuple[int, float]]) -> Reading:
    values: Values = {signal: value for signal, (_, value) in ranked.items()}
    return Reading(
        uid,
        time,
        utilization_ratio=values.get("utilization"),
        sm_activity_ratio=values.get("sm_activity"),
        tensor_activity_ratio=values.get("tensor"),
        memory_used_bytes=values.get("memory"),
        power_watts={("instant", "device"): values["power"]} if "power" in values else EMPTY,
        energy_joules=values.get("energy"),
        clock_hz={"sm": values["clock"]} if "clock" in values else EMPTY,
    )
