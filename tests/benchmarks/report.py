"""What a compute statement takes: a campaign of a thousand jobs over a year, as the command line makes it.

`python -m tests.benchmarks.report` prints one JSON object.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

from gpuwatch.ledger.store import open_store
from tests.cli.command import gpuwatch
from tests.reports import campaigns

JOBS, DAYS, DEVICES = 1000, 360.0, 8
SECONDS = 3.0
"""A statement may take so long."""


def measure() -> dict[str, float]:
    """Seconds of the whole command by format, and the size of what it writes."""
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as where:
        path = Path(where, "ledger.db")
        store = open_store(str(path))
        campaigns.fill(store, JOBS, DAYS, DEVICES)
        store.close()
        for ending in ("md", "html", "json"):
            out = Path(where, f"statement.{ending}")
            options = ("--by-tag", "table", "--ledger", f"sqlite:///{path}", "--out", str(out))
            begun = time.monotonic()
            done = gpuwatch("report", "--campaign", campaigns.NAME, *options, timeout=120)
            figures[f"report_{ending}_seconds"] = time.monotonic() - begun
            assert done.returncode == 0, done.stderr
            figures[f"report_{ending}_bytes"] = float(out.stat().st_size)
    return figures


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
