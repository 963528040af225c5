"""A ledger with a million ended jobs of a year, and the batch system's 20,000 jobs of 8 devices that run now.

Some thousand jobs are posted and charged as accounting does it; the database copies them to the rest. Rates do not
change and whose a job is changes none of its figures, so that each copy is what charging would have made of it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, delete, select, text

from gpuwatch.accounting.tariffs import SiteTariffs
from gpuwatch.ledger import charging, record_store, tables, writing
from gpuwatch.ledger.ledger import Posting
from gpuwatch.ledger.posting import read
from gpuwatch.ledger.store import Store
from gpuwatch.schedulers.base import Facts, Live, Record, RecordId
from gpuwatch.usage.base import Asking, Delivery, Failure
from tests.benchmarks.batch import ACCOUNTS, JOBS, NODES, NOW, USERS

CLUSTER = "bench"
PARTITIONS = ("gpu", "long", "debug", "shared")
MODELS = ("NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB")
DEVICES = 8
ON_NODE = JOBS // NODES
COPIES = 25
YEAR = 365 * 86_400
STARTED = int(NOW) - 7000
"""When the jobs that run began, by `batch.py`'s word."""

_FIRST_COPY = 10
_SPANS = (600, 3600, 7200, 14_400, 43_200)
_AT_ONCE = 2000
_COPIED = (tables.records, tables.usage, tables.history, tables.charges)
_RATES = """kind,model,partition,from,to,value,unit,source,year,country
price,H100,,,,2.10,EUR,,,
price,A100,,,,1.20,EUR,,,
price,,debug,,,0,EUR,,,
pue,,,,,1.28,,annual report,2025,
intensity,,,,,,,,,DE
"""


def tariffs(folder: Path) -> SiteTariffs:
    """Prices by model and partition, a PUE and a country."""
    path = folder / "rates.csv"
    path.write_text(_RATES, encoding="utf-8")
    return SiteTariffs(path, UTC)


def build(store: Store, folder: Path, jobs: int) -> None:
    """Fill an empty ledger with so many ended jobs, and those that run."""
    site = tariffs(folder).now
    _post_ended(store, jobs // COPIES)
    _post_running(store)
    charging.catch_up(store, CLUSTER, site, NOW)
    with store.writing() as connection:
        _unlimited(connection)
        indexes = [index for table in _COPIED for index in table.indexes]
        for index in indexes:
            index.drop(connection)
        for table in _COPIED:
            _copy(connection, table)
        for index in indexes:
            index.create(connection)
        connection.execute(delete(tables.daily))
        days = sorted(connection.scalars(select(tables.charges.c.day).distinct()))
        charging.add_up(connection, CLUSTER, days)
    with store.session() if store.dialect == "postgresql" else store.writing() as connection:
        connection.exec_driver_sql("ANALYZE" if store.dialect == "postgresql" else "PRAGMA optimize")


def check(store: Store, folder: Path, jobs: int) -> None:
    """Charge two hundred of them again: nothing may change."""
    chance = random.Random(5)
    some = {_copied(chance.randrange(COPIES), chance.randrange(jobs // COPIES)) for _ in range(200)}
    with store.writing() as connection:
        charged = charging.charge(connection, CLUSTER, some, tariffs(folder).now, NOW)
    if len(charged.jobs) != len(some) or charged.rows:
        raise SystemExit(f"benchmarks: {charged.rows} rows of {len(charged.jobs)} jobs are not as charged")


def _unlimited(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")


def _copied(copy: int, number: int) -> str:
    return f"{_FIRST_COPY + copy}{number:05d}"


def _copy(connection: Connection, table: Table) -> None:
    """Every row of an ended job 24 times more, under another number and another user's name."""
    whose = "(CAST(substr(r.job_id, 3) AS integer) + 7 * k.k)"
    changed = {
        **dict.fromkeys(("job_id", "whole", "display"), "k.k || substr(r.job_id, 3)"),
        "user": f"'user' || ({whose} % {USERS})",
        "account": f"'account' || ({whose} % {ACCOUNTS})",
    }
    columns = [column.name for column in table.columns]
    named = ", ".join(f'"{name}"' for name in columns)
    values = ", ".join(changed.get(name, f'r."{name}"') for name in columns)
    statement = (
        f"WITH RECURSIVE k(k) AS (SELECT {_FIRST_COPY + 1} UNION ALL SELECT k + 1 FROM k"
        f" WHERE k < {_FIRST_COPY + COPIES - 1})"
        f" INSERT INTO {table.name} ({named}) SELECT {values} FROM k CROSS JOIN {table.name} AS r"
        f" WHERE length(r.job_id) = 7 ORDER BY k.k, r.job_id"
    )
    connection.execute(text(statement))


def _post_ended(store: Store, count: int) -> None:
    for first in range(0, count, _AT_ONCE):
        numbers = range(first, min(first + _AT_ONCE, count))
        with store.writing() as connection:
            record_store.post_records(connection, [_ended(number, count) for number in numbers])
            rows = [row for number in numbers for row in _ended_rows(number, count)]
            delivery = Delivery(CLUSTER, "node0000", "0" * 12, first, NOW, rows, [], [], "ended")
            writing.post(connection, _read(delivery), "ended")


def _span(number: int, count: int) -> tuple[float, float]:
    seconds = _SPANS[number % len(_SPANS)]
    began = NOW - YEAR + (YEAR - 86_400) * number // count
    return began, began + seconds


def _ended(number: int, count: int) -> Record:
    job_id = _copied(0, number)
    began, ended = _span(number, count)
    facts = Facts(
        NOW, "COMPLETED", began, ended, float(_devices(number)), "gres", "", 16.0, (f"node{number % NODES:04d}",),
        job_id, job_id, f"train-{number % 50}", f"user{(number + 7 * _FIRST_COPY) % USERS}",
        f"account{(number + 7 * _FIRST_COPY) % ACCOUNTS}", PARTITIONS[number % 4], "normal", 86_400.0,
        exit_code=0,
    )  # fmt: skip
    live = Live(ended, "gpuwatch: campaign=llama-ft") if number % 500 == 0 else None
    return Record(RecordId(CLUSTER, job_id, int(began) - 600), facts, live)


def _devices(number: int) -> int:
    return 4 if number % 10 == 0 else 1


def _ended_rows(number: int, count: int) -> Iterator[dict[str, Any]]:
    began, ended = _span(number, count)
    for device in range(_devices(number)):
        row = _measured(int(began), ended - began)
        yield {
            **row, "job_id": _copied(0, number), "uuid": _uuid(number % NODES, device), "open": False,
            "model": MODELS[number % 2],
        }  # fmt: skip


def _uuid(node: int, device: int) -> str:
    return f"GPU-{node:08x}-0000-4000-8000-{device:012x}"


def _measured(started: int, held: float, share: float = 1.0) -> dict[str, Any]:
    """Every measure that an agent tells of a device that was at work most of the time."""
    last = started + held
    used = held * share
    return {
        "started": started, "last_seen": last, "share": share, "basis": "shard", "model": MODELS[0],
        "open": True, "held_seconds": used, "busy_seconds": used * 0.91, "memory_byte_seconds": used * 6.1e10,
        "tensor_seconds": used * 0.37, "energy_unmeasured_seconds": used * 0.001,
        "state_seconds": {
            "working": used * 0.8, "spinning": used * 0.1, "idle": used * 0.0625, "unknown": used * 0.0375,
        },
        "energy_joules": {"counter": used * 512.25}, "throttled_seconds": {"sw_power_cap": used * 0.03},
        "clock_cycles": used * 1.7e9, "clock_seconds": used * 0.8, "storage_wait_seconds": used * 0.02,
        "link_bytes": {
            "pcie_receive": used * 1e9, "pcie_transmit": used * 2e8, "nvlink_receive": used * 4e10,
            "nvlink_transmit": used * 4e10,
        },
        "errors": {"ecc_corrected": 1.0, "ecc_uncorrected": 0.0}, "energy_gap_seconds": 4.0,
        "first_working": started + 42.0, "last_in_state": {"working": last, "idle": last - 30.0},
    }  # fmt: skip


def _post_running(store: Store) -> None:
    with store.writing() as connection:
        record_store.post_records(connection, [_running(number) for number in range(JOBS)])
    batch: list[writing.Posted] = []
    for delivery in deliveries(0):
        batch.append(writing.Posted(_read(delivery), delivery.origin))
        if len(batch) == 64:
            _post(store, batch)
            batch = []
    _post(store, batch)


def _post(store: Store, batch: list[writing.Posted]) -> None:
    with store.writing() as connection:
        writing.post_all(connection, batch)


def _read(delivery: Delivery) -> Posting:
    posting = read(delivery)
    if posting.rejected:
        raise SystemExit(f"benchmarks: rejected {dict(posting.rejected)}")
    return posting


def _running(number: int) -> Record:
    """The same as `batch.py` lets the batch system say."""
    job_id = str(100_000 + number)
    facts = Facts(
        NOW, "RUNNING", float(STARTED), None, float(DEVICES), "gres", "", 96.0, (f"node{number % NODES:04d}",),
        job_id, job_id, f"train-{number % 50}", f"user{number % USERS}", f"account{number % ACCOUNTS}", "gpu",
        "normal", 86_400.0, restarts=0,
    )  # fmt: skip
    return Record(RecordId(CLUSTER, job_id, STARTED - 3000), facts)


def deliveries(turn: int) -> Iterator[Delivery]:
    """What each node's agent tells of its 8 jobs on 8 devices, so many minutes after `NOW`: 64 rows."""
    now = NOW + 60.0 * turn
    row = _measured(STARTED, now - STARTED, 1.0 / ON_NODE)
    for node in range(NODES):
        rows = [
            {**row, "job_id": str(100_000 + node + NODES * place), "uuid": _uuid(node, device)}
            for place in range(ON_NODE)
            for device in range(DEVICES)
        ]
        yield Delivery(
            CLUSTER,
            f"node{node:04d}",
            "0123456789ab",
            100 + turn,
            now,
            rows,
            [],
            [],
            f"http://node{node:04d}:9838",
        )


class Source:
    """A usage source that tells, in each pass, what the agents would at its `turn`."""

    turn = 1

    def collect(self, _asking: Asking) -> Iterator[Delivery | Failure]:
        """All nodes, one after the other."""
        return iter(deliveries(self.turn))

    def figures(self) -> dict[str, float]:
        """None."""
        return {}

    def acknowledge(self, delivery: Delivery) -> None:
        """Nobody forgets anything."""
