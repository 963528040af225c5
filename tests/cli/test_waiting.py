"""Whoever waits at a terminal sees a bar once it takes a second; a pipe never does."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys

import pytest

from gpuwatch.cli.waiting import waiting
from tests.cli.command import environment, gpuwatch

_PROGRAM = """
import time
from gpuwatch.cli.waiting import waiting
with waiting("counting") as told:
    for number in range({steps}):
        time.sleep(0.1)
        told(number / {steps})
        with waiting("inner"):
            pass
print("done")
"""


def seen(steps: int, term: str = "xterm", **more: str) -> tuple[str, str]:
    """What a program writes to a pipe, and to a terminal as its standard error."""
    leader, follower = pty.openpty()
    ran = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM.format(steps=steps)], stdout=subprocess.PIPE, stderr=follower, text=True,
        env=environment(TERM=term, **more),
    )  # fmt: skip
    os.close(follower)
    told, _ = ran.communicate(timeout=30)
    shown = b""
    while select.select([leader], [], [], 0.2)[0]:
        try:
            shown += os.read(leader, 65_536)
        except OSError:
            break
    os.close(leader)
    return told, shown.decode()


@pytest.mark.integration
def test_a_bar_comes_after_a_second_and_goes_again() -> None:
    """On standard error alone; of one within another the outer."""
    told, shown = seen(20)

    assert "done\n" == told
    assert "gpuwatch: counting" in shown
    assert "inner" not in shown
    assert "%" in shown


@pytest.mark.integration
def test_what_is_done_at_once_shows_nothing() -> None:
    """Nor does a terminal that can do no more than print."""
    assert ("done\n", "") == seen(3)
    assert ("done\n", "") == seen(15, term="dumb")


@pytest.mark.integration
def test_without_colour_the_bar_has_none() -> None:
    """Only the cursor moves."""
    _, shown = seen(15, NO_COLOR="1")

    assert "counting" in shown
    assert "\x1b[3" not in shown
    assert "\x1b[9" not in shown


def test_a_pipe_is_told_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither on standard output nor on standard error."""
    with waiting("something") as told:
        told(0.5)

    assert ("", "") == tuple(capsys.readouterr())


@pytest.mark.integration
def test_a_command_in_a_pipe_prints_its_answer_alone(tmp_path: object) -> None:
    """As a whole: no bar in it."""
    ran = gpuwatch("import", "sacct", "-", "--ledger", f"{tmp_path}/l.db", input="JobID|State|Submit|Start|End\n")

    assert "\x1b" not in ran.stdout + ran.stderr
