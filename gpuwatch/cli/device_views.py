"""The devices of a job's latest run, one by one, as text."""

from __future__ import annotations

from collections.abc import Iterator

from gpuwatch import hygiene
from gpuwatch.accounting.amounts import amount
from gpuwatch.accounting.condition_words import clock, percent, power
from gpuwatch.accounting.odd_devices import clock_of, devices_of_run, odd_devices, watts_of, work_of
from gpuwatch.accounting.watched import FAULTS
from gpuwatch.cli.text import columns, filled
from gpuwatch.ledger.device_times import DeviceTime
from gpuwatch.ledger.jobs import Job

_HEAD = ("", "NODE", "DEVICE", "MODEL", "HELD", "AT WORK", "CLOCK", "POWER", "HELD DOWN", "ERRORS")


def device_lines(job: Job, width: int = 0) -> Iterator[str]:
    """Those unlike the others first, marked, and below what each of them differs in."""
    devices = devices_of_run(job)
    if not devices:
        yield f"job {hygiene.log(job.display)}: no agent tells of its devices"
        return
    odd = odd_devices(job)
    places = {(each.node, each.uuid): place for place, each in enumerate(odd)}
    last = len(odd)
    ordered = sorted(devices, key=lambda each: (places.get((each.node, each.uuid), last), each.node, each.uuid))
    rows = [_cells(each, (each.node, each.uuid) in places) for each in ordered]
    yield from columns([_HEAD, *rows], width)
    for each in odd:
        yield from filled(f"* {hygiene.log(each.text)}", width, "  ")
    if not odd:
        yield "none is unlike the others" if len(devices) > 1 else "it is the only one"


def _cells(each: DeviceTime, odd: bool) -> tuple[str, ...]:
    usage = each.usage
    work, hertz, watts = work_of(each), clock_of(each), watts_of(each)
    throttled = max((usage.throttled_seconds.get(reason, 0.0) for reason in FAULTS), default=0.0)
    down = percent(throttled / usage.held_seconds) if usage.throttled_seconds and usage.held_seconds > 0 else ""
    errors = ", ".join(
        f"{kind} {count:,.0f}" for kind, count in sorted(usage.errors.items(), key=str) if count > 0
    )
    return (
        "*" if odd else "", hygiene.log(each.node), hygiene.log(each.uuid), hygiene.log(each.model),
        amount("wall", usage.held_seconds), "" if work is None else percent(work),
        "" if hertz is None else clock(hertz), "" if watts is None else power(watts), down, errors,
    )  # fmt: skip
