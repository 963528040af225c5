"""Real traces in order of time: what was said of each run, by those that had ended, against what it took."""

from __future__ import annotations

import csv
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from gpuwatch.estimates.history import likeness
from gpuwatch.ledger.past import Ending, PastJob

DATA = Path(__file__).parent.parent.parent.parent / "shared" / "data"
EAGLE = DATA / "nrel_eagle" / "normalised.csv"
MLPERF = DATA / "mlperf_v2.1" / "runs.csv"
EACH = 3
"""One run of so many is looked at, with all that ended before it."""

_LETTERS = str.maketrans("0123456789", "abcdefghij")

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not (EAGLE.exists() and MLPERF.exists()), reason="the sample data is not there"),
]


def past_jobs(file: Path) -> list[PastJob]:
    """The runs of a trace, by their end; names that were made anonymous by numbers keep what they tell apart."""
    with file.open(encoding="utf-8", newline="") as stream:
        jobs = [_job(row) for row in csv.DictReader(stream)]
    return sorted(jobs, key=lambda job: job.ended or 0.0)


def _job(row: Mapping[str, str]) -> PastJob:
    started, ended = float(row["start_s"]), float(row["end_s"])
    ending: Ending = "completed" if row["state"] == "COMPLETED" else "timed out"
    limit = float(row["requested_s"]) if row["requested_s"] else None
    declared = float(row.get("declared_device_hours") or 0) * 3600.0
    return PastJob(
        "default", row["job_id"], row["job_id"], row["job_name"].translate(_LETTERS), row["user"], row["account"],
        "", f"{row['user']} {float(row['submit_s']) // 3600:.0f}", started, ended, ended, ending,
        float(row["num_devices"]) * max(1.0, ended - started), limit, None, declared or None,
    )  # fmt: skip


def _in_time(jobs: list[PastJob], after_seconds: float) -> Iterator[tuple[PastJob, list[PastJob]]]:
    """Each run that lasted so long, with those that had ended at that time, the latest first."""
    ended = [job.ended or 0.0 for job in jobs]
    for job in sorted(jobs, key=lambda each: each.started)[::EACH]:
        if job.wall_seconds > after_seconds:
            place = bisect_right(ended, job.started + after_seconds)
            yield job, jobs[:place][::-1]


@pytest.mark.parametrize(("file", "declared"), [(EAGLE, False), (MLPERF, False), (MLPERF, True)])
def test_spreads_of_a_user_s_runs_hold_nearly_what_they_say(file: Path, declared: bool) -> None:
    """What `estimate like` says of each run beforehand: by what runs took, or by what declarations came to.

    Runs of one user are alike, and the next one need not be: a little less than 80 % lie in the intervals of 80 %.
    """
    inside = total = 0
    for job, before in _in_time(past_jobs(file), 0.0):
        mine = [each for each in before if each.user == job.user]
        told = likeness(mine, job.name, job.declared_seconds if declared else None)
        spread = told.applied if declared else told.spreads.get("device-hours")
        low, high = (spread.quantiles[q] if spread else None for q in (0.1, 0.9))
        if low is not None and high is not None:
            total += 1
            inside += low * (1 - 1e-9) <= job.device_seconds <= high * (1 + 1e-9)
    print(inside / total, total)

    assert 0.65 <= inside / total <= 0.9
