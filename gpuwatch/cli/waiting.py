"""Who waits at a terminal is shown what for, and how far it is: on standard error, once it takes a second."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

DELAY_SECONDS = 1.0

Told = Callable[[float | None], None]
"""Takes what part is done, 0 to 1; None where nobody knows."""


_one = threading.Lock()


@contextmanager
def waiting(what: str) -> Iterator[Told]:
    """Show a bar while the block takes longer than a second, where there is a terminal to see it on."""
    # Of waiting within waiting the outer one is shown.
    if not _is_seen() or not _one.acquire(blocking=False):
        yield _nobody
        return
    bar = _Bar(what)
    timer = threading.Timer(DELAY_SECONDS, bar.start)
    timer.daemon = True
    timer.start()
    try:
        yield bar.told
    finally:
        timer.cancel()
        bar.stop()
        _one.release()


def _nobody(_part: float | None) -> None:
    """Nobody looks."""


def _is_seen() -> bool:
    """Only what the command itself does is waited for, not what it does beside."""
    own = threading.current_thread() is threading.main_thread()
    return own and sys.stderr.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown", "")


class _Bar:
    """A bar that may not be there yet, or no more."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._part: float | None = None
        self._lock = threading.Lock()
        self._shown: Progress | None = None
        self._over = False

    def start(self) -> None:
        """Show it; done by a timer."""
        with self._lock:
            if not self._over:
                self._shown = _progress(self._part is not None)
                task = self._shown.add_task(self._what, total=None)
                if self._part is not None:
                    self._shown.update(task, total=1.0, completed=self._part)
                self._shown.start()

    def told(self, part: float | None) -> None:
        """So much is done by now."""
        self._part = part
        if self._shown is not None and part is not None:
            self._shown.update(self._shown.task_ids[0], total=1.0, completed=part)

    def stop(self) -> None:
        """Take it away again."""
        with self._lock:
            self._over = True
            if self._shown is not None:
                self._shown.stop()


def _progress(measured: bool) -> Progress:
    """A bar with what is left, where it is known how far it is; else with how long it has been."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.progress import TimeRemainingColumn as Remaining

    known = (TaskProgressColumn(), Remaining(), TextColumn("left"))
    return Progress(
        TextColumn("gpuwatch: {task.description}"), BarColumn(30),
        *(known if measured else (TimeElapsedColumn(),)),
        console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False,
    )  # fmt: skip
