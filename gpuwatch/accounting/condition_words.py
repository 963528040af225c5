"""What alerts on what is measured say: numbers first in the one line, then what was measured, line by line. Pure.

Money is not among it: who tells the alert knows what a device-hour costs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from shlex import quote

from gpuwatch.accounting.amounts import amount, digits
from gpuwatch.accounting.case_now import Blind, CaseNow, Rest, Steps
from gpuwatch.accounting.forecast_words import moment
from gpuwatch.accounting.watched import FAULTS, AccountUse, DeviceLook, Outlier
from gpuwatch.ledger.jobs import Job

Said = tuple[str, tuple[str, ...]]
"""The line, and the details."""

_HOURS = "device-hours"
_LONGEST_NAME = 48
_LISTED = 4
_LATELY_SECONDS = 300.0
_MUCH_WAIT = 0.2
_FAULT_NAMES = ("heat (hardware)", "heat (driver)", "the power brake")
_PARTS = (("d", 86_400), ("h", 3600), ("min", 60))


def resting(case: CaseNow, kind: str, rest: Rest, steps: Steps | None) -> Said:
    """`no_start`, `hung` and `idle`."""
    since, lost = f"{moment(rest.since)} ({span(rest.seconds)})", amount(_HOURS, rest.lost)
    devices, watts = devices_text(rest.devices, rest.share), lately_watts(case)
    any_of = "it" if rest.devices == 1 else "any of them"
    did = {
        "no_start": f"holds {devices} since {since} and has not worked yet",
        "hung": f"holds {devices} that report busy at idle power: no work since {since}",
        "idle": f"holds {devices} and has not worked on {any_of} since {since}",
    }[kind]
    drawn = f", {power(watts)} drawn" if watts is not None else ""
    text = f"{named(case.job)} {did}: {lost} so far{drawn}"
    details = [
        f"{'held since' if kind == 'no_start' else 'last at work'} {since}, on {listed(rest.nodes, 'node')}",
        f"so far: {lost}" + (f", about {amount('energy', watts * rest.seconds)}" if watts is not None else ""),
        *([f"not measured, nor counted: {digits(rest.unseen)} more devices"] if rest.unseen >= 0.5 else []),
        *_reasons(case, kind, rest, steps),
        look_closer(case.job, "gpuwatch idle"),
    ]
    return text, tuple(details)


def partly_resting(case: CaseNow, look: DeviceLook) -> Said:
    """`idle` of some devices."""
    seconds, count = min(each.seconds for each in look.resting), len(look.resting)
    lost = amount(_HOURS, sum(each.lost for each in look.resting))
    text = (
        f"{named(case.job)} works, but not on {count} of its {look.devices} devices for {span(seconds)} or"
        f" longer: {lost} so far"
    )
    longest = sorted(look.resting, key=lambda each: (-each.seconds, each.node, each.uuid))
    return text, (
        *(f"{short(each.uuid)} on {each.node}: no work for {span(each.seconds)}" for each in longest[:_LISTED]),
        *([f"and {count - _LISTED} more"] if count > _LISTED else []),
        "it may not know of them, or need fewer: compare what it asks for with what it uses",
        look_closer(case.job, "gpuwatch idle"),
    )


def stalled(case: CaseNow, steps: Steps, seconds: float, limit: float, rest: Rest) -> Said:
    """`stalled_progress`."""
    at = f"step {steps.step:,.10g} of {steps.total:,.10g}"
    text = (
        f"{named(case.job)} made no step for {span(seconds)}, since {at} at {moment(steps.last)};"
        f" the longest before took {span(steps.longest_gap)}"
    )
    lost = amount(_HOURS, seconds * rest.share)
    return text, (
        f"{at} was reported at {moment(steps.last)}; told after {span(limit)} without another",
        f"its {devices_text(rest.devices, rest.share)} worked {span(rest.seconds)} ago"
        if rest.seconds >= 60.0
        else f"its {devices_text(rest.devices, rest.share)} work: it evaluates, loops, or reports no more",
        f"since then: {lost}",
        *_reasons(case, "stalled_progress", rest, None),
        look_closer(case.job),
    )


def throttled(case: CaseNow, seconds: Sequence[float], held: float, wall: float) -> Said:
    """`throttled`."""
    worst = max(range(len(FAULTS)), key=lambda place: seconds[place])
    share = percent(seconds[worst] / held)
    text = (
        f"{named(case.job)} had its clocks held down for {share} of the last {span(wall)}"
        f" by {_FAULT_NAMES[worst]}: {amount(_HOURS, seconds[worst])} of {amount(_HOURS, held)}"
    )
    return text, (
        *(
            f"{name}: {percent(each / held)} of the held time"
            for name, each in zip(_FAULT_NAMES, seconds, strict=True)
            if each > 0.0
        ),
        f"on {listed(case.job.nodes, 'node')}",
        "a device at its power limit is not counted: that is normal",
        look_closer(case.job),
    )


def outlying(case: CaseNow, look: DeviceLook) -> Said:
    """`outlier_device`."""
    first, *more = look.outliers
    text = (
        f"{named(case.job)}: device {short(first.uuid)} on {first.node} runs at {clock(first.clock)}, its"
        f" {first.others} others at {clock(first.others_clock)}{_watts_beside(first)}, over the last"
        f" {span(first.seconds)}"
    )
    return text, (
        *(_outlier_line(each) for each in (first, *more[: _LISTED - 1])),
        "where devices wait for each other the slowest sets the pace of all",
        "likely: heat, a power limit or brake, a bad supply; no other part of the job, as it works as long",
        look_closer(case.job),
    )


def _outlier_line(each: Outlier) -> str:
    return (
        f"{each.uuid} on {each.node}: {clock(each.clock)} at work, {percent(1 - each.clock / each.others_clock)}"
        f" below the others{_watts_beside(each)}; at work {percent(each.work)} of the time, the others"
        f" {percent(each.others_work)}"
    )


def _watts_beside(each: Outlier) -> str:
    if each.watts is None or each.others_watts is None:
        return ""
    return f", draws {power(each.watts)} beside {power(each.others_watts)}"


def unmeasured(case: CaseNow, blind: Blind) -> Said:
    """`unmeasured`."""
    hours = amount(_HOURS, blind.seconds * blind.devices)
    some = f"{digits(blind.devices)} of its {digits(blind.of)}" if blind.devices < blind.of else digits(blind.of)
    device = "device" if blind.devices == blind.of == 1 else "devices"
    text = f"{named(case.job)} runs unmeasured on {some} {device} for {span(blind.seconds)}: {hours} so far"
    without = [node for node in blind.nodes if node not in case.watched.nodes]
    saying = [node for node in blind.nodes if node in case.watched.nodes]
    why = (
        [f"read as unknown on {listed(blind.nodes, 'node')}: the driver does not answer, or may not be asked"]
        if blind.unread
        else [
            *([f"no agent was ever heard on {listed(without, 'node')}"] if without else []),
            *([f"the agent tells nothing of it on {listed(saying, 'node')}"] if saying else []),
        ]
    )
    return text, (*why, "its device-hours are charged all the same; its energy and its states are missing",
                  look_closer(case.job))  # fmt: skip


def rate(use: AccountUse, uses: Sequence[AccountUse], factor: float) -> Said:
    """`rate`."""
    today = amount(use.quantity, use.today, use.unit)
    text = (
        f"account {cut(use.account)} used {today} today, {digits(use.today / (use.usual or 1.0))} times the"
        f" {amount(use.quantity, use.usual or 0.0, use.unit)} that it did not exceed on nine of ten days before"
    )
    return text, (
        f"told above {digits(factor)} times that; it was used on {use.days} of the 28 days before",
        *(
            f"{each.quantity}: {amount(each.quantity, each.today, each.unit)} today"
            + (f", usually at most {amount(each.quantity, each.usual, each.unit)}" if each.usual else "")
            for each in uses
        ),
        "look closer: gpuwatch waste --by user --days 1",
    )


def _reasons(case: CaseNow, kind: str, rest: Rest, steps: Steps | None) -> Iterator[str]:
    """What it may be, by what else was measured."""
    usage = case.run.usage
    waited = _waited_lately(case)
    if waited is not None and waited >= _MUCH_WAIT:
        yield f"likely: its processes waited for storage {percent(waited)} of the time lately"
    for name, words in (("xid", "driver errors (XID)"), ("ecc_uncorrected", "uncorrectable memory errors")):
        if (count := usage.errors.get(name, 0.0)) >= 1:
            yield f"likely: {digits(count)} {words} on its devices since it began"
    if steps is not None:
        meanwhile = " meanwhile, without its devices" if steps.last > rest.since and kind == "idle" else ""
        yield f"last step{meanwhile}: {steps.step:,.10g} of {steps.total:,.10g}, at {moment(steps.last)}"
    if kind == "hung":
        yield "likely: a collective whose partner is gone, or a deadlock; it does not end by itself"
    elif kind == "no_start":
        spun, held = usage.state_seconds.get("spinning", 0.0), usage.held_seconds
        if held > 0.0 and spun > 0.5 * held:
            yield f"busy at idle power for {percent(spun / held)} of the time: it waits for others, or hangs"


def _waited_lately(case: CaseNow) -> float | None:
    """What part of the time all its processes waited for storage."""
    now, earlier = case.snapshot, case.earlier(_LATELY_SECONDS)
    if now is None or now.storage_wait is None:
        return None
    waited, held = now.storage_wait, now.held
    if earlier is not None:
        waited, held = waited - (earlier.storage_wait or 0.0), held - earlier.held
    return min(1.0, waited / held) if held > 0.0 else None


def lately_watts(case: CaseNow) -> float | None:
    """What its devices draw together, over the last minutes; None where that is not measured."""
    now, earlier = case.snapshot, case.earlier(_LATELY_SECONDS)
    if now is None or earlier is None:
        return None
    seconds, held = now.energy_seconds - earlier.energy_seconds, now.held - earlier.held
    wall = now.seen - earlier.seen
    if seconds <= 0.0 or held <= 0.0 or wall <= 0.0 or seconds < 0.5 * held:
        return None
    return (now.joules - earlier.joules) / seconds * held / wall


def named(job: Job) -> str:
    """What people call the job."""
    return f"job {cut(job.display)}"


def look_closer(job: Job, *more: str) -> str:
    """The commands to go on with."""
    show = f"gpuwatch show {quote(job.scope.name)}" if len(job.scope.name) <= _LONGEST_NAME else "gpuwatch jobs"
    return f"look closer: {', '.join((show, *more))}"


def cut(name: str) -> str:
    """A name from outside, not so long that it hides the sentence."""
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def short(uuid: str) -> str:
    """A device by as much of its name as tells it from others."""
    return uuid if len(uuid) <= 16 else f"{uuid[:12]}…"


def listed(names: Sequence[str], noun: str) -> str:
    """`node gw1`, `4 nodes: gw1, gw2, …`."""
    if not names:
        return f"no {noun}"
    if len(names) == 1:
        return f"{noun} {cut(names[0])}"
    shown = ", ".join(cut(each) for each in names[:_LISTED])
    return f"{len(names)} {noun}s: {shown}{', …' if len(names) > _LISTED else ''}"


def devices_text(devices: int, share: float) -> str:
    """`8 devices`; of parts of them the sum of the parts too."""
    number = f"{devices} device{'' if devices == 1 else 's'}"
    return number if abs(share - devices) < 0.01 else f"{digits(share)} of {number}"


def span(seconds: float) -> str:
    """`45 min`, `3 h 10 min`, `2 d 4 h`: the two largest units that are not nothing."""
    left = max(0, round(seconds / 60.0)) * 60
    parts = []
    for name, size in _PARTS:
        count, left = divmod(left, size)
        parts.append((count, name))
    first = next((place for place, (count, _) in enumerate(parts) if count), None)
    if first is None:
        return f"{max(0.0, seconds):.0f} s"
    return " ".join(f"{count} {name}" for count, name in parts[first : first + 2] if count)


def power(watts: float) -> str:
    """`310 W`, `1.2 kW`."""
    return f"{digits(watts / 1000.0)} kW" if watts >= 1000.0 else f"{digits(watts)} W"


def clock(hertz: float) -> str:
    """`1.98 GHz`, `345 MHz`."""
    return f"{hertz / 1e9:.2f} GHz" if hertz >= 1e9 else f"{hertz / 1e6:.0f} MHz"


def percent(ratio: float) -> str:
    """Whole per cent."""
    return f"{100.0 * ratio:.0f} %"
