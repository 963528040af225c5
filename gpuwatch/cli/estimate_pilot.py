"""`gpuwatch estimate pilot`: what a large run should need, from small ones that were measured."""

from __future__ import annotations

import csv
import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpuwatch import hygiene
from gpuwatch.cli.jobs import ApiOption, JsonOption, LedgerOption, client_for, opened
from gpuwatch.cli.options import ConfigOption
from gpuwatch.errors import Rejected, Unavailable

if TYPE_CHECKING:
    from gpuwatch.estimates.pilot import Pilot, Prediction
    from gpuwatch.ledger.jobs import Job

_HOURS = "device_hours"
_DEVICES = "devices"
_LARGEST_FILE = 2**20
_SUFFIXES = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12}
_NUMBER = re.compile(r"(\d{1,30}(?:\.\d{1,30})?(?:[eE][+-]?\d{1,3})?)([kKMBGT]?)", re.ASCII)

RunsOption = Annotated[
    str | None,
    typer.Option(metavar="JOB,JOB,…", help="Jobs of the ledger; their tags (tag=params:7e6) are their sizes."),
]
ToOption = Annotated[
    list[str],
    typer.Option(
        "--to", metavar="PARAM=VALUE", help="What the run is to have, as params=7B. Any number of times."
    ),
]
SizeOption = Annotated[
    list[str],
    typer.Option(
        "--size",
        metavar="JOB[:PARAM]=VALUE",
        help="The size of a run whose tags do not say it. Any number of times.",
    ),
]
CsvOption = Annotated[
    Path | None,
    typer.Option(
        "--csv", metavar="FILE", help="Runs by line: columns device_hours, devices if they differ, sizes."
    ),
]


def pilot(
    to: ToOption,
    runs: RunsOption = None,
    csv_file: CsvOption = None,
    size: SizeOption = [],  # noqa: B006
    devices: Annotated[float | None, typer.Option(min=0, help="On how many devices it is to run.")] = None,
    as_json: JsonOption = False,
    ledger: LedgerOption = None,
    config_file: ConfigOption = None,
    api: ApiOption = None,
) -> None:
    """Estimate a large run from small ones that were measured, by a power law in each of its sizes.

    Of fewer than three sizes nothing can be said: it is told which to run.
    """
    from gpuwatch.estimates.pilot import predict

    goal = dict(_pair(each, "--to") for each in to)
    if (runs is None) == (csv_file is None):
        raise typer.BadParameter("write --runs or --csv, one of them", param_hint="--runs")
    jobs: list[Job] = []
    if csv_file is not None:
        if size:
            raise typer.BadParameter("stands beside --csv, whose columns say it", param_hint="--size")
        measured = pilots_in(csv_file, goal)
    else:
        jobs = _jobs([each.strip() for each in (runs or "").split(",") if each.strip()], ledger, config_file, api)
        sizes = _sizes(size, goal)
        _check(jobs, sizes)
        measured = [_pilot(job, goal, sizes) for job in jobs]
    found = predict(measured, goal, devices)
    found = replace(found, warnings=(*found.warnings, *_doubts(jobs)))
    if as_json:
        print(json.dumps(document_of(found), separators=(",", ":"), allow_nan=False))
    else:
        print("\n".join(lines(found)))


def document_of(found: Prediction) -> dict[str, Any]:
    """The answer for programs."""
    quantiles = found.quantiles
    return {
        "device_hours": {"q10": quantiles[0.1], "q50": quantiles[0.5], "q90": quantiles[0.9]},
        "quantiles": {f"{q:g}": value for q, value in quantiles.items()},
        "exponents": {
            name: {"value": each.value, "low": each.low, "high": each.high}
            for name, each in found.exponents.items()
        },
        "scatter": found.scatter,
        "runs": found.runs,
        "extrapolation": found.extrapolation,
        "warnings": list(found.warnings),
        "declaration": declaration_of(found),
    }


def declaration_of(found: Prediction) -> str | None:
    """What to declare by it; None: too much or too little to be declared."""
    from gpuwatch.cli.estimate_words import Row, declared

    seconds = {q: hours * 3600.0 for q, hours in found.quantiles.items()}
    return declared([Row("", "device-hours", seconds)], "pilot")


def lines(found: Prediction) -> Iterator[str]:
    """The answer for people."""
    from gpuwatch.cli.estimate_words import lines_to_paste

    low, middle, high = (f"{found.quantiles[q]:,.3g}" for q in (0.1, 0.5, 0.9))
    yield f"{middle} device-hours; 80 % {low} to {high}"
    yield f"  95 % {found.quantiles[0.025]:,.3g} to {found.quantiles[0.975]:,.3g}"
    for name, each in found.exponents.items():
        yield f"  goes with {name} to the power of {each.value:.2f} (80 % {each.low:.2f} to {each.high:.2f})"
    far = f", {found.extrapolation:,.3g} times beyond them" if found.extrapolation > 1 else ", within them"
    yield f"  from {found.runs} runs that lie {100 * found.scatter:.0f} % off the line{far}"
    yield from (f"  note: {warning}" for warning in found.warnings)
    yield from lines_to_paste(declaration_of(found))


def pilots_in(file: Path, goal: Iterable[str]) -> list[Pilot]:
    """The runs in a CSV file, a line each; `Rejected` names what is wrong."""
    from gpuwatch.estimates.pilot import Pilot

    rows = _rows(file)
    wanted = [*goal, _HOURS]
    missing = [name for name in wanted if not rows or name not in rows[0]]
    if missing:
        there = hygiene.log(", ".join(name for name in rows[0] if name)[:200]) if rows else "no line"
        raise Rejected(f"{file.name}: no column {missing[0]!r}; there is {there}")
    found = []
    for number, row in enumerate(rows, 2):
        where = f"{file.name} line {number}"
        values = {name: _number(row[name] or "", f"{where}, {name}") for name in wanted}
        count = _number(row[_DEVICES], f"{where}, {_DEVICES}") if row.get(_DEVICES) else None
        hours = values.pop(_HOURS)
        found.append(Pilot(where, values, hours, count))
    return found


def _rows(file: Path) -> list[dict[str, str]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            text = stream.read(_LARGEST_FILE + 1)
    except (OSError, UnicodeDecodeError) as exc:
        raise Unavailable(f"{file}: cannot be read: {exc}") from exc
    if len(text) > _LARGEST_FILE:
        raise Rejected(f"{file.name}: longer than {_LARGEST_FILE:,} characters")
    try:
        return list(csv.DictReader(text.splitlines()))
    except csv.Error as exc:
        raise Rejected(f"{file.name}: is no CSV: {exc}") from exc


def _jobs(names: Sequence[str], ledger: str | None, config_file: Path | None, api: str | None) -> list[Job]:
    client = client_for(api, ledger, config_file)
    if client is not None:
        from gpuwatch.cli.api_views import view_of

        return [view_of(client.get(f"/jobs/{name}")).job for name in names]
    from gpuwatch.ledger import tag_store
    from gpuwatch.ledger.campaigns import ref_of
    from gpuwatch.ledger.queries import jobs_named

    with opened(ledger, config_file) as connection:
        found = [jobs_named(connection, name, time.time()) for name in names]
        tags = tag_store.tags_of(connection, [jobs[0] for jobs in found if jobs])
    for name, jobs in zip(names, found, strict=True):
        if not jobs:
            raise Unavailable(f"job {name!r}: not in the ledger; `gpuwatch jobs` lists what is")
    return [replace(jobs[0], tags=tags[ref_of(jobs[0])]) for jobs in found]


def _check(jobs: Sequence[Job], sizes: Iterable[tuple[str, str]]) -> None:
    """Refuse a run that counts twice, which would make the answer look surer, and a size of none of the runs."""
    there = [(job.cluster, job.scope.name) for job in jobs]
    twice = next((job for job in jobs if there.count((job.cluster, job.scope.name)) > 1), None)
    if twice is not None:
        raise Rejected(f"job {twice.scope.name}: stands twice among the runs; each is measured once")
    known = {name for job in jobs for name in _names(job)}
    for name, _ in sizes:
        if name not in known:
            raise typer.BadParameter(f"{name!r} is none of --runs", param_hint="--size")


def _doubts(jobs: Iterable[Job]) -> Iterator[str]:
    for job in jobs:
        if job.record is None and job.exit_code is None:
            yield f"nobody knows how job {job.display} ended; it is taken for one that came to its end"


def _names(job: Job) -> tuple[str, ...]:
    return job.display, job.scope.name, job.job_id, job.name or ""


def _pilot(job: Job, goal: Iterable[str], said: Mapping[tuple[str, str], float]) -> Pilot:
    """A job as a run that was measured; `Rejected` for one that did not come to its end."""
    from gpuwatch.estimates.pilot import Pilot
    from gpuwatch.ledger.records import devices_of

    outcome = job.record.facts.state if job.record is not None else "FAILED" if job.exit_code else "COMPLETED"
    if job.state != "ended" or outcome != "COMPLETED":
        how = outcome.lower() if job.state == "ended" else job.state
        raise Rejected(f"job {job.scope.name}: is {how}; a pilot is a run that came to its end")
    sizes: dict[str, float] = {}
    for name in goal:
        told = next((said[each, name] for each in _names(job) if (each, name) in said), None)
        if told is not None:
            sizes[name] = told
        elif name in job.tags:
            sizes[name] = _number(job.tags[name], f"job {job.scope.name}, tag {name}")
    devices = devices_of(job.record) if job.record is not None else None
    return Pilot(job.display, sizes, job.device_seconds / 3600.0, devices or float(len(job.devices)) or None)


def _sizes(given: Iterable[str], goal: Mapping[str, float]) -> dict[tuple[str, str], float]:
    """Sizes of runs as they were typed, by run and parameter; the parameter may go where there is only one."""
    found: dict[tuple[str, str], float] = {}
    for text in given:
        run, value = _pair(text, "--size")
        job, colon, name = run.rpartition(":")
        if not (colon and name in goal):
            if len(goal) > 1:
                wanted = f"{text!r} does not say of what; write JOB:PARAM=VALUE with {', '.join(goal)}"
                raise typer.BadParameter(wanted, param_hint="--size")
            job, name = run, next(iter(goal))
        found[job, name] = value
    return found


def _pair(text: str, option: str) -> tuple[str, float]:
    name, equals, value = text.rpartition("=")
    if not (name and equals):
        raise typer.BadParameter(f"{text!r} has no '='; write NAME=VALUE, as params=7B", param_hint=option)
    try:
        return name, _number(value, name)
    except Rejected as exc:
        raise typer.BadParameter(str(exc), param_hint=option) from exc


def _number(text: str, where: str) -> float:
    found = _NUMBER.fullmatch(text.strip())
    value = float(found[1]) * _SUFFIXES[found[2]] if found is not None else 0.0
    if not 0 < value < float("inf"):
        raise Rejected(f"{hygiene.log(where)}: {text[:40]!r} is no number above 0; write 7e9 or 7B")
    return value
