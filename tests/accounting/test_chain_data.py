"""Chains cut from real training runs, where the public sample data lie beside the checkout."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gpuwatch.forecast.projection import MEDIAN
from gpuwatch.ledger import queries
from gpuwatch.ledger.chains import Chain, chains_of
from gpuwatch.ledger.posting import read
from gpuwatch.ledger.store import Store, open_store
from gpuwatch.ledger.writing import post
from gpuwatch.model import Forecast
from tests.accounting.site import Site
from tests.ledger.deliveries import declared, delivery, progress, row, run_ended

DATA = Path(__file__).parents[3] / "shared" / "data" / "mlperf_v2.1"
RUNS = {
    "v2.1/xFusion/G5500V6x8xA30_pytorch_22.04/rnnt/result_5": (0.02, 0.1),
    "v2.1/Azure/NC96ads_A100_v4_pytorch/rnnt/result_2": (0.02, 0.1),
    "v2.1/xFusion/G5500V6x8xA30_pytorch_22.04/rnnt/result_10": (0.02, 0.1),
    "v2.1/Azure/NC96ads_A100_v4_mxnet/unet3d/result_24": (0.02, 0.3),
}
"""Runs, and how far the medians lie from what each came to, as a part of that, from a quarter on: of the run as it
was, and of the chain that is cut from it.

The last one tells of its first half at its end alone, and the chain is short by then.
"""
TOTAL = 10_000.0
JOBS = 12
TAIL_SECONDS = 20.0
"""How long after its last report each job of a chain is killed."""
GAP_SECONDS = 300
NEAR = 100.0
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


def forecast(site: Site, now: float) -> tuple[Forecast, Chain]:
    """The device-hours that the campaign is forecast to need, and its chain."""
    site.run_pass(now)
    with site.store.reading() as connection:
        (campaign,) = queries.current(connection, now).campaigns
    (chain,) = chains_of(campaign.jobs)
    return site.of("training", kind="campaign"), chain


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[tuple[Site, Site]]:
    """Two ledgers that are looked at: of the whole run, and of the cut one."""
    opened = [open_store(str(tmp_path / name)) for name in ("whole.db", "cut.db")]
    yield Site(opened[0]), Site(opened[1])
    for each in opened:
        each.close()


@pytest.mark.parametrize(("name", "off"), RUNS.items(), ids=lambda each: str(each).rpartition("/")[0])
def test_a_chain_of_twelve_jobs_is_forecast_as_the_uncut_run_is(
    name: str, off: tuple[float, float], sites: tuple[Site, Site]
) -> None:
    """But for the work that was lost until then: it is forecast on, at the rate at which it was lost.

    Less that part, what is forecast is what the run came to, and most intervals of 80 % hold it.
    """
    whole, chained = sites
    reports, end, devices = real_run(name)
    parts = cut(reports)
    real = devices * (end - reports[0][0]) * TOTAL / reports[-1][1]
    uncut_off, chain_off = off
    held: list[bool] = []

    for time, step in reports[1:]:
        # The cut run is as far when the step was done for the last time.
        then = [at for part in parts for at, done in part.reports[1:] if done == step][-1]
        deliver(whole.store, [Part("whole", int(reports[0][0]), end, reports)], devices, time)
        deliver(chained.store, parts, devices, then)
        uncut, _ = forecast(whole, time)
        found, chain = forecast(chained, then)
        if min(abs(step - moment * TOTAL) for moment in MOMENTS) > NEAR:
            continue
        kept = 1 - chain.lost_device_seconds / found.used
        for each, share, most in ((uncut, 1.0, uncut_off), (found, kept, chain_off)):
            amounts = {level: amount * share for level, amount in each.quantiles.items()}
            assert pytest.approx(real, rel=most) == amounts[MEDIAN]
            held.append(amounts[0.1] <= real <= amounts[0.9])
        assert (step, {part.name for part in parts if part.started < then}) == (
            chain.progress.step, {job.scope.name for job in chain.jobs},
        )  # fmt: skip
        assert (chain.lost_steps > 0) == ("% of the work lost" in found.basis)
    assert sum(held) >= 0.8 * len(held) > 8
