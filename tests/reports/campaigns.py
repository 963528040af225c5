"""A ledger with one campaign of so many jobs over so many days, as accounting would have left it, for tests."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from gpuwatch.forecast.projection import HOURS
from gpuwatch.ledger import forecast_store
from gpuwatch.ledger.charging import catch_up
from gpuwatch.ledger.posting import read
from gpuwatch.ledger.record_store import post_records
from gpuwatch.ledger.store import Store
from gpuwatch.ledger.writing import post
from gpuwatch.model import Forecast, Scope
from gpuwatch.schedulers.base import Live, Record
from tests.ledger.batch import record
from tests.ledger.deliveries import declared, delivery, row
from tests.ledger.test_charging import tariffs

NAME = "llama-ft"
BEGUN = datetime(2024, 9, 1, 8, tzinfo=UTC).timestamp()
HOUR, DAY = 3600.0, 86_400.0
RATES = """\
price,H100,,2023-01-01,,2.10,EUR,board decision 31,2023,
pue,,,2023-01-01,,1.24,,annual report,2023,
intensity,,,2023-01-01,2024-09-12,331,,grid operator,2023,
intensity,,,2024-09-12,,298,,grid operator,2024,
"""
MODEL = "NVIDIA H100 80GB HBM3"
DECLARED = "for=campaign:llama-ft device-hours=2100..2400..3000 energy=1500kWh basis=flops"
REVISED = "for=campaign:llama-ft device-hours=3000..3300..3800 basis=history"


def _jobs(count: int, days: float, seed: int) -> Iterator[tuple[str, float, float, str, str, str]]:
    """Id, begin, hours, state, name and tags; trials first, then a table's rows with what failed of them."""
    chance = random.Random(seed)
    for number in range(count):
        began = BEGUN + days * DAY * number / count + chance.uniform(0, 2 * HOUR)
        part = number / count
        if part < 0.12:
            yield str(1000 + number), began, chance.uniform(0.2, 1.0), "COMPLETED", f"debug-{number}", "run:debug"
            continue
        table = 1 + int(3 * (part - 0.12) / 0.8801)
        state = chance.choices(("COMPLETED", "FAILED", "CANCELLED", "NODE_FAIL"), (80, 11, 5, 4))[0]
        hours = chance.uniform(6, 16) * (1.0 if state == "COMPLETED" else chance.uniform(0.1, 0.7))
        yield str(1000 + number), began, hours, state, f"llama-ft-{number}", f"table:{table}"


def _record(job: tuple[str, float, float, str, str, str], devices: int) -> Record:
    job_id, began, hours, state, name, tag = job
    comment = f"gpuwatch: campaign=llama-ft tag={tag} tag=params:8e9 tag=tokens:2.2e9 tag=precision:bf16"
    ended = began + hours * HOUR
    return record(
        job_id, Live(began, comment=comment), submitted=int(began) - 600, started=began, ended=ended, seen=ended,
        devices=float(devices), state=state, nodes=(f"gw{int(job_id) % 6}",), name=name,
    )  # fmt: skip


def _rows(job: tuple[str, float, float, str, str, str], devices: int, chance: random.Random) -> Iterator[Any]:
    job_id, began, hours, state, *_ = job
    for device in range(devices):
        held, idle = hours * HOUR, min(hours * HOUR, 420.0 + chance.uniform(0, 900))
        spinning = 0.25 * held if state == "CANCELLED" and device == 0 else 0.0
        unmeasured = 0.3 * held if int(job_id) % 17 == 0 else 0.0
        work = max(0.0, held - idle - spinning - unmeasured)
        watts = chance.uniform(540, 610)
        joules = watts * work + 115 * idle + 140 * spinning
        yield row(
            job_id, started=int(began), uuid=f"GPU-{int(job_id) % 6}-{device}", model=MODEL, basis="whole",
            last_seen=began + held, open=False, held_seconds=held, busy_seconds=work, throttled_seconds={},
            memory_byte_seconds=60e9 * held, energy_unmeasured_seconds=unmeasured, energy_gap_seconds=unmeasured,
            state_seconds={"working": work, "idle": idle, "spinning": spinning, "unknown": unmeasured},
            energy_joules={"counter": 0.98 * joules, "integrated": 0.02 * joules},
        )  # fmt: skip


def _said(job: tuple[str, float, float, str, str, str], text: str, seq: int) -> Any:
    return declared(text, job[0], seq=seq, time=job[1] + 60, started=int(job[1]))


def fill(store: Store, count: int = 60, days: float = 20.0, devices: int = 8, seed: int = 7) -> float:
    """Write the campaign; when the last of it was over."""
    chance = random.Random(seed)
    jobs = list(_jobs(count, days, seed))
    now = max(began + hours * HOUR for _, began, hours, *_ in jobs) + DAY
    records = [_record(job, devices) for job in jobs]
    said = [_said(jobs[0], DECLARED, 5), _said(jobs[count * 2 // 5], REVISED, 6)]
    with store.writing() as connection:
        post_records(connection, records)
        by_node: dict[str, list[Any]] = {}
        for job in jobs:
            by_node.setdefault(f"gw{int(job[0]) % 6}", []).extend(_rows(job, devices, chance))
        for node, rows in by_node.items():
            post(connection, read(delivery(rows, node=node, now=now)), "test")
        post(connection, read(delivery([], said, node="gw9", now=now)), "test")
    catch_up(store, "default", tariffs(RATES), now)
    return now


def foretell(store: Store, final: float, begun: float, ended: float) -> None:
    """What was forecast of the campaign while it ran: wide at first, and right in the end."""
    chance, scope = random.Random(3), Scope("campaign", NAME)
    points = []
    for step in range(40):
        part = (step + 1) / 40
        middle = final * (0.78 + 0.22 * part + chance.uniform(-0.02, 0.02) * (1 - part))
        spread = 0.55 * (1 - part) ** 0.8 + 0.005
        quantiles = {q: middle * (1 + spread * z) for q, z in _Z.items()}
        quantiles = {q: max(value, final * part * 0.98) for q, value in quantiles.items()}
        time = begun + part * (ended - begun)
        points.append((Forecast(scope, HOURS, final * part, quantiles, None, "its burn-up", time), begun))
    with store.writing() as connection:
        forecast_store.keep_points(connection, "default", points, {})


_Z = {0.05: -0.8, 0.1: -0.62, 0.25: -0.33, 0.5: 0.0, 0.75: 0.42, 0.9: 0.85, 0.95: 1.1}
