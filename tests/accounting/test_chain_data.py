"""Chains cut from real training runs, where the public sample data lie beside the checkout."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gpuwatch.accounting.forecasts import campaign_forecasts
from gpuwatch.forecast.projection import MEDIAN
from gpuwatch.ledger import queries
from gpuwatch.ledger.chains import Chain, chains_of
from gpuwatch.ledger.posting import read
from gpuwatch.ledger.store import Store, open_store
from gpuwatch.ledger.writing import post
from gpuwatch.model import Forecast
from tests.ledger.deliveries import declared, delivery, progress, row, run_ended

DATA = Path(__file__).parents[3] / "shared" / "data" / "mlperf_v2.1"
RUNS = {
    "v2.1/xFusion/G5500V6x8xA30_pytorch_22.04/rnnt/result_5": 0.01,
    "v2.1/Azure/NC96ads_A100_v4_pytorch/rnnt/result_2": 0.01,
    "v2.1/xFusion/G5500V6x8xA30_pytorch_22.04/rnnt/result_10": 0.01,
    "v2.1/Azure/NC96ads_A100_v4_mxnet/unet3d/result_24": 0.12,
}
"""Runs, and how far the projection of each lies from what it came to, as a part of that, from a quarter on.

The last one evaluates from 45 % on, and is slower from then on: neither the run nor a chain can know before.
"""
TOTAL = 10_000.0
JOBS = 12
TAIL_SECONDS = 20.0
"""How long after its last report each job of a chain is killed."""
GAP_SECONDS = 300
MOMENTS = (0.25, 0.4, 0.55, 0.7, 0.85, 0.95)

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(
        not (DATA / "progress.csv.gz").exists(), reason=f"the public sample data are not at {DATA}"
    ),
]

Reports = list[tuple[float, float]]
"""Times in Unix seconds and steps of `TOTAL`, from (start, 0) on."""


@dataclass(frozen=True)
class Part:
    """One job: from when on it ran and until when, and what it reported when."""

    name: str
    started: int
    ended: float
    reports: Reports


def real_run(name: str) -> tuple[Reports, float, int]:
    """The reports of a run, its end, and on how many devices it ran."""
    with (DATA / "runs.csv").open(newline="") as file:
        found = next(each for each in csv.DictReader(file) if each["job_id"] == name)
    with gzip.open(DATA / "progress.csv.gz", "rt", newline="") as file:
        told = [
            (float(each["time_s"]), TOTAL * float(each["fraction"]))
            for each in csv.DictReader(file)
            if each["job_id"] == name
        ]
    return [(float(found["start_s"]), 0.0), *told], float(found["end_s"]), int(found["num_devices"])


def cut(reports: Reports) -> list[Part]:
    """The run as jobs that each take up what was saved one or two reports before the one before was killed."""
    parts: list[Part] = []
    each = (len(reports) - 1) / JOBS
    first, clock = 0, int(reports[0][0])
    for number in range(JOBS):
        last = round((number + 1) * each)
        lag = clock - reports[first][0]
        said = [(time + lag, step) for time, step in reports[first : last + 1]]
        ended = said[-1][0] + (TAIL_SECONDS if number < JOBS - 1 else 0.0)
        parts.append(Part(f"run-{number}", clock, ended, said))
        first, clock = last - 1 - number % 2, int(ended) + GAP_SECONDS
    return parts


def deliver(store: Store, parts: Sequence[Part], devices: int, now: float) -> None:
    """What an agent tells of all that began until now."""
    rows, said, events = [], [], []
    for number, part in enumerate(each for each in parts if each.started < now):
        seen = min(now, part.ended)
        held = seen - part.started
        values: dict[str, Any] = {
            "started": part.started, "last_seen": seen, "open": seen < part.ended or number == len(parts) - 1,
            "held_seconds": held, "busy_seconds": held, "state_seconds": {"working": held},
            "energy_joules": {"counter": 300.0 * held}, "throttled_seconds": {},
        }  # fmt: skip
        rows += [row(part.name, uuid=f"GPU-{each}", **values) for each in range(devices)]
        about = {"started": part.started, "time": float(part.started)}
        said.append(declared("campaign=training", part.name, seq=number + 1, **about))
        time, step = [each for each in part.reports if each[0] <= now][-1]
        started = {"started": part.started, "time": time, "start_step": part.reports[0][1]}
        events.append(progress(step, TOTAL, part.name, **started))
        if seen == part.ended < now:
            events.append(run_ended(part.name, 1, time=part.ended))
    with store.writing() as connection:
        post(connection, read(delivery(rows, said, events, now=now)), "test")


def forecast(store: Store, now: float) -> tuple[Forecast, Chain]:
    """The device-hours that the campaign is projected to need, and its chain."""
    with store.reading() as connection:
        (campaign,) = queries.current(connection, now).campaigns
    (chain,) = chains_of(campaign.jobs)
    found = {each.quantity: each for each in campaign_forecasts(campaign, now)}
    return found["device-hours"], chain


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    """Two ledgers: of the whole run, and of the cut one."""
    opened = [open_store(str(tmp_path / name)) for name in ("whole.db", "cut.db")]
    yield opened[0], opened[1]
    for each in opened:
        each.close()


@pytest.mark.parametrize(("name", "off"), RUNS.items(), ids=lambda each: str(each).rpartition("/")[0])
def test_a_chain_of_twelve_jobs_projects_its_campaign_as_the_uncut_run_does(
    name: str, off: float, stores: tuple[Store, Store]
) -> None:
    """But for the work that was lost until then: it is projected on, at the rate at which it was lost.

    Less that part, both differ by 1 % at most: a real run's steps do not all take the same time, so that those
    that were done twice cost a little more or less than the mean.
    """
    whole, chained = stores
    reports, end, devices = real_run(name)
    parts = cut(reports)
    real = devices * (end - reports[0][0]) * TOTAL / reports[-1][1]

    for moment in MOMENTS:
        time, step = next(each for each in reports if each[1] >= moment * TOTAL)
        # The cut run is as far when the step was done for the last time.
        then = [at for part in parts for at, done in part.reports[1:] if done == step][-1]
        deliver(whole, [Part("whole", int(reports[0][0]), end, reports)], devices, time)
        deliver(chained, parts, devices, then)

        uncut, _ = forecast(whole, time)
        found, chain = forecast(chained, then)

        projected = found.quantiles[MEDIAN] * (1 - chain.lost_device_seconds / found.used)
        assert pytest.approx(uncut.quantiles[MEDIAN], rel=0.01) == projected
        assert pytest.approx(real, rel=off) == projected
        assert (step, {part.name for part in parts if part.started < then}) == (
            chain.progress.step, {job.scope.name for job in chain.jobs},
        )  # fmt: skip
        assert (chain.lost_steps > 0) == ("% of the work lost" in found.basis)
