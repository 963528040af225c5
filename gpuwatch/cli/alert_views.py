"""Alerts as a table: of one line each where there is room, else with what is so below each."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from gpuwatch import hygiene
from gpuwatch.cli.jobs import aligned

Document = Mapping[str, Any]

ROOM = 48
"""Where so many columns are left beside the others, what is so has one of its own."""

HEAD = ("KIND", "SCOPE", "QUANTITY", "SINCE", "MODE", "WHOSE", "WHAT")
ENDED_HEAD = ("KIND", "SCOPE", "QUANTITY", "RAISED", "ENDED", "MODE", "WHOSE", "WHAT")
_COLOURS = {"critical": "31", "warning": "33"}
_INDENT = "    "
_LEAST = 40


def alert_lines(documents: Sequence[Document], columns: int | None, coloured: bool) -> list[str]:
    """The table; `columns` is the width of the terminal, None where there is none: then each alert is one line."""
    is_over = any(each["resolved"] is not None for each in documents)
    head = ENDED_HEAD if is_over else HEAD
    rows = [_cells(each, is_over) for each in documents]
    if columns is None:
        return aligned([head, *rows]).splitlines()
    lines = _wide([head, *rows], columns) or _narrow(documents, columns)
    if not coloured:
        return [line for block in lines for line in block]
    painted = [_bold(lines[0])] + [_painted(block, each) for block, each in zip(lines[1:], documents, strict=True)]
    return [line for block in painted for line in block]


def _cells(each: Document, is_over: bool) -> tuple[str, ...]:
    over = (_ended(each),) if is_over else ()
    whose = ", ".join(filter(None, (each["user"], each["account"])))
    grave = "critical: " if each["severity"] == "critical" and each["resolved"] is None else ""
    cells = (
        each["kind"], scope_text(each), each["quantity"], minute(each["raised"]), *over, _mode(each), whose,
        grave + each["text"],
    )  # fmt: skip
    return tuple(hygiene.log(cell) for cell in cells)


def _mode(each: Document) -> str:
    by = each["acknowledged_by"]
    return f"{each['mode']}, ack {by}" if by and each["resolved"] is None else str(each["mode"])


def _ended(each: Document) -> str:
    if each["resolved"] is None:
        return ""
    verdict = f", {each['verdict']}" if each["verdict"] else ""
    return f"{minute(each['resolved'])}{verdict}"


def scope_text(each: Document) -> str:
    """A scope as it is typed: a job by its id alone."""
    return str(each["scope"]) if each["scope_kind"] == "job" else f"{each['scope_kind']}:{each['scope']}"


def minute(time: float) -> str:
    """A time to the minute, in UTC."""
    try:
        return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M}Z"
    except (ValueError, OverflowError, OSError):
        return f"@{time:.0f}"


def _wide(rows: Sequence[Sequence[str]], columns: int) -> list[list[str]]:
    """One block of lines for each row, the last column wrapped; none where there is no room for that."""
    before = aligned([row[:-1] for row in rows]).splitlines()
    indent = max(map(len, before)) + 2
    room = columns - indent
    if room < ROOM:
        return []
    blocks = []
    for row, line in zip(rows, before, strict=True):
        first, *more = textwrap.wrap(row[-1], room) or [""]
        blocks.append([f"{line.ljust(indent)}{first}".rstrip(), *(" " * indent + each for each in more)])
    return blocks


def _narrow(documents: Sequence[Document], columns: int) -> list[list[str]]:
    """What is so stands below each row, behind whose it is and when it ended."""
    cells = [_cells(each, False) for each in documents]
    rows = [(*row[:3], minute(each["raised"])[5:], row[4]) for row, each in zip(cells, documents, strict=True)]
    before = aligned([HEAD[:5], *rows]).splitlines()
    room = max(columns - len(_INDENT), _LEAST)
    blocks = [[before[0]]]
    for row, each, line in zip(cells, documents, before[1:], strict=True):
        text = ": ".join(filter(None, (row[5], f"ended {_ended(each)}" if _ended(each) else "", row[6])))
        blocks.append([line, *(_INDENT + one for one in textwrap.wrap(text, room))])
    return blocks


def _painted(block: list[str], each: Document) -> list[str]:
    colour = _COLOURS.get(each["severity"]) if each["mode"] == "told" and each["resolved"] is None else "2"
    if not colour:
        return block
    if each["mode"] == "told":
        return [f"\x1b[{colour}m{block[0]}\x1b[0m", *block[1:]]
    return [f"\x1b[{colour}m{line}\x1b[0m" for line in block]


def _bold(block: list[str]) -> list[str]:
    return [f"\x1b[1m{line}\x1b[0m" for line in block]


def summary(active: Sequence[Document], shown: int, all_: bool) -> str:
    """What is so beside what is shown: how many alerts are active, and what is not listed."""
    modes = Counter(each["mode"] for each in active)
    hidden = 0 if all_ else modes["observed"]
    if not active:
        return "No alert is active" if not shown else ""
    if not hidden:
        return ""
    number = "1 is" if hidden == 1 else f"{hidden:,} are"
    observed = f"{number} observed: recorded, and told to nobody; `gpuwatch alerts --all`"
    return observed if shown else f"No alert is told; {observed}"


def mute_lines(documents: Sequence[Document], every: bool) -> Iterator[str]:
    """Mutes as a table, with the reason at the end."""
    if not documents:
        yield "Nothing is muted" if not every else "Nothing was ever muted"
        return
    head = ("NUMBER", "SCOPE", "KIND", "QUANTITY", "UNTIL", "BY", "REASON")
    rows = [
        tuple(
            hygiene.log(cell)
            for cell in (
                str(each["number"]), each["scope"], each["kind"] or "all", each["quantity"] or "all",
                until_text(each), each["who"], each["reason"],
            )
        )
        for each in documents
    ]  # fmt: skip
    yield from aligned([head, *rows]).splitlines()


def until_text(each: Document) -> str:
    """Until when a mute holds, or when it was lifted."""
    if each["lifted"] is not None:
        return f"lifted {minute(each['lifted'])} by {each['lifted_by']}"
    return "forever" if each["until"] is None else minute(each["until"])
