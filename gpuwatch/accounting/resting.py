"""Jobs that hold devices and do not work on them: `no_start`, `hung`, `idle`. Pure.

At most one of them holds of a job, in that order. Time is that of the nodes' clocks, and never more than agents
measured as idle or spinning: neither a clock that jumps nor a node that is silent makes a job idle. Where one of
its nodes was not heard of lately nothing is decided, and what stands stays.

What looks like it and is not told: a pause for a checkpoint or an evaluation, a job that waits for data most of
the time, a first compilation (shorter than the threshold, or worked in between); a notebook that is used (its last
work is what counts); kernels so small that a device is busy at idle power, as long as the job reports steps.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from gpuwatch.accounting import condition_words as words
from gpuwatch.accounting.case_now import CaseNow, Rest, Steps, worked_again
from gpuwatch.accounting.cases import SKEW_SECONDS
from gpuwatch.accounting.watched import DeviceLook
from gpuwatch.ledger.facts import Line
from gpuwatch.ledger.jobs import UNSEEN_SECONDS
from gpuwatch.ledger.records import devices_of
from gpuwatch.model import Alert, Usage

NO_START, HUNG, IDLE = KINDS = ("no_start", "hung", "idle")
HOURS = "device-hours"
PARTLY: Literal["info"] = "info"
"""The severity of what is so of a part of a job's devices, by which it is known."""

LATELY_SECONDS = 120.0
"""A job that spins was seen to do so no longer ago than that."""


class _Node(NamedTuple):
    seconds: float
    since: float
    lost: float
    spins: bool
    share: float
    devices: int
    last_seen: float


def rest_of(case: CaseNow) -> Rest | None:
    """How long it has not worked by now; None where nobody can say, as not all of its nodes were heard lately."""
    found: list[_Node] = []
    by_node = _by_node(case.run.lines)
    for lines in by_node.values():
        node = _node(lines, case.now)
        if node is None:
            return None
        found.append(node)
    if not found:
        return None
    usage, share = case.run.usage, sum([each.share for each in found])
    allocated = devices_of(case.job.record) if case.job.record is not None else None
    return Rest(
        min([each.seconds for each in found]),
        max([each.since for each in found]),
        sum([each.lost for each in found]),
        bool(usage.state_seconds.get("working")) or usage.first_working is not None
        or "working" in usage.last_in_state,
        any(each.spins for each in found),
        share,
        sum([each.devices for each in found]),
        tuple(sorted(by_node)),
        max([each.last_seen for each in found]),
        max(0.0, allocated - share) if allocated is not None else 0.0,
    )  # fmt: skip


def _by_node(lines: Sequence[Line]) -> Mapping[str, Sequence[Line]]:
    """The lines of nodes on which the run holds something still."""
    if len(lines) == 1:
        return {lines[0].node: lines} if lines[0].open else {}
    found: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        found[line.node].append(line)
    return {node: those for node, those in found.items() if any(each.open for each in those)}


def _node(lines: Sequence[Line], now: float) -> _Node | None:
    """How long the devices of one node are at rest; None where that cannot be said now."""
    live = [line for line in lines if line.open]
    last_seen, share = max([line.last_seen for line in live]), sum([line.share for line in live])
    if not now - UNSEEN_SECONDS <= last_seen <= now + SKEW_SECONDS or share <= 0.0:
        return None
    usage = lines[0].usage if len(lines) == 1 else sum([line.usage for line in lines[1:]], lines[0].usage)
    last = usage.last_in_state
    worked, idle, spun = last.get("working"), last.get("idle"), last.get("spinning")
    rested = max([each for each in (idle, spun) if each is not None], default=None)
    latest = max([each for each in (worked, rested) if each is not None], default=None)
    # What could not be read for a while may work by now; so may what worked, nobody says when.
    if latest is None or latest < last_seen - UNSEEN_SECONDS:
        return None
    if worked is None and usage.state_seconds.get("working"):
        return None
    since = float(min([line.started for line in lines])) if worked is None else worked
    seconds = max(0.0, min(last_seen - since, _at_rest(usage) / share))
    spins = spun is not None and spun >= last_seen - LATELY_SECONDS
    return _Node(seconds, since, seconds * share, spins, share, sum([line.devices for line in live]), last_seen)


def _at_rest(usage: Usage) -> float:
    return usage.state_seconds.get("idle", 0.0) + usage.state_seconds.get("spinning", 0.0)


def resting(case: CaseNow, rest: Rest | None) -> Alert | None:
    """The one of the three kinds that holds of the whole job."""
    standing = next((kind for kind in KINDS if _is_whole(case.standing.get(kind))), None)
    known = case.standing[standing] if standing is not None else None
    if rest is None:
        return known
    limits = case.thresholds
    if known is None and rest.seconds < min(limits.no_start_seconds, limits.hung_seconds, limits.idle_seconds):
        return None
    steps = case.steps()
    kind = _kind(case, rest, steps)
    if known is not None and standing is not None and not _has_ceased(case, rest, steps):
        # What hangs goes on hanging when it is seen idle, until it works.
        kind = standing if kind is None or standing == HUNG else kind
        if rest.seconds < _threshold(case, kind) or (kind == NO_START and rest.worked):
            return known
    if kind is None:
        return None
    said = words.resting(case, kind, rest, steps)
    return case.alert(kind, HOURS, rest.seconds, _threshold(case, kind), said)


def _is_whole(alert: Alert | None) -> bool:
    return alert is not None and alert.severity != PARTLY


def _has_ceased(case: CaseNow, rest: Rest, steps: Steps | None) -> bool:
    if rest.spins and _makes_steps(case, rest, steps):
        return True
    return rest.worked and worked_again(case, rest.share, rest.devices)


def _threshold(case: CaseNow, kind: str) -> float:
    limits = case.thresholds
    return {NO_START: limits.no_start_seconds, HUNG: limits.hung_seconds, IDLE: limits.idle_seconds}[kind]


def _kind(case: CaseNow, rest: Rest, steps: Steps | None) -> str | None:
    """What it is by the thresholds alone."""
    if rest.lost < case.floor_seconds:
        return None
    spins = rest.spins and _spun_long(case, rest)
    if spins and _makes_steps(case, rest, steps):
        return None
    kind = NO_START if not rest.worked else HUNG if spins else IDLE
    return kind if rest.seconds >= _threshold(case, kind) else None


def _spun_long(case: CaseNow, rest: Rest) -> bool:
    """Whether one device at least spun for half of the threshold: a blip is no collective that hangs."""
    if case.snapshot is None:
        return False
    earlier = case.earlier(case.thresholds.hung_seconds)
    spun = case.snapshot.spinning - (earlier.spinning if earlier is not None else 0.0)
    each = rest.share / rest.devices if rest.devices > 0 else 1.0
    return spun >= 0.5 * case.thresholds.hung_seconds * min(1.0, each)


def _makes_steps(case: CaseNow, rest: Rest, steps: Steps | None) -> bool:
    """Whether it reported a step lately, of those that reported any."""
    since = rest.last_seen - case.thresholds.hung_seconds
    if steps is not None:
        return steps.last > since
    progress = case.job.progress
    return progress is not None and since < progress.time <= case.now + SKEW_SECONDS


def partly_resting(case: CaseNow, look: DeviceLook | None) -> Alert | None:
    """`idle` of some devices of a job that works on others, as the slow look found them; it is `info`.

    A device that is kept for later, or for another part of the job, looks the same, and is held for nothing all
    the same. A part that works now and then is not told of: its last work is what counts.
    """
    known = case.standing.get(IDLE)
    known = known if known is not None and known.severity == PARTLY else None
    if look is None or not look.resting:
        return None if look is not None or case.key in case.watched.looked else known
    if sum(each.lost for each in look.resting) < case.floor_seconds:
        return None
    seconds = min(each.seconds for each in look.resting)
    said = words.partly_resting(case, look)
    return case.alert(IDLE, HOURS, seconds, case.thresholds.idle_seconds, said, PARTLY)
