"""Facts about a job that are worth a sentence and have no price: nobody measured a loss by them. Pure.

Each is told only where what it is made of was measured, or told by the batch system, for nearly all of the job.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from gpuwatch import specs
from gpuwatch.accounting.amounts import amount, digits
from gpuwatch.accounting.condition_words import percent, span
from gpuwatch.accounting.odd_devices import odd_devices
from gpuwatch.accounting.views import JobView
from gpuwatch.ledger.jobs import Job
from gpuwatch.ledger.lost_work import outcome_of

TENSOR_BELOW = 0.02
"""Tensor units that are active for less of the time at work are not used."""

LIMIT_TIMES = 4.0
"""A time limit is far from use where it is so many times what was used, and an hour more."""

DECLARED_TIMES = 1.5
"""A declaration is far from what was used where it differs by such a factor."""

WAITED_ABOVE = 0.1
MEMORY_BELOW = 0.15
_ROOM = 1.5
_LISTED = 3
_HOUR, _HALF_HOUR = 3600.0, 1800.0


class Fact(NamedTuple):
    """A sentence, and what it is about."""

    kind: str
    text: str


def facts_on(view: JobView) -> Iterator[Fact]:
    """What is to be said of a job."""
    job = view.job
    if not view.quality.states.partial and job.usage.held_seconds > 0:
        yield from _unequal(job)
        yield from _tensor(job)
        yield from _storage(job)
        yield from _memory(job)
    if not view.quality.hours.incomplete and job.state == "ended":
        yield from _limit(job)
        yield from _declared(job)


def _unequal(job: Job) -> Iterator[Fact]:
    odd = odd_devices(job)
    if not odd:
        return
    which = "a device is" if len(odd) == 1 else f"{len(odd)} devices are"
    told = ", and ".join(each.text for each in odd[:_LISTED])
    more = f"; and {len(odd) - _LISTED} more" if len(odd) > _LISTED else ""
    slowest = "where devices wait for each other the slowest sets the pace"
    do = "compare their nodes, and how the work is dealt out"
    yield Fact("unequal", f"{which} unlike the others: {told}{more}; {slowest}: {do}")


def _tensor(job: Job) -> Iterator[Fact]:
    usage, working = job.usage, job.usage.state_seconds.get("working", 0.0)
    if usage.tensor_seconds is None or working < 0.5 * usage.held_seconds:
        return
    share = usage.tensor_seconds / working
    if share < TENSOR_BELOW:
        active = f"tensor units were active {digits(100 * share)} % of the time at work"
        yield Fact("tensor", f"{active}: matrices in bf16, fp16 or TF32 use them; without matrices nothing does")


def _storage(job: Job) -> Iterator[Fact]:
    waited, held = job.usage.storage_wait_seconds, job.usage.held_seconds
    if waited is not None and waited >= WAITED_ABOVE * held:
        share = percent(min(1.0, waited / held))
        do = "read ahead with more workers, or copy the data near the node first"
        yield Fact("storage", f"all of its processes waited for storage {share} of the time: {do}")


def _memory(job: Job) -> Iterator[Fact]:
    """Only of whole devices of one model whose memory is known."""
    spec = specs.lookup(job.models[0]) if len(job.models) == 1 else None
    usage, lines = job.usage, [line for run in job.runs for line in run.lines]
    if spec is None or usage.memory_byte_seconds is None or any(line.share < line.devices for line in lines):
        return
    whole, used = spec.memory_bytes / max(1, spec.devices), usage.memory_byte_seconds / usage.held_seconds
    if used < MEMORY_BELOW * whole and usage.state_seconds.get("working", 0.0) >= 0.5 * usage.held_seconds:
        of = f"{digits(used / 2**30)} of {digits(whole / 2**30)} GiB of memory were used on the mean"
        do = "a larger batch fits, or a smaller device or a slice of one would do"
        yield Fact("memory", f"{of} ({percent(used / whole)}): {do}")


def _limit(job: Job) -> Iterator[Fact]:
    limit = job.record.facts.limit_seconds if job.record is not None else None
    if limit is None or not job.runs or outcome_of(job, job.runs[-1]) != "COMPLETED":
        return
    longest = max(run.last_seen - run.started for run in job.runs)
    better = max(1.0, -(-_ROOM * longest // _HALF_HOUR)) * _HALF_HOUR
    if limit >= LIMIT_TIMES * longest and limit - longest >= _HOUR and better < limit:
        used = f"the time limit was {span(limit)} and {span(longest)} were used"
        yield Fact(
            "limit", f"{used}: with a limit of {span(better)} the next one may start sooner, in a shorter gap"
        )


def _declared(job: Job) -> Iterator[Fact]:
    """How far a declaration was from what was used; that a job which failed used less says nothing."""
    declared = job.estimates.get("device-hours")
    if declared is None or declared.likely <= 0 or not job.runs:
        return
    used, completed = job.device_seconds, outcome_of(job, job.runs[-1]) == "COMPLETED"
    times = used / declared.likely
    if times < DECLARED_TIMES and (not completed or times > 1 / DECLARED_TIMES):
        return
    far = f"{digits(times)} times" if times > 1 else f"{percent(times)} of"
    said = f"it came to {amount('device-hours', used)}, {far} the {digits(declared.likely / _HOUR)} declared"
    more = "" if completed else ", and not to its end"
    do = f"declare {'' if completed else 'more than '}{digits(used / _HOUR)} for the next one like it"
    yield Fact("declared", f"{said}{more}: {do}")
