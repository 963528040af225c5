"""The demo's scenario and its jobs as processes."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gpuwatch.cli.demo import DemoJob, DemoJobs, scenario
from gpuwatch.devices.demo_load import Course, parse

JOBS = {job.name: job for job in scenario(Path("/driver"), Path("/agent.sock"))}


def course(name: str) -> Course:
    """What the job of that name will do."""
    command = JOBS[name].command
    return parse(command[command.index("gpuwatch.devices.demo_load") + 1 :])


def declared_device_seconds(name: str) -> float:
    """What it declares."""
    command = JOBS[name].command
    return 3600 * float(command[command.index("--device-hours") + 1])


def needed_device_seconds(name: str) -> float:
    """What its course takes, on all of its devices."""
    its = course(name)
    stalls = its.steps // its.stall_every if its.stall_every else 0
    return len(its.devices) * (its.steps * its.step_seconds + stalls)


def until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def test_every_job_is_a_real_run_at_the_socket() -> None:
    """Each one goes through `gpuwatch run` to the agent's socket, with its name."""
    for name, job in JOBS.items():
        assert job.command[:6] == (sys.executable, "-m", "gpuwatch", "run", "--name", name)
        assert job.command[job.command.index("--socket") + 1] == "/agent.sock"
        assert course(name).driver == Path("/driver")


def test_one_job_overruns_and_the_others_that_declare_do_not() -> None:
    """`llama-ft` needs twice what it declares, and passes it with tolerance within three minutes."""
    crossing = 1.1 * declared_device_seconds("llama-ft") / len(course("llama-ft").devices)

    assert needed_device_seconds("llama-ft") > 2 * declared_device_seconds("llama-ft")
    assert 60 < crossing < 180
    for name in ("resnet-ok", "bert-hot"):
        assert needed_device_seconds(name) < 0.9 * declared_device_seconds(name)


def test_no_device_is_given_twice_and_one_stays_free() -> None:
    """Eight devices: seven in use by one job each, the last by nobody."""
    used = sorted(index for name in JOBS for index in course(name).devices)

    assert used == [0, 1, 2, 3, 4, 5, 6]


def test_the_scenario_shows_idling_hanging_and_stalling() -> None:
    """A notebook that declares nothing and idles, a job that hangs, a job that waits for input."""
    assert course("notebook").idle
    assert "--device-hours" not in JOBS["notebook"].command
    assert course("allreduce-hang").hang_after == 30
    assert course("resnet-ok").stall_every > 0


def script(body: str) -> tuple[str, ...]:
    """A small Python process."""
    return (sys.executable, "-S", "-c", body)


@pytest.mark.integration
def test_a_job_that_ended_begins_again_after_its_pause(tmp_path: Path) -> None:
    """Not before; and what it printed is in its log."""
    jobs = DemoJobs([DemoJob("short", "", script("print('seen')"), pause_seconds=20)], tmp_path / "logs")
    jobs.start()

    ended = until(lambda: jobs.poll(now=100.0) == [])
    log = (tmp_path / "logs" / "short.log").read_text()
    waiting = jobs.poll(now=119.0)
    again = jobs.poll(now=120.0)
    jobs.stop()

    assert ended
    assert log == "seen\n"
    assert waiting == []
    assert again == ["short"]


@pytest.mark.integration
def test_stop_ends_also_what_does_not_want_to(tmp_path: Path) -> None:
    """SIGTERM first; what ignores it is killed with all that belongs to it."""
    stubborn = script(
        "import os, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = os.fork()\n"
        "if child: print(os.getpid(), child, flush=True)\n"
        "time.sleep(60)"
    )
    willing = script("import os, time; print(os.getpid(), flush=True); time.sleep(60)")
    jobs = DemoJobs([DemoJob("stubborn", "", stubborn), DemoJob("willing", "", willing)], tmp_path)
    jobs.start()
    logs = [tmp_path / "stubborn.log", tmp_path / "willing.log"]
    started = until(lambda: all(log.read_text().endswith("\n") for log in logs))
    pids = [int(word) for log in logs for word in log.read_text().split()]

    jobs.stop(timeout=0.2)

    assert started
    assert len(pids) == 3
    assert until(lambda: not any(alive(pid) for pid in pids))
    assert jobs.poll(now=1e12) == []


def alive(pid: int) -> bool:
    """Whether the process still runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_stopping_twice_or_before_the_start_is_harmless(tmp_path: Path) -> None:
    """Ctrl-C may come at any time."""
    jobs = DemoJobs([], tmp_path)

    jobs.stop()
    jobs.stop()

    assert jobs.poll(now=0.0) == []
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
