"""`gpuwatch jobs --by`: device-hours and CPU-hours by day, month or whose they are, as a table, CSV or JSON."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from gpuwatch import hygiene
from gpuwatch.accounting.amounts import amount, money, split
from gpuwatch.ledger.groups import Groups
from gpuwatch.ledger.periods import By, Grouped, Row, midnight
from gpuwatch.ledger.summaries import Question, summary
from gpuwatch.model import EMPTY

if TYPE_CHECKING:
    from gpuwatch.cli.api_client import ApiClient

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

    def question(self, groups: Groups = EMPTY, edition: int | None = None) -> Question:
        """The same for the ledger."""
        return Question(self.by, self.begins, self.ends, self.zone, self.now, groups, None, edition)


def read_groups(ledger: str | None, config_file: Path | None, asked: Asked, edition: int | None = None) -> Grouped:
    """What was allocated, by day or whose it was, out of the ledger."""
    from gpuwatch import config
    from gpuwatch.cli.jobs import opened

    groups: Groups = config.load(config_file).accounting.groups if asked.by == "group" else EMPTY
    with opened(ledger, config_file) as connection:
        return summary(connection, asked.question(groups, edition))


def asked_groups(client: ApiClient, asked: Asked) -> Grouped:
    """The same by the API's word."""
    from gpuwatch.cli.api_views import grouped_of

    begins, ends = f"{asked.begins:.6f}", f"{asked.ends:.6f}"
    named = {"by": asked.by, "from": begins, "to": ends, "timezone": str(asked.zone)}
    return grouped_of(client.get("/usage", **named))


def print_groups(found: Grouped, asked: Asked, as_json: bool, as_csv: bool) -> None:
    """Print the groups."""
    if as_json and as_csv:
        raise typer.BadParameter("stands beside --json; write one of them", param_hint="--csv")
    if as_json:
        print(json.dumps(documents(asked.by, found), separators=(",", ":"), allow_nan=False))
    elif as_csv:
        write_csv(asked.by, found)
    else:
        print("\n".join(table(asked, found)))


def documents(by: By, found: Grouped) -> list[dict[str, object]]:
    """The groups for JSON: null where nothing is known; the name is null for jobs that have none."""
    return [{"by": by, **document(row)} for row in found.rows]


def document(row: Row) -> dict[str, object]:
    """One group for JSON: hours; joules, grams and money in base units, `cost` by currency."""
    amounts = row.amounts
    return {
        "name": row.name,
        "device_hours": _hours(row.device_seconds),
        "allocated_device_hours": _hours(amounts.get("allocated_seconds")),
        "held_device_hours": _hours(amounts.get("held_seconds")),
        "cpu_hours": _hours(row.cpu_seconds),
        "energy_joules": amounts.get("energy_joules"),
        "host_joules": amounts.get("host_joules"),
        "facility_joules": amounts.get("facility_joules"),
        "cost": costs(amounts),
        "carbon_grams": amounts.get("carbon_grams"),
        "jobs": row.jobs,
    }


def costs(amounts: Mapping[str, float]) -> dict[str, float]:
    """Money by currency."""
    return {name.partition(":")[2]: each for name, each in sorted(amounts.items()) if name.startswith("cost:")}


_CSV = (
    "by", "name", "device_hours", "cpu_hours", "jobs", "energy_joules", "facility_joules", "carbon_grams", "cost",
    "currency", "host_joules",
)  # fmt: skip


def write_csv(by: By, found: Grouped) -> None:
    """The groups as CSV, a line for each currency of one.

    A name that a spreadsheet would take for a formula begins with an apostrophe.
    """
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(_CSV)
    for row in found.rows:
        each = document(row)
        name = defused(str(each["name"] or ""))
        hours = (_plain(each["device_hours"]), _plain(each["cpu_hours"]), row.jobs)
        amounts = [_plain(each[key]) for key in ("energy_joules", "facility_joules", "carbon_grams")]
        money: list[tuple[str, float | None]] = [*costs(row.amounts).items()] or [("", None)]
        for number, (currency, cost) in enumerate(money):
            rest = (*hours, *amounts) if number == 0 else ("",) * 6
            host = _plain(each["host_joules"]) if number == 0 else ""
            writer.writerow((by, name, *rest, _plain(cost), currency, host))


def table(asked: Asked, found: Grouped) -> Iterable[str]:
    """The groups as lines for people, with a total where there are several."""
    if not found.rows:
        return ["Nothing was held in that time, as far as the ledger knows."]
    known = found.total.amounts
    shown = [each for each in _AMOUNTS if any(name.startswith(each.name) for name in known)]
    head = (asked.by.upper(), "DEVICE-HOURS", "CPU-HOURS", *(each.head for each in shown), "JOBS")
    rows = [_cells(row, hygiene.label(row.name or _NONE), shown) for row in found.rows]
    if len(rows) > 1:
        rows.append(_cells(found.total, "total", shown))
    lines = columns([head, *rows])
    unknown = found.total.unknown_jobs
    if unknown:
        jobs, them = ("1 job", "its") if unknown == 1 else (f"{unknown:,} jobs", "their")
        lines.append(f"The devices of {jobs} are not known: {them} device-hours are missing.")
    if found.bases:
        lines.append(f"Carbon by {', '.join(found.bases)}.")
    return lines


class _Amount(NamedTuple):
    """A column that is shown where anything is known of it."""

    head: str
    name: str
    cell: Callable[[Mapping[str, float]], str]


def _cell_of(quantity: str, name: str) -> Callable[[Mapping[str, float]], str]:
    return lambda amounts: amount(quantity, amounts[name]) if name in amounts else ""


def _money(amounts: Mapping[str, float]) -> str:
    return money(costs(amounts))


_AMOUNTS = (
    _Amount("ENERGY", "energy_joules", _cell_of("energy", "energy_joules")),
    _Amount("COST", "cost:", _money),
    _Amount("CARBON", "carbon_grams", _cell_of("carbon", "carbon_grams")),
)


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


def _cells(row: Row, name: str, shown: Sequence[_Amount]) -> tuple[str, ...]:
    amounts = [each.cell(row.amounts) for each in shown]
    return name, _figure(row.device_seconds), _figure(row.cpu_seconds), *amounts, f"{row.jobs:,}"


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
