"""What the spool costs: a batch of eight devices and their host put on the disk, and a start with a full spool."""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random

from gpuwatch.sinks.spool import Spool
from tests.benchmarks.node import quantile

BATCHES = 2000
LINES = 9
FIELDS = 45


def batch(random: Random, number: int) -> bytes:
    """Nine lines of about 1 kB, each of their fields a measured number."""
    made = []
    for device in range(LINES):
        fields = ",".join(f"field_number_{field}={random.random() * 700:.4g}" for field in range(FIELDS))
        tags = f"cluster=bench,node=node1,uuid=GPU-{device:036},model=Fake\\ 700W"
        made.append(f"gpuwatch_device,{tags} {fields} {number * 15_000_000_000}\n")
    return "".join(made).encode()


def measure(directory: Path | None = None) -> Mapping[str, float]:
    """Figures by name; the spool is in a new directory in `directory`, else among the temporary files."""
    random = Random(1)
    with tempfile.TemporaryDirectory(dir=directory) as name:
        spool = Spool(Path(name), ["bench"])
        spool.open()
        took, used, size = [], [], 0
        for number in range(BATCHES):
            lines = batch(random, number)
            size += len(lines)
            began, before = time.perf_counter(), time.thread_time()
            spool.append(number * 15.0, LINES, lines)
            took.append(time.perf_counter() - began)
            used.append(time.thread_time() - before)
        kept = spool.counts("bench").queued_bytes
        spool.close()
        began = time.perf_counter()
        spool = Spool(Path(name), ["bench"])
        spool.open()
        opened = time.perf_counter() - began
        spool.close()
    return {
        "spool_append_seconds_p50": round(quantile(took, 0.5), 6),
        "spool_append_seconds_p99": round(quantile(took, 0.99), 6),
        "spool_append_cpu_seconds_p50": round(quantile(used, 0.5), 6),
        "spool_batch_bytes": round(size / BATCHES),
        "spool_batch_bytes_on_disk": round(kept / BATCHES),
        "spool_open_seconds_per_gigabyte": round(opened / kept * 1e9, 2),
    }


if __name__ == "__main__":
    print({**measure(), "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024})
