"""What watching 20,000 running jobs of 8 devices costs: `python -m tests.benchmarks.watching`.

The look and the judgement are those of each pass, of 10,000 jobs; the slow look at all devices is made every ten
minutes.
"""

from __future__ import annotations

import gc
import json
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from gpuwatch.ledger.jobs import Job

JOBS = 10_000
TURNS = 5
POINTS = 128
PASS_SECONDS = 60.0


def measure() -> Mapping[str, float]:
    """Figures by name."""
    from gpuwatch.ledger import queries
    from gpuwatch.ledger.store import open_store
    from tests.benchmarks import large_ledger

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = open_store(str(folder / "watching.db"), cluster=large_ledger.CLUSTER)
        large_ledger.build(store, folder, 0)
        with store.reading() as connection:
            jobs = queries.current(connection, large_ledger.NOW, cluster=large_ledger.CLUSTER).jobs
            gc.disable()
            found = {**_passes(connection, jobs[:JOBS]), **_slow_looks(connection, jobs)}
        store.close()
    return found


def _passes(connection: Connection, jobs: tuple[Job, ...]) -> dict[str, float]:
    from gpuwatch.accounting.alert_policy import Thresholds
    from gpuwatch.accounting.conditions import conditions
    from gpuwatch.accounting.watching import Watch
    from gpuwatch.ledger.queries import Current
    from tests.benchmarks.large_ledger import CLUSTER, NOW

    limits, current, burnups = Thresholds(), Current(jobs, ()), _burnups(jobs)
    watch = Watch(CLUSTER, limits)
    seen = watch.look(connection, current, burnups, NOW)
    return {
        "look_cpu_seconds": _cpu(lambda: watch.look(connection, current, burnups, NOW + 1.0)),
        "conditions_cpu_seconds": _cpu(lambda: conditions(seen, {}, limits, 1.0, NOW)),
    }


def _burnups(jobs: tuple[Job, ...]) -> Any:
    """Each with all the points that it may have; a step in every second one."""
    from gpuwatch.model import BurnUp, BurnUpPoint
    from tests.benchmarks.large_ledger import NOW

    points = tuple(
        BurnUpPoint(NOW - PASS_SECONDS * (POINTS - 1 - place), 8.0 * place, None, place // 2, 1000.0)
        for place in range(POINTS)
    )
    return {(job.job_id, job.started): BurnUp(float(job.started), points) for job in jobs}


def _slow_looks(connection: Connection, jobs: tuple[Job, ...]) -> dict[str, float]:
    from gpuwatch.accounting.alert_policy import Thresholds
    from gpuwatch.accounting.device_looks import DeviceLooks
    from tests.benchmarks.large_ledger import CLUSTER, NOW

    # Windows so short that each look has one before and one after it to keep.
    limits = Thresholds(window_seconds=60.0)
    looks = DeviceLooks(CLUSTER, limits)
    slow = _cpu(lambda: looks.look(connection, jobs, NOW))
    tracemalloc.start()
    kept = DeviceLooks(CLUSTER, limits)
    for turn in range(3):
        kept.look(connection, jobs, NOW + PASS_SECONDS * turn)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {"slow_look_cpu_seconds": slow, "devices_kept_mib": size / 2**20}


def _cpu(what: Callable[[], object]) -> float:
    """The least of some turns."""
    taken = []
    for _ in range(TURNS):
        begin = time.process_time()
        what()
        taken.append(time.process_time() - begin)
    return min(taken)


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
