"""`gpuwatch replay`: recorded telemetry through the range check and the meter, as fast as it can."""

from __future__ import annotations

import json as _json
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

import typer

from gpuwatch.cli.waiting import waiting
from gpuwatch.devices.replay import MAX_GAP_SECONDS, DeviceReplay, FileReplay, JobReplay, Replay, method_of
from gpuwatch.devices.replay import replay as _replay
from gpuwatch.hygiene import log
from gpuwatch.model import STATES


def replay(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Recordings, also compressed with gzip.")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    max_gap: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Rows further apart than this measure nothing.")
    ] = MAX_GAP_SECONDS,
) -> None:
    """Say what recorded telemetry adds up to: energy, busy and unmeasured time, by device and by job.

    Reads gpuwatch's own CSV (time_s, uid, utilization_ratio, power_watts, energy_joules_total,
    memory_used_bytes, job_id) and what `nvidia-smi --query-gpu=timestamp,... --format=csv` printed.
    """
    if not isfinite(max_gap):
        raise typer.BadParameter(f"{max_gap} is no number of seconds", param_hint="--max-gap")
    with waiting(f"replaying {len(files):,} file{'' if len(files) == 1 else 's'}"):
        outcome = _replay(files, max_gap)
    if json:
        print(_json.dumps(document(outcome), separators=(",", ":"), allow_nan=False))
    else:
        _print_tables(outcome)


def document(outcome: Replay) -> dict[str, Any]:
    """The outcome as it is printed with `--json`; what is unknown is null."""
    return {
        "devices": [_device(each) for each in outcome.devices],
        "jobs": [_job(each) for each in outcome.jobs],
        "files": [_file(each) for each in outcome.files],
    }


def _device(device: DeviceReplay) -> dict[str, Any]:
    return {
        "uid": device.uid,
        "seconds": device.seconds,
        "joules": device.joules,
        "method": device.method,
        "busy_seconds": device.busy_seconds,
        "unmeasured_seconds": device.unmeasured_seconds,
        **_rejected(device.rejected),
    }


def _job(job: JobReplay) -> dict[str, Any]:
    usage = job.usage
    return {
        "job_id": job.job_id,
        "devices": list(job.devices),
        "held_seconds": usage.held_seconds,
        "busy_seconds": usage.busy_seconds,
        "joules": usage.joules if usage.energy_joules else None,
        "method": method_of(usage),
        "unmeasured_seconds": usage.energy_unmeasured_seconds,
        "state_seconds": dict(usage.state_seconds),
    }


def _file(file: FileReplay) -> dict[str, Any]:
    return {"file": str(file.file), "format": file.format, "rows": file.rows, **_rejected(file.rejected)}


def _rejected(by_reason: Mapping[str, int]) -> dict[str, Any]:
    return {"rejected": sum(by_reason.values()), "rejected_by": dict(by_reason)}


def _print_tables(outcome: Replay) -> None:
    from rich.console import Console

    # Wider than any table here, so that nothing is cut in a pipe or a narrow terminal.
    console = Console(highlight=False, soft_wrap=True, width=500)
    for file in outcome.files:
        console.print(
            f"{log(str(file.file))}: {file.rows} rows, {file.format}{_counted(file.rejected)}", markup=False
        )
    console.print(_device_table(outcome))
    if outcome.jobs:
        console.print(_job_table(outcome))
    for device in outcome.devices:
        if device.rejected:
            console.print(f"{device.uid}{_counted(device.rejected)}", markup=False)


def _device_table(outcome: Replay) -> Any:
    rows = [
        [
            each.uid,
            duration(each.seconds),
            energy(each.joules),
            mean_power(each.joules, each.seconds - each.unmeasured_seconds),
            each.method or "-",
            duration(each.busy_seconds),
            duration(each.unmeasured_seconds),
            str(sum(each.rejected.values())),
        ]
        for each in outcome.devices
    ]
    return _table(["DEVICE", "TIME", "ENERGY", "MEAN", "METHOD", "BUSY", "UNMEASURED", "REJECTED"], rows)


def _job_table(outcome: Replay) -> Any:
    rows = [
        [
            each.job_id,
            str(len(each.devices)),
            duration(each.usage.held_seconds),
            energy(each.usage.joules if each.usage.energy_joules else None),
            method_of(each.usage) or "-",
            duration(each.usage.busy_seconds),
            duration(each.usage.energy_unmeasured_seconds),
            *(duration(each.usage.state_seconds.get(state, 0.0)) for state in STATES),
        ]
        for each in outcome.jobs
    ]
    columns = ["JOB", "DEVICES", "HELD", "ENERGY", "METHOD", "BUSY", "UNMEASURED"]
    return _table([*columns, *(state.upper() for state in STATES)], rows)


def _table(columns: list[str], rows: list[list[str]]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        text = column in ("DEVICE", "JOB", "METHOD")
        table.add_column(column, justify="left" if text else "right", no_wrap=True)
    for row in rows:
        # As text: what stands in a recording must not be taken for markup.
        table.add_row(*map(Text, row))
    return table


def _counted(by_reason: Mapping[str, int]) -> str:
    reasons = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in sorted(by_reason.items()))
    return f": rejected {reasons}" if reasons else ""


def duration(seconds: float | None) -> str:
    """A time as people read it: `12.3 s`, `4 min 05 s`, `3 h 07 min`; `-` where it is unknown."""
    if seconds is None:
        return "-"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def energy(joules: float | None) -> str:
    """Energy as people read it, J to MWh; `-` where it is unknown."""
    if joules is None:
        return "-"
    for unit, size in (("MWh", 3.6e9), ("kWh", 3.6e6), ("Wh", 3.6e3)):
        if joules >= size:
            return f"{joules / size:.2f} {unit}"
    return f"{joules:.0f} J"


def mean_power(joules: float | None, seconds: float) -> str:
    """The mean power over the time that was measured; `-` where there is none."""
    return "-" if joules is None or seconds <= 0 else f"{joules / seconds:.0f} W"
