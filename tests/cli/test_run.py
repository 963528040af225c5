"""`gpuwatch run`, with real commands: the job is known to the agent, and the command notices nothing."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuwatch.agent.messages import Declare, EndRun, StartRun
from gpuwatch.errors import Rejected
from tests.agent.listener import Listener, eventually, listening
from tests.cli.command import GPUWATCH, environment, gpuwatch, start

pytestmark = pytest.mark.integration


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Listener]:
    """An agent to register at."""
    with listening(tmp_path / "s") as listener:
        yield listener


def python(code: str) -> tuple[str, ...]:
    """A command that is a few lines of Python."""
    return (sys.executable, "-c", code)


def test_run_is_registered_declared_and_ended(agent: Listener) -> None:
    """By one process, the root, which is the command's parent; the command knows its job and its agent."""
    code = "import os; print(os.environ['GPUWATCH_JOB_ID'], os.environ['GPUWATCH_SOCKET'], os.getppid()); exit(3)"
    finished = gpuwatch(
        "run", "--name", "llama-ft", "--device-hours", "640", "--campaign", "x", "--socket", agent.path,
        "--", *python(code),
    )  # fmt: skip

    (root,) = {peer.pid for peer, _ in agent.heard}
    assert (3, f"run-1 {agent.path} {root}\n", "") == (finished.returncode, finished.stdout, finished.stderr)
    assert [StartRun("llama-ft"), Declare("device-hours=640h campaign=x"), EndRun(3)] == agent.messages


def test_estimate_in_the_environment_is_handed_over(agent: Listener) -> None:
    """As what it is, so that options outrank it; the agent judges it."""
    finished = gpuwatch(
        "run", "--name", "x", "--device-hours", "640", "--socket", agent.path, "--", "true",
        env=environment(GPUWATCH_ESTIMATE=" device-hours=500 campaign=ü\n"),
    )  # fmt: skip

    assert (0, "") == (finished.returncode, finished.stderr)
    handed_over = Declare("device-hours=500 campaign=ü", "environment")
    assert [StartRun("x"), handed_over, Declare("device-hours=640h"), EndRun(0)] == agent.messages


def test_options_of_the_command_are_its_own(agent: Listener) -> None:
    """With `--` and without; and a run without a name has that of its command."""
    assert gpuwatch("run", "--socket", agent.path, "echo", "--name", "y", "--").stdout == "--name y --\n"
    assert gpuwatch("run", "--socket", agent.path, "--", "echo", "--name", "y").stdout == "--name y\n"
    assert [StartRun("echo"), EndRun(0)] * 2 == agent.messages


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("sh", "-c", "exit 42"), 42),
        (("sh", "-c", "kill -KILL $$"), 137),
        (("sh", "-c", "kill -PIPE $$"), 141),
        (("no-such-command-here",), 127),
        (("/dev/null",), 126),
    ],
)
def test_exit_code_is_that_of_the_command(agent: Listener, command: tuple[str, ...], code: int) -> None:
    """As a shell shows it, and as the agent is told."""
    assert code == gpuwatch("run", "--socket", agent.path, "--", *command).returncode
    assert EndRun(code) == agent.messages[-1]


def test_command_runs_also_without_an_agent(tmp_path: Path) -> None:
    """That is said once; nobody loses a job by it."""
    code = "import os; print(os.environ.get('GPUWATCH_JOB_ID')); exit(5)"
    finished = gpuwatch("run", "--wall", "2d", "--socket", str(tmp_path / "none"), "--", *python(code))

    assert (finished.returncode, finished.stdout) == (5, "None\n")
    assert re.findall("no agent at", finished.stderr) == ["no agent at"]
    assert "runs all the same" in finished.stderr


def test_command_runs_also_when_the_agent_refuses(agent: Listener) -> None:
    """Its reason is said."""
    agent.refusal = Rejected("run: not today")
    finished = gpuwatch("run", "--socket", agent.path, "--", "echo", "trained")

    assert (finished.returncode, finished.stdout) == (0, "trained\n")
    assert "run: not today; it runs all the same" in finished.stderr


def test_declaration_that_does_not_parse_is_found_before_the_command_starts(
    agent: Listener, tmp_path: Path
) -> None:
    """Nobody wants to learn after a week that nothing was declared."""
    finished = gpuwatch("run", "--energy", "450", "--socket", agent.path, "--", "touch", str(tmp_path / "started"))

    assert (finished.returncode, agent.messages, (tmp_path / "started").exists()) == (64, [], False)
    assert "energy" in finished.stderr


def test_agent_that_is_gone_at_the_end_does_not_change_the_exit_code(tmp_path: Path) -> None:
    """The agent itself notices that the process has ended."""
    with listening(tmp_path / "s") as agent:
        running = start("run", "--socket", agent.path, "--", "cat", stdin=subprocess.PIPE)
        assert eventually(lambda: len(agent.messages) == 1, 10)
    out, err = running.communicate("trained\n", timeout=10)

    assert (running.returncode, out) == (0, "trained\n")
    assert "its end is not recorded" in err


HANDLER = """
import signal, sys, time
seen = []
for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"):
    signal.signal(getattr(signal, name), lambda number, frame: seen.append(number))
print("ready", flush=True)
while not seen:
    time.sleep(0.01)
time.sleep(0.15)
print(*map(int, seen), flush=True)
sys.exit(9)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signal_is_passed_on_and_the_command_decides(agent: Listener, number: signal.Signals) -> None:
    """It may save a checkpoint first; its exit code is the job's."""
    running = start("run", "--socket", agent.path, "--", *python(HANDLER))
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    running.send_signal(number)
    out, err = running.communicate(timeout=10)

    assert (9, f"{int(number)}\n", "") == (running.returncode, out, err)
    assert EndRun(9) == agent.messages[-1]


def test_signal_that_kills_the_command_is_its_exit_code(agent: Listener) -> None:
    """128 + n, and the end is recorded."""
    running = start("run", "--socket", agent.path, "--", "sleep", "60")
    assert eventually(lambda: bool(children_of(running.pid)), 10)
    running.terminate()

    assert running.wait(10) == 143
    assert EndRun(143) == agent.messages[-1]
    for stream in (running.stdout, running.stderr):
        assert stream is not None
        stream.close()


def test_interrupt_from_the_terminal_arrives_once(agent: Listener) -> None:
    """The terminal sends it to the whole group: passed on as well, it would interrupt the saving, too."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(GPUWATCH[0], [*GPUWATCH, "run", "--socket", agent.path, "--", *python(HANDLER)], environment())
    said = read_until(terminal, b"ready")
    os.write(terminal, b"\x03")
    said += read_until(terminal, b"2")
    _, status = os.waitpid(pid, 0)
    said += read_until(terminal, None)
    os.close(terminal)

    assert os.waitstatus_to_exitcode(status) == 9
    assert (said, re.findall(rb"\d[\d ]*", said.partition(b"ready")[2])) == (said, [b"2"])
    assert EndRun(9) == agent.messages[-1]


def test_command_starts_with_the_signals_of_its_caller(agent: Listener) -> None:
    """Nothing is blocked, and what the caller ignored stays ignored."""
    code = "grep -E 'Sig(Blk|Ign)' /proc/self/status"
    plain = subprocess.run(["sh", "-c", f"trap '' HUP; {code}"], capture_output=True, text=True, check=True)
    arguments = [*GPUWATCH, "run", "--socket", agent.path, "--", "sh", "-c", code]
    wrapped = subprocess.run(
        ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh", *arguments],
        env=environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert masks(plain.stdout) == masks(wrapped.stdout)


def test_orphans_of_the_command_stay_below_the_root(agent: Listener) -> None:
    """What the command leaves in the background is still a descendant of the run's root, and no zombie later."""
    code = (
        "import os, time\n"
        "out, into = os.pipe()\n"
        "if os.fork() == 0:\n"
        "    parent = os.getpid()\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        while os.getppid() == parent: time.sleep(0.005)\n"
        "        os.write(into, str(os.getppid()).encode())\n"
        "        os._exit(0)\n"
        "    time.sleep(0.05)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "print(os.read(out, 20).decode() == str(os.getppid()))\n"
    )

    assert gpuwatch("run", "--socket", agent.path, "--", *python(code)).stdout == "True\n"


def masks(status: str) -> list[int]:
    """The signals in the lines of status, but for two that the C library keeps to itself."""
    return [int(line.split()[1], 16) & 0x7FFFFFFF for line in status.splitlines()]


def children_of(pid: int) -> str:
    """The children of a process, as the kernel lists them."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text()


def read_until(terminal: int, mark: bytes | None) -> bytes:
    """What a terminal shows up to a mark, or to its end."""
    said = b""
    deadline = time.monotonic() + 10
    while (mark is None or mark not in said) and time.monotonic() < deadline:
        try:
            more = os.read(terminal, 1024)
        except OSError:
            break
        if not more:
            break
        said += more
    return said
