"""The pretended training job: what it does in which order, on a clock of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gpuwatch.devices.demo_driver import holders
from gpuwatch.devices.demo_load import ABORTED, Course, Ended, World, parse, run


class Stage:
    """A clock that moves when somebody sleeps, and what happened when."""

    def __init__(self, driver: Path, orphaned: Callable[[], bool] = lambda: False) -> None:
        self.now = 0.0
        self.progress: list[tuple[int, int]] = []
        self.phases: list[str] = []
        self._driver = driver
        self.world = World(
            lambda: self.now, self._sleep, orphaned, lambda step, total: self.progress.append((step, total))
        )

    def _sleep(self, seconds: float) -> None:
        self.now += seconds
        (holder,) = holders(self._driver, 0)
        if not self.phases or self.phases[-1] != holder.load.phase:
            self.phases.append(holder.load.phase)


def test_it_takes_its_steps_and_reports_them(tmp_path: Path) -> None:
    """Start, every fifth step and the last are reported; then the devices are free and the exit code is 0."""
    stage = Stage(tmp_path)

    code = run(Course(tmp_path, (0, 1), steps=12, step_seconds=2.0), stage.world)

    assert code == 0
    assert stage.progress == [(0, 12), (5, 12), (10, 12), (12, 12)]
    assert stage.now == pytest.approx(24, rel=0.05)
    assert stage.phases == ["compute"]
    assert holders(tmp_path, 0) == holders(tmp_path, 1) == ()


def test_it_stalls_between_steps(tmp_path: Path) -> None:
    """Before every fourth step it waits a second for its input."""
    stage = Stage(tmp_path)

    run(Course(tmp_path, (0,), steps=8, stall_every=4), stage.world)

    assert stage.phases == ["compute", "stall", "compute", "stall", "compute"]
    assert stage.now == pytest.approx(10, rel=0.05)


def test_it_hangs_and_is_aborted_in_the_end(tmp_path: Path) -> None:
    """After its time it spins without progress, until its own watchdog ends it."""
    stage = Stage(tmp_path)

    code = run(Course(tmp_path, (0,), steps=300, hang_after=30, hang_seconds=600), stage.world)

    assert code == ABORTED
    assert stage.phases == ["compute", "hang"]
    assert stage.progress[-1][0] < 35
    assert stage.now == pytest.approx(630, abs=2)


def test_an_idle_holder_ends_with_its_parent(tmp_path: Path) -> None:
    """It holds the device, runs nothing, reports nothing, and does not outlive the demo."""
    stage = Stage(tmp_path, orphaned=lambda: stage.now >= 5000)

    with pytest.raises(Ended):
        run(Course(tmp_path, (0,), idle=True), stage.world)

    assert stage.phases == ["idle"]
    assert stage.progress == []
    assert holders(tmp_path, 0) == ()


def test_the_command_line_is_the_course() -> None:
    """Every option arrives."""
    course = parse(["--driver", "/d", "--devices", "4,5", "--steps", "9", "--hang-after", "30", "--idle"])

    assert course == Course(Path("/d"), (4, 5), steps=9, hang_after=30.0, idle=True)


@pytest.mark.integration
def test_as_a_process_it_holds_its_device_until_it_is_told_to_end(tmp_path: Path) -> None:
    """SIGTERM gives the device back at once."""
    command = [sys.executable, "-m", "gpuwatch.devices.demo_load", "--driver", str(tmp_path)]
    with subprocess.Popen([*command, "--devices", "0", "--idle"], stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 20
        while not (found := holders(tmp_path, 0)) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _out, errors = process.communicate(timeout=10)

    assert [holder.pid for holder in found] == [process.pid], errors
    assert process.returncode == 128 + signal.SIGTERM
    assert list((tmp_path / "0").iterdir()) == []
