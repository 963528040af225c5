"""Which processes still live, told by the kernel when one ends instead of asked of procfs in every second."""

from __future__ import annotations

import os
import resource
import select
import weakref
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from gpuwatch.jobs import proc

_MOST_WATCHED = 1024


@dataclass(slots=True)
class _Watched:
    """Open file descriptors of processes by pid, with the start time of each, and the epoll that they are in."""

    epoll: select.epoll = field(default_factory=select.epoll)
    pids: dict[int, int] = field(default_factory=dict)
    starts: dict[int, int] = field(default_factory=dict)

    def drop(self, descriptor: int) -> None:
        """Watch this process no more."""
        self.starts.pop(self.pids.pop(descriptor), None)
        os.close(descriptor)

    def close(self) -> None:
        """Watch nothing more."""
        for descriptor in list(self.pids):
            self.drop(descriptor)
        self.epoll.close()


class Lives:
    """A process is looked up once; from then on its pidfd says when it has ended. Not thread-safe.

    Where pidfds cannot be had – procfs is another pid namespace's, an old kernel, a limit on open files – every
    question is answered by procfs.
    """

    def __init__(self, procfs: str, most: int | None = None) -> None:
        self._procfs = procfs
        self._most = 0 if not _is_own(procfs) else _most_watched() if most is None else most
        self._watched = _Watched()
        weakref.finalize(self, self._watched.close)

    def refresh(self) -> None:
        """Hear of those that have ended; one system call."""
        if self._watched.pids:
            for descriptor, _ in self._watched.epoll.poll(0):
                self._watched.drop(descriptor)

    def has(self, pid: int, start: int) -> bool:
        """Whether the process with this start time lived at the last refresh, or lives now.

        Raises `Unavailable` where procfs will not say.
        """
        if self._watched.starts.get(pid) == start:
            return True
        return self._looks_alive(pid, start) and (self._watch(pid, start) or self._looks_alive(pid, start))

    def _looks_alive(self, pid: int, start: int) -> bool:
        found = proc.stat(self._procfs, pid)
        return found is not None and found.start == start and not found.dead

    def _watch(self, pid: int, start: int) -> bool:
        """Whether the process is watched now; looked at again once it is, in case its pid was reused meanwhile."""
        if len(self._watched.pids) >= self._most or pid in self._watched.starts:
            return False
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:
            return False
        confirmed = False
        self._watched.pids[descriptor], self._watched.starts[pid] = pid, start
        try:
            with suppress(OSError):
                self._watched.epoll.register(descriptor, select.EPOLLIN)
                confirmed = self._looks_alive(pid, start)
        finally:
            # What is not heard of, or not looked at again, must not count as living for ever.
            if not confirmed:
                self._watched.drop(descriptor)
        return confirmed


def _is_own(procfs: str) -> bool:
    """Whether the pids in this procfs are those that this process's own system calls mean."""
    try:
        return Path(procfs, "self").readlink() == Path(str(os.getpid()))
    except OSError:
        return False


def _most_watched() -> int:
    """Half of the descriptors that this process may have open; the sockets need some as well."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(_MOST_WATCHED, soft // 2)
