"""Somebody else's compute statement, read for what it claims: a table in CSV, Markdown or JSON. Pure.

Columns are known by their heads (`gpu_hours`, `Energy (MWh)`, `tCO2e`), in whichever order; those that say nothing
that can be checked are passed over. A statement of `gpuwatch report --format json` is read as it is.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from gpuwatch.errors import Rejected
from gpuwatch.reports.claims import Claim, Stated, read_number
from gpuwatch.reports.lint_columns import DEVICE, NAMED, Column, column_of, words_of
from gpuwatch.reports.lint_own import is_own, own_claims

MOST_ROWS = 10_000
LARGEST = 8 * 2**20


class Read(NamedTuple):
    """The rows that were understood, and the heads of columns that were not."""

    claims: tuple[Claim, ...]
    unknown: tuple[str, ...] = ()


def read_claims(text: str, name: str) -> Read:
    """Every row of every table that has a number to be checked; `Rejected` where there is none."""
    stripped = text.lstrip("\ufeff \t\r\n")
    if stripped[:1] in "{[" and (document := _json(stripped)) is not None:
        found = list(_of_json(document))
    elif any(_is_rule(line) for line in stripped.splitlines()):
        found = list(_of_markdown(stripped))
    else:
        found = [_of_csv(stripped)]
    claims = tuple(claim for read in found for claim in read.claims)
    if not claims:
        heads = ", ".join(repr(each[:30]) for read in found for each in read.unknown)[:200]
        there = f"; its columns are {heads}" if heads else ""
        raise Rejected(f"{name}: no row with device-hours, energy or carbon is in it{there}; see docs/report.md")
    if len(claims) > MOST_ROWS:
        raise Rejected(f"{name}: has {len(claims):,} rows; at most {MOST_ROWS:,}")
    return Read(claims, tuple(dict.fromkeys(each for read in found if read.claims for each in read.unknown)))


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _of_json(document: Any) -> Iterator[Read]:
    """Lists of objects that are not deep in it; a single object is one row."""
    if is_own(document):
        yield Read(own_claims(document))
        return
    lists = [document] if isinstance(document, list) else []
    if isinstance(document, dict):
        lists = [each for each in document.values() if isinstance(each, list) and each] or [[document]]
    for each in lists:
        rows = [row for row in each if isinstance(row, dict)]
        heads = list(dict.fromkeys(str(key) for row in rows for key in row))
        if heads:
            yield _read(heads, [[_cell(row.get(head)) for head in heads] for row in rows])


def _cell(value: Any) -> str:
    if isinstance(value, bool) or value is None or isinstance(value, dict | list):
        return ""
    return repr(value) if isinstance(value, float) else str(value)


def _is_rule(line: str) -> bool:
    return bool(re.fullmatch(r"\|?\s*:?-{2,}:?\s*(\|\s*:?-{2,}:?\s*)+\|?", line.strip()))


def _of_markdown(text: str) -> Iterator[Read]:
    lines = text.splitlines()
    for place, line in enumerate(lines):
        if place and _is_rule(line):
            body = []
            for row in lines[place + 1 :]:
                if "|" not in row:
                    break
                body.append(_cells(row))
            yield _read(_cells(lines[place - 1]), body)


def _cells(line: str) -> list[str]:
    inside = line.strip().removeprefix("|")
    inside = inside[:-1] if inside.endswith("|") and not inside.endswith("\\|") else inside
    return [each.replace("\\|", "|").strip() for each in re.split(r"(?<!\\)\|", inside)]


def _of_csv(text: str) -> Read:
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    try:
        rows = list(csv.reader(text.splitlines(), delimiter=delimiter, skipinitialspace=True))
    except csv.Error as exc:
        raise Rejected(f"table: cannot be read; {exc}") from exc
    return _read(rows[0], rows[1:]) if rows else Read(())


def _read(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Read:
    columns = [column_of(head) for head in heads]
    words = [words_of(head) for head in heads]
    names = [place for place, each in enumerate(words) if columns[place] is None and NAMED.fullmatch(each)]
    device = next((place for place, each in enumerate(words) if DEVICE.fullmatch(each)), None)
    found = [_claim(number, row, columns, names, device) for number, row in enumerate(rows, 1)]
    claims = tuple(each for each in found if _says_something(each))
    unknown = [
        head
        for place, head in enumerate(heads)
        if columns[place] is None and place not in names and place != device and head.strip()
    ]
    return Read(claims, tuple(unknown))


def _claim(
    number: int, row: Sequence[str], columns: Sequence[Column | None], names: Sequence[int], device: int | None
) -> Claim:
    cells = [*row, *("",) * (len(columns) - len(row))]
    title = next((plain(cells[place]) for place in names if plain(cells[place])), "")
    claim = Claim(title or f"row {number}", plain(cells[device]) if device is not None else "")
    for column, cell in zip(columns, cells, strict=False):
        if column is not None and (read := read_number(cell)) is not None:
            claim = _with(claim, column, *read)
    is_total = bool(re.match(r"(total|sum|all|together|overall)\b", claim.row.casefold()))
    return replace(claim, is_total=is_total, all_day=claim.devices is not None and claim.wall_seconds is not None)


def plain(cell: str) -> str:
    """A cell without emphasis."""
    return cell.strip().strip("*_`").strip()[:120]


def _with(claim: Claim, column: Column, stated: Stated, rest: str) -> Claim:
    """With one more number; a unit in the cell goes before that of the head."""
    word = next(iter(re.findall(r"[a-z]+[a-z0-9]*", rest.casefold())), "")
    factor = column.units.get(word, column.factor)
    if factor <= 0 or getattr(claim, column.field) is not None:
        return claim
    if stated.digits > _PRINTED:
        stated = stated._replace(digits=0)
    changed: dict[str, Any] = {column.field: stated.times(factor)}
    return replace(claim, **changed)


_PRINTED = 8
"""With more digits it is a machine's number, and nobody claims them."""


def _says_something(claim: Claim) -> bool:
    energy = claim.energy_joules or claim.device_joules or claim.facility_joules
    return any(each is not None for each in (claim.device_seconds, energy, claim.carbon_grams))
