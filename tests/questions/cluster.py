"""A cluster of a month, made so that every everyday question has one answer, which is written beside it.

Nodes gw1 and gw2 have agents, gw9 has none. Ada trains the same thing twice, fast (201) and slow (202); bob
declares half of what he needs, job after job (301 to 306); carol holds two devices that do nothing (401); dan's
job runs on gw9 (501); ada's paper has a run that completed and one that failed (601, 602); eve's run has a hot
device (701).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from typing import Any

from sqlalchemy import insert

from gpuwatch.ledger import burnup_store, charging, forecast_tables, writing
from gpuwatch.ledger.posting import read
from gpuwatch.ledger.rate_file import read_rates
from gpuwatch.ledger.record_store import post_grants, post_records
from gpuwatch.ledger.store import Store
from gpuwatch.model import BurnUp, BurnUpPoint
from gpuwatch.schedulers.base import Grant, Live, Record
from tests.ledger.batch import record
from tests.ledger.deliveries import delivery, progress, row

NOW = 1_764_072_000.0
"""2025-11-25 12:00 UTC."""
HOUR, DAY = 3600.0, 86_400.0
RATES = "kind,model,partition,from,to,value,unit,source,year,country\nprice,,,2023-01-01,,2.00,EUR,,,\n"


def _record(job_id: str, began: float, hours: float | None, **changed: Any) -> Record:
    """A record of a job of two devices that began so many hours ago; `hours` None: it runs."""
    started = NOW - began * HOUR
    ended = None if hours is None else started + hours * HOUR
    values: dict[str, Any] = {
        "started": started, "ended": ended, "seen": NOW if ended is None else ended,
        "submitted": int(started) - 60, "state": "RUNNING" if ended is None else "COMPLETED", "nodes": ("gw1",),
        "limit_seconds": 48 * HOUR, **changed,
    }  # fmt: skip
    return record(job_id, **values)


def records() -> Iterator[Record]:
    """What the batch system says."""
    paper = Live(NOW, comment="gpuwatch: campaign=paper tag=table:1")
    yield _record("201", 240, 10, name="train", limit_seconds=12 * HOUR)
    yield _record("202", 48, 20, name="train", nodes=("gw2",), limit_seconds=24 * HOUR)
    for number in range(6):
        said = Live(NOW, comment=f"gpuwatch: device-hours={2 * (number + 1)}")
        yield _record(f"30{number + 1}", 200 - 10 * number, 2.0 * (number + 1), user="bob", name=f"sweep-{number}",
                      live=said, limit_seconds=16 * HOUR)  # fmt: skip
    yield _record("401", 6, None, user="carol", name="notebook")
    yield _record("501", 4, None, user="dan", name="blind", nodes=("gw9",), account="bio")
    yield _record("601", 120, 10, name="paper-a", live=paper, limit_seconds=12 * HOUR)
    yield _record("602", 100, 5, name="paper-b", live=paper, state="FAILED", exit_code=1, limit_seconds=12 * HOUR)
    declared = Live(NOW, comment="gpuwatch: device-hours=100")
    yield _record("701", 36, None, user="eve", name="long", nodes=("gw2",), devices=4.0, live=declared)


def _row(
    job_id: str, began: float, uuid: str, hours: float, seen: float | None = None, **changed: Any
) -> dict[str, Any]:
    """A device held for so many hours, at work but for the `idle` of them."""
    started = int(NOW - began * HOUR)
    held = hours * HOUR
    idle = changed.pop("idle", 0.0) * HOUR
    clock, last = changed.pop("clock", 1.98e9), started + held if seen is None else seen
    working = held - idle
    values: dict[str, Any] = {
        "started": started, "uuid": uuid, "last_seen": last, "open": last >= NOW, "held_seconds": held,
        "busy_seconds": working, "state_seconds": {"working": working, "idle": idle},
        "energy_joules": {"counter": 500.0 * working + 100.0 * idle}, "clock_cycles": clock * working or None,
        "clock_seconds": working or None, "throttled_seconds": {"hw_thermal": 0.0},
        "tensor_seconds": 0.3 * working, "memory_byte_seconds": 6e10 * held, "storage_wait_seconds": 0.0,
        "link_bytes": {"nvlink_receive": 1e9 * working}, "errors": {"xid": 0.0},
        "last_in_state": {"working" if working else "idle": last},
        "first_working": started + 1.0 if working else None,
        **changed,
    }  # fmt: skip
    return row(job_id, **values)


def rows_of_gw1() -> Iterator[dict[str, Any]]:
    """What the agent of gw1 saw: all but 202 and 701."""
    for device in range(2):
        yield _row("201", 240, f"GPU-1{device}", 10)
        for number in range(6):
            yield _row(f"30{number + 1}", 200 - 10 * number, f"GPU-1{device}", 2.0 * (number + 1))
        yield _row("401", 6, f"GPU-1{device + 2}", 6, idle=6.0)
        yield _row("601", 120, f"GPU-1{device}", 10)
        yield _row("602", 100, f"GPU-1{device}", 5)


def rows_of_gw2() -> Iterator[dict[str, Any]]:
    """Of gw2: 202 was slower, as it waited for storage and its clocks were held down; one device of 701 is hot."""
    slow = {"throttled_seconds": {"hw_thermal": 8 * HOUR}, "storage_wait_seconds": 3.5 * HOUR}
    for device in range(2):
        yield _row("202", 48, f"GPU-2{device}", 20, idle=4.0, clock=1.32e9, **slow)
    for device in range(3):
        yield _row("701", 36, f"GPU-2{device + 4}", 36)
    yield _row("701", 36, "GPU-27", 36, clock=1.2e9, throttled_seconds={"hw_thermal": 20 * HOUR})


def fill(store: Store) -> None:
    """Write the month into a ledger, charge it, and what three passes forecast of job 701."""
    rates = read_rates(iter(RATES.splitlines(keepends=True)), "rates.csv", UTC, lambda _name: ())
    steps = [
        progress(1000, 1000, "201", started=int(NOW - 240 * HOUR), time=NOW - 230 * HOUR, seq=1),
        progress(500, 1000, "602", started=int(NOW - 100 * HOUR), time=NOW - 97 * HOUR, seq=2),
    ]
    slow = [
        progress(1000, 1000, "202", started=int(NOW - 48 * HOUR), time=NOW - 28 * HOUR, seq=1),
        progress(600, 1000, "701", started=int(NOW - 36 * HOUR), time=NOW - 60, seq=2),
    ]
    told = (
        delivery(list(rows_of_gw1()), events=steps, now=NOW, node="gw1", origin="http://gw1:9838"),
        delivery(list(rows_of_gw2()), events=slow, now=NOW, node="gw2", origin="http://gw2:9838"),
    )
    grant = Grant("default", "ml", "", "gres/gpu", 1000 * HOUR, None, NOW - 60, "root", source="slurm")
    with store.writing() as connection:
        post_records(connection, list(records()))
        post_grants(connection, [grant])
        for each in told:
            writing.post(connection, read(each), each.origin)
        _foretell(connection)
    charging.catch_up(store, "default", charging.Tariffs(rates), NOW)


def _foretell(connection: Any) -> None:
    """Yesterday 80 to 120 device-hours of 701, now 200 to 280: a step takes 8 times what it took until then."""
    started = int(NOW - 36 * HOUR)
    steps = [(hour, 40.0 * hour) for hour in range(1, 13)] + [
        (hour, 480 + 5.0 * (hour - 12)) for hour in range(13, 37)
    ]
    curve = [BurnUpPoint(float(started), 0.0, None, 0.0, 1000.0)]
    curve += [BurnUpPoint(started + hour * HOUR, 4.0 * hour * HOUR, None, step, 1000.0) for hour, step in steps]
    burnups = {("701", started): BurnUp(float(started), tuple(curve), HOUR)}
    burnup_store.save_burnups(connection, "default", burnups, NOW)
    points = ((-1.0, 48.0, (80.0, 100.0, 120.0), 0.4), (-0.5, 96.0, (150.0, 180.0, 220.0), 0.97),
              (0.0, 144.0, (200.0, 240.0, 280.0), 0.995))  # fmt: skip
    its = {"scope": "701", "scope_kind": "job", "cluster": "default", "quantity": "device-hours"}
    for day, used, (low, middle, high), p_over in points:
        quantiles = {"q10": low * HOUR, "q50": middle * HOUR, "q90": high * HOUR}
        kept = {"started": started, "time": int(NOW + day * DAY), "used": used * HOUR, "declared": 100 * HOUR,
                "p_over": p_over, "crosses_at": None, **quantiles}  # fmt: skip
        connection.execute(insert(forecast_tables.forecast_points).values(**its, **kept))
    latest = {"time": NOW, "used": 144 * HOUR, "against": "declared", "reference": 100 * HOUR, "p_over": 0.995,
              "stage": "0.6", "basis": "its burn-up at 60 % of 1,000 steps", "record": "", "n": 0,
              "q10": 200 * HOUR, "q50": 240 * HOUR, "q90": 280 * HOUR}  # fmt: skip
    connection.execute(insert(forecast_tables.forecasts).values(**its, **latest))
