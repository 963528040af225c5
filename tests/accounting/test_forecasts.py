"""From jobs with attempts to the evidence of their forecasts."""

from __future__ import annotations

import pytest

from gpuwatch.accounting.forecasts import job_forecasts
from gpuwatch.forecast.projection import MEDIAN
from gpuwatch.ledger.jobs import Job, Run
from gpuwatch.model import Progress, Scope, Usage

T0 = 1_800_000_000


def test_a_requeued_job_is_projected_from_its_latest_run() -> None:
    """Two hours of two devices were lost or led to step 400; the second run did 300 of 600 steps in an hour."""
    usage = Usage(held_seconds=7000.0, energy_joules={"counter": 1e6})
    runs = (
        Run(T0, T0 + 7200.0, usage, 14_400.0, "NODE_FAIL"),
        Run(T0 + 10_000, T0 + 13_600.0, usage, 7200.0, "RUNNING"),
    )
    progress = Progress(700.0, 1000.0, 400.0, T0 + 13_600.0)
    job = Job(
        Scope("job", "7"), "c", "7", T0, T0 + 13_600.0, "running", (), (), (), usage + usage,
        progress=progress, runs=runs, allocated_seconds=21_600.0,
    )  # fmt: skip

    medians = {each.quantity: each.quantiles[MEDIAN] for each in job_forecasts(job, T0 + 13_600.0)}

    assert {
        "device-hours": pytest.approx(14_400.0 + 14_400.0),
        "energy": pytest.approx(1e6 + 2e6),
        "wall": pytest.approx(10_000.0 + 7200.0),
    } == medians
