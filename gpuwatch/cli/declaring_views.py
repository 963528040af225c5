"""Whose declarations come true, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from gpuwatch import hygiene
from gpuwatch.accounting.amounts import digits
from gpuwatch.cli.text import columns
from gpuwatch.ledger.declaring_record import FAR, LEAST_JOBS, MOSTLY, By, Declaring


def record_lines(found: Sequence[Declaring], by: By, width: int = 0) -> Iterator[str]:
    """Who is farthest off first, and what the columns mean."""
    judged = [each for each in found if each.jobs]
    silent = sum(each.silent for each in found)
    if not judged:
        yield f"No job that ended had declared device-hours; {silent:,} declared nothing."
        return
    head = (by.upper(), "JOBS", "FACTOR", "80 % OF JOBS", "MORE", "ABOUT", "LESS", "UNDECLARED", "ALWAYS")
    yield from columns([head, *(_row(each) for each in judged)], width)
    others = silent - sum(each.silent for each in judged)
    if others:
        yield f"{others:,} more jobs are of those who declare nothing."
    yield "By jobs that ended; the factor is what they used by what was first declared, in device-hours."
    yield f"About is within a factor of {FAR:g}, more and less are beyond."
    yield f"Always: of {100 * MOSTLY:.0f} % of {LEAST_JOBS} jobs; multiply the next declaration by the factor."


def _row(each: Declaring) -> tuple[str, ...]:
    middle = f"{_factor(each.low)} to {_factor(each.high)}" if each.low is not None else f"under {LEAST_JOBS} jobs"
    return (
        hygiene.log(each.name or "(none)"), f"{each.jobs:,}", _factor(each.factor), middle, f"{each.over:,}",
        f"{each.true:,}", f"{each.under:,}", f"{each.silent:,}", each.always,
    )  # fmt: skip


def _factor(value: float | None) -> str:
    return "" if value is None else digits(value)


def record_document(found: Sequence[Declaring], by: By) -> dict[str, Any]:
    """For JSON: ratios of used by declared, device-seconds."""
    return {
        "by": by,
        "groups": [
            {
                "name": each.name, "jobs": each.jobs, "undeclared_jobs": each.silent, "ratio": each.factor,
                "ratio_low": each.low, "ratio_high": each.high, "more": each.over, "about": each.true,
                "less": each.under, "always": each.always or None,
                "declared_device_seconds": each.declared_seconds, "used_device_seconds": each.used_seconds,
            }
            for each in found
        ],
    }  # fmt: skip
