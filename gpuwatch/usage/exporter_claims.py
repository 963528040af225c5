"""Which device a job held when, by what the batch system allocated: whole nodes or indices, no guess. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from gpuwatch.model import JobKey
from gpuwatch.usage.base import Allocated
from gpuwatch.usage.exporter_names import Source, short

STALE_SECONDS = 900.0
"""A job that may still run, and of which nothing was heard for longer, may have ended: nobody knows who holds."""


class Claim(NamedTuple):
    """A job holds `share` of a device from `since` to before `until`, Unix seconds, by the reason `basis`."""

    job: JobKey
    since: float
    until: float
    share: float
    basis: str


class Span(NamedTuple):
    """A time from `since` to before `until`, Unix seconds."""

    since: float
    until: float


@dataclass(slots=True)
class Claims:
    """Who holds which device, by its uid, when it is not known who does, and the jobs that are not over."""

    held: dict[str, list[Claim]] = field(default_factory=lambda: defaultdict(list))
    unknown: dict[str, list[Span]] = field(default_factory=lambda: defaultdict(list))
    running: set[JobKey] = field(default_factory=set)


def claims_of(allocated: Iterable[Allocated], boards: Iterable[Source], end: float) -> Claims:
    """What allocations up to `end` (Unix seconds) say of the boards that are seen."""
    nodes: dict[str, list[Source]] = defaultdict(list)
    for board in boards:
        nodes[short(board.node)].append(board)
    jobs: dict[tuple[str, float], list[Allocated]] = defaultdict(list)
    for each in allocated:
        jobs[each.job_id, each.started].append(each)
    found = Claims()
    for parts in jobs.values():
        _claim(found, parts, nodes, end)
    return found


def heard_until(allocated: Iterable[Allocated], end: float) -> float:
    """Up to when the batch system has said what runs: `end` where nothing does."""
    return max((each.until for each in allocated if each.open), default=end)


def _claim(found: Claims, parts: Sequence[Allocated], nodes: Mapping[str, Sequence[Source]], end: float) -> None:
    share, basis = _share(parts)
    whole = _is_whole(parts, nodes)
    for part in parts:
        key = JobKey(part.job_id, int(part.started))
        if part.open or part.until > end:
            found.running.add(key)
        boards = nodes.get(short(part.node), ())
        held = _devices(part, boards, whole)
        span = _span(part, end)
        if held is None:
            for board in boards:
                found.unknown[board.uid].append(Span(part.started, math.inf if part.open else part.until))
            continue
        for board in held:
            found.held[board.uid].append(Claim(key, *span, share, basis))
            if part.open and span.until < math.inf:
                found.unknown[board.uid].append(Span(span.until, math.inf))


def _span(part: Allocated, end: float) -> Span:
    still = part.open and part.until >= end - STALE_SECONDS
    return Span(part.started, math.inf if still else part.until)


def _devices(part: Allocated, boards: Sequence[Source], whole: bool) -> Sequence[Source] | None:
    """Those of a node's boards that the job had; None where that is not known."""
    if not part.indices and part.devices == 0:
        return ()
    if any(board.sliced for board in boards):
        # Neither indices nor counts of slices say which part of which board.
        return None
    if part.indices:
        if any(board.number is None for board in boards):
            return None
        return [board for board in boards if board.number in part.indices]
    return boards if whole else None


def _is_whole(parts: Sequence[Allocated], nodes: Mapping[str, Sequence[Source]]) -> bool:
    """Whether the job has all boards of all its nodes: as many as there are, or more than are seen."""
    devices = parts[0].devices
    if devices is None or len(parts) < parts[0].nodes:
        return False
    counts = [len(nodes.get(short(part.node), ())) for part in parts]
    return all(counts) and devices >= sum(counts)


def _share(parts: Sequence[Allocated]) -> tuple[float, str]:
    """How much of each of its devices a job has: less than the whole where it was given less than it is on."""
    devices, on = parts[0].devices, sum(len(part.indices or ()) for part in parts)
    complete = len(parts) >= parts[0].nodes and all(part.indices for part in parts)
    if complete and devices and devices < on:
        return devices / on, "shard"
    return 1.0, "whole"
