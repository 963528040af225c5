"""Run on a small disk by `test_spool_disk.py`: a spool before it is full, meanwhile, and afterwards.

`python -m tests.faults.spool_on_full_disk DISK` prints a JSON object of what became of the batches.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from gpuwatch.sinks.spool import Limits, Spool
from tests.sinks.spools import drained, put

SIZE = 20_000


def main(disk: Path) -> None:
    """Fill the spool, then the disk, go on for a while, make place; deliver all that is left."""
    spool = Spool(disk / "spool", ["a"], Limits(bytes=4 * 2**20))
    spool.open()
    put(spool, *range(100), size=SIZE)
    with suppress(OSError), (disk / "others").open("wb", buffering=0) as file:
        while file.write(b"x" * 1024):
            pass
    put(spool, *range(100, 150), size=SIZE)
    told: dict[str, Any] = {"full": dict(spool.counts("a").dropped), "degraded": spool.degraded}
    (disk / "others").unlink()
    put(spool, *range(150, 160), size=SIZE)
    counts = spool.counts("a")
    told |= {"dropped": dict(counts.dropped), "queued": counts.queued}
    spool.close()
    spool = Spool(disk / "spool", ["a"], Limits(bytes=4 * 2**20))
    spool.open()
    numbers = drained(spool.backlog("a"))
    told |= {
        "in order": numbers == sorted(numbers),
        "got": len(numbers),
        "newest": numbers[-1],
        "from": numbers[0],
    }
    spool.close()
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
