"""Tables of the page: a caption, heads with a scope, numbers at the right; the script sorts by `data-sort`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gpuwatch.web.page.html import Child, Html, tag


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its head, whether it has numbers, whether it can be sorted.

    Phones leave out what is `wide`, small windows what is `roomy`.
    """

    head: str
    number: bool = False
    wide: bool = False
    roomy: bool = False
    sorts: bool = True
    hint: str = ""

    @property
    def classes(self) -> str | None:
        """Of its cells."""
        kinds = (("n", self.number), ("wide", self.wide), ("roomy", self.roomy))
        return " ".join(kind for kind, is_so in kinds if is_so) or None


@dataclass(frozen=True, slots=True)
class Cell:
    """What is in a cell, and what it is sorted by where that is not its text: a number, None for unknown."""

    content: Child
    sort: float | str | None = None


def table(
    caption: str,
    columns: Sequence[Column],
    rows: Iterable[Sequence[Child | Cell]],
    **attributes: str | bool | None,
) -> Html:
    """A table whose first column names its rows; wider than the page it scrolls by itself, by keyboard too."""
    sortable = "data_table" in attributes
    heads = [
        tag(
            "th",
            each.head,
            scope="col",
            class_=each.classes,
            title=each.hint or None,
            data_sorts=each.sorts and sortable,
        )
        for each in columns
    ]
    body = [tag("tr", *_cells(columns, row)) for row in rows]
    whole = tag(
        "table", tag("caption", caption), tag("thead", tag("tr", *heads)), tag("tbody", *body), **attributes
    )
    return tag("div", whole, class_="scroll", role="region", aria_label=caption, tabindex="0")


def _cells(columns: Sequence[Column], row: Sequence[Child | Cell]) -> Iterable[Html]:
    for place, (column, content) in enumerate(zip(columns, row, strict=True)):
        cell = content if isinstance(content, Cell) else Cell(content)
        sort = None if cell.sort is None else f"{cell.sort:.12g}" if isinstance(cell.sort, float) else cell.sort
        if place == 0:
            yield tag("th", cell.content, scope="row", class_=column.classes, data_sort=sort)
        else:
            yield tag("td", cell.content, class_=column.classes, data_sort=sort)


def facts(rows: Iterable[tuple[str, Child]]) -> Html:
    """A list of names and what they are; what is None is left out."""
    return tag(
        "dl",
        *(tag("div", tag("dt", head), tag("dd", content)) for head, content in rows if content is not None),
        class_="facts",
    )
