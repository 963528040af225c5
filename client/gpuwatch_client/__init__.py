"""Tell gpuwatch how far a training run is, and what it was expected to need.

    from gpuwatch_client import declare, progress

    declare(device_hours=640, energy="450kWh", campaign="llama-ft")
    for step, batch in enumerate(batches, start=1):
        train(batch)
        progress(step, total=9000)

Standard library only, Python 3.8 and later. `progress` never raises and never makes training wait.
It reaches the agent at its unix socket (`GPUWATCH_SOCKET`, by default /run/gpuwatch/agent.sock), else by a file
(`GPUWATCH_PROGRESS_FILE`, or in the job's directory), else by HTTP (`GPUWATCH_URL`, with the job's token).
"""

from __future__ import annotations

import atexit
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
from typing import Any

from gpuwatch_client import channels
from gpuwatch_client.channels import ask, socket_path

__all__ = ["ask", "declare", "flush", "progress", "socket_path"]

_SEND_INTERVAL = 1.0
_RECONNECT_INTERVAL = 5.0
_LAST_WAIT = 0.05
_DECLARE_TIMEOUT = 5.0
_HELP = (
    "start gpuwatch-agent on this node; into a container mount its socket (Docker, Podman: "
    "-v /run/gpuwatch:/run/gpuwatch; Apptainer: --bind /run/gpuwatch; Kubernetes: hostPath /run/gpuwatch) or the "
    "job's directory, or set GPUWATCH_PROGRESS_FILE, or GPUWATCH_URL with GPUWATCH_JOB_ID and GPUWATCH_TOKEN_FILE"
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
        _not_reported(exc)


def declare(text: str | None = None, **amounts: Any) -> bool:
    """Declare what this job will need, as text, as keywords, or both; True once the agent has it.

    `declare("device-hours=640 energy=450kWh")` and `declare(device_hours=640, energy="450kWh", campaign="x")`
    are the same. A range is a tuple (low, likely, high) or "low..likely..high"; tags are a dict; `for` is `for_`.

    Raises ValueError where the declaration is wrong (the message says what there is), but for one that goes into
    a file: that is True once it is written. Where no agent can be reached it says so once on standard error and
    returns False, so that the script also runs elsewhere.
    """
    words = [text] if text else []
    words += [word for key, value in amounts.items() for word in _words(key, value)]
    if not words:
        raise ValueError("declare: nothing declared; write for example device_hours=640")
    problems = []
    for way in (_declare_at_socket, _declare_in_file, _declare_by_http):
        try:
            reply = way(" ".join(words))
        except OSError as exc:
            problems.append(str(exc))
            continue
        if reply.get("ok") is True:
            return True
        if reply.get("outcome") == "rejected":
            raise ValueError(str(reply.get("error", "refused")))
        problems.append(str(reply.get("error", "refused")))
    _say_once("declare", f"nothing is declared: {', '.join(problems)}; {_HELP}")
    return False


def _declare_at_socket(text: str) -> dict[str, Any]:
    path = socket_path()
    try:
        return ask(path, {"type": "declare", "text": text})
    except OSError as exc:
        raise OSError(f"no agent at {path} ({exc})") from exc


def _declare_in_file(text: str) -> dict[str, Any]:
    path = channels.writable_file("declare")
    if path is None:
        raise OSError(_no_file())
    channels.declare_in_file(path, text)
    return {"ok": True}


def _declare_by_http(text: str) -> dict[str, Any]:
    channels.load_http()
    reply: dict[str, Any] = channels.within(_DECLARE_TIMEOUT, lambda: _post("declare", {"text": text}))
    return reply


def _post(name: str, message: Mapping[str, Any]) -> dict[str, Any]:
    url = os.environ.get("GPUWATCH_URL")
    if not url:
        raise OSError("no GPUWATCH_URL is set")
    to = channels.endpoint()
    if to is None:
        raise OSError("GPUWATCH_URL is set without GPUWATCH_JOB_ID or without GPUWATCH_TOKEN_FILE")
    try:
        return channels.post(to, name, message)
    except OSError as exc:
        raise OSError(f"no agent at {url} ({exc})") from exc


def _no_file() -> str:
    return f"no directory {channels.job_directory() or channels.JOBS_DIRECTORY} to write into"


def flush() -> None:
    """Send what was held back, as is done at exit; for programs that leave by `os._exit`. It never raises."""
    with suppress(Exception):  # a report that fails must not be the last thing seen of a training
        if _current is not None and _current.pid == os.getpid():
            _current.flush()


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
        self._path = ""
        self._connection: socket.socket | None = None
        self._unread = b""
        self._waiting = 0
        self._sent: Any = None
        self._ended: tuple[Any, float | None] | None = None  # the last step, once it was sent
        self._forbidden: str | None = None
        self._courier = channels.Courier(_not_reported)

    def report(self, step: Any, total: Any) -> None:
        """Send the report where one is due, else remember it."""
        now = time.monotonic()
        if total is not None and total is not self.total:
            self.total = _number(total)
        last = self._is_last(step)
        if last and (step, self.total) == self._ended:
            return
        self._latest = step
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
                self._settle(now)
        finally:
            self._lock.release()

    def flush(self) -> None:
        """At exit: send what was held back, and see it arrive."""
        if not self._lock.acquire(False):
            return
        try:
            now = time.monotonic()
            if self._latest is not None:
                self._connect_at = 0.0
                self._send(now)
            self._settle(now)
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
        problem = self._forbidden or self._to_socket(channels.line(message), now)
        if problem is not None and not _elsewhere():
            wrong = f"{problem}, {_no_file()}, no GPUWATCH_URL is set"
            _say_once("unreachable", f"progress is not reported: {wrong}; {_HELP}")
            return
        if problem is not None:
            if os.environ.get("GPUWATCH_URL"):
                channels.load_http()
            self._courier.send(lambda: _carry(message))
        self._sent = given
        self._ended = (given, self.total) if self._is_last(given) else None
        if self._latest is given:
            self._latest = None

    def _to_socket(self, line: bytes, now: float) -> str | None:
        """Send a line without waiting; None, or what is in the way."""
        # Looked for once: it may be in a home directory, on a server that hangs some day.
        path = self._path = self._path or socket_path()
        try:
            self._read_replies()
            if self._connection is None:
                if now < self._connect_at:
                    return f"no agent at {path}"
                self._connect_at = now + _RECONNECT_INTERVAL
                self._connect(path)
            assert self._connection is not None
            if self._connection.send(line, channels.NO_SIGNAL) != len(line):
                raise BlockingIOError("it does not read")
        except OSError as exc:
            self.close()
            return f"no agent at {path} ({exc})"
        self._connect_at = 0.0
        self._waiting += 1
        return None

    def _connect(self, path: str) -> None:
        connection = channels.unix_socket()
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
            *lines, self._unread = (self._unread + received)[-channels.LONGEST_REPLY :].split(b"\n")
            for line in lines:
                self._waiting -= 1
                self._heed(channels.parsed(line) or {"ok": True})
            if not received:
                self.close()

    def _heed(self, reply: Mapping[str, Any]) -> None:
        """Where the agent cannot tell whose process speaks (another pid namespace, say), take another way."""
        if reply.get("ok") is True:
            return
        if reply.get("outcome") == "forbidden" and _elsewhere():
            self._forbidden = str(reply.get("error"))
            self._latest = self._sent if self._latest is None else self._latest
        else:
            _say_once("refused", f"progress is refused: {reply.get('error')}")

    def _settle(self, now: float) -> None:
        """See the report arrive, by another way where the agent did not take it."""
        self._await_replies()
        if self._forbidden is not None and self._latest is not None:
            self._send(now)
        self._courier.wait(_LAST_WAIT)

    def _await_replies(self) -> None:
        deadline = time.monotonic() + _LAST_WAIT
        while self._connection is not None and self._waiting > 0:
            left = deadline - time.monotonic()
            if left <= 0:
                return
            poll = select.poll()  # select() takes no descriptor above 1023, and loaders of data have many
            poll.register(self._connection, select.POLLIN)
            poll.poll(1000 * left)
            self._read_replies()


_current: _Reporter | None = None
_said: list[str] = []


def _reporter() -> _Reporter:
    global _current
    if _current is None:
        _current = _Reporter()
        atexit.register(flush)
    elif _current.pid != os.getpid():
        _current.close()
        _current = _Reporter(_current.total)
    return _current


def _elsewhere() -> bool:
    """Whether there is another way than the socket."""
    return channels.writable_file("progress") is not None or bool(os.environ.get("GPUWATCH_URL"))


def _carry(message: Mapping[str, Any]) -> None:
    """Deliver a report by file, or else by HTTP; it may wait, and is done in a thread of its own."""
    path = channels.writable_file("progress")
    if path is not None:
        try:
            channels.replace(path, channels.line(dict(message, time=time.time(), pid=os.getpid())))
            return
        except OSError:
            if not os.environ.get("GPUWATCH_URL"):
                raise
    said = {key: value for key, value in message.items() if key != "type"}
    reply = _post("progress", dict(said, pid=os.getpid()))
    if reply.get("ok") is not True:
        _say_once("refused", f"progress is refused: {reply.get('error')}")


def _not_reported(problem: Exception) -> None:
    _say_once("failed", f"progress is not reported: {type(problem).__name__}: {problem}")


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


def _say_once(topic: str, text: str) -> None:
    if topic not in _said:
        _said.append(topic)
        with suppress(OSError, ValueError, AttributeError):  # there is none, or a closed one
            sys.stderr.write(f"gpuwatch: {text}\n")
