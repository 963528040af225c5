"""A load on the GPU that somebody supplies: a command that writes a line for each of its steps.

A line is `SECONDS` or `SECONDS FLOP`: how long the step took, and how many floating-point operations it was.
`matmul.py` is such a command.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple


class Step(NamedTuple):
    """When a step's line came (monotonic), how long it took, and its operations."""

    at: float
    seconds: float
    flop: float


class Load:
    """The command while it runs; `with Load(command) as load:` ends it with all its children."""

    def __init__(self, command: str) -> None:
        self._command = command
        self._steps: list[Step] = []

    def __enter__(self) -> Load:
        self._process = subprocess.Popen(
            self._command, shell=True, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join(10)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            numbers = [float(word) for word in line.split()]
            if numbers:
                self._steps.append(Step(time.monotonic(), numbers[0], sum(numbers[1:2])))

    def wait(self, seconds: float = 120.0) -> None:
        """Until it has done its first step; a load that ends, or never begins, is an error."""
        deadline = time.monotonic() + seconds
        while not self._steps:
            self.check()
            if time.monotonic() > deadline:
                raise SystemExit(f"benchmarks: {self._command!r} did no step in {seconds:g} s; see load.py")
            time.sleep(0.01)

    def check(self) -> None:
        """It must still run."""
        if self._process.poll() is not None:
            raise SystemExit(f"benchmarks: {self._command!r} ended with {self._process.returncode}; it must go on")

    def steps(self, since: float) -> Sequence[Step]:
        """The steps that ended since then."""
        return [step for step in tuple(self._steps) if step.at >= since]
