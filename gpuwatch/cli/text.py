"""Lines for a terminal of some width: sentences that go on below their beginning, rows in columns."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence

from rich.cells import cell_len, set_cell_size


def terminal_width() -> int:
    """How wide the terminal is that is printed to; 0 where it is none: nothing is cut or broken for a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def filled(text: str, width: int, indent: str) -> list[str]:
    """A sentence as lines of at most `width`, the later ones behind `indent`; as one line where `width` is 0."""
    if not width or len(text) <= width:
        return [text]
    wrapped = textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return wrapped or [text]


def columns(rows: Sequence[Sequence[str]], width: int = 0) -> Iterator[str]:
    """Rows in columns two blanks apart; in a terminal the widest gives way until a row fits, and is cut."""
    widths = [max(cell_len(row[place]) for row in rows) for place in range(len(rows[0]))]
    while width and sum(widths) + 2 * (len(widths) - 1) > width and max(widths) > _LEAST:
        widest = widths.index(max(widths))
        over = sum(widths) + 2 * (len(widths) - 1) - width
        others = max((each for place, each in enumerate(widths) if place != widest), default=0)
        widths[widest] -= max(1, min(over, widths[widest] - max(others, _LEAST)))
    for row in rows:
        cells = (set_cell_size(cut(cell, size), size) for cell, size in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


_LEAST = 8


def cut(text: str, width: int) -> str:
    """The text, or as much of it as fits with an ellipsis."""
    return text if cell_len(text) <= width else f"{set_cell_size(text, max(0, width - 1)).rstrip()}…"
