"""Running a command of Slurm: what it prints, and what happens to one that hangs, floods or fails."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from gpuwatch.errors import Unavailable
from gpuwatch.schedulers import slurm_command

ENV = {"PATH": os.environ["PATH"]}


def lines(script: str, timeout: float = 20, most: int = 2**20) -> list[str]:
    return list(slurm_command.lines(["sh", "-c", script], ENV, timeout, most))


def test_lines_come_without_their_ends() -> None:
    """The last may lack its own, and bytes that are no UTF-8 become marks."""
    assert ["a", "", "b", "\ufffdß"] == lines("printf 'a\\n\\nb\\n\\377\\303\\237'")


def test_nothing_printed_is_no_line() -> None:
    """A queue may be empty."""
    assert [] == lines("exit 0")


def test_a_command_that_fails_says_why() -> None:
    """By its own first words."""
    with pytest.raises(Unavailable, match=r"^sh: exit 1; sacct: error: no database$"):
        lines("echo; echo 'sacct: error: no database' >&2; echo more >&2; exit 1")


def test_a_warning_is_no_failure() -> None:
    """What is printed beside an answer does not matter."""
    assert ["a"] == lines("echo warning >&2; echo a")


def test_a_command_that_hangs_is_killed_with_what_it_started(tmp_path: Path) -> None:
    """In time; the pipe that it held is closed."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    begun = time.monotonic()

    with pytest.raises(Unavailable, match="no answer in time"):
        lines(f"echo a; sleep 60 >{pipe} & wait", timeout=0.5)
    os.set_blocking(reader, True)
    assert b"" == os.read(reader, 1)
    assert time.monotonic() - begun < 10
    os.close(reader)


def test_a_command_that_closes_its_output_and_stays_is_killed() -> None:
    """It has until the timeout to end."""
    with pytest.raises(Unavailable, match="does not end"):
        lines("exec >&- 2>&-; sleep 60", timeout=0.5)


def test_a_command_that_floods_is_killed() -> None:
    """Whatever it prints without end."""
    with pytest.raises(Unavailable, match="prints more than 100000 bytes"):
        lines("yes", most=100_000)


def test_a_line_without_end_is_bounded() -> None:
    """By the same limit."""
    with pytest.raises(Unavailable, match="prints more than"):
        lines("tr '\\0' a </dev/zero", most=100_000)


def test_a_reader_that_stops_ends_the_command() -> None:
    """Nothing is left running."""
    found = slurm_command.lines(["sh", "-c", "yes"], ENV, 20)

    assert "y" == next(iter(found))
    found.close()  # type: ignore[attr-defined]


def test_a_command_that_is_not_there_is_unavailable() -> None:
    """Its name is told."""
    with pytest.raises(Unavailable, match=r"^/no/sacct: cannot be started; No such file"):
        list(slurm_command.lines(["/no/sacct"], ENV, 5))


def test_the_environment_makes_output_the_same_for_everybody() -> None:
    """Times are Unix seconds, and formats that a user chose are gone."""
    outer = {
        "PATH": "/bin",
        "SQUEUE_FORMAT": "%i",
        "SACCT_FORMAT": "JobID",
        "TZ": "Europe/Berlin",
        "SLURM_CONF": "x",
    }
    found = slurm_command.environment(outer, "/etc/slurm.conf")

    assert {
        "PATH": "/bin", "TZ": "UTC", "LC_ALL": "C.UTF-8", "SLURM_TIME_FORMAT": "%s", "SLURM_BITSTR_LEN": "0",
        "SLURM_CONF": "/etc/slurm.conf",
    } == found  # fmt: skip
