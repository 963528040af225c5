"""The end of a process is heard from the kernel; where that cannot be, procfs is asked."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gpuwatch.jobs import proc
from gpuwatch.jobs.lives import Lives
from tests.jobs.procfs import FakeProcfs


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits to be ended."""
    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    yield process
    assert process.stdin is not None
    process.stdin.close()
    process.wait(10)


def start_of(pid: int) -> int:
    found = proc.stat("/proc", pid)
    assert found is not None
    return found.start


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_end_of_a_process_is_heard_at_the_next_refresh(child: subprocess.Popen[bytes]) -> None:
    """Until then it counts as living; a zombie has ended."""
    lives, start = Lives("/proc"), start_of(child.pid)
    before = lives.has(child.pid, start)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    unheard = lives.has(child.pid, start)
    lives.refresh()

    assert (before, unheard, lives.has(child.pid, start)) == (True, True, False)


def test_living_process_costs_procfs_nothing(child: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """What was looked up once is not looked up again: procfs may even be gone meanwhile."""
    (tmp_path / "self").symlink_to(str(os.getpid()))
    (tmp_path / str(child.pid)).symlink_to(f"/proc/{child.pid}")
    lives, start = Lives(str(tmp_path)), start_of(child.pid)
    first = lives.has(child.pid, start)
    (tmp_path / str(child.pid)).unlink()
    lives.refresh()

    assert (first, lives.has(child.pid, start)) == (True, True)


def test_another_start_time_is_another_process(child: subprocess.Popen[bytes]) -> None:
    """Also where a process with that pid is being watched."""
    lives, start = Lives("/proc"), start_of(child.pid)

    assert lives.has(child.pid, start)
    assert not lives.has(child.pid, start - 1)


def test_procfs_of_another_namespace_is_asked_each_time(tmp_path: Path) -> None:
    """Its pids mean other processes here, so that no pidfd may be taken for them."""
    procfs = FakeProcfs(tmp_path)
    procfs.add(os.getpid(), start=77)
    lives = Lives(str(tmp_path))
    before = lives.has(os.getpid(), 77)
    procfs.end(os.getpid())
    lives.refresh()

    assert (before, lives.has(os.getpid(), 77)) == (True, False)


def test_no_more_descriptors_are_taken_than_there_is_room_for() -> None:
    """Beyond that procfs is asked, and the answers are the same."""
    children = [
        subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
        for _ in range(4)
    ]
    lives, before = Lives("/proc", most=2), descriptors()
    answers = [lives.has(each.pid, start_of(each.pid)) for each in children]
    taken = descriptors() - before
    for each in children:
        each.communicate()

    assert (answers, taken) == ([True] * 4, 2)


def test_descriptors_are_given_back(child: subprocess.Popen[bytes]) -> None:
    """Nothing stays open of what is not needed any more."""
    gc.collect()
    before = descriptors()
    lives = Lives("/proc")
    lives.has(child.pid, start_of(child.pid))
    during = descriptors()
    del lives
    gc.collect()

    assert (during - before, descriptors() - before) == (2, 0)


def test_process_that_cannot_be_heard_of_is_asked_for_each_time(child: subprocess.Popen[bytes]) -> None:
    """The kernel refuses the watch: the process does not count as living for ever."""
    lives, start = Lives("/proc"), start_of(child.pid)
    lives._watched.epoll.close()
    with suppress(ValueError):
        lives.has(child.pid, start)

    assert (lives._watched.pids, lives._watched.starts) == ({}, {})
