"""CSV as spreadsheets write it: a line of names, then rows, each with the number of its line."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence

from gpuwatch.errors import Rejected

Row = Mapping[str, str]


def table(lines: Iterable[str], needed: Sequence[str], known: Sequence[str]) -> Iterator[tuple[int, Row]]:
    """The rows that are neither empty nor a comment (`#`); `Rejected` where it is no such table."""
    reader = csv.reader(lines, strict=True)
    head: list[str] | None = None
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if not any(stripped) or stripped[0].startswith("#"):
                continue
            if head is None:
                head = _head(stripped, needed, known)
            elif any(stripped[len(head) :]):
                raise Rejected(f"line {reader.line_num}: has {len(cells)} cells; the first line names {len(head)}")
            else:
                yield reader.line_num, dict(zip(head, [*stripped, *[""] * len(head)], strict=False))
    except csv.Error as exc:
        raise Rejected(f"line {reader.line_num}: {exc}") from exc
    if head is None:
        raise Rejected(f"has no line; the first one names the columns: {', '.join(known)}")


def _head(cells: Sequence[str], needed: Sequence[str], known: Sequence[str]) -> list[str]:
    head = [cell.lower() for cell in cells]
    missing = [each for each in needed if each not in head]
    unknown = [each for each in head if each not in known]
    if missing or unknown or len(set(head)) < len(head):
        wrong = f"lacks {', '.join(missing)}" if missing else f"has {', '.join(map(repr, unknown or head))[:200]}"
        raise Rejected(f"the first line {wrong}; there is: {', '.join(known)}, each once, with commas between")
    return head
