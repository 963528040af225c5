"""The real scheduler under a wall clock that jumps: an hour back, a year forward."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from threading import Thread

import pytest

INTERVAL = 0.5
HOUR, YEAR = 3600, 31_536_000

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc for the clock shim"),
]


class Clocked:
    """The daemon in its process, and the lever of its wall clock."""

    def __init__(self, directory: Path) -> None:
        self._shift = directory / "shift"
        self.shift(0)
        shim = directory / "clock_shim.so"
        source = Path(__file__).with_name("clock_shim.c")
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", shim, source, "-ldl"], check=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.accounting.clocked_daemon", str(directory / "ledger.db"), str(INTERVAL)],
            env={**os.environ, "LD_PRELOAD": str(shim), "CLOCK_SHIFT": str(self._shift)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.lines: Queue[str] = Queue()
        self._reader = Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.put(line)

    def shift(self, seconds: int) -> None:
        """Move the wall clock to so many seconds from the true one."""
        with self._shift.open("r+b" if self._shift.exists() else "wb") as file:
            file.write(struct.pack("=q", seconds))

    def next_pass(self, timeout: float, after: float = 0.0) -> float:
        """The wall time of the next pass that is made after `after`; how long it may take is `timeout`."""
        deadline = time.monotonic() + timeout
        while True:
            line = self.lines.get(timeout=max(0.01, deadline - time.monotonic()))
            if line.startswith("pass") and float(line.split()[1]) >= after:
                return float(line.split()[1])

    def end(self) -> tuple[float, int, float]:
        """CPU seconds and bytes the process took, and passes it made."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._reader.join()
        last = [line for line in self.lines.queue if line.startswith("end")][-1].split()
        return float(last[1]), int(last[2]), float(last[3])

    def close(self) -> None:
        """Nothing of it stays behind, whatever the test came to."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()


@pytest.fixture
def clocked(tmp_path: Path) -> Iterator[Clocked]:
    daemon = Clocked(tmp_path)
    yield daemon
    daemon.close()


def test_passes_go_on_through_jumps_of_the_clock(clocked: Clocked) -> None:
    """An hour back and a year forward: the next pass comes within one interval, and costs no more than others."""
    clocked.next_pass(20)
    clocked.shift(-HOUR)
    back = clocked.next_pass(INTERVAL + 2.0)
    while back > time.time() - HOUR + 60:
        back = clocked.next_pass(INTERVAL + 2.0)
    clocked.shift(YEAR)
    forward = clocked.next_pass(INTERVAL + 2.0, after=time.time() + YEAR - 60)
    clocked.next_pass(INTERVAL + 2.0, after=forward)
    cpu_seconds, rss, passes = clocked.end()

    assert abs(back - (time.time() - HOUR)) < 60
    assert abs(forward - (time.time() + YEAR)) < 60
    assert 4 <= passes < 60
    assert cpu_seconds < 10
    assert rss < 300e6
