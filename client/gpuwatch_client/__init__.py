"""Tell gpuwatch how far a training run is, and what it was expected to need.

    from gpuwatch_client import declare, progress

    declare(device_hours=640, energy="450kWh", campaign="llama-ft")
    for step, batch in enumerate(batches, start=1):
        train(batch)
        progress(step, total=9000)

One module, standard library only, Python 3.8 and later. `progress` never raises and never makes training wait.
What it needs is the agent's unix socket (`GPUWATCH_SOCKET`, by default /run/gpuwatch/agent.sock), or else a file
that the agent can read (`GPUWATCH_PROGRESS_FILE`).
"""

from __future__ import annotations

import atexit
import json
import math
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from numbers import Real
from pathlib import Path
from typing import Any

__all__ = ["ask", "declare", "progress", "socket_path"]

DEFAULT_SOCKET = "/run/gpuwatch/agent.sock"

_SEND_INTERVAL = 1.0
_RECONNECT_INTERVAL = 5.0
_LAST_WAIT = 0.05
_LONGEST_REPLY = 64 * 1024
# Where a program lets SIGPIPE kill it, an agent that has gone must not be what does it.
_NO_SIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)
_HELP = (
    "start gpuwatch-agent on this node, mount its socket into the container, "
    "or set GPUWATCH_SOCKET or GPUWATCH_PROGRESS_FILE"
)


def progress(step: Any, total: Any = None) -> None:
    """Say that `step` of `total` steps are done; `total` is needed once, and again when it changes.

    Call it as often as you like: at most one report per second is sent, and the last step at once. It never
    raises. It never blocks, but for up to 50 ms at the last step and at exit, to see the report arrive. What is
    wrong is said once on standard error. Anything that `float()` takes is a number of steps.
    """
    try:
        _reporter().report(step, total)
    except Exception as exc:  # noqa: BLE001 - whatever happens here must not end the training
        _say_once("failed", f"progress is not reported: {type(exc).__name__}: {exc}")


def declare(text: str | None = None, **amounts: Any) -> bool:
    """Declare what this job will need, as text, as keywords, or both; True once the agent has it.

    `declare("device-hours=640 energy=450kWh")` and `declare(device_hours=640, energy="450kWh", campaign="x")`
    are the same. A range is a tuple (low, likely, high) or "low..likely..high"; tags are a dict; `for` is `for_`.

    Raises ValueError where the declaration is wrong (the message says what there is). Where no agent can be
    reached it says so once on standard error and returns False, so that the script also runs elsewhere.
    """
    words = [text] if text else []
    words += [word for key, value in amounts.items() for word in _words(key, value)]
    if not words:
        raise ValueError("declare: nothing declared; write for example device_hours=640")
    path = socket_path()
    try:
        reply = ask(path, {"type": "declare", "text": " ".join(words)})
    except OSError as exc:
        _say_once("declare", f"nothing is declared: no agent at {path} ({exc}); {_HELP}")
        return False
    if reply.get("ok") is True:
        return True
    error = str(reply.get("error", "refused"))
    if reply.get("outcome") == "rejected":
        raise ValueError(error)
    _say_once("declare", f"nothing is declared: {error}")
    return False


def socket_path() -> str:
    """Where the agent listens: the node's, else that of the `gpuwatch up` of this user."""
    given = os.environ.get("GPUWATCH_SOCKET")
    if given or os.path.exists(DEFAULT_SOCKET):
        return given or DEFAULT_SOCKET
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    own = os.path.join(home, "gpuwatch", "agent.sock")
    return own if os.path.exists(own) else DEFAULT_SOCKET


def ask(path: str, message: Mapping[str, Any], timeout: float = 2.0) -> dict[str, Any]:
    """Send one message to the agent's socket and return its reply; OSError where none comes in `timeout` seconds.

    The reply has `ok`; where that is false, `error` for people and `outcome` for programs (rejected, forbidden,
    unavailable, rate_limited, oversize, error).
    """
    deadline = time.monotonic() + timeout
    with _unix_socket() as connection:
        connection.settimeout(timeout)
        connection.connect(path)
        with suppress(BrokenPipeError):  # refused before it was sent whole: the reply says why
            connection.sendall(_line(message), _NO_SIGNAL)
        reply = b""
        while b"\n" not in reply:
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            received = connection.recv(_LONGEST_REPLY)
            if not received or len(reply) > _LONGEST_REPLY:
                raise ConnectionError(f"{path} closed the connection without a reply")
            reply += received
    parsed = _parsed(reply)
    if parsed is None:
        raise ConnectionError(f"{path} answers, but is not gpuwatch's agent")
    return parsed


class _Reporter:
    """The reports of one process. A fork makes its own: a connection speaks for the process that made it."""

    def __init__(self, total: float | None = None) -> None:
        self.pid = os.getpid()
        self.total = total
        self._lock = threading.Lock()
        self._latest: Any = None  # the step that was not sent yet, as given
        self._finished = False
        self._due_at = 0.0
        self._connect_at = 0.0
        self._connection: socket.socket | None = None
        self._unread = b""
        self._waiting = 0

    def report(self, step: Any, total: Any) -> None:
        """Send the report where one is due, else remember it."""
        now = time.monotonic()
        self._latest = step
        if total is not None and total is not self.total:
            self.total = _number(total)
        last = self._is_last(step)
        if now < self._due_at and not (last and not self._finished):
            return
        # Another thread is sending: that is often enough.
        if not self._lock.acquire(False):
            return
        try:
            self._due_at = now + _SEND_INTERVAL
            self._finished = last
            self._send(now)
            if last:
                self._await_replies()
        finally:
            self._lock.release()

    def flush(self) -> None:
        """At exit: send what was held back, and see it arrive."""
        if not self._lock.acquire(False):
            return
        try:
            if self._latest is not None:
                self._connect_at = 0.0
                self._send(time.monotonic())
            self._await_replies()
            self.close()
        finally:
            self._lock.release()

    def _is_last(self, step: Any) -> bool:
        # Only plain numbers are compared: looking at a tensor of a device at each step would make it wait.
        return self.total is not None and isinstance(step, Real) and float(step) >= self.total

    def _send(self, now: float) -> None:
        given = self._latest
        message: dict[str, Any] = {"type": "progress", "step": _number(given)}
        if self.total is not None:
            message["total"] = self.total
        problem = self._to_socket(_line(message), now)
        path = os.environ.get("GPUWATCH_PROGRESS_FILE")
        if problem is not None and path:
            _replace(Path(path), _line(dict(message, time=time.time(), pid=self.pid)))
        elif problem is not None:
            _say_once("unreachable", f"progress is not reported: {problem}; {_HELP}")
            return
        if self._latest is given:
            self._latest = None

    def _to_socket(self, line: bytes, now: float) -> str | None:
        """Send a line without waiting; None, or what is in the way."""
        path = socket_path()
        try:
            self._read_replies()
            if self._connection is None:
                if now < self._connect_at:
                    return f"no agent at {path}"
                self._connect_at = now + _RECONNECT_INTERVAL
                self._connect(path)
            assert self._connection is not None
            if self._connection.send(line, _NO_SIGNAL) != len(line):
                raise BlockingIOError("it does not read")
        except OSError as exc:
            self.close()
            return f"no agent at {path} ({exc})"
        self._connect_at = 0.0
        self._waiting += 1
        return None

    def _connect(self, path: str) -> None:
        connection = _unix_socket()
        try:
            connection.setblocking(False)
            connection.connect(path)
        except OSError:
            connection.close()
            raise
        self._connection, self._unread, self._waiting = connection, b"", 0

    def close(self) -> None:
        """Close the connection, if there is one; after a fork this leaves the parent's open."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._waiting = 0

    def _read_replies(self) -> None:
        """Take what the agent said meanwhile; it may have closed a connection that was idle for long."""
        while self._connection is not None:
            try:
                received = self._connection.recv(4096)
            except BlockingIOError:
                return
            except OSError:
                received = b""
            *lines, self._unread = (self._unread + received)[-_LONGEST_REPLY:].split(b"\n")
            for line in lines:
                self._waiting -= 1
                reply = _parsed(line)
                if reply is not None and reply.get("ok") is not True:
                    _say_once("refused", f"progress is refused: {reply.get('error')}")
            if not received:
                self.close()

    def _await_replies(self) -> None:
        deadline = time.monotonic() + _LAST_WAIT
        while self._connection is not None and self._waiting > 0:
            left = deadline - time.monotonic()
            if left <= 0:
                return
            select.select([self._connection], [], [], left)
            self._read_replies()


_current: _Reporter | None = None
_said: list[str] = []


def _reporter() -> _Reporter:
    global _current
    if _current is None:
        _current = _Reporter()
        atexit.register(_flush)
    elif _current.pid != os.getpid():
        _current.close()
        _current = _Reporter(_current.total)
    return _current


def _flush() -> None:
    with suppress(Exception):  # a report that fails must not be the last thing seen of a training
        if _current is not None and _current.pid == os.getpid():
            _current.flush()


def _unix_socket() -> socket.socket:
    if not hasattr(socket, "AF_UNIX"):
        raise OSError("this system has no unix sockets")
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)


def _number(given: Any) -> float:
    number = given if isinstance(given, (int, float)) else float(given)
    if not 0 <= number < math.inf:
        raise ValueError(f"{given!r} is no number of steps; there is 0 and up")
    return number


def _words(key: str, value: Any) -> list[str]:
    """The words of the grammar for one keyword: `device_hours=640` is `device-hours=640`."""
    if value is None:
        return []
    name = key.rstrip("_").replace("_", "-")
    if isinstance(value, Mapping):
        values = [f"{tag}:{text}" for tag, text in value.items()]
    elif isinstance(value, (tuple, list)):
        values = ["..".join(str(each) for each in value)]
    else:
        values = [str(value)]
    for each in values:
        if each.split() != [each]:
            raise ValueError(f"{name}: {each!r} is empty or has blanks; one value without blanks")
    return [f"{'tag' if name == 'tags' else name}={each}" for each in values]


def _line(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(line.decode())
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _replace(path: Path, line: bytes) -> None:
    """Write a file so that its reader sees either the old line or the new one."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_bytes(line)
    temporary.replace(path)


def _say_once(topic: str, text: str) -> None:
    if topic not in _said:
        _said.append(topic)
        with suppress(OSError, ValueError, AttributeError):  # there is none, or a closed one
            sys.stderr.write(f"gpuwatch: {text}\n")
