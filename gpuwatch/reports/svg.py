"""The little SVG that plots need: scales with round ticks, axes, and text that is escaped. Pure.

Colours are classes, and the page's style gives them: light, dark and on paper.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from gpuwatch import hygiene

WIDTH = 760.0
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Box:
    """Where a plot's data lies: from the left and top edge, in pixels."""

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """Its bottom edge."""
        return self.top + self.height


@dataclass(frozen=True, slots=True)
class Scale:
    """Values onto pixels, straight."""

    low: float
    high: float
    first: float
    last: float

    def at(self, value: float) -> float:
        """The pixel of a value."""
        span = self.high - self.low
        return self.first if span <= 0 else self.first + (value - self.low) / span * (self.last - self.first)


def round_ticks(high: float, wanted: int = 4) -> list[float]:
    """Round numbers from 0 to `high` or above."""
    if not high > 0 or not math.isfinite(high):
        return [0.0, 1.0]
    size = 10.0 ** math.floor(math.log10(high / wanted))
    step = next(size * each for each in _STEPS if size * each * wanted >= high * 0.999)
    return [step * place for place in range(math.ceil(high / step - 1e-9) + 1)]


def time_ticks(begins: float, ends: float, zone: tzinfo, wanted: int = 6) -> list[tuple[float, str]]:
    """Round times with how they are written; days and months are those of a time zone."""
    span = max(1.0, ends - begins)
    hour = 3600.0
    for step in (60, 300, 900, 1800, hour, 3 * hour, 6 * hour, 12 * hour, 24 * hour, 48 * hour, 168 * hour):
        if span / step <= wanted:
            return _even(begins, ends, zone, step)
    return _months(begins, ends, zone, max(1, math.ceil(span / (30.5 * 86_400) / wanted)))


def _even(begins: float, ends: float, zone: tzinfo, step: float) -> list[tuple[float, str]]:
    moment = datetime.fromtimestamp(begins, zone).replace(hour=0, minute=0, second=0, microsecond=0)
    shown = "%b %-d" if step >= 86_400 else "%H:%M" if ends - begins < 86_400 else "%b %-d %H:%M"
    first = moment.timestamp()
    count = math.ceil((begins - first) / step)
    found = []
    while (time := first + count * step) <= ends:
        found.append((time, f"{datetime.fromtimestamp(time, zone):{shown}}"))
        count += 1
    return found


def _months(begins: float, ends: float, zone: tzinfo, every: int) -> list[tuple[float, str]]:
    moment = datetime.fromtimestamp(begins, zone).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    found = []
    while moment.timestamp() <= ends:
        if moment.timestamp() >= begins:
            found.append((moment.timestamp(), f"{moment:%b %Y}"))
        for _ in range(every):
            moment = (moment.replace(day=28) + timedelta(days=4)).replace(day=1)
    return found


def text(x: float, y: float, words: str, anchor: str = "start", kind: str = "label") -> str:
    """A line of text, escaped."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{hygiene.html(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """A straight line."""
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def rect(x: float, y: float, width: float, height: float, kind: str, title: str = "") -> str:
    """A rectangle, with words for who points at it."""
    inside = f"<title>{hygiene.html(title)}</title>" if title else ""
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{max(0.0, width):.1f}"'
        f' height="{max(0.0, height):.1f}">{inside}</rect>'
    )


def path(points: Sequence[tuple[float, float]], kind: str, closed: bool = False) -> str:
    """A line through points; `closed` fills what it encloses."""
    if not points:
        return ""
    steps = " ".join(f"{'M' if number == 0 else 'L'}{x:.1f} {y:.1f}" for number, (x, y) in enumerate(points))
    return f'<path class="{kind}" d="{steps}{" Z" if closed else ""}"/>'


def drawing(height: float, words: str, parts: Iterable[str]) -> str:
    """A whole picture; `words` say what it shows to those who do not see it."""
    return (
        f'<svg viewBox="0 0 {WIDTH:.0f} {height:.0f}" role="img" aria-label="{hygiene.html(words)}">'
        f"{''.join(parts)}</svg>"
    )
