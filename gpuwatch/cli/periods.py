"""`gpuwatch jobs --by`: device-hours and CPU-hours by day, month or whose they are, as a table, CSV or JSON."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer
from sqlalchemy import Connection

from gpuwatch import hygiene
from gpuwatch.accounting.amounts import split
from gpuwatch.ledger.periods import By, Grouped, Row, grouped, midnight
from gpuwatch.ledger.spans import spans

_NONE = "(none)"
_HOUR = 3600.0
_FIRST = date(1970, 1, 2)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for: groups of the time [begins, ends), Unix seconds, with days as they are in `zone`."""

    by: By
    begins: float
    ends: float
    zone: tzinfo
    now: float

    @classmethod
    def of(cls, by: By, since: str | None, until: str | None, timezone: str, now: float) -> Asked:
        """Read the options; a wrong one is a usage error."""
        zone = zone_named(timezone)
        begins = 0.0 if since is None else _moment(since, zone, "--from")
        ends = now if until is None else _moment(until, zone, "--to")
        if ends <= begins:
            raise typer.BadParameter(f"{until or 'now'} is not after {since}", param_hint="--to")
        return cls(by, begins, ends, zone, now)


def print_groups(connection: Connection, asked: Asked, as_json: bool, as_csv: bool) -> None:
    """Print what was allocated, by group."""
    if as_json and as_csv:
        raise typer.BadParameter("stands beside --json; write one of them", param_hint="--csv")
    held = spans(connection, asked.begins, asked.ends, asked.now, asked.by == "campaign")
    found = grouped(held, asked.by, asked.zone, asked.begins, asked.ends)
    if as_json:
        print(json.dumps(documents(asked.by, found), separators=(",", ":"), allow_nan=False))
    elif as_csv:
        write_csv(asked.by, found)
    else:
        print("\n".join(table(asked, found)))


def documents(by: By, found: Grouped) -> list[dict[str, object]]:
    """The groups for JSON: hours, null where nothing is known; the name is null for jobs that have none."""
    return [
        {
            "by": by,
            "name": row.name,
            "device_hours": _hours(row.device_seconds),
            "cpu_hours": _hours(row.cpu_seconds),
            "jobs": row.jobs,
        }
        for row in found.rows
    ]


def write_csv(by: By, found: Grouped) -> None:
    """The groups as CSV; a name that a spreadsheet would take for a formula begins with an apostrophe."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("by", "name", "device_hours", "cpu_hours", "jobs"))
    for each in documents(by, found):
        name = defused(str(each["name"] or ""))
        writer.writerow((by, name, _plain(each["device_hours"]), _plain(each["cpu_hours"]), each["jobs"]))


def table(asked: Asked, found: Grouped) -> Iterable[str]:
    """The groups as lines for people, with a total where there are several."""
    if not found.rows:
        return ["Nothing was held in that time, as far as the ledger knows."]
    head = (asked.by.upper(), "DEVICE-HOURS", "CPU-HOURS", "JOBS")
    rows = [_cells(row, hygiene.label(row.name or _NONE)) for row in found.rows]
    if len(rows) > 1:
        rows.append(_cells(found.total, "total"))
    lines = columns([head, *rows])
    unknown = found.total.unknown_jobs
    if unknown:
        jobs, them = ("1 job", "its") if unknown == 1 else (f"{unknown:,} jobs", "their")
        lines.append(f"The devices of {jobs} are not known: {them} device-hours are missing.")
    return lines


def columns(rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Rows in columns two blanks apart: the first `left` flush left, the others, being numbers, flush right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if number < left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def defused(cell: str) -> str:
    """A cell of CSV that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def zone_named(name: str) -> tzinfo:
    """The time zone of that name; a usage error where there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        wrong = f"{name!r} is no time zone; write one as in Europe/Berlin"
        raise typer.BadParameter(wrong, param_hint="--timezone") from exc


def _cells(row: Row, name: str) -> tuple[str, ...]:
    return name, _figure(row.device_seconds), _figure(row.cpu_seconds), f"{row.jobs:,}"


def _figure(seconds: float | None) -> str:
    return "" if seconds is None else split("device-hours", seconds)[0]


def _hours(seconds: float | None) -> float | None:
    return None if seconds is None else seconds / _HOUR


def _plain(hours: object) -> str:
    return f"{hours:.6f}".rstrip("0").rstrip(".") if isinstance(hours, float) else ""


def _moment(text: str, zone: tzinfo, option: str) -> float:
    """A day, a month or a time, in `zone` where it names none; Unix seconds."""
    try:
        if len(text) <= len("2026-11-25"):
            return midnight(
                max(_FIRST, date.fromisoformat(f"{text}-01" if len(text) == len("2026-11") else text)), zone
            )
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError, OSError) as exc:
        wrong = f"{text!r} is no time; write 2026-11-25, 2026-11 or 2026-11-25T13:00"
        raise typer.BadParameter(wrong, param_hint=option) from exc
