"""How a job reaches its agent: by socket, by files of its directory, or by HTTP with its token."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

DEFAULT_SOCKET = "/run/gpuwatch/agent.sock"
JOBS_DIRECTORY = "/run/gpuwatch-jobs"

LONGEST_REPLY = 64 * 1024
HTTP_TIMEOUT = 2.0
"""Seconds that one step of a request (to connect, to send, to be answered) may take."""

# Where a program lets SIGPIPE kill it, an agent that has gone must not be what does it.
NO_SIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)


class Endpoint(NamedTuple):
    """Where a job's messages are posted: `url` without the message's name, and the job's token."""

    url: str
    token: str


def socket_path() -> str:
    """Where the agent listens: the node's, else that of the `gpuwatch up` of this user."""
    given = os.environ.get("GPUWATCH_SOCKET")
    if given or os.path.exists(DEFAULT_SOCKET):
        return given or DEFAULT_SOCKET
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    own = os.path.join(home, "gpuwatch", "agent.sock")
    return own if os.path.exists(own) else DEFAULT_SOCKET


def unix_socket() -> socket.socket:
    """A new stream socket; OSError where the system has none."""
    if not hasattr(socket, "AF_UNIX"):
        raise OSError("this system has no unix sockets")
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)


def ask(path: str, message: Mapping[str, Any], timeout: float = 2.0) -> dict[str, Any]:
    """Send one message to the agent's socket and return its reply; OSError where none comes in `timeout` seconds.

    The reply has `ok`; where that is false, `error` for people and `outcome` for programs (rejected, forbidden,
    unavailable, rate_limited, oversize, error).
    """
    deadline = time.monotonic() + timeout
    with unix_socket() as connection:
        connection.settimeout(timeout)
        connection.connect(path)
        with suppress(BrokenPipeError):  # refused before it was sent whole: the reply says why
            connection.sendall(line(message), NO_SIGNAL)
        reply = b""
        while b"\n" not in reply:
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            received = connection.recv(LONGEST_REPLY)
            if not received or len(reply) > LONGEST_REPLY:
                raise ConnectionError(f"{path} closed the connection without a reply")
            reply += received
    answer = parsed(reply)
    if answer is None:
        raise ConnectionError(f"{path} answers, but is not gpuwatch's agent")
    return answer


def line(message: Mapping[str, Any]) -> bytes:
    """A message as the agent reads it."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def parsed(text: bytes) -> dict[str, Any] | None:
    """A reply as a dict; None where it is none."""
    try:
        document = json.loads(text.decode())
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def job_directory() -> str:
    """The directory through which this job may speak, there or not; '' where nothing says which."""
    given = os.environ.get("GPUWATCH_JOB_DIRECTORY")
    job = os.environ.get("SLURM_JOB_ID", "")
    return given or (os.path.join(JOBS_DIRECTORY, job) if job and "/" not in job else "")


def writable_file(name: str) -> str | None:
    """The file `progress` or `declare` that the agent reads for this job; None where there is none to write."""
    given = os.environ.get("GPUWATCH_PROGRESS_FILE")
    if given:
        return given if name == "progress" else os.path.join(os.path.dirname(given), name)
    directory = job_directory()
    return os.path.join(directory, name) if directory and os.access(directory, os.W_OK | os.X_OK) else None


def replace(path: str, content: bytes) -> None:
    """Write a file so that its reader sees either what it was or what it is; readable for the agent."""
    temporary = f"{path}.{os.getpid()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0), 0o644)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)  # whatever the umask is
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def words_with(before: str, words: str) -> str:
    """The declaration `before` with those of `words` in it, which win; another scope's is not kept."""
    fresh = words.split()
    kept = before.split()
    scopes = [[each for each in text if each.startswith("for=")] for text in (kept, fresh)]
    if scopes[0] != scopes[1]:
        kept = []
    told = {_subject(each) for each in fresh}
    return " ".join([each for each in kept if _subject(each) not in told] + fresh)


def _subject(word: str) -> str:
    """What a word is about: its key, and of tags the tag's."""
    key, _, value = word.partition("=")
    return f"{key}={value.partition(':')[0]}" if key == "tag" else key


def declare_in_file(path: str, text: str) -> None:
    """Add a declaration to the file that the agent reads."""
    before = ""
    with suppress(OSError, ValueError), open(path, encoding="utf-8") as file:
        before = file.read(LONGEST_REPLY)
    replace(path, words_with(before, text).encode() + b"\n")


def endpoint() -> Endpoint | None:
    """Where to post, from the environment; None where a part of it is not set. OSError for an unreadable token."""
    url = os.environ.get("GPUWATCH_URL")
    job = os.environ.get("GPUWATCH_JOB_ID") or os.environ.get("SLURM_JOB_ID")
    file = os.environ.get("GPUWATCH_TOKEN_FILE")
    token = os.environ.get("GPUWATCH_TOKEN")
    if not url or not job or not (file or token):
        return None
    if file:
        with open(file, encoding="utf-8") as opened:
            token = opened.read(LONGEST_REPLY)
    return Endpoint(f"{url.rstrip('/')}/api/v1/jobs/{quote(job, safe='')}", (token or "").strip())


def load_http() -> None:
    """Import what `post` needs, and a node with a socket does not.

    Not in a thread: a fork during an import leaves the child with half a module.
    """
    import encodings.idna  # noqa: F401  # of the resolver
    import http.client  # noqa: F401


def post(to: Endpoint, name: str, message: Mapping[str, Any]) -> dict[str, Any]:
    """Post one message and return the agent's reply, which is as the socket's; OSError where none comes.

    Asks the host named, never a proxy, and follows no redirect: it carries a token.
    """
    load_http()
    import http.client

    kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    try:
        parts = urlsplit(to.url)
        kind, host, port = kinds[parts.scheme], parts.hostname or "", parts.port
    except (KeyError, ValueError) as exc:
        raise OSError("GPUWATCH_URL is no address as http://gpu-node-07:9838") from exc
    if not to.token.isprintable() or not to.token.isascii():
        raise OSError("the token is no line of plain text")
    headers = {"Authorization": f"Bearer {to.token}", "Content-Type": "application/json"}
    where = f"{parts.scheme}://{parts.netloc}"
    try:
        connection = kind(host, port, timeout=HTTP_TIMEOUT)
        try:
            connection.request("POST", f"{parts.path}/{name}", line(message), headers)
            answered = connection.getresponse()
            reply = parsed(answered.read(LONGEST_REPLY))
        finally:
            connection.close()
    except (http.client.HTTPException, ValueError) as exc:
        raise ConnectionError(f"{where} answers, but is not gpuwatch's agent ({type(exc).__name__})") from exc
    if reply is None or "ok" not in reply:
        raise ConnectionError(f"{where} answers {answered.status}, but is not gpuwatch's agent")
    return reply


def within(seconds: float, task: Callable[[], Any]) -> Any:
    """The result of a task, or what it raised; OSError where it takes longer (a resolver has no time limit)."""
    done: list[Any] = []
    failed: list[Exception] = []

    def run() -> None:
        try:
            done.append(task())
        except Exception as exc:  # noqa: BLE001 - handed to the caller
            failed.append(exc)

    _started(run).join(seconds)
    if failed:
        raise failed[0]
    if not done:
        raise OSError(f"no answer within {seconds:g} seconds")
    return done[0]


class Courier:
    """Delivers in a thread of its own whatever may wait: the latest errand alone, earlier ones are dropped."""

    def __init__(self, failed: Callable[[Exception], None]) -> None:
        self._failed = failed
        self._changed = threading.Condition()
        self._errand: Callable[[], None] | None = None
        self._busy = False
        self._thread: threading.Thread | None = None

    def send(self, errand: Callable[[], None]) -> None:
        """Have it done soon, in place of one that has not been begun; RuntimeError where no thread can start."""
        with self._changed:
            self._errand = errand
            self._changed.notify_all()
        if self._thread is None:
            try:
                self._thread = _started(self._run)
            except RuntimeError:
                self._errand = None
                raise

    def wait(self, seconds: float) -> None:
        """Wait until everything is delivered, or for so long."""
        with self._changed:
            self._changed.wait_for(lambda: self._errand is None and not self._busy, seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                while self._errand is None:
                    self._changed.wait()
                errand, self._errand, self._busy = self._errand, None, True
            try:
                errand()
            except Exception as exc:  # noqa: BLE001 - the thread goes on, whatever one errand met
                self._failed(exc)


def _started(task: Callable[[], None]) -> threading.Thread:
    """A thread that gets no signals: no SIGPIPE of a server that has gone, none that the training waits for."""
    thread = threading.Thread(target=task, name="gpuwatch", daemon=True)
    if not hasattr(signal, "pthread_sigmask"):
        thread.start()
        return thread
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        thread.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return thread
