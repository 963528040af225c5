"""A statement as Markdown, for a repository or an appendix: sentences, lists and tables, no pictures. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from gpuwatch import hygiene
from gpuwatch.reports.blocks import Block, Facts, Section, Sentences, Table
from gpuwatch.reports.sections import sections_of
from gpuwatch.reports.statement import Statement

ROWS = 100
"""A folded table shows so many rows; HTML and JSON have all."""

_SPECIAL = re.compile(r"[\\`*_\[\]{}|~]")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;", "@": "&#64;", "#": "&#35;"}
_AUTOLINK = re.compile(r"(?i)(://|\bwww\.|\bmailto:|\bxmpp:)")


def markdown(made: Statement) -> str:
    """The whole statement."""
    return rendered(f"Compute statement: {made.title}", sections_of(made))


def rendered(title: str, sections: Iterable[Section]) -> str:
    """Sections under a title."""
    parts = [f"# {escaped(title)}"]
    for section in sections:
        parts.append(f"## {escaped(section.title)}")
        parts += [text for block in section.blocks if (text := "\n".join(_lines(block)))]
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Shown as it is, wherever it stands: no markup, no link, no cell's end, and no HTML."""
    clean = hygiene.text(text)
    entities = "".join(_ENTITIES.get(sign, sign) for sign in clean)
    guarded = _AUTOLINK.sub(lambda found: found[0].replace(":", "&#58;").replace(".", "&#46;"), entities)
    return _SPECIAL.sub(lambda found: "\\" + found[0], guarded)


def _lines(block: Block) -> Iterator[str]:
    if isinstance(block, Facts):
        for fact in block.rows:
            note = f" – {escaped(fact.note)}" if fact.note else ""
            yield f"- **{escaped(fact.name)}**: {escaped(fact.value)}{note}"
    elif isinstance(block, Table):
        yield from _table(block)
    elif isinstance(block, Sentences):
        if block.listed:
            yield from (f"- {escaped(text)}" for text in block.texts)
        else:
            yield " ".join(map(escaped, block.texts))


def _table(table: Table) -> Iterator[str]:
    if table.caption:
        yield f"{escaped(table.caption)}:"
        yield ""
    rows = table.rows[:ROWS] if table.folded else table.rows
    yield _row(table.head)
    yield _row_raw("---" if place < table.left else "---:" for place in range(len(table.head)))
    for number, row in enumerate(rows, 1):
        is_total = table.total and number == len(rows)
        yield _row_raw(f"**{escaped(cell)}**" if is_total and cell else escaped(cell) for cell in row)
    if len(rows) < len(table.rows):
        yield ""
        yield f"{len(table.rows) - len(rows):,} more are in the HTML and the JSON of this statement."


def _row(cells: Iterable[str]) -> str:
    return _row_raw(map(escaped, cells))


def _row_raw(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
