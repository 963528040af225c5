"""What a linter found, for a terminal: what cannot be true first, with both sides and what would make it right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gpuwatch import hygiene
from gpuwatch.reports.checks import Check, Linted, shown

_UNREAD = 8


def lint_lines(linted: Linted, rows: int, unread: Sequence[str] = ()) -> Iterator[str]:
    """All findings, notes, and how much was checked."""
    for each in (*linted.findings, *linted.notes):
        yield from _lines(each)
    held = sum(each.verdict == "holds" for each in linted.checks)
    total = held + len(linted.findings)
    of = "1 row" if rows == 1 else f"{rows:,} rows"
    yield f"{held:,} of {total:,} identities hold, over {of}: {_verdicts(linted)}."
    if not linted.checks:
        yield "Nothing could be checked: there are too few figures beside each other."
    if unread:
        heads = ", ".join(hygiene.label(each) for each in unread[:_UNREAD])
        yield f"Columns that say nothing to be checked: {heads}{', …' if len(unread) > _UNREAD else ''}."


def _lines(check: Check) -> Iterator[str]:
    factor = "" if check.factor is None else f"  (off by a factor of {shown('', check.factor)})"
    yield f"{check.verdict.upper()}: {hygiene.label(check.row)}: {check.identity}"
    yield f"    {hygiene.text(check.left)}   against   {hygiene.text(check.right)}{factor}"
    if check.remedy:
        yield f"    {hygiene.text(check.remedy)}"


def _verdicts(linted: Linted) -> str:
    found = [
        f"{count} {name}"
        for name, count in (
            ("wrong", linted.wrong),
            ("doubtful", sum(each.verdict == "doubtful" for each in linted.checks)),
            ("to be said", len(linted.notes)),
        )
        if count
    ]
    return ", ".join(found) if found else "nothing is wrong"
