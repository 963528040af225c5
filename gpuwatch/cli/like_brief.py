"""What jobs of a kind came to in one line. It imports little, as it is printed while somebody submits a job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpuwatch.accounting.amounts import digits

Document = Mapping[str, Any]

_HOUR = 3600.0
_HOURS = "device-hours"


def brief_line(told: Document) -> str:
    """One line with the 80 % interval; empty where too little is known for one."""
    spread = best(told)
    low, high = (spread["quantiles"][end] for end in ("0.1", "0.9")) if spread is not None else (None, None)
    if spread is None or low is None:
        return ""
    until = f"to {digits(high / _HOUR)}" if high is not None else "or more"
    what = "declarations like this came to" if told["applied"] is not None else "jobs like this took"
    return f"{what} {digits(low / _HOUR)} {until} device-hours (n={spread['n']})\n"


def best(told: Document) -> Document | None:
    """The spread of device-seconds to go by: of declarations where that is known, else of the jobs."""
    found: Document | None = told["applied"] or told["spreads"].get(_HOURS)
    return found
