"""Wasted device-hours, and who holds idle devices, as tables, CSV and JSON."""

from __future__ import annotations

import csv
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from gpuwatch import hygiene
from gpuwatch.accounting.amounts import amount, digits, money, split
from gpuwatch.cli.periods import Asked, columns, defused
from gpuwatch.ledger.idle import Holder
from gpuwatch.ledger.queries import Job
from gpuwatch.ledger.waste import By, Group, Parts, Wasted, user_of

_HOUR = 3600.0
_HOURS = "device-hours"
_NONE = "(none)"
_SHOWN_DEVICES = 4

Cell = Callable[[Group], str]


def _figure(seconds: float | None) -> str:
    return "" if seconds is None else split(_HOURS, seconds)[0]


def _lost(group: Group) -> str:
    bound = "≤ " if group.parts.bounded > 0 else ""
    return bound + _figure(group.parts.lost)


def _percent(parts: Parts) -> str:
    bound = "≤ " if parts.bounded > 0 else ""
    return f"{bound}{100 * parts.wasted_ratio:.0f} %"


_COLUMNS: tuple[tuple[str, Cell], ...] = (
    ("DEVICE-HOURS", lambda each: _figure(each.parts.total)),
    ("WASTED", lambda each: _figure(each.parts.wasted)),
    ("SHARE", lambda each: _percent(each.parts)),
    ("IDLE", lambda each: _figure(each.parts.idle)),
    ("SPINNING", lambda each: _figure(each.parts.spinning)),
    ("LOST", _lost),
    ("UNKNOWN", lambda each: _figure(each.parts.unknown)),
    ("UNUSED EDGES", lambda each: _figure(each.parts.edges)),
    ("THROTTLED", lambda each: _figure(each.parts.throttled)),
)
"""What is said of each group; a further figure is a further line here."""

_COST: tuple[str, Cell] = ("COST OF WASTE", lambda each: f"≤ {money(each.cost)}" if each.cost else "")


def print_wasted(asked: Asked, by: By, found: Wasted, as_json: bool, as_csv: bool) -> None:
    """Print where device-hours went, by group."""
    if as_json:
        print(json.dumps(wasted_document(by, found), separators=(",", ":"), allow_nan=False))
    elif as_csv:
        _write_csv(by, found)
    else:
        print("\n".join(wasted_lines(asked, by, found)))


def wasted_document(by: By, found: Wasted) -> dict[str, Any]:
    """For JSON: hours; null is what nobody measured, and the name of jobs that have none."""
    return {
        "by": by,
        "groups": [_group_document(each, by) for each in found.named],
        "others": _group_document(found.others, by) | {"groups": found.other_groups},
        "total": _group_document(found.total, by),
    }


def _group_document(group: Group, by: By) -> dict[str, Any]:
    parts = group.parts
    named = {"name": group.name, "title": _title(group, by)} if group.name is not None else {"name": None}
    return {
        **named,
        "jobs": len(group.jobs),
        "unknown_jobs": group.unknown_jobs,
        "device_hours": parts.total / _HOUR,
        "wasted_hours": parts.wasted / _HOUR,
        "wasted_ratio": parts.wasted_ratio,
        "working_hours": parts.working / _HOUR,
        "idle_hours": parts.idle / _HOUR,
        "spinning_hours": parts.spinning / _HOUR,
        "lost_hours": parts.lost / _HOUR,
        "lost_at_most_hours": parts.bounded / _HOUR,
        "unknown_hours": parts.unknown / _HOUR,
        "before_first_use_hours": _hours(parts.before_use),
        "after_last_use_hours": _hours(parts.after_use),
        "throttled_hours": _hours(parts.throttled),
        "wasted_cost_at_most": dict(sorted(group.cost.items())),
    }


def _hours(seconds: float | None) -> float | None:
    return None if seconds is None else seconds / _HOUR


def _write_csv(by: By, found: Wasted) -> None:
    rows = [{"by": by, **_group_document(each, by)} for each in found.named]
    heads = list({"by": by, "name": "", "title": "", **_group_document(found.total, by)})
    writer = csv.DictWriter(sys.stdout, heads, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _csv_cell(value) for key, value in row.items()})


def _csv_cell(value: object) -> object:
    if isinstance(value, dict):
        return money(value)
    if isinstance(value, float):
        return f"{value:.6f}".rstrip("0").rstrip(".")
    return defused(value) if isinstance(value, str) else value


def wasted_lines(asked: Asked, by: By, found: Wasted) -> Iterator[str]:
    """For people: who wasted much, the others in one line, the total, and what the columns mean."""
    if not found.total.jobs:
        yield "Nothing was held in that time, as far as the ledger knows."
        return
    shown = (*_COLUMNS, *([_COST] if found.total.cost else []))
    head = (by.upper(), *(name for name, _ in shown))
    rows = [_row(hygiene.label(_title(each, by)), each, shown) for each in found.named]
    if found.other_groups:
        rows.append(
            _row(
                f"({found.other_groups:,} {'other' if found.other_groups == 1 else 'others'})", found.others, shown
            )
        )
    if len(rows) > 1:
        rows.append(_row("total", found.total, shown))
    yield from columns([head, *rows])
    yield f"In device-hours, from {_day(asked.begins)} to {_day(asked.ends)}."
    yield from _words(found)


def _row(title: str, group: Group, shown: Sequence[tuple[str, Cell]]) -> tuple[str, ...]:
    return title, *(cell(group) for _, cell in shown)


def _title(group: Group, by: By) -> str:
    return _called(group.jobs[0]) if by == "job" and group.jobs else group.name or _NONE


def _called(job: Job) -> str:
    return f"{job.display} {job.name}" if job.name and job.name != job.display else job.display


def _words(found: Wasted) -> Iterator[str]:
    parts = found.total.parts
    yield "Wasted is idle, spinning and lost: what could have been saved at most. Edges and throttled lie within."
    if parts.lost > 0:
        yield "Lost is the work of attempts that failed or were started again, since they last reported progress."
    if parts.bounded > 0:
        yield "≤: nobody reported progress, so the whole attempt counts; what a checkpoint saved is not known."
    if parts.unknown > 0:
        yield "Unknown was not measured: nothing is claimed of it."
    if found.total.unknown_jobs:
        jobs, them = (
            ("1 job", "its") if found.total.unknown_jobs == 1 else (f"{found.total.unknown_jobs:,} jobs", "their")
        )
        yield f"The devices of {jobs} are not known: {them} device-hours are missing."


def _day(time: float) -> str:
    return f"{datetime.fromtimestamp(max(0.0, time), UTC):%Y-%m-%d %H:%M}Z"


def print_holders(found: Sequence[Holder], by: str, since_seconds: float, as_json: bool) -> None:
    """Print who holds idle devices."""
    if as_json:
        documents = [_holder_document(each) for each in found] if by == "job" else _sums(found, by)
        print(json.dumps(documents, separators=(",", ":"), allow_nan=False))
    else:
        print("\n".join(holder_lines(found, by, since_seconds)))


def _holder_document(holder: Holder) -> dict[str, Any]:
    """For JSON: seconds and device-seconds; null is what nobody knows."""
    job = holder.job
    return {
        "job": job.scope.name,
        "display": job.display,
        "name": job.name,
        "user": user_of(job),
        "account": _account(job),
        "node": holder.node,
        "devices": list(holder.devices),
        "device_share": holder.share,
        "doing": holder.doing,
        "worked": holder.worked,
        "seconds": holder.seconds,
        "lost_device_seconds": holder.lost_seconds,
        "watts": holder.watts,
    }


def _account(job: Job) -> str | None:
    return (job.record.facts.account or None) if job.record is not None else None


def _sums(found: Sequence[Holder], by: str) -> list[dict[str, Any]]:
    """By user or account: devices, the longest time, and what was lost; the most lost first."""
    groups: dict[str | None, list[Holder]] = defaultdict(list)
    for each in found:
        groups[user_of(each.job) if by == "user" else _account(each.job)].append(each)
    sums = [
        {
            "by": by,
            "name": name,
            "jobs": len({each.job.scope for each in those}),
            "devices": sum(len(each.devices) for each in those),
            "seconds": max(each.seconds for each in those),
            "lost_device_seconds": sum(each.lost_seconds for each in those),
        }
        for name, those in groups.items()
    ]
    return sorted(sums, key=lambda each: -float(each["lost_device_seconds"]))


def holder_lines(found: Sequence[Holder], by: str, since_seconds: float) -> Iterator[str]:
    """For people: one line for each job and node, or for each user or account."""
    since = amount("wall", since_seconds)
    if not found:
        yield f"Nobody holds a device that has not worked for {since}, as far as agents say."
        return
    if by == "job":
        head = ("JOB", "USER", "ACCOUNT", "NODE", "DEVICES", "DOING", "FOR", "LOST DEVICE-HOURS", "WATTS")
        yield from columns([head, *(_holder_row(each) for each in found)], left=6)
    else:
        rows = [
            (
                hygiene.label(each["name"] or _NONE), str(each["jobs"]), str(each["devices"]),
                amount("wall", each["seconds"]), _figure(each["lost_device_seconds"]),
            )
            for each in _sums(found, by)
        ]  # fmt: skip
        yield from columns([(by.upper(), "JOBS", "DEVICES", "LONGEST", "LOST DEVICE-HOURS"), *rows])
    yield f"Held now and not at work for {since} or longer; lost is what could have been saved at most."


def _holder_row(holder: Holder) -> tuple[str, ...]:
    doing = holder.doing if holder.worked else f"{holder.doing}, never worked"
    devices = [hygiene.label(each) for each in holder.devices[:_SHOWN_DEVICES]]
    more = len(holder.devices) - len(devices)
    return (
        hygiene.label(_called(holder.job)),
        hygiene.label(user_of(holder.job) or ""),
        hygiene.label(_account(holder.job) or ""),
        hygiene.label(holder.node),
        ", ".join(devices) + (f" and {more} more" if more else ""),
        doing,
        amount("wall", holder.seconds),
        _figure(holder.lost_seconds),
        "" if holder.watts is None else digits(holder.watts),
    )
