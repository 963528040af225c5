"""What a job's figures advise, in sentences with numbers that say what to do. Pure.

A saving is told only of what was measured as lost: idle, spinning, lost work, clocks held down. It is an upper
bound, and the savings of a job together are never more than it held. Anything else is a fact without a price.
Where a figure covers too little nothing is said of it, and nothing of a job of less than a device-hour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from gpuwatch.accounting import advice_facts
from gpuwatch.accounting.amounts import amount, money
from gpuwatch.accounting.condition_words import listed, percent, short
from gpuwatch.accounting.odd_devices import devices_of_run
from gpuwatch.accounting.views import JobView
from gpuwatch.accounting.watched import FAULTS
from gpuwatch.ledger.device_times import DeviceTime
from gpuwatch.ledger.jobs import Job
from gpuwatch.ledger.waste import Parts, waste_of
from gpuwatch.model import Usage

FLOOR_SECONDS = 3600.0
"""Nothing is said of a job that came to fewer device-seconds."""

LEAST_SHARE = 0.05
"""A smaller part of what was held is not worth a sentence."""

MOSTLY = 0.5
_LISTED = 3

Kind = Literal["idle", "spinning", "lost", "throttled"]
"""What a saving is of; facts have kinds of their own (`advice_facts.py`)."""


@dataclass(frozen=True, slots=True)
class Advice:
    """A sentence; `device_seconds` could have been saved at most, None where what it tells has no price."""

    kind: str
    text: str
    device_seconds: float | None = None


def advice_on(view: JobView) -> tuple[Advice, ...]:
    """What is to be said of a job: savings first, the largest before others."""
    if view.job.device_seconds < FLOOR_SECONDS:
        return ()
    savings = sorted(_savings(view), key=lambda each: -(each.device_seconds or 0.0))
    facts = (Advice(fact.kind, fact.text) for fact in advice_facts.facts_on(view))
    return (*savings, *facts)


def savings_of(view: JobView) -> dict[Kind, float]:
    """Device-seconds that could have been saved at most, of a job that was measured; together no more than held.

    Time lies in one kind alone: clocks held down count only in what remains beside the others.
    """
    job = view.job
    if view.quality.states.partial or job.usage.held_seconds <= 0:
        return {}
    parts, left = waste_of(job), min(job.usage.held_seconds, job.device_seconds)
    wanted: dict[Kind, float] = {
        "idle": parts.idle, "spinning": parts.spinning, "lost": parts.lost, "throttled": _held_down(job.usage),
    }  # fmt: skip
    found: dict[Kind, float] = {}
    for kind, seconds in wanted.items():
        found[kind] = min(seconds, left)
        left -= found[kind]
    return found


def _savings(view: JobView) -> Iterator[Advice]:
    found = savings_of(view)
    parts = waste_of(view.job) if found else Parts()
    for kind, seconds in found.items():
        if seconds >= LEAST_SHARE * view.job.usage.held_seconds:
            text = f"at most {_priced(view, seconds)} {_SAYS[kind](view.job, parts)}"
            yield Advice(kind, text, seconds)


def _priced(view: JobView, seconds: float) -> str:
    """`12 device-hours (34 % of what was held, 31 EUR)`."""
    whole = view.job.device_seconds
    prices = {currency: value * seconds / whole for currency, value in view.cost.cost.items() if value > 0}
    told = [f"{percent(seconds / view.job.usage.held_seconds)} of what was held"]
    return f"{amount('device-hours', seconds)} ({', '.join(told + ([money(prices)] if prices else []))})"


def _held_down(usage: Usage) -> float:
    """Time with clocks held down by a fault; a device at its power limit is normal."""
    return min(usage.held_seconds, sum(usage.throttled_seconds.get(reason, 0.0) for reason in FAULTS))


def _idle(job: Job, parts: Parts) -> str:
    resting = [each for each in devices_of_run(job) if each.never_worked]
    devices = len(devices_of_run(job))
    if resting and len(resting) < devices:
        names = ", ".join(short(each.uuid) for each in resting[:_LISTED])
        more = f" and {len(resting) - _LISTED} more" if len(resting) > _LISTED else ""
        are = f"{len(resting)} of {devices} devices never worked ({names}{more})"
        return f"were idle: {are}; use them, or ask for {devices - len(resting)}"
    if resting:
        return "were idle: no device ever worked; see in the job's log whether it found them"
    before, after = parts.before_use or 0.0, parts.after_use or 0.0
    if before > MOSTLY * parts.idle:
        of_it = amount("device-hours", before)
        return f"were idle, {of_it} of it before the first work: fetch data and software before devices are held"
    if after > MOSTLY * parts.idle:
        of_it = amount("device-hours", after)
        return f"were idle, {of_it} of it after the last work: let the job end when its work does"
    waited = job.usage.storage_wait_seconds
    if waited is not None and waited > 0.1 * job.usage.held_seconds:
        share = percent(waited / job.usage.held_seconds)
        return f"were idle between work, and processes waited for storage {share} of the time: read ahead"
    return "were idle between work: let loading, evaluation and saving go on beside it, or ask for fewer devices"


def _spinning(job: Job, parts: Parts) -> str:
    return (
        "reported busy at idle power, as waiting for a partner does: look for devices that wait for others"
        " (`gpuwatch show` names the odd ones), and give collectives a timeout, so that what hangs ends"
    )


def _lost(job: Job, parts: Parts) -> str:
    restarts = len(job.runs) - 1
    began = f"in {restarts + 1} attempts " if restarts else ""
    if parts.bounded > MOSTLY * parts.lost:
        return (
            f"of work were lost {began}as far as is known, which counts all of it where no progress is reported:"
            " report it (`gpuwatch progress`), and save often"
        )
    each = amount("wall", parts.lost / max(1.0, float(len(job.devices))) / max(1, restarts))
    return (
        f"of work were lost {began}since they were last saved, about {each} each time: save more often than that"
    )


def _throttled(job: Job, parts: Parts) -> str:
    usage = job.usage
    reason = max(FAULTS, key=lambda each: usage.throttled_seconds.get(each, 0.0))
    nodes = sorted({each.node for each in devices_of_run(job) if each.node and _is_held_down(each)}) or job.nodes
    tell = f"have {listed(nodes, 'node')} looked at" if nodes else "have its nodes looked at"
    return f"had their clocks held down, mostly by {_REASONS[reason]} ({reason}): {tell}"


def _is_held_down(each: DeviceTime) -> bool:
    return _held_down(each.usage) >= LEAST_SHARE * each.usage.held_seconds > 0


_REASONS = {"hw_thermal": "heat", "sw_thermal": "heat", "hw_power_brake": "a power brake"}
_SAYS: dict[Kind, Callable[[Job, Parts], str]] = {
    "idle": _idle, "spinning": _spinning, "lost": _lost, "throttled": _throttled,
}  # fmt: skip
