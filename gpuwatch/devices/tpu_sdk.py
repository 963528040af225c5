"""Google's own library (`libtpu.sdk.tpumonitoring`) in a process of its own: it is large, may wait for servers,
and cannot be unloaded. Run as a module this prints what the library says, a line of JSON every few seconds.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from gpuwatch.devices import tpu_runtime as runtime
from gpuwatch.devices.tpu_runtime import Answer
from gpuwatch.devices.tpu_wire import Sample

EVERY_SECONDS = 5.0
STALE_SECONDS = 12.0
RESTART_SECONDS = 60.0
MOST_BYTES = 2**20
ASKED = ("tensorcore_util", runtime.LINKS, runtime.THROTTLE)
_LINK = re.compile(r"(?:tray\d{1,3}\.)?chip(\d{1,3})\.ici\d{1,3}\.\w{1,20}: *(\d{1,3})", re.ASCII)
_SCORE = re.compile(r"(\d{1,4})-(\d{1,3})", re.ASCII)


def answer_of(line: bytes) -> Answer:
    """What a line of the process says, as a runtime would."""
    try:
        document = dict(json.loads(line).items())
        told = {name: [str(each) for each in document[name]] for name in ASKED if name in document}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return Answer("silent", "what the library's process said is not JSON", rejected={"malformed": 1})
    if "error" in document:
        return Answer("silent", str(document["error"])[:300])
    samples = {
        runtime.TENSOR: tuple(Sample(n, _number(text)) for n, text in enumerate(told.get("tensorcore_util", ()))),
        runtime.LINKS: _pairs(_LINK, told.get(runtime.LINKS, ())),
        runtime.THROTTLE: _pairs(_SCORE, told.get(runtime.THROTTLE, ())),
    }
    known = {name: each for name, each in samples.items() if each}
    return Answer("answers", f"tells {len(known)} metrics", frozenset(known), known)


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _pairs(pattern: re.Pattern[str], texts: Sequence[str]) -> tuple[Sample, ...]:
    matches = (pattern.fullmatch(text.strip()) for text in texts)
    return tuple(Sample(int(each[1]), float(each[2])) for each in matches if each)


class Sdk:
    """The process that has the library. It is never waited for."""

    def __init__(
        self,
        command: Sequence[str] = (sys.executable, "-m", "gpuwatch.devices.tpu_sdk"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._command = command
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._start_at = float("-inf")
        self._read = b""
        self._last = Answer("silent", "has said nothing yet")
        self._said_at = float("-inf")

    def ask(self) -> Answer:
        """What it said last, if that is not long ago."""
        now = self._clock()
        self._begin(now)
        *lines, self._read = (self._read + self._new()).split(b"\n")
        if len(self._read) > MOST_BYTES:
            self._read = b""
        if lines:
            self._last, self._said_at = answer_of(lines[-1]), now
        if now - self._said_at > STALE_SECONDS and self._last.state == "answers":
            self._last = Answer("silent", "says nothing any more")
        return self._last

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def _begin(self, now: float) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        self._new_bytes_are_the_last()
        if now < self._start_at:
            return
        self._start_at = now + RESTART_SECONDS
        with suppress(OSError):
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "TPU_SKIP_MDS_QUERY": "1"},
            )
            assert self._process.stdout is not None
            os.set_blocking(self._process.stdout.fileno(), False)

    def _new_bytes_are_the_last(self) -> None:
        """Take what an ended process still said, and let go of it."""
        if self._process is not None:
            self._read += self._new()
            self.close()

    def _new(self) -> bytes:
        if self._process is None or self._process.stdout is None:
            return b""
        with suppress(BlockingIOError):
            return os.read(self._process.stdout.fileno(), MOST_BYTES)
        return b""


def _document(monitoring: Any) -> Mapping[str, Any]:
    listed = set(monitoring.list_supported_metrics())
    return {name: list(monitoring.get_metric(name).data()) for name in ASKED if name in listed}


def main() -> None:
    """Print what the library says until nobody reads it."""
    try:
        from libtpu.sdk import tpumonitoring
    except Exception as exc:  # noqa: BLE001 - a foreign library: whatever it raises is why there is nothing to say
        print(json.dumps({"error": f"libtpu cannot be loaded; {type(exc).__name__}: {exc}"}), flush=True)
        return
    while True:
        try:
            document = _document(tpumonitoring)
        except Exception as exc:  # noqa: BLE001 - as above
            document = {"error": f"{type(exc).__name__}: {exc}"}
        print(json.dumps(document), flush=True)
        time.sleep(EVERY_SECONDS)


if __name__ == "__main__":
    with suppress(BrokenPipeError, KeyboardInterrupt):
        main()
