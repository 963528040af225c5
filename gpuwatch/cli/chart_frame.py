"""What every chart in the terminal is made of: its marks, its scale, and the frame with its ticks. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gpuwatch.cli.canvas import Canvas, Place, Style
from gpuwatch.cli.chart_axes import Tick, time_ticks

GUTTER, MARGIN = 8, 11
"""Columns to the left of a chart, for the labels of its ticks, and to its right."""
_TIME_TICKS = 6
_FAR = 1e6


class Marks(NamedTuple):
    """What curves, lines and areas look like. `levels` are from the lowest to the highest."""

    used: str
    median: str
    fan: str
    line: str
    limit: str
    now: str
    crossing: str
    above: str
    levels: str
    side: str
    tick: str
    corner: str
    bottom: str


UNICODE = Marks("⠒⠒", "⠒ ⠒", "░", "╌", "┃", "┊", "×", "↑", "▁▂▃▄▅▆▇█", "│", "┤", "└", "─")
ASCII = Marks("*", "o", ".", "-", "#", ":", "x", "^", "0123456789", "|", "+", "+", "-")


class Paper(NamedTuple):
    """On what is drawn: how many characters fit in a line, and which of them, and whether they have colours."""

    width: int
    colour: bool
    ascii_only: bool

    @property
    def marks(self) -> Marks:
        """What to draw with."""
        return ASCII if self.ascii_only else UNICODE

    @property
    def columns(self) -> int:
        """How wide a chart is, between the labels at its sides."""
        return self.width - GUTTER - 2 - MARGIN

    def canvas(self, rows: int) -> Canvas:
        """An empty canvas of the width of a chart."""
        return Canvas(self.columns, rows, self.ascii_only)


@dataclass(frozen=True, slots=True)
class Scale:
    """From times (Unix seconds) and amounts to places on a canvas."""

    begin: float
    end: float
    low: float
    high: float

    def place(self, time: float, value: float) -> Place:
        """Where an amount at a time is."""
        return self.x(time), self.y(value)

    def x(self, time: float) -> float:
        """How far to the right a time is; beyond the chart where it is below 0 or above 1."""
        return part_of(time, self.begin, self.end)

    def y(self, value: float) -> float:
        """How far up an amount is; beyond the chart where it is below 0 or above 1."""
        return part_of(value, self.low, self.high)


def part_of(value: float, low: float, high: float) -> float:
    """Which part of the way from `low` to `high` a value is at; 0 where there is none, never beyond measure."""
    part = (value - low) / (high - low) if high > low else 0.0
    return min(_FAR, max(-_FAR, part)) if math.isfinite(part) else 0.0


def lay(canvas: Canvas, y: float, char: str, style: Style, behind: str = "") -> None:
    """A line from side to side, where nothing is drawn yet but what it may cover."""
    if 0 <= y <= 1:
        row = canvas.row(y)
        for column in range(canvas.columns):
            if canvas.is_free(row, column, 1, " " + behind):
                canvas.write(row, column, char, style)


def stand(canvas: Canvas, x: float, char: str, style: Style, behind: str = "") -> None:
    """A line from top to bottom, where nothing is drawn yet but what it may cover."""
    if 0 <= x <= 1:
        column = canvas.column(x)
        for row in range(canvas.rows):
            if canvas.is_free(row, column, 1, " " + behind):
                canvas.write(row, column, char, style)


def framed(
    canvas: Canvas, paper: Paper, scale: Scale, ticks: Iterable[Tick], beside: Mapping[int, str]
) -> list[str]:
    """The canvas with the labels of its amounts to the left, and what stands beside a row to the right."""
    labels = {canvas.row(scale.y(tick.value)): tick.label for tick in ticks}
    return [
        f"{labels.get(row, ''):>{GUTTER}} {paper.marks.tick if row in labels else paper.marks.side}{line}"
        f"{beside.get(row, '')}"
        for row, line in enumerate(canvas.lines(paper.colour))
    ]


def time_axis(paper: Paper, scale: Scale, marked: Sequence[tuple[float | None, str]]) -> Iterator[str]:
    """The line below a chart, and the times since its begin; what is `marked` goes before round times."""
    marks, columns = paper.marks, paper.columns
    yield f"{'':{GUTTER}} {marks.corner}{marks.bottom * columns}"
    row = Canvas(columns + MARGIN, 1, True)
    places = [(scale.x(time), name) for time, name in marked if time is not None]
    span = scale.end - scale.begin
    places += [(part_of(tick.value, 0.0, span), tick.label) for tick in time_ticks(span, _TIME_TICKS)]
    for at, text in places:
        if 0 <= at <= 1:
            column = max(0, min(int(at * columns), columns - 1) - len(text) // 2)
            if row.is_free(0, max(0, column - 1), min(len(text) + 2, row.columns - max(0, column - 1))):
                row.write(0, column, text, "")
    yield f"{'':{GUTTER}}  {row.lines(False)[0]}"
