"""One command of Slurm, run so that it can neither hang nor flood: lines as they come, within limits.

Slurm's commands try again for minutes where their daemon is away. Each gets a process group of its own and is
killed with all that it started, at its timeout or when its reader goes away.
"""

from __future__ import annotations

import codecs
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from gpuwatch import hygiene
from gpuwatch.errors import Unavailable

MAX_BYTES = 2**30
"""The most that one command may print."""
_CHUNK = 2**17
_MAX_ERROR = 4096
_UTF8 = codecs.getincrementaldecoder("utf-8")
_PREFIXES = ("SACCT_", "SQUEUE_", "SACCTMGR_", "SSHARE_", "SCONTROL_", "SREPORT_")


def environment(outer: Mapping[str, str], conf: str | None) -> dict[str, str]:
    """Where output is the same for everybody: Unix times, UTC, no format of the user's; `conf` is slurm.conf."""
    found = {name: value for name, value in outer.items() if not name.startswith(_PREFIXES)}
    for name in ("SLURM_CLUSTERS", "SLURM_BITSTR_LEN"):
        found.pop(name, None)
    found |= {"TZ": "UTC", "LC_ALL": "C.UTF-8", "SLURM_TIME_FORMAT": "%s", "SLURM_BITSTR_LEN": "0"}
    if conf is not None:
        found["SLURM_CONF"] = conf
    return found


def text(
    command: Sequence[str], env: Mapping[str, str], timeout: float, max_bytes: int = MAX_BYTES
) -> Iterator[str]:
    """What the command prints, piece by piece; `Unavailable` where it fails, is slow or prints too much.

    That it failed is known at the end: what was read before may not be all.
    """
    decoder = _UTF8("replace")
    with _running(command, env) as process:
        for chunk in _chunks(process, command[0], time.monotonic() + timeout, max_bytes):
            yield decoder.decode(chunk)
    yield decoder.decode(b"", True)


def lines(
    command: Sequence[str], env: Mapping[str, str], timeout: float, max_bytes: int = MAX_BYTES
) -> Iterator[str]:
    """The lines that the command prints, without their ends; else as `text`."""
    rest = ""
    for piece in text(command, env, timeout, max_bytes):
        *whole, rest = (rest + piece).split("\n")
        yield from whole
    if rest:
        yield rest


@contextmanager
def _running(command: Sequence[str], env: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        process = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or exc
        raise Unavailable(f"{command[0]}: cannot be started; {reason}") from exc
    try:
        yield process
    finally:
        # Its group lives on where only it has ended, and is unknown where all have.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def _chunks(process: subprocess.Popen[bytes], name: str, deadline: float, max_bytes: int) -> Iterator[bytes]:
    """What it prints, until it has ended well."""
    assert process.stdout is not None
    assert process.stderr is not None
    error = bytearray()
    size = 0
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        selector.register(process.stderr, selectors.EVENT_READ)
        while selector.get_map():
            left = deadline - time.monotonic()
            ready = selector.select(left) if left > 0 else []
            if not ready:
                raise Unavailable(f"{name}: no answer in time{_said(error)}")
            for key, _ in ready:
                chunk = os.read(key.fd, _CHUNK)
                if not chunk:
                    selector.unregister(key.fileobj)
                elif key.fileobj is process.stderr:
                    error += chunk[: _MAX_ERROR - len(error)]
                else:
                    size += len(chunk)
                    if size > max_bytes:
                        raise Unavailable(f"{name}: prints more than {max_bytes} bytes")
                    yield chunk
    _ended(process, name, deadline, error)


def _ended(process: subprocess.Popen[bytes], name: str, deadline: float, error: bytearray) -> None:
    try:
        code = process.wait(max(deadline - time.monotonic(), 0.1))
    except subprocess.TimeoutExpired as exc:
        raise Unavailable(f"{name}: does not end{_said(error)}") from exc
    if code != 0:
        how = f"was killed by signal {-code}" if code < 0 else f"exit {code}"
        raise Unavailable(f"{name}: {how}{_said(error)}")


def _said(error: bytearray) -> str:
    """The first line of what it complained about."""
    words = [line.strip() for line in error.decode("utf-8", "replace").splitlines() if line.strip()]
    return f"; {hygiene.log(words[0][:200])}" if words else ""
