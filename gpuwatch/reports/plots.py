"""The plots of a statement as SVG: burn-up with forecasts, days, states, and how energy divides. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby

from gpuwatch.accounting.amounts import digits
from gpuwatch.ledger.charges import date_of
from gpuwatch.ledger.forecast_store import KeptForecast
from gpuwatch.model import Estimate, Forecast
from gpuwatch.reports import svg, words
from gpuwatch.reports.blocks import PlotName
from gpuwatch.reports.statement import Day, Statement
from gpuwatch.reports.svg import WIDTH, Box, Scale

_HOUR, _DAY = 3600.0, 86_400.0
_HEIGHT = 260.0
_BOX = Box(56.0, 16.0, WIDTH - 56.0 - 104.0, _HEIGHT - 16.0 - 34.0)
_DAYS = Box(56.0, 30.0, WIDTH - 56.0 - 16.0, 200.0 - 30.0 - 34.0)
MOST_BARS = 120
_HOURS = "device-hours"


def plot(name: PlotName, made: Statement) -> str:
    """One plot; empty where there is nothing to draw."""
    return _PLOTS[name](made)


def _burn_up(made: Statement) -> str:
    """What was used over time; declared and forecast where there is any."""
    points = [(time, seconds / _HOUR) for time, seconds in made.burn_up]
    if len(points) < 2:
        return ""
    fan = _fan(made, points[-1])
    told = [each for each in made.foretold if {0.1, 0.5, 0.9} <= each.quantiles.keys()]
    declared = next((each for each in made.declared if each.quantity == _HOURS), None)
    marks = [each.estimate for each in declared.revisions if each.in_force or each.original] if declared else []
    tops = [points[-1][1], *(each.likely / _HOUR for each in marks), *(each[1][-1] for each in fan)]
    most = max(tops)
    tops += [min(each.quantiles[0.9] / _HOUR, 2.5 * most) for each in told]
    ticks = svg.round_ticks(max(tops))
    until = max([points[-1][0], *(each[0] for each in fan)])
    x = Scale(points[0][0], until, _BOX.left, _BOX.right)
    y = Scale(0.0, ticks[-1], _BOX.bottom, _BOX.top)
    parts = [*_grid(_BOX, x, y, ticks, made), *_band(told, x, y, ticks[-1]), *_wedge(fan, points[-1], x, y)]
    curve = [(x.at(time), y.at(used)) for time, used in points]
    parts += [
        svg.path([(curve[0][0], _BOX.bottom), *curve, (curve[-1][0], _BOX.bottom)], "fill-used", closed=True),
        svg.path(curve, "line-used"),
        *_limits(marks, y, [each[1][len(each[1]) // 2] for each in fan] or [points[-1][1]]),
        _reached(made, curve[-1], goes_on=bool(fan)),
    ]
    return svg.drawing(_HEIGHT, "device-hours used over time", parts)


def _reached(made: Statement, last: tuple[float, float], goes_on: bool) -> str:
    """What it came to, beside the end of the curve; above it where a forecast goes on from there."""
    shown = f"{words.hours(made.total.device_seconds)} h"
    if goes_on:
        return svg.text(last[0] - 4, last[1] - 8, shown, "end", "label strong")
    return svg.text(last[0] + 6, last[1] + 4, shown, kind="label strong")


def _grid(box: Box, x: Scale, y: Scale, ticks: Sequence[float], made: Statement) -> Iterator[str]:
    for value in ticks:
        yield svg.line(box.left, y.at(value), box.right, y.at(value), "grid")
        yield svg.text(box.left - 8, y.at(value) + 4, digits(value), "end")
    for time, shown in svg.time_ticks(x.low, x.high, made.zone):
        yield svg.line(x.at(time), box.bottom, x.at(time), box.bottom + 4, "axis")
        yield svg.text(x.at(time), box.bottom + 18, shown, "middle")
    yield svg.line(box.left, box.bottom, box.right, box.bottom, "axis")


def _band(told: Sequence[KeptForecast], x: Scale, y: Scale, most: float) -> Iterator[str]:
    """What was forecast at each time, 8 of 10 cases, and its median."""
    points = [(each.time, each.quantiles) for each in told]
    shown = [(time, quantiles) for time, quantiles in points if x.low <= time <= x.high]
    if len(shown) < 2:
        return
    upper = [(x.at(time), y.at(min(most, quantiles[0.9] / _HOUR))) for time, quantiles in shown]
    lower = [(x.at(time), y.at(min(most, quantiles[0.1] / _HOUR))) for time, quantiles in shown]
    yield svg.path([*upper, *reversed(lower)], "fill-fan", closed=True)
    yield svg.path(
        [(x.at(time), y.at(min(most, quantiles[0.5] / _HOUR))) for time, quantiles in shown], "line-fan"
    )


def _fan(made: Statement, last: tuple[float, float]) -> list[tuple[float, tuple[float, ...]]]:
    """When it will end, and the quantiles that it may have come to then; nothing of what is over."""
    forecast = made.forecasts.get(_HOURS)
    if not made.goes_on or forecast is None or not {0.1, 0.5, 0.9} <= forecast.quantiles.keys():
        return []
    levels = tuple(
        forecast.quantiles[level] / _HOUR for level in (0.1, 0.25, 0.5, 0.75, 0.9) if level in forecast.quantiles
    )
    return [(_end(made, forecast, last), levels)]


def _end(made: Statement, forecast: Forecast, last: tuple[float, float]) -> float:
    wall = made.forecasts.get("wall")
    begins = made.begins or last[0]
    if wall is not None and 0.5 in wall.quantiles and begins + wall.quantiles[0.5] > last[0]:
        return begins + wall.quantiles[0.5]
    done = max(1e-9, forecast.used / max(forecast.quantiles[0.5], 1e-9))
    return last[0] + (last[0] - begins) * max(0.05, min(4.0, 1.0 / done - 1.0))


def _wedge(
    fan: Sequence[tuple[float, tuple[float, ...]]], last: tuple[float, float], x: Scale, y: Scale
) -> Iterator[str]:
    for time, levels in fan:
        start = (x.at(last[0]), y.at(last[1]))
        for low, high in zip(levels[: len(levels) // 2], reversed(levels[-(len(levels) // 2) :]), strict=True):
            ends = [(x.at(time), y.at(high)), (x.at(time), y.at(low))]
            yield svg.path([start, *ends], "fill-fan", closed=True)
        middle = levels[len(levels) // 2]
        yield svg.path([start, (x.at(time), y.at(middle))], "line-fan")
        yield svg.text(x.at(time) + 6, y.at(middle) + 4, f"≈ {digits(middle)} h", kind="label strong")


def _limits(marks: Iterable[Estimate], y: Scale, taken: Sequence[float]) -> Iterator[str]:
    """Lines of what was declared, named at the right, or inside where something else is named there."""
    seen: list[float] = []
    for each in marks:
        likely = each.likely / _HOUR
        if likely in seen:
            continue
        near = any(abs(y.at(likely) - y.at(other)) < _LINE for other in (*seen, *taken))
        seen.append(likely)
        left, above = (_BOX.left + 6, -5) if near else (_BOX.right + 6, 4)
        yield svg.line(_BOX.left, y.at(likely), _BOX.right, y.at(likely), "line-declared")
        yield svg.text(left, y.at(likely) + above, f"declared {digits(likely)}", kind="label declared")


_LINE = 14.0
"""So high is a line of text."""


def _days(made: Statement) -> str:
    """Bars by day, or by month where there are many days."""
    if not made.days:
        return ""
    months = made.days[-1].number - made.days[0].number > MOST_BARS
    bars = list(_bars(made.days, months))
    ticks = svg.round_ticks(max(sum(parts) for _, parts in bars) / _HOUR, 3)
    y = Scale(0.0, ticks[-1], _DAYS.bottom, _DAYS.top)
    parts = list(_key(_KINDS))
    for value in ticks:
        parts.append(svg.line(_DAYS.left, y.at(value), _DAYS.right, y.at(value), "grid"))
        parts.append(svg.text(_DAYS.left - 8, y.at(value) + 4, digits(value), "end"))
    width, every = _DAYS.width / max(len(bars), 8), -(-len(bars) // 10)
    for place, (name, heights) in enumerate(bars):
        left = _DAYS.left + place * width
        parts += _bar(left, width, name, heights, y)
        if place % every == 0:
            parts.append(svg.text(left + width / 2, _DAYS.bottom + 18, name, "middle"))
    parts.append(svg.line(_DAYS.left, _DAYS.bottom, _DAYS.right, _DAYS.bottom, "axis"))
    return svg.drawing(200.0, f"device-hours by {'month' if months else 'day'}", parts)


_KINDS = (
    ("kept", "ended well, or goes on"),
    ("stopped", "failed, cancelled, timed out, requeued"),
    ("debug", "debugging"),
)


def _bar(left: float, width: float, name: str, heights: Sequence[float], y: Scale) -> Iterator[str]:
    """One bar, its parts on top of each other."""
    under = _DAYS.bottom
    for (kind, _), seconds in zip(_KINDS, heights, strict=True):
        height = _DAYS.bottom - y.at(seconds / _HOUR)
        if height > 0:
            under -= height
            title = f"{name}: {words.hours(seconds)} h"
            yield svg.rect(left + 0.08 * width, under, 0.84 * width, height, f"bar-{kind}", title)


def _bars(days: Sequence[Day], months: bool) -> Iterator[tuple[str, tuple[float, float, float]]]:
    """Every day or month from the first to the last, those without anything too."""
    if months:
        for month, those in groupby(days, key=lambda day: f"{date_of(day.number):%b %Y}"):
            found = list(those)
            yield month, (sum(d.kept for d in found), sum(d.stopped for d in found), sum(d.other for d in found))
        return
    known = {day.number: day for day in days}
    for number in range(days[0].number, days[-1].number + 1):
        day = known.get(number, Day(number, 0.0, 0.0, 0.0))
        yield f"{datetime.fromtimestamp(number * _DAY, UTC):%b %-d}", (day.kept, day.stopped, day.other)


def _key(kinds: Iterable[tuple[str, str]], top: float = 4.0, prefix: str = "bar") -> Iterator[str]:
    """What the colours mean."""
    left = _DAYS.left
    for kind, meaning in kinds:
        yield svg.rect(left, top, 10, 10, f"{prefix}-{kind}")
        yield svg.text(left + 15, top + 9, meaning)
        left += 30 + 6.4 * len(meaning)


_STATES = ("working", "spinning", "idle", "lost", "unknown")


def _states(made: Statement) -> str:
    return _stacked([(name, getattr(made.parts, name), "") for name in _STATES], "where device-hours went")


def _energy(made: Statement) -> str:
    device, facility = made.total.device_energy, made.total.facility_energy
    if device.value is None:
        return ""
    rows = [("devices", device.value, words.known("energy", device.value))]
    if facility.value is not None and facility.value > device.value:
        over = facility.value - device.value
        rows.append(("overhead (PUE)", over, words.known("energy", over)))
    if device.high is not None and made.unmeasured_seconds > 1:
        missing = max(0.0, device.high - device.value - 0.05 * device.value)
        rows.append(("unmeasured, at most", missing, words.known("energy", missing)))
    return _stacked(rows, "energy")


def _stacked(rows: Sequence[tuple[str, float, str]], what: str) -> str:
    """One bar, divided, with its parts named below."""
    shown = [row for row in rows if row[1] > 0]
    total = sum(row[1] for row in shown)
    if total <= 0:
        return ""
    parts, left = [], 0.0
    for name, value, _ in shown:
        width = value / total * WIDTH
        parts.append(
            svg.rect(
                left,
                0,
                max(1.0, width - 1.0),
                26,
                f"part-{name.split()[0].strip(',')}",
                f"{name}: {100 * value / total:.1f} %",
            )
        )
        left += width
    left = 0.0
    for name, value, label in shown:
        meaning = " ".join(filter(None, (name, label, words.percent(value / total))))
        parts.append(svg.rect(left, 38, 10, 10, f"part-{name.split()[0].strip(',')}"))
        parts.append(svg.text(left + 15, 47, meaning))
        left += 34 + 6.3 * len(meaning)
    return svg.drawing(54.0, what, parts)


_PLOTS = {"burn-up": _burn_up, "days": _days, "states": _states, "energy": _energy}
