"""Runs and their progress as CSV has them, to runs that can be replayed. Pure.

A row that is wrong is left out, and counted by why; what follows from it, as the progress of a run that was left
out, is counted too. Only a file that lacks a column is not read at all.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import nan
from operator import itemgetter
from typing import TYPE_CHECKING

from gpuwatch.errors import Rejected
from gpuwatch.forecast.history import BacktestRun
from gpuwatch.forecast.trials import CUT_STATES

if TYPE_CHECKING:
    from _csv import Reader

NEEDED = ("job_id", "user", "start_s", "end_s", "num_devices")
KNOWN = (*NEEDED, "account", "job_name", "submit_s", "num_nodes", "requested_s", "declared_device_hours", "state")
PROGRESS = ("job_id", "time_s", "fraction")
REASONS: Mapping[str, str] = {
    "unreadable": "rows that are no CSV, or without a job id",
    "number": "a number or time is none, or is missing where it is needed",
    "range": "a number or time is out of range",
    "order": "a run that ended before it started, or started before it was submitted",
    "nothing": "a run of no time",
    "twice": "a job id that was there before",
    "unknown_job": "progress of a job that is not among the runs",
    "outside": "progress before the start or after the end of its run",
}
"""Why rows are left out."""

EXAMPLES = 3
_HOUR = 3600.0
_MOST = 1e12
"""More than any time, number of devices or limit is; a time in milliseconds is beyond it."""
_SHOWN = 60

Rows = Iterator[tuple[int, list[str]]]


@dataclass(slots=True)
class LeftOut:
    """How many rows were left out by reason, and the first few with file, line and what there is."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, reason: str, where: str, what: str) -> None:
        """One row more."""
        if self.counts[reason] < EXAMPLES:
            self.examples.append(f"{where}: {what}")
        self.counts[reason] += 1


class _Wrong(Exception):
    """A row that is left out: the reason, and what is wrong with it."""

    def __init__(self, reason: str, what: str) -> None:
        super().__init__(reason, what)
        self.reason, self.what = reason, what


def runs(lines: Iterable[str], name: str, left_out: LeftOut) -> dict[str, BacktestRun]:
    """The runs of a table, by job id, as they stand in it; `name` is how messages call the file."""
    columns, rows = _table(lines, name, NEEDED, KNOWN, left_out)
    found: dict[str, BacktestRun] = {}
    for line, cells in rows:
        try:
            run = _run(dict(zip(columns, map(str.strip, cells), strict=False)))
            if run.job_id in found:
                raise _Wrong("twice", f"job id {_shown(run.job_id)} is there already; the first one counts")
            found[run.job_id] = run
        except _Wrong as exc:
            left_out.add(exc.reason, f"{name}:{line}", exc.what)
    return found


def with_progress(
    found: Mapping[str, BacktestRun], lines: Iterable[str], name: str, left_out: LeftOut
) -> dict[str, BacktestRun]:
    """The same runs with the progress of a table, in the order of time whatever the table's order is."""
    columns, rows = _table(lines, name, PROGRESS, PROGRESS, left_out)
    pick = itemgetter(*(columns.index(each) for each in PROGRESS))
    spans = {job_id: (run.started, run.ended) for job_id, run in found.items()}
    reports: dict[str, list[tuple[float, float]]] = {job_id: [] for job_id in found}
    for line, cells in rows:
        try:
            job_id, time_text, fraction_text = pick(cells)
            started, ended = spans[job_id]
            time, fraction = float(time_text), float(fraction_text)
            if started <= time <= ended and 0.0 <= fraction <= _MOST:
                reports[job_id].append((time, fraction))
                continue
        except (IndexError, KeyError, ValueError):
            pass
        # Millions of rows are right; one that is not, or has blanks, is looked at more closely.
        try:
            job_id, time, fraction = _report(dict(zip(columns, map(str.strip, cells), strict=False)), spans)
            reports[job_id].append((time, fraction))
        except _Wrong as exc:
            left_out.add(exc.reason, f"{name}:{line}", exc.what)
    return {job_id: replace(run, progress=tuple(sorted(reports.pop(job_id)))) for job_id, run in found.items()}


def _table(
    lines: Iterable[str], name: str, needed: Iterable[str], known: Iterable[str], left_out: LeftOut
) -> tuple[list[str], Rows]:
    """The columns, and the rows that follow with their lines. `Rejected` where a column is missing."""
    reader = csv.reader(lines)
    try:
        head = next(reader, [])
    except csv.Error as exc:
        raise Rejected(f"{name}: is no CSV; {_why(exc)} in its first line") from exc
    columns = [each.strip().lstrip("\ufeff").lower() for each in head]
    missing = [each for each in needed if each not in columns]
    if missing:
        there = ", ".join(map(_shown, columns[:20])) or "nothing"
        raise Rejected(f"{name}: lacks {', '.join(missing)}; its first line has {there}")
    twice = next((each for each in known if columns.count(each) > 1), None)
    if twice is not None:
        raise Rejected(f"{name}: has the column {twice} twice")
    return columns, _rows(reader, name, left_out)


def _rows(reader: Reader, name: str, left_out: LeftOut) -> Rows:
    """Every row but empty ones. A cell that is too long is left out, and reading goes on after it."""
    while True:
        try:
            for cells in reader:
                if cells:
                    yield reader.line_num, cells
        except csv.Error as exc:
            left_out.add("unreadable", f"{name}:{reader.line_num}", _why(exc))
        else:
            return


def _run(row: Mapping[str, str]) -> BacktestRun:
    job_id = row.get("job_id", "")
    if not job_id:
        raise _Wrong("unreadable", "has no job id")
    started, ended, devices = (_needed(row, each) for each in ("start_s", "end_s", "num_devices"))
    submitted = _number(row, "submit_s")
    if ended < started:
        raise _Wrong("order", f"end_s {ended:.10g} lies before start_s {started:.10g}")
    if submitted is not None and submitted > started:
        raise _Wrong("order", f"submit_s {submitted:.10g} lies after start_s {started:.10g}")
    if ended == started:
        raise _Wrong("nothing", f"start_s and end_s are {started:.10g}")
    hours = _positive(row, "declared_device_hours")
    return BacktestRun(
        job_id, row.get("user", ""), row.get("account", ""), row.get("job_name", ""),
        started if submitted is None else submitted, started, ended, devices,
        _positive(row, "num_nodes"), _positive(row, "requested_s"), None if hours is None else hours * _HOUR,
        _state(row.get("state", "")),
    )  # fmt: skip


def _state(text: str) -> str:
    """The state alone: `CANCELLED` of `cancelled by 1234`, `OUT_OF_MEMORY` of `OUT_OF_ME+`."""
    word = next(iter(text.upper().split()), "")
    if not word.endswith("+"):
        return word
    return next((each for each in sorted(CUT_STATES) if each.startswith(word[:-1])), word[:-1])


def _report(row: Mapping[str, str], spans: Mapping[str, tuple[float, float]]) -> tuple[str, float, float]:
    job_id = row.get("job_id", "")
    if not job_id:
        raise _Wrong("unreadable", "has no job id")
    if job_id not in spans:
        raise _Wrong("unknown_job", f"there is no run {_shown(job_id)}")
    time, fraction = _needed(row, "time_s"), _needed(row, "fraction")
    started, ended = spans[job_id]
    if not started <= time <= ended:
        raise _Wrong("outside", f"time_s {time:.10g} is not within {started:.10g} to {ended:.10g}")
    return job_id, time, fraction


def _needed(row: Mapping[str, str], column: str) -> float:
    value = _positive(row, column) if column == "num_devices" else _number(row, column)
    if value is None:
        raise _Wrong("number", f"{column} is missing")
    return value


def _positive(row: Mapping[str, str], column: str) -> float | None:
    value = _number(row, column)
    if value == 0:
        raise _Wrong("range", f"{column} is 0")
    return value


def _number(row: Mapping[str, str], column: str) -> float | None:
    """From 0 up; None where the cell is empty."""
    text = row.get(column, "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = nan
    if value != value:
        raise _Wrong("number", f"{column} {_shown(text)} is no number")
    if not 0.0 <= value <= _MOST:
        raise _Wrong("range", f"{column} {_shown(text)} is out of range")
    return value


def _why(exc: csv.Error) -> str:
    """What is wrong, without the advice for programmers that follows it."""
    return str(exc).partition(" - ")[0]


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
