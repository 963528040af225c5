"""`gpuwatch run --progress-regex`, with real commands: all output arrives, and progress is found in it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from gpuwatch.agent.messages import EndRun, ReportProgress
from tests.agent.listener import Listener, eventually, listening
from tests.cli.command import GPUWATCH, environment, gpuwatch, start
from tests.cli.test_run import HANDLER, read_until

pytestmark = pytest.mark.integration

STEP = r"step (?P<step>\d+)/(?P<total>\d+)"
HUNG = r"(?P<step>(\w+\s?)+)$"


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Listener]:
    """An agent to report to."""
    with listening(tmp_path / "s") as listener:
        yield listener


def watched(agent: Listener, code: str, regex: str = STEP, options: Sequence[str] = ()) -> list[str]:
    """The arguments that run a few lines of Python and look for progress in what they print."""
    known = ["run", "--socket", agent.path, "--progress-regex", regex, *options]
    return [*known, "--", sys.executable, "-c", code]


def progress_of(agent: Listener) -> list[tuple[float, float | None]]:
    """What was reported."""
    return [(each.step, each.total) for each in agent.messages if isinstance(each, ReportProgress)]


def test_progress_is_reported_before_the_run_ends(agent: Listener) -> None:
    """By a process of the run; the last line counts also where nothing ends it."""
    finished = gpuwatch(*watched(agent, "print('step 3/9\\nloss 1\\nstep 4/9', end=''); exit(3)"))

    assert (3, "step 3/9\nloss 1\nstep 4/9", "") == (finished.returncode, finished.stdout, finished.stderr)
    assert (4.0, 9.0) == progress_of(agent)[-1]
    assert EndRun(3) == agent.messages[-1]


@pytest.mark.parametrize("where", ["stdout", "stderr"])
def test_total_may_be_given_and_either_stream_may_show_the_step(agent: Listener, where: str) -> None:
    """Bars are mostly on standard error."""
    code = f"import sys; print('\\r 5% it 5', end='\\r', file=sys.{where})"
    finished = gpuwatch(*watched(agent, code, r"it (?P<step>\d+)", ["--progress-total", "100"]))

    assert "\r 5% it 5\r".replace("\r", "\n") == getattr(finished, where)
    assert [(5.0, 100.0)] == progress_of(agent)


def test_progress_is_reported_while_the_command_runs(agent: Listener) -> None:
    """And what it prints is passed on at once."""
    running = start(*watched(agent, "print('step 1/9', flush=True); input()"), stdin=subprocess.PIPE)
    assert running.stdout is not None
    assert "step 1/9\n" == running.stdout.readline()

    assert eventually(lambda: [(1.0, 9.0)] == progress_of(agent))
    running.communicate("\n", timeout=10)
    assert 0 == running.returncode


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--progress-regex", "("], "no regular expression"),
        (["--progress-regex", "x"], "group named step"),
        (["--progress-total", "5"], "goes with"),
        (["--progress-regex", "(?P<step>x)", "--progress-total", "0"], "no number of steps"),
        (["--progress-regex", "(?P<step>x)", "--progress-total", "nan"], "no number of steps"),
    ],
)
def test_mistake_is_found_before_the_command_starts(
    agent: Listener, tmp_path: Path, options: list[str], told: str
) -> None:
    """Exit code 64."""
    finished = gpuwatch("run", "--socket", agent.path, *options, "--", "touch", str(tmp_path / "started"))

    assert (64, [], False) == (finished.returncode, agent.messages, (tmp_path / "started").exists())
    assert told in " ".join(finished.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("command", "code"),
    [("exit 42", 42), ("kill -KILL $$", 137), ("no-such-command-here", 127)],
)
def test_exit_code_is_that_of_the_command(agent: Listener, command: str, code: int) -> None:
    """As without the relay."""
    finished = gpuwatch("run", "--socket", agent.path, "--progress-regex", STEP, "--", "sh", "-c", command)

    assert (code, EndRun(code)) == (finished.returncode, agent.messages[-1])


def test_command_that_does_not_exist_is_said(agent: Listener) -> None:
    """The relay ends as well."""
    finished = gpuwatch("run", "--socket", agent.path, "--progress-regex", STEP, "--", "no-such-command-here")

    assert (127, True) == (finished.returncode, "cannot be run" in finished.stderr)


@pytest.mark.parametrize("limit", [5, *range(8, 14)])
def test_command_runs_also_where_no_relay_can_be_made(agent: Listener, limit: int) -> None:
    """Nobody loses a job by a limit of open files, whether it hits the run or the relay."""
    arguments = [*GPUWATCH, *watched(agent, "print('trained')")]
    finished = subprocess.run(
        ["sh", "-c", f'ulimit -n {limit}; "$@"', "sh", *arguments],
        env=environment(), capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip

    assert (0, "trained\n") == (finished.returncode, finished.stdout)
    assert limit > 5 or "progress is not looked for" in finished.stderr


FLOOD = """
import hashlib, os, random, sys
made = random.Random(7)
whole = hashlib.sha256()
for _ in range(int(sys.argv[1])):
    block = made.randbytes(made.choice((1, 100, 4096, 65536, 100_000)))
    whole.update(block)
    view = memoryview(block)
    while view:
        view = view[os.write(1, view):]
os.write(2, whole.hexdigest().encode())
"""


@pytest.mark.parametrize("regex", [STEP, HUNG])
def test_binary_output_arrives_byte_for_byte(agent: Listener, regex: str) -> None:
    """Also where the pattern is tried on it for ever."""
    arguments = [*GPUWATCH, *watched(agent, FLOOD, regex), "400"]
    finished = subprocess.run(arguments, env=environment(), capture_output=True, timeout=60, check=False)

    assert (0, 64) == (finished.returncode, len(finished.stderr))
    assert finished.stderr.decode() == hashlib.sha256(finished.stdout).hexdigest()


def test_pattern_that_takes_for_ever_holds_nothing_up(agent: Listener) -> None:
    """Neither the output nor the end of the command."""
    code = "for i in range(2000): print('a ' * 1000 + '!', flush=True)"
    began = time.monotonic()
    finished = gpuwatch(*watched(agent, code, HUNG))

    assert (0, 2000) == (finished.returncode, finished.stdout.count("\n"))
    assert time.monotonic() - began < 6.0


def test_order_of_standard_output_and_error_stays_where_they_go_to_one_file(
    agent: Listener, tmp_path: Path
) -> None:
    """`2>&1` gives what it gives without the relay."""
    code = "import os\nfor i in range(300): os.write(1 + i % 2, b'%d\\n' % i)"
    with (tmp_path / "log").open("wb") as log:
        gpuwatch(*watched(agent, code), capture_output=False, stdout=log, stderr=log)

    assert [str(each) for each in range(300)] == (tmp_path / "log").read_text().split()


def test_reader_that_has_gone_is_noticed_by_the_command(agent: Listener) -> None:
    """As without the relay: it gets SIGPIPE."""
    running = start(*watched(agent, "")[:-3], "yes", stderr=subprocess.DEVNULL)
    assert running.stdout is not None
    assert "y" == running.stdout.read(1)
    running.stdout.close()

    assert 141 == running.wait(10)


def test_process_left_behind_may_print_on_and_nobody_waits_for_it(agent: Listener, tmp_path: Path) -> None:
    """The run ends with its command, with all that the command has printed, and the relay goes on alone."""
    code = (
        "import os, time\n"
        "print('step 1/9', flush=True)\n"
        "if os.fork() == 0:\n"
        f"    while not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.005)\n"
        "    print('late', flush=True)\n"
        "os._exit(0)\n"
    )
    running = start(*watched(agent, code), stderr=subprocess.DEVNULL)
    assert 0 == running.wait(10)
    assert [(1.0, 9.0)] == progress_of(agent)
    (tmp_path / "go").touch()
    assert running.stdout is not None
    with running.stdout:
        assert "step 1/9\nlate\n" == running.stdout.read()


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&-", ">/dev/null 2>&1"])
def test_streams_may_be_closed(agent: Listener, closed: str) -> None:
    """Then there is nothing to pass on."""
    arguments = [*GPUWATCH, *watched(agent, "exit(7)")]
    finished = subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "sh", *arguments],
        env=environment(), timeout=20, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    assert 7 == finished.returncode


@pytest.mark.parametrize(("open_", "closed"), [(1, "<&-"), (2, "<&- >&-"), (1, "<&- 2>&-"), (2, ">&-")])
def test_pipe_gets_no_number_of_a_stream_that_is_closed(
    agent: Listener, tmp_path: Path, open_: int, closed: str
) -> None:
    """Some daemons start their jobs without standard input; output arrives, and the command goes on."""
    out = tmp_path / "out"
    words = [*GPUWATCH, *watched(agent, f"import os; os.write({open_}, b'step 3/9\\n')")]
    shell = f'exec "$@" {open_}>{out} {closed}'
    finished = subprocess.run(["/bin/sh", "-c", shell, "sh", *words], env=environment(), timeout=20, check=False)

    assert (0, "step 3/9\n") == (finished.returncode, out.read_text())
    assert [(3.0, 9.0)] == progress_of(agent)


def on_terminal(arguments: Sequence[str], rows: int = 24, columns: int = 80) -> tuple[int, int]:
    """Start a command on a terminal of its own; its pid and the terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.execve(GPUWATCH[0], [*GPUWATCH, *arguments], environment(TERM="xterm"))
    return pid, terminal


def ended(pid: int, terminal: int) -> tuple[int, bytes]:
    """The exit code of a command on a terminal, and the rest of what it shows."""
    said = read_until(terminal, None)
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), said


def test_terminal_stays_a_terminal(agent: Listener) -> None:
    """For input, output and errors, with its size, and with nothing of the output changed."""
    code = (
        "import os, sys, shutil\n"
        "print([os.isatty(each) for each in (0, 1, 2)], tuple(os.get_terminal_size(1)))\n"
        "print('\\x1b[31mstep 5/9\\x1b[0m\\tdone')\n"
        "print(repr(input('name? ')))\n"
    )
    pid, terminal = on_terminal(watched(agent, code), 33, 99)
    said = read_until(terminal, b"name? ")
    os.write(terminal, b"ada\n")
    code_, rest = ended(pid, terminal)

    assert 0 == code_
    assert b"[True, True, True] (99, 33)\r\n\x1b[31mstep 5/9\x1b[0m\tdone\r\nname? " == said
    assert b"ada\r\n'ada'\r\n" == rest
    assert [(5.0, 9.0)] == progress_of(agent)


def test_interrupt_from_the_terminal_arrives_once(agent: Listener) -> None:
    """The command decides what it means; what it prints while it ends arrives too."""
    pid, terminal = on_terminal(watched(agent, HANDLER))
    read_until(terminal, b"ready")
    os.write(terminal, b"\x03")
    code, said = ended(pid, terminal)

    assert (9, [b"2"]) == (code, re.findall(rb"\d[\d ]*", said))
    assert EndRun(9) == agent.messages[-1]


def test_change_of_the_windows_size_reaches_the_command(agent: Listener) -> None:
    """With the new size, once it has it."""
    code = (
        "import os, signal, sys\n"
        "def told(*_):\n"
        "    if tuple(os.get_terminal_size(1)) == (120, 50): print('resized', flush=True); os._exit(0)\n"
        "signal.signal(signal.SIGWINCH, told)\n"
        "print('ready', flush=True)\n"
        "while True: signal.pause()\n"
    )
    pid, terminal = on_terminal(watched(agent, code))
    read_until(terminal, b"ready")
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 120, 0, 0))

    code_, said = ended(pid, terminal)
    assert (0, True) == (code_, b"resized" in said)


def test_signal_to_the_run_reaches_the_command_alone(agent: Listener) -> None:
    """What it prints on its way out is passed on."""
    running = start(*watched(agent, HANDLER))
    assert running.stdout is not None
    assert "ready\n" == running.stdout.readline()
    running.send_signal(signal.SIGTERM)
    out, err = running.communicate(timeout=10)

    assert (9, "15\n", "") == (running.returncode, out, err)


def test_slow_reader_is_waited_for_after_the_runs_end_is_told(agent: Listener) -> None:
    """The relay keeps what it could not pass on, and the command's time is over all the same."""
    running = start(*watched(agent, "import os; os.write(1, b'x' * 150_000)"))
    assert eventually(lambda: EndRun(0) in agent.messages, 10)
    assert running.poll() is None
    out, _ = running.communicate(timeout=10)

    assert (0, 150_000) == (running.returncode, len(out))


def test_output_is_passed_on_at_the_speed_of_a_pipe(agent: Listener) -> None:
    """At least 50 MB a second on a busy machine; an idle one does twenty times that."""
    code = "import os\nfor _ in range(2000): os.write(1, b'x' * 99_999 + b'\\n')"
    arguments = [*GPUWATCH, *watched(agent, code)]
    running = subprocess.Popen(arguments, env=environment(), stdout=subprocess.PIPE)
    assert running.stdout is not None
    assert select.select([running.stdout], [], [], 10)[0]
    began, size = time.monotonic(), 0
    with running.stdout:
        while block := os.read(running.stdout.fileno(), 1 << 20):
            size += len(block)
    took = time.monotonic() - began
    running.wait(10)

    assert (200_000_000, True) == (size, took < 4.0)
