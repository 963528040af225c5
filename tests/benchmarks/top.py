"""What `gpuwatch top` costs at a refresh a second with a ledger of 10,000 jobs: where some run, where all do.

Reading jobs takes at most a hundredth of the time; where all run that is rare, and may not be in the measurement.
"""

from __future__ import annotations

import os
import pty
import select
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import insert

from gpuwatch.ledger import forecast_tables, writing
from gpuwatch.ledger.posting import read
from gpuwatch.ledger.record_store import post_records
from gpuwatch.ledger.store import open_store
from gpuwatch.schedulers.base import Record
from tests.ledger.batch import record
from tests.ledger.deliveries import delivery, row

JOBS = 10_000
_SETTLE_SECONDS = 15.0
_TICKS = os.sysconf("SC_CLK_TCK")


def measure(seconds: float = 30.0) -> dict[str, float]:
    """Per cent of a core, with 500 of the jobs running, and with all of them."""
    return {
        "top_core_percent": _cost(500, seconds),
        "top_all_running_core_percent": _cost(JOBS, seconds),
    }


def build(path: Path, running: int, now: float) -> None:
    """A ledger of so many jobs of eight devices, of which the last ones run, each with a forecast."""
    store = open_store(str(path))
    began = int(now) - 7200
    rows = [
        row(str(number), started=began, last_seen=now, uuid=f"GPU-{number}", held_seconds=7200.0)
        for number in range(JOBS - running, JOBS)
    ]
    told = delivery(rows, now=now)
    with store.writing() as connection:
        post_records(connection, list(_records(running, began, now)))
        writing.post(connection, read(told), told.origin)
        connection.execute(insert(forecast_tables.forecasts), [_forecast(str(job["job_id"]), now) for job in rows])
    store.close()


def _records(running: int, began: int, now: float) -> Iterator[Record]:
    for number in range(JOBS):
        runs = number >= JOBS - running
        times = {"started": float(began), "ended": None if runs else now - 3600.0, "seen": now, "submitted": began}
        state = "RUNNING" if runs else "COMPLETED"
        yield record(str(number), name=f"train-{number}", user=f"user{number % 97}", state=state, **times)


def _forecast(name: str, now: float) -> dict[str, object]:
    return {
        "scope": name, "scope_kind": "job", "cluster": "default", "quantity": "device-hours", "time": now,
        "used": 14_400.0, "against": "declared", "reference": 20_000.0, "p_over": int(name) % 100 / 100,
        "stage": "", "basis": "", "record": "", "n": 0, "q10": 18_000.0, "q50": 21_000.0, "q90": 24_000.0,
    }  # fmt: skip


def _cost(running: int, seconds: float) -> float:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        build(path, running, time.time())
        pid, terminal = pty.fork()
        if pid == 0:
            os.environ |= {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
            program = "from gpuwatch.cli import main; main()"
            os.execv(sys.executable, [sys.executable, "-c", program, "top", "--ledger", str(path)])
        try:
            _drain(terminal, _SETTLE_SECONDS)
            before = _used(pid)
            _drain(terminal, seconds)
            return 100 * (_used(pid) - before) / seconds
        finally:
            os.write(terminal, b"q")
            _drain(terminal, 1.0)
            os.close(terminal)
            os.waitpid(pid, 0)


def _drain(terminal: int, seconds: float) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if select.select([terminal], [], [], left)[0]:
            try:
                os.read(terminal, 65_536)
            except OSError:  # it has ended
                return


def _used(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


if __name__ == "__main__":
    print(measure())
