"""Charts as they come in life, for tests and to be looked at."""

from __future__ import annotations

import math
from typing import Any

from gpuwatch.cli.burnup_chart import Chart, Moved
from gpuwatch.model import Estimate, Scope

T0 = 1_764_000_000.0
HOUR, DAY = 3600.0, 86_400.0
_NORMAL = {0.05: -1.64, 0.1: -1.28, 0.25: -0.67, 0.5: 0.0, 0.75: 0.67, 0.9: 1.28, 0.95: 1.64}


def estimate(likely: float, quantity: str = "device-hours", unit: str = "s") -> Estimate:
    """Something declared, without a range."""
    return Estimate(Scope("job", "7"), quantity, likely, likely, likely, unit)


def rising(total: float, seconds: float, count: int = 60) -> list[tuple[float, float]]:
    """A burn-up to the total, slow and fast by turns."""
    parts = [number / count for number in range(count + 1)]
    return [(T0 + seconds * part, total * (part + 0.02 * math.sin(20 * part) * (1 - part))) for part in parts]


def quantiles(median: float, spread: float) -> dict[float, float]:
    """A distribution about a median; `spread` is that of its logarithm."""
    return {level: median * math.exp(spread * z) for level, z in _NORMAL.items()}


def moved(seconds: float, first: float, last: float, spread: float, count: int = 12) -> list[Moved]:
    """A forecast that goes from one median to another, and becomes surer."""
    found = []
    for number in range(count):
        part = number / (count - 1)
        median, wide = first + (last - first) * part, spread * (1 - 0.7 * part)
        low, high = median * math.exp(-1.28 * wide), median * math.exp(1.28 * wide)
        found.append(Moved(T0 + seconds * part, low, median, high, 0.1 + 0.7 * part))
    return found


def chart(**changed: Any) -> Chart:
    """A job of 9 h that used 300 of 640 declared device-hours and is forecast to need 702, in 12 h more."""
    values: dict[str, Any] = {
        "quantity": "device-hours", "started": T0, "now": T0 + 9 * HOUR, "used": rising(300 * HOUR, 9 * HOUR),
        "declared": estimate(640 * HOUR), "fan": quantiles(702 * HOUR, 0.17),
        "ends": (T0 + 18 * HOUR, T0 + 21 * HOUR, T0 + 27 * HOUR),
        "moved": moved(9 * HOUR, 600 * HOUR, 702 * HOUR, 0.5), "limit_at": T0 + 24 * HOUR,
        "crosses_at": T0 + 19.2 * HOUR, **changed,
    }  # fmt: skip
    return Chart(**values)


CASES = {
    "usual": chart(),
    "tiny": chart(
        now=T0 + 25, used=rising(50, 25, 10), declared=estimate(60), fan=quantiles(80, 0.2), crosses_at=None,
        ends=(T0 + 35, T0 + 40, T0 + 47), moved=moved(25, 60, 80, 0.4, 4), limit_at=None,
    ),
    "month": chart(
        quantity="energy", now=T0 + 6 * DAY, used=rising(6e11, 6 * DAY), declared=estimate(3.3e12, "energy", "J"),
        fan=quantiles(5.6e12, 0.25), ends=(T0 + 40 * DAY, T0 + 56 * DAY, T0 + 75 * DAY), crosses_at=None,
        moved=moved(6 * DAY, 3.3e12, 5.6e12, 0.6), limit_at=T0 + 33 * DAY,
    ),
    "far-beyond": chart(
        now=T0 + 30 * HOUR, used=rising(900 * HOUR, 30 * HOUR), declared=estimate(100 * HOUR), limit_at=None,
        fan=quantiles(1000 * HOUR, 0.05), ends=(T0 + 32 * HOUR, T0 + 33 * HOUR, T0 + 36 * HOUR), crosses_at=None,
        moved=moved(30 * HOUR, 120 * HOUR, 1000 * HOUR, 0.5),
    ),
    "declared-far-too-much": chart(declared=estimate(640_000 * HOUR), limit_at=T0 + 240 * HOUR, crosses_at=None),
    "wide-and-expected": chart(
        now=T0 + HOUR, used=rising(8 * HOUR, HOUR, 6), declared=None, expected=(20 * HOUR, 310 * HOUR),
        fan=quantiles(60 * HOUR, 1.44), ends=(T0 + 3 * HOUR, T0 + 7.5 * HOUR, T0 + 40 * HOUR), limit_at=None,
        moved=[each._replace(p_over=None) for each in moved(HOUR, 60 * HOUR, 60 * HOUR, 1.44, 3)], crosses_at=None,
    ),
    "no-forecast": chart(declared=None, fan={}, ends=None, moved=(), limit_at=None, crosses_at=None),
    "ended": chart(fan={0.5: 300 * HOUR}, ends=None, limit_at=None, ended=True),
}  # fmt: skip
