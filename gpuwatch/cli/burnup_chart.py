"""The burn-up of a job, what it is forecast to come to, and how that forecast moved, in lines of text. Pure.

The upper chart is what was used from the start until now, and from there the fan: the 80 % interval and the
median of what it comes to, drawn to the time at which it most likely ends. The lower one is what was forecast
when. Both can be read without colour.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import NamedTuple

from gpuwatch.accounting.amounts import unit_of
from gpuwatch.accounting.forecast_words import moment, percent
from gpuwatch.cli.canvas import Canvas, Place, Style, painted
from gpuwatch.cli.chart_axes import amount_ticks, short
from gpuwatch.cli.chart_frame import GUTTER, Paper, Scale, framed, lay, part_of, stand, time_axis
from gpuwatch.model import EMPTY, Estimate

LEAST_WIDTH, MOST_WIDTH = 60, 120
LEAST_HEIGHT, MOVED_HEIGHT = 6, 5
_LOW, _MEDIAN, _HIGH = 0.1, 0.5, 0.9
_FAN_RATIO = 4.0
"""Above so many times the median the fan is cut."""
_LINE_RATIO, _LINE_RATIO_ALONE = 3.0, 10.0
"""A line is in the chart up to so many times what is forecast, and what was used where nothing is."""
_END_RATIO = 1.5
"""How long it is drawn to run, by how long it ran, where nobody knows when it ends."""
_LIMIT_RATIO = 1.3
"""The time limit is in the chart up to so many times the time until the end."""
_MOST = 1e200
_MOST_WORD = 12


class Moved(NamedTuple):
    """What was forecast at a time: the ends of the 80 % interval, the median, the probability of an overrun."""

    time: float
    low: float
    median: float
    high: float
    p_over: float | None = None


@dataclass(frozen=True, slots=True)
class Chart:
    """What is drawn. Times are Unix seconds, amounts in base units of the quantity.

    `used` is what was used by when; `fan` maps 0 < q < 1 to what it comes to; `ends` are when it ends: early
    (10 %), median and late (90 %). `expected` are the ends of what its like came to, drawn where nothing is
    declared.
    """

    quantity: str
    started: float
    now: float
    used: Sequence[tuple[float, float]] = ()
    declared: Estimate | None = None
    expected: tuple[float, float] | None = None
    fan: Mapping[float, float] = field(default_factory=lambda: EMPTY)
    ends: tuple[float, float, float] | None = None
    moved: Sequence[Moved] = ()
    limit_at: float | None = None
    crosses_at: float | None = None
    ended: bool = False
    """Whether it is over: then `now` is when it ended."""

    @property
    def unit(self) -> str:
        """The unit of a quantity that has none of its own."""
        return self.declared.unit if self.declared is not None else ""

    @property
    def lines(self) -> tuple[float, ...]:
        """The amounts at which there is a line across: what is declared at most, else what is expected."""
        if self.declared is not None:
            return (self.declared.high,)
        return tuple(sorted({*self.expected})) if self.expected is not None else ()

    @property
    def lines_name(self) -> str:
        """What those lines are."""
        return "declared" if self.declared is not None else "expected"


def chart_lines(
    chart: Chart, width: int = 80, height: int = 14, colour: bool = False, ascii_only: bool = False
) -> list[str]:
    """The charts and their legend; no line is longer than `width`, which is taken to be from 60 to 120."""
    paper = Paper(min(MOST_WIDTH, max(LEAST_WIDTH, width)), colour, ascii_only)
    clean = _clean(chart)
    if not clean.used:
        return [f"No burn-up of {clean.quantity} yet."]
    drawn = [*_upper(clean, paper, max(LEAST_HEIGHT, height))]
    if len(clean.moved) > 1:
        drawn += ["", *_lower(clean, paper)]
    return [line.rstrip() for line in (*drawn, _legend(clean, paper))]


def _clean(chart: Chart) -> Chart:
    """The same without what cannot be drawn: what is no number, out of order, or beyond all measure."""
    used = sorted(each for each in chart.used if _are_drawable(*each))
    moved = [each._replace(p_over=_drawable(each.p_over)) for each in chart.moved if _are_drawable(*each[:4])]
    fan = {level: value for level, value in chart.fan.items() if _are_drawable(value)}
    times = [time for time, _ in used]
    return replace(
        chart,
        started=min([*times[:1], *(each for each in (chart.started,) if _are_drawable(each))], default=0.0),
        now=max([*times[-1:], *(each for each in (chart.now,) if _are_drawable(each))], default=0.0),
        used=used,
        declared=chart.declared if chart.declared and _are_drawable(chart.declared.high) else None,
        expected=chart.expected if chart.expected and _are_drawable(*chart.expected) else None,
        fan=fan,
        ends=chart.ends if chart.ends and _are_drawable(*chart.ends) else None,
        moved=sorted(moved, key=itemgetter(0)),
        limit_at=_drawable(chart.limit_at),
        crosses_at=_drawable(chart.crosses_at),
    )


def _drawable(value: float | None) -> float | None:
    return value if value is not None and _are_drawable(value) else None


def _are_drawable(*values: float) -> bool:
    return all(math.isfinite(value) and 0.0 <= value <= _MOST for value in values)


def _upper(chart: Chart, paper: Paper, height: int) -> Iterator[str]:
    scale, marks = _upper_scale(chart), paper.marks
    ticks, unit = amount_ticks(chart.quantity, 0.0, scale.high, 6, chart.unit)
    yield f"{_titled(chart.quantity, unit)} since {moment(chart.started)}"[: paper.width]
    for note in _notes(chart, scale, paper):
        yield note[: paper.width]
    canvas = paper.canvas(height)
    _draw_fan(canvas, chart, scale, paper)
    canvas.curve([scale.place(*each) for each in chart.used], marks.used[0], "curve")
    for value in chart.lines:
        lay(canvas, scale.y(value), marks.line, "declared", marks.fan)
    if chart.limit_at is not None:
        stand(canvas, scale.x(chart.limit_at), marks.limit, "limit", marks.fan + marks.line)
    stand(canvas, scale.x(chart.now), marks.now, "dim", marks.fan + marks.line)
    _mark_crossing(canvas, chart, scale, paper)
    yield from framed(canvas, paper, scale, ticks, _beside(canvas, chart, scale, chart.fan))
    yield from time_axis(paper, scale, [(chart.now, _now(chart)), (chart.limit_at, "limit")])


def _upper_scale(chart: Chart) -> Scale:
    end = chart.ends[1] if chart.ends is not None else chart.now
    if _is_open(chart) and end <= chart.now:
        end = chart.started + _END_RATIO * (chart.now - chart.started)
    end = max(end, chart.now)
    if chart.limit_at is not None and chart.now <= chart.limit_at:
        near = chart.started + _LIMIT_RATIO * (end - chart.started)
        end = max(end, chart.limit_at) if chart.limit_at <= near else end
    used, median = max(amount for _, amount in chart.used), chart.fan.get(_MEDIAN, 0.0)
    reach = max(used, median, min(chart.fan.get(_HIGH, 0.0), _FAN_RATIO * max(median, used)))
    ratio = _LINE_RATIO if _MEDIAN in chart.fan else _LINE_RATIO_ALONE
    reach = max([reach, *(value for value in chart.lines if value <= ratio * reach)])
    return Scale(chart.started, end if end > chart.started else chart.started + 1.0, 0.0, 1.04 * reach or 1.0)


def _is_open(chart: Chart) -> bool:
    """Whether there is a fan: it runs, and something is forecast of it."""
    return _MEDIAN in chart.fan and not chart.ended


def _draw_fan(canvas: Canvas, chart: Chart, scale: Scale, paper: Paper) -> None:
    if not _is_open(chart):
        return
    end = chart.ends[1] if chart.ends is not None and chart.ends[1] > chart.now else scale.end
    start, stop = scale.x(chart.now), scale.x(end)
    median = scale.y(chart.fan[_MEDIAN])
    origin = scale.y(chart.used[-1][1])
    if _LOW in chart.fan and _HIGH in chart.fan:
        low, high = scale.y(chart.fan[_LOW]), scale.y(chart.fan[_HIGH])

        def bounds(x: float) -> Place:
            way = part_of(x, start, stop)
            return origin + way * (low - origin), origin + way * (high - origin)

        canvas.band(start, stop, bounds, paper.marks.fan, "fan")
    canvas.curve([(start, origin), (stop, median)], paper.marks.median[0], "curve", broken=True)


def _mark_crossing(canvas: Canvas, chart: Chart, scale: Scale, paper: Paper) -> None:
    place = _crossing(chart, scale)
    if place is not None:
        x, y = place
        canvas.write(canvas.row(y), canvas.column(x), paper.marks.crossing, "declared")


def _crossing(chart: Chart, scale: Scale) -> Place | None:
    """Where what it is held against is used up; None where that is not known, or lies beyond the chart."""
    if chart.crosses_at is None or len(chart.lines) != 1:
        return None
    x, y = scale.place(chart.crosses_at, chart.lines[0])
    return (x, y) if 0 <= x <= 1 and 0 <= y <= 1 else None


def _beside(canvas: Canvas, chart: Chart, scale: Scale, fan: Mapping[float, float]) -> dict[int, str]:
    """What stands to the right: the median and the ends of the fan, each where it ends, and what the lines are."""
    factor = unit_of(chart.quantity, scale.high, chart.unit)[0]
    found: dict[int, str] = {}
    for level in (_MEDIAN, _HIGH, _LOW):
        value = fan.get(level)
        if value is not None and value <= scale.high:
            found.setdefault(canvas.row(scale.y(value)), f" {short(value / factor)}")
    for value in chart.lines:
        if value <= scale.high:
            found.setdefault(canvas.row(scale.y(value)), f" {chart.lines_name}")
    return found


def _now(chart: Chart) -> str:
    return "end" if chart.ended else "now"


def _notes(chart: Chart, scale: Scale, paper: Paper) -> Iterator[str]:
    """What the chart has no room for, and what is not known."""
    above = paper.marks.above
    hidden = [value for value in chart.lines if value > scale.high]
    if hidden:
        yield f"{above} {_lines_worded(chart, hidden)}: above the chart"
    high = chart.fan.get(_HIGH, 0.0)
    if high > scale.high:
        yield f"{above} the fan goes on to {_worded(chart, high)}, above the chart"
    if chart.limit_at is not None and not 0 <= scale.x(chart.limit_at) <= 1:
        yield f"time limit {moment(chart.limit_at)}: beyond the chart"
    if _is_open(chart) and chart.ends is not None:
        early, likely, late = (_wall(end - chart.now) for end in chart.ends)
        between = f" (80 %: {early} to {late})" if chart.ends[0] < chart.ends[2] else ""
        text, at = f"ends in about {likely}{between}", f", {moment(chart.ends[1])}"
        yield text + at if len(text + at) <= paper.width else text
    elif not chart.ended and _MEDIAN not in chart.fan:
        yield "No forecast."


def _lower(chart: Chart, paper: Paper) -> Iterator[str]:
    scale, marks = _lower_scale(chart), paper.marks
    ticks, unit = amount_ticks(chart.quantity, scale.low, scale.high, 4, chart.unit)
    yield f"{_titled(chart.quantity, unit)} as forecast since {moment(scale.begin)}"[: paper.width]
    highest = max(each.high for each in chart.moved)
    if highest > scale.high:
        yield f"{marks.above} up to {_worded(chart, highest)}, above the chart"[: paper.width]
    canvas = paper.canvas(MOVED_HEIGHT)
    shown = [_at(chart.moved, scale, (column + 1) / paper.columns) for column in range(paper.columns)]
    for column, each in enumerate(shown):
        canvas.fill(column, scale.y(each.low), scale.y(each.high), marks.fan, "fan")
    places = [((column + 0.5) / paper.columns, scale.y(each.median)) for column, each in enumerate(shown)]
    canvas.curve(places, marks.median[0], "curve")
    for value in chart.lines:
        lay(canvas, scale.y(value), marks.line, "declared", marks.fan)
    last = shown[-1]
    yield from framed(canvas, paper, scale, ticks, _beside(canvas, chart, scale, {_MEDIAN: last.median}))
    yield from time_axis(paper, scale, [(chart.now, _now(chart))])
    if last.p_over is not None:
        levels = "".join(_level(each.p_over, marks.levels) for each in shown)
        yield f"{'P(over)':>{GUTTER}}  {levels} {percent(last.p_over)}"


def _lower_scale(chart: Chart) -> Scale:
    begin = chart.moved[0].time
    values = [value for each in chart.moved for value in (each.low, each.median, each.high)]
    cap = _FAN_RATIO * max(each.median for each in chart.moved)
    low, high = min(values), min(max(values), cap)
    near = [value for value in chart.lines if low / _LINE_RATIO <= value <= _LINE_RATIO * high]
    low, high = min([low, *near]), max([high, *near])
    slack = 0.05 * (high - low) or 0.1 * high or 1.0
    return Scale(begin, max(chart.now, begin + 1.0), max(0.0, low - slack), high + slack)


def _at(moved: Sequence[Moved], scale: Scale, x: float) -> Moved:
    """What was forecast last until the place."""
    return next((each for each in reversed(moved) if scale.x(each.time) <= x), moved[0])


def _level(part: float | None, levels: str) -> str:
    return " " if part is None else levels[min(len(levels) - 1, max(0, int(part * len(levels))))]


def _legend(chart: Chart, paper: Paper) -> str:
    kept, room = [], paper.width - GUTTER
    for text, style in _items(chart, paper):
        if len(text) + 2 <= room:
            kept.append(painted(text, style, paper.colour))
            room -= len(text) + 2
    return f"{'':{GUTTER}}  {'  '.join(kept)}"


def _items(chart: Chart, paper: Paper) -> Iterator[tuple[str, Style]]:
    """What is drawn and by which mark; what is named in the chart itself comes last, if there is room."""
    marks, moved = paper.marks, chart.moved if len(chart.moved) > 1 else ()
    yield f"{marks.used} used", "curve"
    if _is_open(chart) or moved:
        yield f"{marks.median} median", "curve"
    if (_is_open(chart) and _LOW in chart.fan and _HIGH in chart.fan) or any(
        each.low < each.high for each in moved
    ):
        yield f"{marks.fan} 80 %", "fan"
    yield f"{marks.line} {_lines_worded(chart, chart.lines)}" if chart.lines else "nothing declared", "declared"
    if _crossing(chart, _upper_scale(chart)) is not None:
        yield f"{marks.crossing} crossed", "declared"
    if chart.limit_at is not None:
        yield f"{marks.limit} time limit", "limit"
    yield f"{marks.now} {_now(chart)}", "dim"


def _lines_worded(chart: Chart, values: Sequence[float]) -> str:
    """What lines across are, with their amounts: ends of what is expected, or what it is held against."""
    declared, words = chart.declared, " to ".join(_worded(chart, value) for value in values)
    is_exact = len(chart.lines) > 1 or (declared is not None and declared.likely == declared.high)
    return f"{chart.lines_name} {'' if is_exact else 'at most '}{words}"


def _titled(quantity: str, unit: str) -> str:
    return quantity if unit in (quantity, "") else f"{quantity} in {unit}"


def _wall(seconds: float) -> str:
    factor, name = unit_of("wall", max(0.0, seconds))
    return f"{short(max(0.0, seconds) / factor)} {name}"


def _worded(chart: Chart, value: float) -> str:
    factor, name = unit_of(chart.quantity, value, chart.unit)
    number = short(value / factor, _MOST_WORD)
    return number if name == chart.quantity else f"{number} {name}".rstrip()
