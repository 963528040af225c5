"""A daemon in a process whose wall clock a test moves; prints a line for each pass and each clock jump.

Run as `python -m tests.accounting.clocked_daemon LEDGER INTERVAL`; ends when its standard input does.
"""

from __future__ import annotations

import resource
import select
import sys
import time
from pathlib import Path

from gpuwatch import config
from gpuwatch.accounting.daemon import AccountingDaemon


def main() -> None:
    ledger, interval = sys.argv[1], float(sys.argv[2])
    settings = config.load(
        None,
        {
            "accounting.ledger": f"sqlite:///{ledger}",
            "accounting.interval_seconds": interval,
            "usage.agents.urls": [],
        },
    )
    daemon = AccountingDaemon(settings)
    daemon.start()
    passes = jumps = 0.0
    while not select.select([sys.stdin], [], [], 0.02)[0]:
        daemon.tick(time.monotonic())
        health = daemon.health
        if sum(health.passes.values()) > passes:
            passes = sum(health.passes.values())
            print("pass", health.last_success_timestamp_seconds, flush=True)
        if health.clock_jumps > jumps:
            jumps = health.clock_jumps
            print("jump", flush=True)
    daemon.stop()
    used = resource.getrusage(resource.RUSAGE_SELF)
    print("end", used.ru_utime + used.ru_stime, _peak_bytes(), passes, flush=True)


def _peak_bytes() -> int:
    """The most this program was resident; rusage would tell of the process that started it too."""
    (line,) = (each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
