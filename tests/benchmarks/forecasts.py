"""What forecasting beside a million ended jobs costs: what passes read of them, and a replay of the last.

The ledger is made in bulk, with what forecasts read: records, charges of the ended jobs, usage and progress of
those that run.
"""

from __future__ import annotations

import gc
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpuwatch.model import BurnUp

CLUSTER = "bench"
NOW = 1_800_000_000.0
ENDED, RUNNING, USERS = 1_000_000, 10_000, 1500
RUNNING_USERS, ACCOUNTS, NAMES, NODES = 600, 200, 30, 1250
TURNS = 5
STEPS, MOST_POINTS = 1500.0, 128
REPLAYED = 100_000
YEAR = 365 * 86_400.0
DAY = 86_400.0

_STATES = ("COMPLETED", "TIMEOUT", "FAILED", "CANCELLED")
_SHARES = (0.75, 0.08, 0.1, 0.07)
_AT_ONCE = 20_000
_LATER = 60.0
_A_MINUTE = 20


def measure() -> Mapping[str, float]:
    """Figures by name; the peak of resident memory is that of a process which has nothing else."""
    with tempfile.TemporaryDirectory() as name:
        command = [sys.executable, "-m", "tests.benchmarks.forecasts"]
        made = _told([*command, "build", name])
        return {**made, **_told([*command, "reading", name]), **_told([*command, "passes", name])}


def _told(command: list[str]) -> dict[str, float]:
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=600)
    figures: dict[str, float] = json.loads(told.stdout)
    return figures


def ledger_with(folder: Path, ended: int, running: int, users: int) -> Path:
    """A ledger with so many jobs of so many users that ended in a year before `NOW`, and so many that run."""
    from gpuwatch.ledger.store import open_store

    path = folder / "forecasts.db"
    store = open_store(str(path), cluster=CLUSTER)
    with store.writing() as connection:
        dropped = [
            sql
            for name, sql in connection.exec_driver_sql(
                "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
                " AND tbl_name IN ('records', 'charges')"
            ).all()
            if connection.exec_driver_sql(f"DROP INDEX {name}") is not None
        ]
    _fill(path, ended, users)
    with store.writing() as connection:
        for sql in dropped:
            connection.exec_driver_sql(sql)
    _post_running(store, running, users)
    with store.writing() as connection:
        connection.exec_driver_sql("PRAGMA optimize")
    store.close()
    return path


def _fill(path: Path, ended: int, users: int) -> None:
    """Past all that accounting does: a million jobs in a minute."""
    from gpuwatch.ledger import tables

    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA synchronous = OFF")
        for first in range(0, ended, _AT_ONCE):
            count = min(_AT_ONCE, ended - first)
            span = (NOW - YEAR + YEAR * first / ended, NOW - YEAR + YEAR * (first + count) / ended)
            jobs = list(_jobs(first, count, users, *span))
            _insert(database, tables.records, [_record(job) for job in jobs])
            _insert(database, tables.charges, [_charge(job) for job in jobs])
        database.commit()


def _insert(database: sqlite3.Connection, table: Any, rows: list[dict[str, Any]]) -> None:
    names = list(rows[0])
    words = ", ".join(f'"{name}"' for name in names)
    marks = ", ".join(f":{name}" for name in names)
    database.executemany(f"INSERT INTO {table.name} ({words}) VALUES ({marks})", rows)


def _jobs(first: int, count: int, users: int, begins: float, ends: float) -> Iterator[dict[str, Any]]:
    """Jobs in the order in which they end; each user has names of his own, each name a length and a spread."""
    import numpy as np

    chance = np.random.default_rng(first)
    who = (users * chance.random(count) ** 1.5).astype(int)
    what = (NAMES * chance.random(count) ** 1.5).astype(int)
    length = np.exp(7.0 + (who * 31 + what * 17) % 40 / 10 + chance.normal(0.0, 0.6, count))
    said = np.exp(7.0 + (who * 31 + what * 17) % 40 / 10) * 1.2
    end = np.sort(begins + (ends - begins) * chance.random(count))
    state = chance.choice(len(_STATES), count, p=_SHARES)
    for place in range(count):
        user, name, wall = int(who[place]), int(what[place]), float(min(length[place], 172_800.0))
        devices = float((1, 1, 2, 4, 8)[(user + name) % 5])
        yield {
            "job_id": str(1_000_000 + first + place), "user": f"user{user}",
            "account": f"account{user % ACCOUNTS}",
            "name": f"train{name}-{place % 97}", "started": round(float(end[place]) - wall), "devices": devices,
            "ended": round(float(end[place])), "state": _STATES[state[place]],
            "declared": round(devices * float(said[place]) / 3600, 1) if (user + name) % 3 == 0 else None,
        }  # fmt: skip


def _record(job: Mapping[str, Any]) -> dict[str, Any]:
    declared = job["declared"]
    return {
        "job_id": job["job_id"], "submitted": job["started"] - 600, "cluster": CLUSTER,
        "seen": job["ended"] + 30.0, "state": job["state"], "started": float(job["started"]),
        "ended": float(job["ended"]),
        "devices": job["devices"], "rule": "gres", "doubt": "", "cpus": 16.0, "nodes": '["node0007"]',
        "whole": job["job_id"], "display": job["job_id"], "name": job["name"], "user": job["user"],
        "account": job["account"], "partition": "gpu", "qos": "normal", "limit_seconds": 172_800.0, "tasks": 1,
        "exit_code": 0, "live_seen": None if declared is None else float(job["ended"]),
        "comment": None if declared is None else f"gpuwatch: device-hours={declared}",
        "admin_comment": None if declared is None else "", "indices": None if declared is None else "{}",
    }  # fmt: skip


def _charge(job: Mapping[str, Any]) -> dict[str, Any]:
    seconds = job["devices"] * max(0, job["ended"] - job["started"])
    day = int(job["ended"] // DAY)
    return {
        "job_id": job["job_id"], "cluster": CLUSTER, "attempt": job["started"], "day": day,
        "model": "NVIDIA H100 80GB HBM3", "edition": 0, "current": 1, "final": 1, "previous_day": None,
        "counts": 3, "begins": float(job["started"]), "ends": float(job["ended"]), "user": job["user"],
        "account": job["account"], "partition": "gpu", "charged_seconds": seconds, "allocated_seconds": seconds,
        "held_seconds": seconds, "cpu_seconds": 8 * seconds, "energy_joules": 500.0 * seconds,
        "facility_joules": 640.0 * seconds, "cost": 2.1 * seconds / 3600, "currency": "EUR", "carbon_grams": None,
        "covered_seconds": seconds, "seen": job["ended"] + 30.0, "rates": "made",
    }  # fmt: skip


def _post_running(store: Any, count: int, users: int) -> None:
    """As batch system and agents tell of them: one node after the other, each job on a device of its own."""
    from gpuwatch.ledger import burnup_store, record_store

    with store.writing() as connection:
        record_store.post_records(connection, [_running(number, users) for number in range(count)])
    _post_usage(store, count, 0)
    with store.writing() as connection:
        came = {(str(100_000 + number), _began(number)): _came(number) for number in range(0, count, 2)}
        burnup_store.save_burnups(connection, CLUSTER, came, NOW)


def _post_usage(store: Any, count: int, turn: int) -> None:
    """What running jobs used by the time of a turn, as their nodes tell it."""
    from gpuwatch.ledger import writing
    from gpuwatch.ledger.posting import read
    from gpuwatch.usage.base import Delivery

    now = NOW + turn * _LATER
    with store.writing() as connection:
        for node in range(min(NODES, count)):
            numbers = range(node, count, NODES)
            rows = [_usage(number, node, now) for number in numbers]
            reporting = [number for number in numbers if number % 2 == 0]
            first = 1 + turn * len(reporting)
            events = [_progress(number, now, first + place) for place, number in enumerate(reporting)]
            name, origin = f"node{node:04d}", f"http://node{node}:9838"
            delivery = Delivery(CLUSTER, name, "0123456789ab", 100 + turn, now, rows, [], events, origin)
            writing.post_all(connection, [writing.Posted(read(delivery), origin)])


def _began(number: int) -> int:
    return int(NOW) - 600 - number * 7919 % 80_000


def _running(number: int, users: int) -> Any:
    from gpuwatch.schedulers.base import Facts, Live, Record, RecordId

    job_id, user = str(100_000 + number), number % min(RUNNING_USERS, users)
    name = number // RUNNING_USERS % NAMES
    facts = Facts(
        NOW, "RUNNING", float(_began(number)), None, 1.0, "gres", "", 16.0, (f"node{number % NODES:04d}",), job_id,
        job_id, f"train{name}-{number % 97}", f"user{user}", f"account{user % ACCOUNTS}", "gpu", "normal",
        172_800.0, restarts=0,
    )  # fmt: skip
    said = Live(NOW, f"gpuwatch: device-hours={1 + number % 40}") if number % 3 == 0 else None
    return Record(RecordId(CLUSTER, job_id, _began(number) - 600), facts, said)


def _came(number: int) -> BurnUp:
    """How a running job that reports came to where it is: it was looked at as often as is remembered."""
    from gpuwatch.model import BurnUp, BurnUpPoint

    began, points = _began(number), MOST_POINTS - 8
    spacing = (NOW - began) / (points + 1)
    ages = [spacing * place for place in range(1, points + 1)]
    known = (BurnUpPoint(began + age, age, 500.0 * age, age // 60, STEPS) for age in ages)
    return BurnUp(float(began), tuple(known), spacing * 0.99)


def _usage(number: int, node: int, now: float) -> dict[str, Any]:
    held = now - _began(number)
    return {
        "job_id": str(100_000 + number), "started": _began(number), "uuid": f"GPU-{node:04d}-{number:06d}",
        "model": "NVIDIA H100 80GB HBM3", "open": True, "last_seen": now, "share": 1.0, "basis": "whole",
        "held_seconds": held, "busy_seconds": held * 0.9, "memory_byte_seconds": held * 6e10,
        "tensor_seconds": held * 0.4, "energy_unmeasured_seconds": 0.0,
        "state_seconds": {"working": held * 0.9, "idle": held * 0.1}, "energy_joules": {"counter": held * 500.0},
        "throttled_seconds": {},
    }  # fmt: skip


def _progress(number: int, now: float, seq: int) -> dict[str, Any]:
    return {
        "seq": seq, "time": now, "kind": "progress", "job_id": str(100_000 + number),
        "started": _began(number), "step": (now - _began(number)) // 60, "total": STEPS, "start_step": 0,
    }  # fmt: skip


def build(folder: Path) -> dict[str, float]:
    """Make the ledger."""
    began = time.perf_counter()
    path = ledger_with(folder, ENDED, RUNNING, USERS)
    return {
        "forecast_ledger_seconds": round(time.perf_counter() - began, 1),
        "forecast_ledger_bytes": path.stat().st_size,
    }


def reading(folder: Path) -> dict[str, float]:
    """What passes read: the running jobs, and what ended jobs came to, first all of it and then what is new."""
    from gpuwatch.accounting.experience import OutcomeReader
    from gpuwatch.ledger import queries
    from gpuwatch.ledger.replaying import ended_runs
    from gpuwatch.ledger.store import open_store

    store = open_store(str(folder / "forecasts.db"), cluster=CLUSTER)
    gc.disable()  # as in a pass
    began = time.perf_counter()
    with store.reading() as connection:
        running = len(queries.current(connection, NOW, cluster=CLUSTER).jobs)
    current = time.perf_counter() - began
    users = {f"user{number}" for number in range(RUNNING_USERS)}
    first, found = _look(OutcomeReader(CLUSTER), store, users, NOW)
    reader = OutcomeReader(CLUSTER)
    _look(reader, store, users, NOW)
    later = [_later(reader, folder, store, users, turn) for turn in range(1, TURNS + 1)]
    most = peak()
    began = time.perf_counter()
    with store.reading() as connection:
        replayed = sum(1 for _ in ended_runs(connection, CLUSTER, 0.0, NOW, REPLAYED, lambda text, started: ()))
    replay = time.perf_counter() - began
    store.close()
    return {
        "current_jobs": running, "current_read_seconds": round(current, 2), "outcomes": found,
        "outcome_read_seconds_first": round(first, 2),
        "outcome_read_seconds_next": round(median(later), 3), "outcome_rss_bytes": most,
        "replay_runs": replayed, "replay_read_seconds": round(replay, 2),
    }  # fmt: skip


def passes(folder: Path) -> dict[str, float]:
    """What forecasts cost in a pass, beside reading what runs: the first of a process, and those that follow."""
    from gpuwatch.accounting.forecaster import Forecaster, Policy
    from gpuwatch.ledger.store import open_store

    store = open_store(str(folder / "forecasts.db"), cluster=CLUSTER)
    forecaster = Forecaster(CLUSTER, Policy())
    gc.disable()  # as in a pass
    first, found = _pass(forecaster, store, NOW)
    after_first = peak()
    following = []
    for turn in range(TURNS + 1, 2 * TURNS + 1):
        now = NOW + turn * _LATER
        _end_some(folder, turn, now)
        _post_usage(store, RUNNING, turn)
        following.append(_pass(forecaster, store, now)[0])
    store.close()
    return {
        "forecasts_in_a_pass": found, "forecast_first_pass_seconds": round(first, 2),
        "forecast_seconds_per_10k_jobs": round(median(following), 2),
        "forecast_rss_bytes_first": after_first, "forecast_rss_bytes": peak(),
    }  # fmt: skip


def _pass(forecaster: Any, store: Any, now: float) -> tuple[float, int]:
    """How long it takes to forecast and to keep what was said, and how many forecasts there are."""
    from gpuwatch.ledger import queries

    with store.reading() as connection:
        current = queries.current(connection, now, cluster=CLUSTER)
        began = time.perf_counter()
        found = forecaster.forecasts(connection, current, {}, now)
    with store.writing() as connection:
        forecaster.keep(connection, found, now)
    forecaster.kept()
    return time.perf_counter() - began, sum(bool(each.quantiles) for each in found)


def _look(reader: Any, store: Any, users: set[str], now: float) -> tuple[float, int]:
    began = time.perf_counter()
    with store.reading() as connection:
        found = sum(1 for _ in reader.look(connection, users, now))
    return time.perf_counter() - began, found


def _later(reader: Any, folder: Path, store: Any, users: set[str], turn: int) -> float:
    """A minute later some more have ended, and one user more is asked for."""
    now = NOW + turn * _LATER
    _end_some(folder, turn, now)
    took, found = _look(reader, store, users | {f"user{RUNNING_USERS + turn}"}, now)
    if not found:
        raise SystemExit("benchmarks: nothing new was read")
    return took


def _end_some(folder: Path, turn: int, now: float) -> None:
    from gpuwatch.ledger import tables

    first = ENDED + turn * _A_MINUTE
    with closing(sqlite3.connect(folder / "forecasts.db")) as database:
        jobs = list(_jobs(first, _A_MINUTE, USERS, now - 2 * _LATER - 300.0, now - _LATER - 300.0))
        _insert(database, tables.records, [_record(job) for job in jobs])
        _insert(database, tables.charges, [_charge(job) for job in jobs])
        database.commit()


def peak() -> int:
    """The peak of resident memory of this process, bytes."""
    line = next(each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps({"build": build, "reading": reading, "passes": passes}[sys.argv[1]](Path(sys.argv[2]))))
    else:
        print(json.dumps(measure()))
