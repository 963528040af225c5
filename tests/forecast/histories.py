"""Histories made for tests: runs of several users, with all that can be amiss with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gpuwatch.forecast.history import BacktestRun

HOUR = 3600.0
DAY = 24 * HOUR
STATES = ("COMPLETED",) * 7 + ("FAILED", "CANCELLED", "TIMEOUT")


def run(
    job_id: str = "1", started: float = 0.0, hours: float = 10.0, declared: float | None = 10.0, user: str = "ada",
    state: str = "COMPLETED", progress: int = 0, devices: float = 1.0, name: str = "train",
) -> BacktestRun:  # fmt: skip
    """A run of so many hours; `declared` is in device-hours, `progress` how many reports it makes, evenly."""
    ended = started + hours * HOUR
    reports = tuple((started + hours * HOUR * n / progress, n / progress) for n in range(1, progress + 1))
    return BacktestRun(
        job_id, user, "lab", name, started, started, ended, devices,
        declared=None if declared is None else declared * HOUR, state=state, progress=reports,
    )  # fmt: skip


def history(count: int, seed: int, round_to: float = 0.0) -> list[BacktestRun]:
    """Runs that overlap, of a few users and names, with wild declarations, some failed, cut, silent or undeclared.

    With `round_to` many begin, report and end at the same time.
    """
    random = np.random.default_rng(seed)
    made = []
    for number in range(count):
        hours = float(np.exp(random.normal(1.0, 1.0)))
        declared = None if random.random() < 0.1 else hours * float(np.exp(random.normal(0.0, 0.5)))
        user, state = ("", "ada", "bob", "cleo", "dan")[random.integers(5)], str(random.choice(STATES))
        started, reports = float(random.random() * count * HOUR), int(random.integers(0, 12))
        devices, name = float(random.integers(1, 9)), f"n{random.integers(3)}"
        each = run(f"j{number}", started, hours, declared, user, state, reports, devices, name)
        each = replace(each, declared=each.declared and each.declared * each.devices)
        made.append(_rounded(each, round_to) if round_to else each)
    return made


def _rounded(each: BacktestRun, to: float) -> BacktestRun:
    started = round(each.started / to) * to
    ended = max(started, round(each.ended / to) * to)
    reports = [(min(max(started, round(time / to) * to), ended), ratio) for time, ratio in each.progress]
    return replace(each, submitted=started, started=started, ended=ended, progress=tuple(reports))
