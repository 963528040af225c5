"""What `gpuwatch backtest` of a large history costs: 100,000 made-up runs, read from CSV and replayed.

The history is the same each time. Each user has names of his own; a name has a length and a spread, and some end
early as often as not. A third declare, most of them near what their like take, some far above or below; a tenth
report how far they are, at a rate that is not quite even.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from gpuwatch.forecast.history import BacktestRun

RUNS, USERS, NAMES, ACCOUNTS = 100_000, 500, 20, 50
REPORTS = 20
SPAN_SECONDS = 180 * 86_400.0
BEGIN = 1_780_000_000.0

_STATES = ("COMPLETED", "TIMEOUT", "FAILED", "CANCELLED")
_ODDS = (0.8, 0.05, 0.08, 0.07)
_RUNS_HEAD = (
    "job_id,user,account,job_name,submit_s,start_s,end_s,num_devices,requested_s,declared_device_hours,state"
)
_PROGRESS_HEAD = "job_id,time_s,fraction"


def history(count: int = RUNS, declaring: float = 1 / 3, reporting: float = 0.1) -> Iterator[BacktestRun]:
    """So many runs in the order in which they were submitted; which part of them declares, and reports."""
    from gpuwatch.forecast.history import BacktestRun

    chance = np.random.default_rng(count)
    submitted = BEGIN + np.sort(SPAN_SECONDS * chance.random(count)).round()
    users = (USERS * chance.random(count) ** 1.5).astype(int)
    names = (NAMES * chance.random(count) ** 1.5).astype(int)
    usual = np.exp(7.0 + (users * 31 + names * 17) % 40 / 10)
    early = ((users + names) % 3 == 0) & (chance.random(count) < 0.4)
    length = np.clip(
        usual * np.exp(chance.normal(0.0, 0.5, count)) * np.where(early, 0.05, 1.0), 30.0, 2e6
    ).round()
    said = usual * np.exp(chance.normal(0.2, 0.5, count)).round(1) + 60.0
    waits = chance.exponential(600.0, count).round()
    states = chance.choice(len(_STATES), count, p=_ODDS)
    declares, reports = chance.random(count) < declaring, chance.random(count) < reporting
    pace = np.exp(chance.normal(0.0, 0.15, (count, 2)))
    for place in range(count):
        user, name, devices = int(users[place]), int(names[place]), float(2 ** ((users[place] + names[place]) % 4))
        started, wall = float(submitted[place] + waits[place]), float(length[place])
        hours = round(devices * float(said[place]) / 3600.0, 3)
        yield BacktestRun(
            str(place), f"user{user}", f"account{user % ACCOUNTS}", f"train{name}", float(submitted[place]),
            started, started + wall, devices, None, 172_800.0 if user % 2 else None,
            hours * 3600.0 if declares[place] else None, _STATES[states[place]],
            _reports(started, wall, *pace[place].tolist()) if reports[place] else (),
        )  # fmt: skip


def _reports(started: float, wall: float, pace: float, bend: float) -> tuple[tuple[float, float], ...]:
    """How far a run is at even times: it may end before or after what it thought to be the whole."""
    times = np.arange(1, REPORTS + 1) / (REPORTS + 1)
    return tuple((round(started + wall * float(at), 3), round(pace * float(at) ** float(bend), 5)) for at in times)


def write(folder: Path, count: int = RUNS) -> tuple[Path, Path]:
    """The history as the files that `gpuwatch backtest` reads: runs, and progress."""
    runs, progress = folder / "runs.csv", folder / "progress.csv"
    with runs.open("w") as table, progress.open("w") as reports:
        print(_RUNS_HEAD, file=table)
        print(_PROGRESS_HEAD, file=reports)
        for run in history(count):
            limit = "" if run.limit_seconds is None else f"{run.limit_seconds:.0f}"
            hours = "" if run.declared is None else f"{run.declared / 3600.0:.3f}"
            print(
                run.job_id, run.user, run.account, run.name, f"{run.submitted:.0f}", f"{run.started:.0f}",
                f"{run.ended:.0f}", f"{run.devices:.0f}", limit, hours, run.state, sep=",", file=table,
            )  # fmt: skip
            for at, ratio in run.progress:
                print(run.job_id, at, ratio, sep=",", file=reports)
    return runs, progress


def measure() -> Mapping[str, float]:
    """Figures by name: the whole command, and the peak of resident memory of its process."""
    with tempfile.TemporaryDirectory() as name:
        command = [sys.executable, "-m", "tests.benchmarks.backtest", *map(str, write(Path(name)))]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=600)
        figures: dict[str, float] = json.loads(told.stdout.splitlines()[-1])
        return figures


def replay(runs: str, progress: str) -> dict[str, float]:
    """Run the command in this process; what it prints goes before the figures."""
    from gpuwatch.cli.backtest import backtest
    from tests.benchmarks.forecasts import peak

    began = time.perf_counter()
    backtest(runs, progress, as_json=True)
    took = time.perf_counter() - began
    return {"backtest_seconds_per_100k_runs": round(took, 1), "backtest_rss_bytes": peak()}


if __name__ == "__main__":
    print(json.dumps(replay(*sys.argv[1:]) if sys.argv[1:] else measure()))
