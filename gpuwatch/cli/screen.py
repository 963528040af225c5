"""A terminal that a program has to itself: keys as they are pressed, only lines that changed are written again."""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import termios
import tty
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

from gpuwatch.cli.top_views import Line

_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l\x1b[2J", "\x1b[?25h\x1b[?1049l"
_STYLES = {"head": "\x1b[7m", "title": "\x1b[1m", "warn": "\x1b[33m", "bad": "\x1b[31m"}
_PLAIN = {"head": "\x1b[7m", "title": "\x1b[1m"}
_RESET = "\x1b[0m"
KEYS = {
    "\x1b[A": "<up>", "\x1b[B": "<down>", "\x1bOA": "<up>", "\x1bOB": "<down>", "\x1b[5~": "<page up>",
    "\x1b[6~": "<page down>", "\x1b": "<escape>", "\r": "<enter>", "\n": "<enter>", "\x7f": "<back>",
    "\x08": "<back>", "\x04": "<quit>",
}  # fmt: skip
"""What terminals send, and how it is called."""

_KEY = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z~]|O[A-Za-z])?|.", re.DOTALL)
_READ = 256


def is_usable() -> bool:
    """Whether there is a terminal that can be written to line by line, and keys come from it."""
    return (
        sys.stdin.isatty()
        and sys.stdout.isatty()
        and os.environ.get("TERM", "dumb") not in ("dumb", "unknown", "")
    )


def keys_in(typed: str) -> list[str]:
    """The keys of what was read at once, one by one; a sequence of a terminal that nobody knows is none."""
    return [KEYS.get(each, each) for each in _KEY.findall(typed) if each in KEYS or not each.startswith("\x1b")]


class Screen:
    """The terminal of standard input and output, given back as it was however the program ends."""

    def __enter__(self) -> Screen:
        self._input, self._output = sys.stdin.fileno(), sys.stdout.fileno()
        self._styles = _PLAIN if os.environ.get("NO_COLOR") else _STYLES
        self._drawn: list[Line] = []
        self._size = (0, 0)
        self._typed: list[str] = []
        self._before: Any = termios.tcgetattr(self._input)
        self._wakes, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        signals = (signal.SIGWINCH, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
        self._handlers = {number: signal.signal(number, self._signalled) for number in signals}
        tty.setcbreak(self._input)
        modes = termios.tcgetattr(self._input)
        modes[6][termios.VSUSP] = b"\0"  # a program that is stopped would leave the screen behind
        termios.tcsetattr(self._input, termios.TCSANOW, modes)
        self._write(_ENTER)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write(_RESET + _LEAVE)
        termios.tcsetattr(self._input, termios.TCSADRAIN, self._before)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        os.close(self._wakes)
        os.close(self._wake)

    def _signalled(self, number: int, _frame: FrameType | None) -> None:
        with suppress(BlockingIOError):
            os.write(self._wake, b"w" if number == signal.SIGWINCH else b"q")

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        try:
            size = os.get_terminal_size(self._output)
        except OSError:
            return 80, 24
        return max(20, size.columns or 80), max(6, size.lines or 24)

    def draw(self, lines: Sequence[Line]) -> None:
        """Show the lines; what is on the screen already is not written."""
        if self._size != self.size:
            self._size, self._drawn = self.size, []
            self._write(f"{_RESET}\x1b[2J")
        out = []
        for place, line in enumerate(lines):
            if place >= len(self._drawn) or self._drawn[place] != line:
                style = self._styles.get(line.style, "")
                out.append(f"\x1b[{place + 1};1H{style}{line.text}{_RESET if style else ''}\x1b[K")
        self._drawn = list(lines)
        self._write("".join(out))

    def key(self, timeout: float) -> str | None:
        """What was typed, a key of `KEYS`, `<resize>` or `<quit>`; None where nothing comes within the time."""
        if self._typed:
            return self._typed.pop(0)
        ready, _, _ = select.select([self._input, self._wakes], [], [], max(0.0, timeout))
        if self._wakes in ready:
            return "<quit>" if b"q" in os.read(self._wakes, _READ) else "<resize>"
        if not ready:
            return None
        typed = os.read(self._input, _READ).decode("utf-8", "ignore")
        self._typed = keys_in(typed) if typed else ["<quit>"]
        return self._typed.pop(0) if self._typed else None

    def _write(self, text: str) -> None:
        rest = text.encode(sys.stdout.encoding or "utf-8", "replace")
        while rest:
            rest = rest[os.write(self._output, rest) :]
