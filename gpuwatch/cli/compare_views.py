"""Two jobs beside each other, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gpuwatch import hygiene
from gpuwatch.accounting.amounts import amount, digits
from gpuwatch.accounting.comparing import Comparison
from gpuwatch.accounting.comparing_facts import taken
from gpuwatch.accounting.comparing_sides import Difference
from gpuwatch.cli.text import columns, filled


def lines(found: Comparison, width: int = 0) -> Iterator[str]:
    """How much slower the first is, what was measured unlike, and what nobody measured."""
    for text in (_verdict(found), _time(found)):
        yield from filled(text, width, "  ")
    names = [hygiene.log(job.display) for job in found.jobs]
    rows = [
        (_label(each), hygiene.log(each.first), hygiene.log(each.second), _explained(found, each))
        for each in found.parts
    ]
    beside = [(each.label, hygiene.log(each.first), hygiene.log(each.second), "") for each in found.beside]
    if rows:
        yield ""
        yield from columns([("MEASURED", *names, _title(found)), *rows], width)
    if beside:
        yield ""
        yield from columns([("ALSO UNLIKE", *names, ""), *beside], width)
    yield ""
    yield from filled(f"not measured: {'; '.join(map(hygiene.log, found.unmeasured))}", width, "  ")
    yield from filled("these are measured differences, at most what they can explain; none of them is a cause by"
                      " itself", width, "  ")  # fmt: skip


def _verdict(found: Comparison) -> str:
    first, second = (f"job {hygiene.log(job.display)}" for job in found.jobs)
    unit = " per step" if found.per == "step" else " in all (steps are not known of both)"
    amounts = f"{taken(found.first)}{unit}, against {taken(found.second)}"
    if found.times is None:
        return f"{first} took {amounts}: nothing to compare with"
    if found.alike:
        return f"{first} is as fast as {second}: {amounts}"
    if found.times > 1:
        return f"{first} is slower than {second} by a factor of {digits(found.times)}: {amounts}"
    return f"{first} is faster than {second} by a factor of {digits(1 / found.times)}: {amounts}"


def _time(found: Comparison) -> str:
    each = "a step" if found.per == "step" else "in all"
    walls = [amount("wall", wall) for wall in found.walls]
    steps = ""
    if found.per == "step":
        steps = f"; over {digits(found.steps[0] or 0.0)} steps, against {digits(found.steps[1] or 0.0)}"
    return f"by the clock on the wall {walls[0]} {each}, against {walls[1]}{steps}"


def _title(found: Comparison) -> str:
    return "EXPLAINS AT MOST" if not found.alike else "MORE BY"


def _label(each: Difference) -> str:
    return f"  {each.label}" if each.within else each.label


def _explained(found: Comparison, each: Difference) -> str:
    if each.explains is None:
        return ""
    share = found.share(each)
    part = f" ({100 * share:.0f} %)" if share is not None else ""
    size, unit = (3600.0, "h") if max(found.first, found.second) >= 3600 else (1.0, "s")
    sign = "+" if each.explains > 0 else ""
    return f"{'of it ' if each.within else ''}{sign}{digits(each.explains / size)} {unit}{part}"


def document_of(found: Comparison) -> dict[str, Any]:
    """For JSON: base units, what a part can explain in device-seconds and as a ratio of the difference."""
    return {
        "jobs": [job.scope.name for job in found.jobs],
        "clusters": [job.cluster for job in found.jobs],
        "per": found.per,
        "steps": list(found.steps),
        "device_seconds": [found.first, found.second],
        "wall_seconds": list(found.walls),
        "ratio": found.times,
        "alike": found.alike,
        "differences": [_difference(found, each) for each in found.parts],
        "beside": [_difference(found, each) for each in found.beside],
        "not_measured": list(found.unmeasured),
    }


def _difference(found: Comparison, each: Difference) -> dict[str, Any]:
    return {
        "kind": each.kind, "text": each.label, "values": [each.first_value, each.second_value],
        "shown": [each.first, each.second], "explains_device_seconds": each.explains,
        "explains_ratio": found.share(each), "within_previous": each.within,
    }  # fmt: skip
