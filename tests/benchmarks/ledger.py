"""What a ledger of a million jobs costs: posting, charging, whole passes, questions; on SQLite and PostgreSQL.

Each measurement is its own process.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING

from tests.benchmarks import batch, many_agents

if TYPE_CHECKING:
    from gpuwatch.ledger.store import Store

ENDED = 1_000_000
POSTGRES_ENDED = 200_000
TURNS = 4
QUESTIONS = 100
_BUILD_SECONDS = 900.0


def measure() -> Mapping[str, float]:
    """Figures by name: medians over the turns after the first; peaks of resident memory."""
    figures: dict[str, float] = {**many_agents.measure()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures |= _of(str(folder / "ledger.db"), folder, ENDED)
    return figures | _on_postgres()


def _on_postgres() -> dict[str, float]:
    """The same on a server that writes to the disk; nothing where there is none to be had."""
    from tests.ledger import postgres

    if postgres.missing() is not None:
        return {}
    settings = ("-cshared_buffers=1GB", "-cmax_wal_size=4GB")
    with postgres.running(settings, durable=True) as server, tempfile.TemporaryDirectory() as name:
        figures = _of(server.make_database(), Path(name), POSTGRES_ENDED)
    return {f"postgres_{key}": value for key, value in figures.items()}


def _of(ledger: str, folder: Path, ended: int) -> dict[str, float]:
    batch.write_commands(folder)
    figures: dict[str, float] = {"ledger_ended_jobs": ended}
    for what in ("build", "questions", "posting", "passes"):
        figures |= _child(what, ledger, folder, ended)
    return figures


def _child(what: str, ledger: str, folder: Path, ended: int) -> dict[str, float]:
    told = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.ledger", what, ledger, str(folder), str(ended)],
        check=True, stdout=subprocess.PIPE, text=True, timeout=_BUILD_SECONDS, env={**os.environ, "TZ": "UTC"},
    )  # fmt: skip
    figures: dict[str, float] = json.loads(told.stdout)
    return figures


def build(store: Store, folder: Path, ended: int) -> dict[str, float]:
    """Make the ledger, and see that it is what charging would have made."""
    from tests.benchmarks import large_ledger

    began = time.perf_counter()
    large_ledger.build(store, folder, ended)
    took = time.perf_counter() - began
    large_ledger.check(store, folder, ended)
    return {"ledger_build_seconds": round(took, 1), "ledger_bytes": _size(store)}


def _size(store: Store) -> int:
    if store.path is not None:
        return store.path.stat().st_size
    with store.reading() as connection:
        return int(connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one())


def posting(store: Store, folder: Path, _ended: int) -> dict[str, float]:
    """Post what all agents tell of what runs, in portions as accounting does, and charge it."""
    from gpuwatch.ledger import charging
    from tests.benchmarks import large_ledger
    from tests.benchmarks.batch import NOW

    tariffs = large_ledger.tariffs(folder).now
    gc.disable()  # as in a pass
    posted, used, charged = [], [], []
    for turn in range(1, TURNS + 1):
        wall, cpu = _post_all(store, turn)
        posted.append(wall)
        used.append(cpu)
        began = time.perf_counter()
        charging.catch_up(store, large_ledger.CLUSTER, tariffs, NOW + 60 * turn)
        charged.append(time.perf_counter() - began)
    return {
        "ledger_post_seconds": round(median(posted[1:]), 2),
        "ledger_post_cpu_seconds": round(median(used[1:]), 2),
        "ledger_charge_seconds": round(median(charged[1:]), 2),
    }


def _post_all(store: Store, turn: int) -> tuple[float, float]:
    """Wall and processor time of one posting of everything; making it up counts for nothing."""
    from gpuwatch.accounting.accountant import AT_ONCE
    from gpuwatch.ledger import writing
    from gpuwatch.ledger.posting import read
    from tests.benchmarks import large_ledger

    wall = cpu = 0.0
    told = large_ledger.deliveries(turn)
    while some := list(islice(told, AT_ONCE)):
        began, before = time.perf_counter(), time.process_time()
        taken = [writing.Posted(read(each), each.origin) for each in some]
        with store.writing() as connection:
            writing.post_all(connection, taken)
        wall += time.perf_counter() - began
        cpu += time.process_time() - before
    return wall, cpu


def passes(store: Store, folder: Path, _ended: int) -> dict[str, float]:
    """Whole passes as the daemon makes them: batch system, agents, charging, forecasts, metrics."""
    from gpuwatch.accounting import metrics
    from gpuwatch.accounting.accountant import Accountant
    from gpuwatch.accounting.allocations import Allocations
    from gpuwatch.accounting.overruns import Bounds
    from gpuwatch.accounting.retained import retained
    from tests.benchmarks import large_ledger
    from tests.benchmarks.batch import JOBS, NOW

    allocations = Allocations(store, {"slurm": batch.scheduler(folder)}, large_ledger.CLUSTER)
    source = large_ledger.Source()
    accountant = Accountant(
        store, {"agents": source}, {}, Bounds(), allocations=allocations, cluster=large_ledger.CLUSTER,
        tariffs=large_ledger.tariffs(folder),
    )  # fmt: skip
    took: list[float] = []
    health, kept = metrics.at_start(), None
    for turn in range(TURNS):
        source.turn = TURNS + turn + 1
        began = time.perf_counter()
        report = accountant.run_pass(NOW + 60 * source.turn)
        took.append(time.perf_counter() - began)
        health, kept = metrics.after(health, report), retained(report)
        metrics.render(kept, health)
        if report.outcome != "ok" or sum(job.state == "running" for job in report.current.jobs) != JOBS:
            raise SystemExit(f"benchmarks: {len(report.current.jobs)} jobs, {report.outcome}, {report.asked.up}")
        del report
    return {
        "ledger_first_pass_seconds": round(took[0], 2),
        "ledger_pass_seconds": round(median(took[1:]), 2),
        "accounting_rss_bytes": _peak(),
    }


def questions(store: Store, folder: Path, _ended: int) -> dict[str, float]:
    """What people ask: months on the command line, and every grouping as the API answers it."""
    from gpuwatch.ledger import summaries

    took = []
    for question in _asked():
        began = time.perf_counter()
        with store.reading() as connection:
            summaries.summary(connection, question)
        took.append(time.perf_counter() - began)
    where = store.path or store.where
    return {
        "jobs_by_month_seconds": round(median(_command(str(where)) for _ in range(5)), 2),
        "usage_query_seconds_p99": round(quantiles(took, n=100)[98], 3),
        "usage_query_seconds_p50": round(median(took), 3),
    }


def _asked() -> Iterator[object]:
    """A hundred questions: each grouping, of 30 days, a year and everything, of all people and of one."""
    from gpuwatch.ledger.periods import BY
    from gpuwatch.ledger.summaries import Question, Visible
    from tests.benchmarks.batch import NOW

    def own(_cluster: str, user: str, _account: str) -> bool:
        return user == "user7"

    day = 86_400.0
    midnight = datetime.fromtimestamp(NOW, UTC).replace(hour=0, minute=0, second=0).timestamp()
    times = ((NOW - 30 * day, NOW), (midnight - 30 * day, midnight), (midnight - 365 * day, midnight), (0.0, NOW))
    for number in range(QUESTIONS):
        begins, ends = times[number % len(times)]
        visible: Visible | None = own if number % 3 == 0 else None
        yield Question(BY[number % len(BY)], begins, ends, UTC, NOW, visible=visible)


def _command(ledger: str) -> float:
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "gpuwatch", "jobs", "--by", "month", "--ledger", ledger],
        check=True, capture_output=True, timeout=300,
    )  # fmt: skip
    return time.perf_counter() - began


def _peak() -> int:
    """The most memory this process ever had; what `getrusage` says may be its parent's."""
    line = next(each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


_Measurement = Callable[["Store", Path, int], dict[str, float]]


def main(what: str, ledger: str, folder: str, ended: str) -> None:
    """One measurement, printed."""
    from gpuwatch.ledger.store import open_store

    measurements: Mapping[str, _Measurement] = {
        "build": build, "posting": posting, "passes": passes, "questions": questions,
    }  # fmt: skip
    store = open_store(ledger, cluster="bench")
    print(json.dumps(measurements[what](store, Path(folder), int(ended))))
    store.close()


if __name__ == "__main__":
    if sys.argv[1:]:
        main(*sys.argv[1:])
    else:
        print(json.dumps(measure()))
