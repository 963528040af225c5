"""Charts of the page: each is a table of numbers first, which the script draws; without it the table is open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from gpuwatch.web.page.html import Html, tag
from gpuwatch.web.page.tables import Cell, Column, table

MOST_ROWS = 120
FEWEST = 3

Item = TypeVar("Item")


def chart(
    kind: str, title: str, columns: Sequence[Column], rows: Sequence[Sequence[Cell]], note: str = "",
    **told: float | str | None,
) -> Html:  # fmt: skip
    """A figure; `told` is what the script needs beside the rows, as `data-` attributes.

    Two points are no picture: of so few there is the table alone.
    """
    attributes = {f"data_{key}": f"{each:.12g}" if isinstance(each, float) else each for key, each in told.items()}
    return tag(
        "figure",
        tag("figcaption", title),
        tag("div", class_="plot", aria_hidden="true"),
        tag("p", note, class_="note") if note else None,
        tag("details", tag("summary", "The numbers"), table(title, columns, rows, class_="numbers"), open=True),
        class_="chart", data_chart=kind if len(rows) >= FEWEST else None, **attributes,
    )  # fmt: skip


def thinned(items: Sequence[Item], most: int = MOST_ROWS) -> Sequence[Item]:
    """So many at most, evenly apart, with the first and the last."""
    if len(items) <= most:
        return items
    step = (len(items) - 1) / (most - 1)
    return [items[round(place * step)] for place in range(most)]
