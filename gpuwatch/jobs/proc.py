"""Small readers of procfs: pure functions of its root and a pid. What a process wrote about itself is not read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from os import fsdecode
from pathlib import Path

from gpuwatch.errors import Unavailable

_DEAD = frozenset("ZXx")
# The id that a container runtime gives: alone, behind the runtime's prefix, or as a systemd scope.
_CONTAINER = re.compile(r"(?:(?P<prefix>.*)[-:])?(?P<id>[0-9a-f]{64})(?:\.scope)?")
_USER = re.compile(r"user-([0-9]+)\.slice")


@dataclass(frozen=True, slots=True)
class Stat:
    """Who a process is: `start` (clock ticks since boot) tells it from a later one with the same pid."""

    pid: int
    state: str
    ppid: int
    group: int
    session: int
    start: int

    @property
    def dead(self) -> bool:
        """Whether only its exit code is left, waiting for its parent."""
        return self.state in _DEAD


def stat(procfs: str, pid: int) -> Stat | None:
    """Who a process is, None where there is none; `Unavailable` where procfs will not say."""
    line = _read(procfs, pid, "stat")
    if line is None:
        return None
    # The command's name comes second, in brackets, and may itself contain brackets, blanks and line breaks.
    words = line[line.rfind(b")") + 1 :].split()
    try:
        return Stat(pid, words[0].decode(), int(words[1]), int(words[2]), int(words[3]), int(words[19]))
    except (IndexError, ValueError) as exc:
        raise Unavailable(f"{procfs}/{pid}/stat: not in the form that Linux gives it; {exc}") from exc


def uid(procfs: str, pid: int) -> int | None:
    """The real user id of a process, None where there is no such process."""
    found = re.search(rb"^Uid:\t(\d+)", _read(procfs, pid, "status") or b"", re.MULTILINE)
    return int(found[1]) if found else None


def cgroups(procfs: str, pid: int) -> tuple[str, ...]:
    """The control groups of a process, as paths, in all hierarchies (v2 has one); none where it is gone."""
    lines = (_read(procfs, pid, "cgroup") or b"").splitlines()
    return tuple(fsdecode(line.split(b":", 2)[2]) for line in lines if line.count(b":") >= 2)


def children(procfs: str, pid: int) -> tuple[int, ...]:
    """The pids of the children of a process's main thread; none where the kernel does not list them."""
    words = (_read(procfs, pid, f"task/{pid}/children") or b"").split()
    return tuple(int(word) for word in words if word.isdigit())


def processes(procfs: str) -> Iterator[Stat]:
    """Every process that the agent may look at."""
    for entry in Path(procfs).iterdir():
        if entry.name.isdecimal():
            with suppress(Unavailable):
                if (found := stat(procfs, int(entry.name))) is not None:
                    yield found


def shows_all(procfs: str) -> bool:
    """Whether procfs shows every process: not within a container's pid namespace, nor mounted with hidepid."""
    try:
        return _read(procfs, 2, "comm") == b"kthreadd\n"
    except Unavailable:
        return False


def container(paths: tuple[str, ...]) -> str | None:
    """The innermost container among control groups: the first 12 characters of its id, as its runtime shows it.

    Users may make and name groups of their own below `user.slice`: an id from there has `@uid` behind it, so
    that nobody passes for somebody else's container.
    """
    found = None
    for path in paths:
        owner = _USER.search(path)
        for segment in path.split("/"):
            match = _CONTAINER.fullmatch(segment)
            if match and not (match["prefix"] or "").endswith("conmon"):
                found = match["id"][:12] + (f"@{owner[1]}" if owner else "")
        if found is not None:
            break
    return found


def container_group(paths: tuple[str, ...]) -> str | None:
    """The control group of the container that `container` names; None where it is out of the agent's sight."""
    for path in paths:
        segments = path.split("/")
        for place in range(len(segments), 0, -1):
            match = _CONTAINER.fullmatch(segments[place - 1])
            if match and not (match["prefix"] or "").endswith("conmon"):
                return None if ".." in segments else "/".join(segments[:place])
    return None


def _read(procfs: str, pid: int, name: str) -> bytes | None:
    path = f"{procfs}/{pid}/{name}"
    try:
        return Path(path).read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    except OSError as exc:
        raise Unavailable(f"{path}: {exc.strerror or exc}; the agent may not look at this process") from exc
