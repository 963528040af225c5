"""A terminal for tests: a command runs in it, keys are typed, and what is on its screen can be read."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable
from typing import Any

from rich.cells import cell_len

_SEQUENCE = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])")
_PROGRAM = "from gpuwatch.cli import main; main()"


class Terminal:
    """Runs `gpuwatch` with these arguments on a screen of so many columns and lines."""

    def __init__(self, *arguments: str, columns: int = 80, lines: int = 24, **environment: str) -> None:
        self.columns, self.lines = columns, lines
        self.written = ""
        self.styles: list[str] = []
        self.alternate = False
        self._rows: dict[int, str] = {}
        self._at = (1, 1)
        self._rest = ""
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
            kept = {
                name: text for name, text in os.environ.items() if not name.startswith(("GPUWATCH", "NO_COLOR"))
            }
            os.execve(
                sys.executable, [sys.executable, "-c", _PROGRAM, *arguments],
                kept | {"TERM": "xterm-256color", "PYTHONUTF8": "1"} | environment,
            )  # fmt: skip
        self.resize(columns, lines)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: Any) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._terminal)

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._terminal, text.encode())

    def resize(self, columns: int, lines: int) -> None:
        """Make the screen another size."""
        self.columns, self.lines = columns, lines
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def shows(self, wanted: str | Callable[[list[str]], bool], timeout: float = 20.0) -> list[str]:
        """Wait until a text is on the screen, or something holds of its rows; gives the rows."""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            rows = self.rows()
            if wanted in "\n".join(rows) if isinstance(wanted, str) else wanted(rows):
                return rows
            if not self._read(0.2):
                break
        rows = self.rows()
        assert wanted in "\n".join(rows) if isinstance(wanted, str) else wanted(rows), "\n".join(rows)
        return rows

    def wait(self, timeout: float = 20.0) -> int:
        """Wait for the end of the command; its exit code."""
        until = time.monotonic() + timeout
        while time.monotonic() < until and self._read(0.2):
            pass
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def read_for(self, seconds: float) -> int:
        """Read on for so long; how many characters were written."""
        before, until = len(self.written), time.monotonic() + seconds
        while time.monotonic() < until and self._read(until - time.monotonic()):
            pass
        return len(self.written) - before

    def rows(self) -> list[str]:
        """What is on the screen, line by line."""
        return [self._rows.get(place, "").rstrip() for place in range(1, self.lines + 1)]

    def _read(self, timeout: float) -> bool:
        """Read what comes within the time; False at the end."""
        if not select.select([self._terminal], [], [], max(0.0, timeout))[0]:
            return True
        try:
            text = os.read(self._terminal, 65_536).decode("utf-8", "replace")
        except OSError:
            return False
        self.written += text
        self._feed(self._rest + text)
        return bool(text)

    def _feed(self, text: str) -> None:
        at = 0
        while at < len(text):
            found = _SEQUENCE.match(text, at)
            if found is not None:
                self._obey(found[1], found[2])
                at = found.end()
            elif text[at] == "\x1b":
                break
            elif text[at] in "\r\n":
                self._at = (self._at[0] + (text[at] == "\n"), 1)
                at += 1
            else:
                end = next((place for place in range(at, len(text)) if text[place] in "\x1b\r\n"), len(text))
                self._put(text[at:end])
                at = end
        self._rest = text[at:]

    def _obey(self, parameters: str, command: str) -> None:
        row, column = self._at
        if command == "H":
            self._at = tuple(int(each) for each in parameters.split(";"))  # type: ignore[assignment]
        elif command == "J":
            self._rows.clear()
        elif command == "K":
            self._rows[row] = self._rows.get(row, "")[: column - 1]
        elif command == "m":
            self.styles.append(parameters)
        elif parameters == "?1049":
            self.alternate = command == "h"
            self._rows.clear()

    def _put(self, text: str) -> None:
        row, column = self._at
        line = self._rows.get(row, "").ljust(column - 1)
        assert column - 1 + cell_len(text) <= self.columns or not self.alternate, f"too wide: {text!r}"
        self._rows[row] = line[: column - 1] + text + line[column - 1 + len(text) :]
        self._at = (row, column + len(text))
