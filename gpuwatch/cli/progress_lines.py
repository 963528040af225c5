"""Progress read from what a program prints: the newest line that matches a pattern, within a limit of time.

It is tried in a process of its own, since a pattern may take for ever, and holds up its whole process meanwhile.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

LONGEST_LINE = 4096
"""Characters of a line that are looked at; what is behind them is not."""
BLOCK = 64 * 1024
TIME_LIMIT = 0.2
"""Seconds that the lines of one block may take."""
MOST_FAILURES = 10

Report = Callable[[float, float | None], None]

_LINE_ENDS = re.compile(rb"[\r\n]+")
# Colours and movements of the cursor.
_ESCAPES = re.compile(r"\x1b\[[0-9;:?]*[ -/]*[@-~]")


class _TooSlow(Exception):
    """The pattern took longer than it may."""


def compiled(pattern: str, total: float | None) -> re.Pattern[str]:
    """The pattern, which has a group `step` and may have `total`; ValueError says what is wrong with it."""
    try:
        made = re.compile(pattern)
    except (re.error, OverflowError, RecursionError, MemoryError) as exc:
        raise ValueError(f"{pattern[:80]!r} is no regular expression: {exc}") from exc
    if "step" not in made.groupindex:
        raise ValueError(f"{pattern[:80]!r} has no group named step; write (?P<step>[0-9]+)")
    if total is not None and "total" in made.groupindex:
        raise ValueError(f"{pattern[:80]!r} has a group named total; leave out one of it and --progress-total")
    return made


def found(pattern: re.Pattern[str], line: bytes) -> tuple[float, float | None] | None:
    """Step and total that a line shows; None where it shows no step. Numbers may have commas between digits."""
    text = _ESCAPES.sub("", line[: 4 * LONGEST_LINE].decode(errors="replace"))[:LONGEST_LINE]
    match = pattern.search(text)
    if match is None:
        return None
    groups = match.groupdict()
    step = _number(groups["step"])
    return None if step is None else (step, _number(groups.get("total")))


def newest(pattern: re.Pattern[str], block: bytes) -> tuple[float, float | None] | None:
    """What the last line with a step in it shows."""
    for line in reversed(_LINE_ENDS.split(block)):
        shown = found(pattern, line) if line else None
        if shown is not None:
            return shown
    return None


def follow(source: int, pattern: re.Pattern[str], report: Report, warn: Callable[[str], None]) -> None:
    """Report progress from the whole lines that come from a file descriptor, until its end.

    Uses SIGALRM, and so needs the main thread of its process.
    """
    rest, failures = b"", 0
    signal.signal(signal.SIGALRM, _too_slow)
    while received := os.read(source, BLOCK):
        whole, end, rest = _split(rest + received)
        try:
            signal.setitimer(signal.ITIMER_REAL, TIME_LIMIT)
            shown = newest(pattern, whole) if end else None
            signal.setitimer(signal.ITIMER_REAL, 0)
        except _TooSlow:
            failures += 1
            if failures == MOST_FAILURES:
                warn("the pattern takes too long on what the command prints; progress is no longer looked for")
                return
            continue
        if shown is not None:
            report(*shown)


def serve(source: int, pattern: re.Pattern[str], total: float | None) -> NoReturn:
    """Be the process that looks for progress and tells the agent; ends with what it reads from."""
    import gpuwatch_client

    def report(step: float, told: float | None) -> None:
        gpuwatch_client.progress(step, told if told is not None else total)

    def warn(text: str) -> None:
        print(f"gpuwatch: run: {text}", file=sys.stderr)

    try:
        os.nice(10)
        follow(source, pattern, report, warn)
        gpuwatch_client.flush()
    finally:
        os._exit(0)


def _split(text: bytes) -> tuple[bytes, bool, bytes]:
    """Whole lines, whether there are any, and the line that has only begun; of a very long one its beginning."""
    end = max(text.rfind(b"\n"), text.rfind(b"\r")) + 1
    return text[:end], end > 0, text[end:][: 4 * LONGEST_LINE]


def _number(text: str | None) -> float | None:
    try:
        number = float((text or "").replace(",", ""))
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


def _too_slow(number: int, frame: object) -> None:
    raise _TooSlow
