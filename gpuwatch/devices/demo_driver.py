"""The pretended driver of the demo: a directory in which a process opens device `k` with a file `k/PID`.

The file says what the process does with the device. As with a real driver, a process that has ended holds
nothing, whatever it left behind. Standard library only: the demo's workloads stay small.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

PHASES = ("idle", "compute", "stall", "hang")


@dataclass(frozen=True, slots=True)
class Load:
    """What one process does with a device: one of `PHASES`, how hard (0 to 1), and the memory it holds."""

    phase: str = "idle"
    intensity: float = 0.0
    memory_bytes: int = 0


class Holder(NamedTuple):
    """A living process that has a device open."""

    pid: int
    load: Load


class Handle:
    """A device as one process has it open; `set` says what the process does with it, `close` gives it back."""

    def __init__(self, directory: Path, index: int, pid: int | None = None, procfs: str = "/proc") -> None:
        self._pid = os.getpid() if pid is None else pid
        self._start = process_start(self._pid, procfs)
        self._path = directory / str(index) / str(self._pid)
        self._fresh = self._path.with_name(f".{self._pid}")
        self._path.parent.mkdir(parents=True, exist_ok=True)

    def set(self, load: Load) -> None:
        """Replace what the file says, in one step: a reader sees the old or the new."""
        said = json.dumps({"pid_start": self._start, **asdict(load)})
        self._fresh.write_text(said, encoding="utf-8")
        self._fresh.replace(self._path)

    def close(self) -> None:
        """Hold the device no longer."""
        self._path.unlink(missing_ok=True)
        self._fresh.unlink(missing_ok=True)


def process_start(pid: int, procfs: str = "/proc") -> int | None:
    """When a process began, in clock ticks since boot; None where there is none that still runs."""
    try:
        stat = Path(procfs, str(pid), "stat").read_bytes()
    except OSError:
        return None
    # The name of the command is in parentheses and may hold anything, also blanks and parentheses.
    fields = stat[stat.rfind(b")") + 2 :].split()
    if len(fields) < 20 or fields[0] in (b"Z", b"X"):
        return None
    return int(fields[19])


def holders(directory: Path, index: int, procfs: str = "/proc") -> tuple[Holder, ...]:
    """The processes that have a device open now, by pid; what dead ones left behind is removed."""
    return tuple(sorted(_living(directory / str(index), procfs)))


def _living(files: Path, procfs: str) -> Iterator[Holder]:
    with suppress(FileNotFoundError):
        for path in files.iterdir():
            if not path.name.isdecimal():
                continue
            said = _said(path)
            start = process_start(int(path.name), procfs)
            if start is None or (said is not None and said.get("pid_start") != start):
                path.unlink(missing_ok=True)
            elif said is not None:
                yield Holder(int(path.name), _load(said))


def _said(path: Path) -> Mapping[str, Any] | None:
    try:
        said = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return said if isinstance(said, dict) else None


def _load(said: Mapping[str, Any]) -> Load:
    phase, intensity, memory = said.get("phase"), said.get("intensity"), said.get("memory_bytes")
    return Load(
        phase if isinstance(phase, str) and phase in PHASES else "idle",
        min(1.0, max(0.0, float(intensity))) if isinstance(intensity, int | float) else 0.0,
        max(0, memory) if isinstance(memory, int) else 0,
    )
