"""A grid of characters to draw curves on: Braille dots, eight to a cell, or plain ASCII.

Places are fractions of the canvas: 0, 0 is its lower left corner and 1, 1 its upper right. What is drawn later
covers what was drawn before, but for the dots of curves, which join. Beyond the canvas nothing is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby, pairwise
from typing import Literal

Style = Literal["", "curve", "fan", "declared", "limit", "dim"]

_CODES = {"curve": "1;36", "fan": "36", "declared": "33", "limit": "31", "dim": "2"}
_BRAILLE = 0x2800
_BITS = ((0x40, 0x04, 0x02, 0x01), (0x80, 0x20, 0x10, 0x08))
"""Of the left and the right column of a cell, from below."""
_DASH = 8
"""Of so many dots of a broken curve the first half are drawn."""

Place = tuple[float, float]


def painted(text: str, style: Style, colour: bool) -> str:
    """The text in the colour of a style, as terminals understand it."""
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if colour and style and text.strip() else text


class Canvas:
    """`columns` by `rows` cells; `row` 0 is the uppermost."""

    def __init__(self, columns: int, rows: int, ascii_only: bool) -> None:
        self.columns, self.rows = columns, rows
        self._ascii = ascii_only
        self._cells: list[list[tuple[str, Style]]] = [[(" ", "")] * columns for _ in range(rows)]

    def column(self, x: float) -> int:
        """The column in which a place is."""
        return min(self.columns - 1, max(0, int(x * self.columns)))

    def row(self, y: float) -> int:
        """The row in which a place is."""
        return self.rows - 1 - min(self.rows - 1, max(0, int(y * self.rows)))

    def is_free(self, row: int, column: int, length: int, over: str = " ") -> bool:
        """Whether nothing is in so many cells from there on but what is in `over`."""
        if column < 0 or column + length > self.columns:
            return False
        return all(char in over for char, _ in self._cells[row][column : column + length])

    def write(self, row: int, column: int, text: str, style: Style) -> None:
        """Write a text from a cell on, as far as there is room."""
        for place, char in zip(range(column, self.columns), text, strict=False):
            self._cells[row][place] = (char, style)

    def band(self, begin: float, end: float, bounds: Callable[[float], Place], char: str, style: Style) -> None:
        """Fill from the lower to the upper of the `bounds` at each column between the two places."""
        for column in range(self.column(begin), self.column(end) + 1):
            low, high = bounds(min(end, max(begin, (column + 0.5) / self.columns)))
            self.fill(column, low, high, char, style)

    def fill(self, column: int, low: float, high: float, char: str, style: Style) -> None:
        """Fill a column from one height to another; at least one cell, unless all of it is beyond the canvas."""
        if low <= 1.0 and high >= 0.0:
            for row in range(self.row(high), self.row(low) + 1):
                self._cells[row][column] = (char, style)

    def curve(self, places: Sequence[Place], char: str, style: Style, broken: bool = False) -> None:
        """Join the places by a line; `char` stands for it where only ASCII can be printed."""
        wide, tall = (1, 1) if self._ascii else (2, 4)
        width, height = self.columns * wide, self.rows * tall
        scaled = [(x * width, y * height) for x, y in places]
        count = 0
        for (x, y), (next_x, next_y) in pairwise(scaled * 2 if len(scaled) == 1 else scaled):
            steps = max(1, min(8 * (width + height), round(2 * max(abs(next_x - x), abs(next_y - y)))))
            for step in range(steps + 1):
                part = step / steps
                dot = (x + part * (next_x - x), y + part * (next_y - y))
                count += 1
                if not broken or self._ascii or (count // 2) % _DASH < _DASH // 2:
                    self._dot(*dot, char, style)

    def _dot(self, x: float, y: float, char: str, style: Style) -> None:
        wide, tall = (1, 1) if self._ascii else (2, 4)
        across, up = min(int(x), self.columns * wide - 1), min(int(y), self.rows * tall - 1)
        if x < 0 or y < 0 or x > self.columns * wide or y > self.rows * tall:
            return
        row, column = self.rows - 1 - up // tall, across // wide
        if self._ascii:
            self._cells[row][column] = (char, style)
            return
        there = ord(self._cells[row][column][0]) - _BRAILLE
        bits = there if 0 <= there < 256 else 0
        self._cells[row][column] = (chr(_BRAILLE + (bits | _BITS[across % wide][up % tall])), style)

    def lines(self, colour: bool) -> list[str]:
        """What was drawn, from the top down."""
        drawn = []
        for cells in self._cells:
            runs = groupby(cells, key=lambda cell: cell[1])
            drawn.append("".join(painted("".join(char for char, _ in run), style, colour) for style, run in runs))
        return drawn
