"""Accounting beside a large batch system: a pass over 20,000 running jobs, an import of 20,000 lines of sacct.

Slurm's commands are files that are printed; all behind them is real. Each measurement is its own process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from gpuwatch.schedulers import slurm_sacct, slurm_squeue

if TYPE_CHECKING:
    from gpuwatch.schedulers.slurm import SlurmScheduler

JOBS = 20_000
NODES, USERS, ACCOUNTS = 2500, 200, 20
PASSES = 6
NOW = 1_800_000_000.0


def measure() -> Mapping[str, float]:
    """Figures by name: medians over the passes after the first; peaks of resident memory."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_commands(folder)
        return {**_child("pass", folder), **_child("import", folder)}


def _child(what: str, folder: Path) -> dict[str, float]:
    told = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.batch", what, str(folder)],
        check=True, capture_output=True, text=True, timeout=600, env={**os.environ, "TZ": "UTC"},
    )  # fmt: skip
    figures: dict[str, float] = json.loads(told.stdout)
    return figures


def write_commands(folder: Path) -> None:
    """`squeue`, `sacct` and the others, as scripts that print what 20,000 jobs would make them print."""
    rows = [_running(number) for number in range(JOBS)]
    mark = slurm_squeue.DELIMITER
    _print(
        folder, "squeue", "".join(mark.join((*(row[name] for name in slurm_squeue.NAMES), "\n")) for row in rows)
    )
    _print(folder, "sacct", "", first=f'[ "$1" = --helpformat ] && echo {" ".join(slurm_sacct.FIELDS)}\n')
    settings = "AccountingStorageTRES = cpu,gres/gpu\nClusterName = bench\n"
    _print(folder, "scontrol", settings, first='[ "$1" = --details ] && exit 0\n')
    for name in ("sacctmgr", "sshare", "sreport"):
        _print(folder, name, "")
    ended = [_ended(row) for row in rows]
    (folder / "sacct.txt").write_text("\n".join(("|".join(ended[0]), *("|".join(row.values()) for row in ended))))


def _print(folder: Path, name: str, text: str, first: str = "") -> None:
    (folder / f"{name}.out").write_text(text)
    script = folder / name
    script.write_text(f"#!/bin/sh\n{first}exec cat {folder / name}.out\n")
    script.chmod(0o755)


def _running(number: int) -> dict[str, str]:
    comment = "gpuwatch: device-hours=640 campaign=llama-ft" if number % 3 == 0 else "(null)"
    return {
        **dict.fromkeys(slurm_squeue.NAMES, "(null)"),
        "jobidraw": str(100_000 + number), "jobid": str(100_000 + number), "state": "RUNNING",
        "submit": "1799990000", "start": "1799993000", "end": "1800080000", "timelimit": "1-00:00:00",
        "restarts": "0", "alloccpus": "96", "nodelist": f"node{number % NODES:04d}", "partition": "gpu",
        "alloctres": "cpu=96,mem=960G,node=1,billing=96,gres/gpu=8,gres/gpu:h100=8", "qos": "normal",
        "account": f"account{number % ACCOUNTS}", "user": f"user{number % USERS}",
        "jobname": f"train-{number % 50}", "comment": comment,
    }  # fmt: skip


def _ended(row: Mapping[str, str]) -> dict[str, str]:
    """The same job as sacct's own text of a job that ended."""
    return {
        "JobIDRaw": row["jobidraw"], "JobID": row["jobid"], "State": "COMPLETED", "Submit": "2026-11-20T08:00:00",
        "Start": "2026-11-20T09:00:00", "End": "2026-11-21T08:59:30", "ElapsedRaw": "86370",
        "TimelimitRaw": "1440", "ExitCode": "0:0", "AllocTRES": row["alloctres"], "NodeList": row["nodelist"],
        "Partition": "gpu", "QOS": "normal", "Account": row["account"], "User": row["user"],
        "JobName": row["jobname"], "Comment": "",
    }  # fmt: skip


def scheduler(folder: Path) -> SlurmScheduler:
    """The batch system whose commands those are."""
    from gpuwatch.model import Site
    from gpuwatch.schedulers.slurm import SlurmScheduler

    commands = {
        name: str(folder / name) for name in ("sacct", "squeue", "scontrol", "sacctmgr", "sshare", "sreport")
    }
    return SlurmScheduler(SlurmScheduler.Settings(**commands), Site("bench"))  # type: ignore[arg-type]


def passes(folder: Path) -> dict[str, float]:
    """Several passes of the accountant, as the daemon makes them; the first fills the ledger."""
    from gpuwatch.accounting import metrics
    from gpuwatch.accounting.accountant import Accountant
    from gpuwatch.accounting.allocations import Allocations
    from gpuwatch.accounting.overruns import Bounds
    from gpuwatch.ledger.store import open_store

    store = open_store(str(folder / "ledger.db"))
    allocations = Allocations(store, {"slurm": scheduler(folder)}, "bench")
    accountant = Accountant(store, {}, {}, Bounds(), allocations=allocations)
    took: list[float] = []
    rendered: list[float] = []
    for number in range(PASSES):
        began = time.perf_counter()
        report = accountant.run_pass(NOW + 60 * number)
        ended = time.perf_counter()
        metrics.render(report, metrics.after(metrics.at_start(), report))
        took.append(ended - began)
        rendered.append(time.perf_counter() - ended)
        if len(report.current.jobs) != JOBS or not all(report.asked.up.values()):
            raise SystemExit(f"benchmarks: {len(report.current.jobs)} jobs, schedulers {dict(report.asked.up)}")
    store.close()
    return {
        "batch_jobs": JOBS,
        "batch_first_pass_seconds": round(took[0], 2),
        "batch_pass_seconds": round(median(took[1:]), 2),
        "batch_metrics_seconds": round(median(rendered[1:]), 2),
        "batch_pass_rss_bytes": _peak(),
    }


def imports(folder: Path) -> dict[str, float]:
    """`gpuwatch import sacct` of as many lines, into an empty ledger."""
    command = ["import", "sacct", str(folder / "sacct.txt"), "--cluster", "bench", "--ledger"]
    began = time.perf_counter()
    told = subprocess.run(
        [sys.executable, "-m", "gpuwatch", *command, str(folder / "imported.db"), "--json"],
        check=True, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    took = time.perf_counter() - began
    if json.loads(told.stdout)["taken"] != JOBS:
        raise SystemExit(f"benchmarks: imported {told.stdout}")
    return {"import_lines": JOBS, "import_seconds": round(took, 2)}


def _peak() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    print(json.dumps({"pass": passes, "import": imports}[sys.argv[1]](Path(sys.argv[2]))))
