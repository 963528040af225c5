"""`gpuwatch run`: a command as a job of its own, from its first process to its last exit code."""

from __future__ import annotations

import ctypes
import math
import os
import re
import signal
import sys
from collections.abc import Set
from pathlib import Path
from typing import Annotated

import typer

from gpuwatch.cli.declare import (
    Basis,
    Campaign,
    Carbon,
    Charge,
    Cost,
    DeviceHours,
    Energy,
    FacilityEnergy,
    Socket,
    Tags,
    Wall,
    tell,
    text_of,
)
from gpuwatch.cli.output import Relay
from gpuwatch.cli.progress_lines import compiled
from gpuwatch.errors import GpuwatchError

_FORWARDED = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
_PR_SET_CHILD_SUBREAPER = 36
_NOT_EXECUTABLE, _NOT_FOUND = 126, 127
_LAST_PROGRESS = 3.0
"""Seconds that the last report may take before the run's end is told."""

ProgressRegex = Annotated[
    str | None,
    typer.Option(
        "--progress-regex",
        metavar="REGEX",
        help="How its output shows progress, as 'step (?P<step>[0-9]+)/(?P<total>[0-9]+)'.",
    ),
]
ProgressTotal = Annotated[
    float | None,
    typer.Option("--progress-total", metavar="N", help="Steps in all, where the output does not show them."),
]


def run(
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND...", help="The command and its arguments.")],
    name: Annotated[
        str | None, typer.Option("--name", help="What to call the job; else the command's name.")
    ] = None,
    device_hours: DeviceHours = None,
    energy: Energy = None,
    facility_energy: FacilityEnergy = None,
    cost: Cost = None,
    carbon: Carbon = None,
    wall: Wall = None,
    charge: Charge = None,
    campaign: Campaign = None,
    basis: Basis = None,
    tag: Tags = None,
    progress_regex: ProgressRegex = None,
    progress_total: ProgressTotal = None,
    socket: Socket = None,
) -> None:
    """Run a command as a job: what it and all its processes use counts for it, and its end is recorded.

    Exits with the command's exit code (128 + n where signal n killed it, 127 where there is no such command, 126
    where it cannot be run). The command also runs where no agent does.

    With --progress-regex its output is looked through for progress, for a program that cannot be changed. It is
    passed on as it is and at once, to a terminal as to a terminal.
    """
    pattern = _pattern(progress_regex, progress_total)
    said = text_of(
        [],
        device_hours=device_hours, energy=energy, facility_energy=facility_energy, cost=cost, carbon=carbon,
        wall=wall, charge=charge, campaign=campaign, basis=basis, tag=tag,
    )  # fmt: skip
    job_id = _register(name or Path(command[0]).name, said, socket)
    raise SystemExit(_run(command, job_id, pattern, progress_total, socket))


def _run(
    command: list[str],
    job_id: str | None,
    pattern: re.Pattern[str] | None,
    total: float | None,
    socket: str | None,
) -> int:
    """Run the command to its end, tell the agent, and return its exit code."""
    environment = _environment(job_id, socket)
    relay = _relay(pattern, total, environment) if pattern is not None else None
    code = _supervise(command, environment, relay)
    if relay is not None:
        relay.command_ended()
        relay.settle(_LAST_PROGRESS)
    if job_id is not None:
        _try("its end is not recorded", {"type": "run_end", "exit_code": code}, socket)
    if relay is not None:
        # Whoever reads the output may take their time; a signal ends the waiting, and the relay goes on alone.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
        relay.settle(None)
    return code


def _relay(pattern: re.Pattern[str], total: float | None, environment: dict[str, str]) -> Relay | None:
    try:
        return Relay(pattern, total, environment)
    except OSError as exc:
        print(f"gpuwatch: run: progress is not looked for: {exc}; it runs all the same", file=sys.stderr)
        return None


def _pattern(regex: str | None, total: float | None) -> re.Pattern[str] | None:
    if total is not None and (regex is None or not 0 < total < math.inf):
        wrong = "goes with --progress-regex" if regex is None else f"{total} is no number of steps"
        raise typer.BadParameter(wrong, param_hint="--progress-total")
    try:
        return None if regex is None else compiled(regex, total)
    except ValueError as exc:
        raise typer.BadParameter(str(exc), param_hint="--progress-regex") from exc


def _register(name: str, said: str, socket: str | None) -> str | None:
    """The id that the agent gave the job, with this process as its root; None where there is no agent."""
    reply = _try("it runs all the same, unrecorded", {"type": "run", "name": name}, socket)
    if reply is None:
        return None
    undeclared = "it runs all the same, undeclared"
    inherited = os.environ.get("GPUWATCH_ESTIMATE", "").strip()
    if inherited:
        _try(undeclared, {"type": "declare", "text": inherited, "channel": "environment"}, socket)
    if said:
        _try(undeclared, {"type": "declare", "text": said}, socket)
    return str(reply.get("job_id"))


def _try(consequence: str, message: dict[str, object], socket: str | None) -> dict[str, object] | None:
    """Tell the agent; where that fails, say so: what is wrong with the agent must never cost anybody a job."""
    try:
        return tell(message, socket)
    except GpuwatchError as exc:
        print(f"gpuwatch: run: {exc}; {consequence}", file=sys.stderr)
        return None


def _environment(job_id: str | None, socket: str | None) -> dict[str, str]:
    environment = dict(os.environ)
    if socket:
        environment["GPUWATCH_SOCKET"] = str(Path(socket).absolute())
    if job_id is not None:
        environment["GPUWATCH_JOB_ID"] = job_id
    return environment


def _supervise(command: list[str], environment: dict[str, str], relay: Relay | None) -> int:
    """Run the command to its end and return its exit code as a shell shows it."""
    # Orphans of the command become children of this process, and so remain in the job's tree.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    ignored = {each for each in _FORWARDED if signal.getsignal(each) == signal.SIG_IGN}
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # who ignores it, and that is inherited, has nobody to wait for
    waited_for = {*_FORWARDED, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waited_for)
    try:
        child = os.posix_spawnp(
            command[0], command, environment, file_actions=relay.file_actions() if relay else [],
            setsigmask=before, setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
        )  # fmt: skip
    except OSError as exc:
        return _not_run(command[0], exc)
    finally:
        if relay is not None:
            relay.started()
    return _wait(child, waited_for, ignored)


def _wait(child: int, waited_for: Set[int], ignored: Set[int]) -> int:
    """Wait for the command and pass on signals."""
    while True:
        arrived = signal.sigwaitinfo(waited_for)
        if arrived.si_signo == signal.SIGCHLD:
            code = _reap(child)
            if code is not None:
                return code
        # What the kernel sends comes from the terminal, and to the command as well: it is in the same group.
        elif arrived.si_code <= 0 and arrived.si_signo not in ignored:
            os.kill(child, arrived.si_signo)


def _reap(child: int) -> int | None:
    """Collect what has ended; the exit code once the command itself is among it."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return None
        if pid == 0:
            return None
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _not_run(command: str, failure: OSError) -> int:
    print(f"gpuwatch: run: {command!r} cannot be run; {failure.strerror}", file=sys.stderr)
    return _NOT_FOUND if isinstance(failure, FileNotFoundError) else _NOT_EXECUTABLE
