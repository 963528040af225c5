"""Allocations as a site's table has them: CSV to grants, all rows or none."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta, tzinfo

from gpuwatch.errors import Rejected
from gpuwatch.ledger.periods import midnight
from gpuwatch.ledger.records import accepted_grant
from gpuwatch.schedulers.base import Grant

SOURCE = "csv"
_NEEDED = ("account", "resource", "amount")
_KNOWN = (*_NEEDED, "user", "unit", "starts", "ends", "parent")
_UNITS = {"": 3600.0, "h": 3600.0, "hours": 3600.0, "min": 60.0, "minutes": 60.0, "s": 1.0, "seconds": 1.0}
_SHOWN = 20

Row = Mapping[str, str]


def grants(lines: Iterable[str], name: str, cluster: str, zone: tzinfo, seen: float) -> list[Grant]:
    """The grants of a table; `Rejected` names every row that is wrong, so that none or all are taken."""
    found: list[Grant] = []
    mistakes: list[str] = []
    for number, row in _rows(lines, name):
        try:
            found.append(_grant(row, cluster, zone, seen))
        except Rejected as exc:
            mistakes.append(f"{name}: line {number}: {exc}")
    keys = [(each.account, each.user, each.resource, each.starts) for each in found]
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        mistakes.append(f"{name}: account {twice[0]!r} has {twice[2]!r} of one period twice; write one row for it")
    if mistakes:
        more = [f"{name}: and {len(mistakes) - _SHOWN} more"] if len(mistakes) > _SHOWN else []
        raise Rejected("\n".join([*mistakes[:_SHOWN], *more]))
    return found


def _rows(lines: Iterable[str], name: str) -> Iterator[tuple[int, Row]]:
    reader = csv.reader(lines, strict=True)
    try:
        head = [each.strip().lower() for each in next(reader, [])]
        head[:1] = [each.lstrip("\ufeff") for each in head[:1]]
        _check_head(head, name)
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, dict(zip(head, (cell.strip() for cell in cells), strict=False))
    except csv.Error as exc:
        raise Rejected(f"{name}: line {reader.line_num}: {exc}") from exc


def _check_head(head: list[str], name: str) -> None:
    missing = [each for each in _NEEDED if each not in head]
    unknown = [each for each in head if each not in _KNOWN]
    if missing or unknown or len(set(head)) < len(head):
        wrong = f"lacks {', '.join(missing)}" if missing else f"has {', '.join(map(repr, unknown or head))}"
        raise Rejected(f"{name}: the first line {wrong[:200]}; there is: {', '.join(_KNOWN)}, each once")


def _grant(row: Row, cluster: str, zone: tzinfo, seen: float) -> Grant:
    unit = row.get("unit", "").lower()
    if unit not in _UNITS:
        raise Rejected(f"unknown unit {unit[:40]!r}; there is: {', '.join(filter(None, _UNITS))}")
    limit = _amount(row.get("amount", ""))
    grant = Grant(
        cluster, row.get("account", ""), row.get("user", ""), row.get("resource", "").lower(),
        None if limit is None else limit * _UNITS[unit], None, seen,
        parent=row.get("parent", ""), source=SOURCE,
        starts=_time(row.get("starts", ""), zone, 0), ends=_time(row.get("ends", ""), zone, 1),
    )  # fmt: skip
    try:
        return accepted_grant(grant)
    except Rejected as exc:
        what = {"key": "account or resource is empty or cannot be a name", "range": "a number is out of range"}
        raise Rejected(what.get(str(exc), str(exc))) from exc


def _amount(text: str) -> float | None:
    """An amount, None where there is no limit."""
    if not text:
        return None
    try:
        amount = float(text)
    except ValueError:
        amount = math.nan
    if not math.isfinite(amount) or amount < 0:
        raise Rejected(f"amount {text[:40]!r} is no number; write for example 5000, or nothing for no limit")
    return amount


def _time(text: str, zone: tzinfo, days: int) -> float | None:
    """A time as it is, a day from its beginning, or to its end where `days` is 1."""
    if not text:
        return None
    try:
        if len(text) == len("2026-11-25"):
            return midnight(date.fromisoformat(text) + timedelta(days=days), zone)
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError) as exc:
        raise Rejected(f"{text[:40]!r} is no time; write 2026-11-25 or 2026-11-25T13:00") from exc
