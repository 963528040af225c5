"""A node full of processes that only wait, for as long as the context lasts."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fake_nvml import compiler

SOURCE = Path(__file__).with_name("crowd.c")


@contextmanager
def crowd(count: int, directory: Path) -> Iterator[list[int]]:
    """Start `count` processes and give their pids; they end with the context, however that ends."""
    program = directory / "crowd"
    subprocess.run([compiler() or "cc", "-O1", "-o", str(program), str(SOURCE)], check=True)
    process = subprocess.Popen(
        [str(program), str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        pids = []
        for line in process.stdout:
            if line == "ready\n":
                break
            pids.append(int(line))
        if len(pids) != count:
            raise RuntimeError(f"crowd: {len(pids)} of {count} processes could be started")
        yield pids
    finally:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()
