"""The agent's unix socket: what jobs say about themselves, one JSON line each; docs/socket.md is the protocol.

Who speaks is what the kernel says (SO_PEERCRED), never what the message says. One thread serves all, and
everything that a peer can make grow has a limit.
"""

from __future__ import annotations

import json
import logging
import selectors
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

from gpuwatch import service
from gpuwatch.agent.messages import (
    TYPES,
    Declare,
    EndRun,
    Message,
    Ping,
    ReportProgress,
    StartRun,
    decode,
    parse,
)
from gpuwatch.errors import Forbidden, GpuwatchError, Rejected, Unavailable
from gpuwatch.jobs import proc

LINE_BYTES = 64 * 1024
IDLE_SECONDS = 10.0
CONNECTIONS = 64
MESSAGES_PER_SECOND = 20.0
BURST = 50.0

_CREDENTIALS = struct.Struct("iII")
_BUCKETS = 1024
_ERROR_CHARACTERS = 1000

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end, by the kernel; `pid_start` is its start in clock ticks since boot."""

    pid: int
    pid_start: int
    uid: int
    gid: int


Handle = Callable[[Peer, Message], Mapping[str, Any]]


@dataclass(slots=True)
class Bucket:
    """A token bucket: `rate` messages per second, `burst` at once."""

    rate: float
    burst: float
    tokens: float
    filled_at: float

    def take(self, now: float) -> bool:
        """Whether one more message may pass at the monotonic time `now`."""
        self.tokens = min(self.burst, self.tokens + (now - self.filled_at) * self.rate)
        self.filled_at = now
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True

    def full(self, now: float) -> bool:
        """Whether it has forgotten all that passed, so that a new one does as well."""
        return self.tokens + (now - self.filled_at) * self.rate >= self.burst


@dataclass(slots=True, eq=False)
class _Connection:
    socket: socket.socket
    uid: int
    peer: Peer | None
    heard_at: float
    """When it last sent a whole line: who sends byte by byte is as idle as who sends nothing."""
    unread: bytearray = field(default_factory=bytearray)
    unsent: bytearray = field(default_factory=bytearray)
    closing: bool = False


class JobSocket:
    """Serves `path` in a thread of its own; `handle` answers or raises `GpuwatchError` with the refusal."""

    def __init__(
        self, path: str, handle: Handle, procfs: str = "/proc", idle_seconds: float = IDLE_SECONDS
    ) -> None:
        self._path = Path(path)
        self._handle = handle
        self._procfs = procfs
        self._idle_seconds = idle_seconds
        self._counted: Counter[tuple[str, str]] = Counter()
        self._connections: dict[int, _Connection] = {}
        self._buckets: dict[int, Bucket] = {}
        self._thread: Thread | None = None

    def start(self) -> None:
        """Listen and serve; `Locked` where another agent does, `Unavailable` where the path cannot be used."""
        self._listener = _listen(self._path)
        self._inode = self._path.stat().st_ino
        self._waker, self._wake = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._waker, selectors.EVENT_READ)
        self._thread = Thread(target=self._serve, name="gpuwatch-socket", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop serving and remove the socket file, if it is still this one's."""
        if self._thread is None:
            return
        self._wake.send(b".")
        self._thread.join(timeout=2.0)
        self._thread = None
        with suppress(OSError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()

    def counters(self) -> Mapping[tuple[str, str], float]:
        """How many messages there were so far, by type and outcome."""
        return {key: float(count) for key, count in self._counted.copy().items()}

    def _serve(self) -> None:
        while self._turn():
            pass
        for connection in list(self._connections.values()):
            self._close(connection)
        for each in (self._listener, self._waker, self._wake, self._selector):
            each.close()

    def _turn(self) -> bool:
        """Serve whatever is due; False once `stop` was called."""
        events = self._selector.select(timeout=self._idle_seconds / 10 if self._connections else None)
        now = time.monotonic()
        for key, mask in events:
            if key.fileobj is self._waker:
                return False
            if key.fileobj is self._listener:
                self._accept(now)
            elif (connection := self._connections.get(key.fd)) is not None:
                self._attend(connection, mask, now)
        for connection in list(self._connections.values()):
            if now - connection.heard_at > self._idle_seconds:
                self._counted["connection", "idle"] += 1
                self._close(connection)
        return True

    def _accept(self, now: float) -> None:
        try:
            accepted, _ = self._listener.accept()
        except OSError as exc:  # gone again, or no file descriptor left; the next turn tries again
            self._counted["connection", "failed"] += 1
            log.debug("connection not accepted error=%s", exc)
            time.sleep(0.01)
            return
        accepted.setblocking(False)
        if len(self._connections) >= CONNECTIONS:
            self._evict()
        credentials = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, gid = _CREDENTIALS.unpack(credentials)
        connection = _Connection(accepted, uid, self._peer(pid, uid, gid), now)
        self._connections[accepted.fileno()] = connection
        self._selector.register(accepted, selectors.EVENT_READ)
        self._counted["connection", "ok"] += 1

    def _peer(self, pid: int, uid: int, gid: int) -> Peer | None:
        """None where procfs does not show the process: it has ended, or is in another pid namespace (pid 0)."""
        try:
            process = proc.stat(self._procfs, pid) if pid > 0 else None
        except Unavailable:
            return None
        return Peer(pid, process.start, uid, gid) if process is not None else None

    def _evict(self) -> None:
        """Make room at the cost of whoever takes most of it: the user with the most connections."""
        users = Counter(each.uid for each in self._connections.values())
        greediest, _ = users.most_common(1)[0]
        self._counted["connection", "evicted"] += 1
        self._close(
            min(
                (each for each in self._connections.values() if each.uid == greediest),
                key=lambda each: each.heard_at,
            )
        )

    def _attend(self, connection: _Connection, mask: int, now: float) -> None:
        try:
            if mask & selectors.EVENT_READ:
                self._receive(connection, now)
            self._send(connection)
        except OSError:  # the peer has gone
            self._close(connection)
        except Exception:
            # The outermost loop: a mistake in answering one peer must not end the socket for all.
            log.exception("message not answered uid=%d", connection.uid)
            self._counted["invalid", "error"] += 1
            self._close(connection)

    def _receive(self, connection: _Connection, now: float) -> None:
        try:
            received = connection.socket.recv(LINE_BYTES)
        except BlockingIOError:
            return
        connection.unread += received
        *lines, rest = connection.unread.split(b"\n")
        connection.unread = rest
        for line in lines:
            if connection.closing:
                return
            connection.heard_at = now
            self._answer(connection, bytes(line), now)
        if len(rest) > LINE_BYTES:
            self._drop(connection, "oversize", f"longer than {LINE_BYTES} bytes; send less")
        if not received:
            connection.closing = True

    def _answer(self, connection: _Connection, line: bytes, now: float) -> None:
        if not self._bucket(connection.uid, now).take(now):
            limit = f"at most {MESSAGES_PER_SECOND:g} a second and user, {BURST:g} at once"
            self._drop(connection, "rate_limited", f"too many; {limit}")
            return
        if len(line) > LINE_BYTES:
            self._drop(connection, "oversize", f"longer than {LINE_BYTES} bytes; send less")
            return
        kind = "invalid"
        try:
            document = decode(line)
            message = parse(document)
            kind = document["type"]
            reply = self._reply(connection, message)
        except GpuwatchError as exc:
            self._refuse(connection, kind, _outcome(exc), str(exc))
            return
        self._counted[kind, "ok"] += 1
        connection.unsent += _line({**reply, "ok": True})

    def _reply(self, connection: _Connection, message: Message) -> Mapping[str, Any]:
        peer = connection.peer
        if peer is None:
            if isinstance(message, Ping):
                return {}
            raise Forbidden(
                "process: the agent cannot see the one that connected; it must live until the answer has come,"
                " and be in the agent's pid namespace or in one below"
            )
        process = proc.stat(self._procfs, peer.pid)
        if process is not None and process.start != peer.pid_start:
            raise Forbidden(f"process: {peer.pid} has ended and is another now; connect anew")
        return self._handle(peer, message)

    def _drop(self, connection: _Connection, outcome: str, error: str) -> None:
        """Say why, and read no more of this connection."""
        if not connection.closing:
            self._refuse(connection, "invalid", outcome, f"message: {error}")
            connection.closing = True

    def _refuse(self, connection: _Connection, kind: str, outcome: str, error: str) -> None:
        self._counted[kind, outcome] += 1
        connection.unsent += _line({"ok": False, "outcome": outcome, "error": error[:_ERROR_CHARACTERS]})

    def _send(self, connection: _Connection) -> None:
        if connection.unsent:
            with suppress(BlockingIOError):
                sent = connection.socket.send(connection.unsent, socket.MSG_NOSIGNAL)
                del connection.unsent[:sent]
        if connection.closing and not connection.unsent:
            self._close(connection)
        else:
            # Who does not read is not read from either: so no more is kept than the replies to what came at once.
            wanted = selectors.EVENT_WRITE if connection.unsent else selectors.EVENT_READ
            self._selector.modify(connection.socket, wanted)

    def _close(self, connection: _Connection) -> None:
        if self._connections.pop(connection.socket.fileno(), None) is not None:
            self._selector.unregister(connection.socket)
        connection.socket.close()

    def _bucket(self, uid: int, now: float) -> Bucket:
        bucket = self._buckets.get(uid)
        if bucket is None:
            if len(self._buckets) >= _BUCKETS:
                self._buckets = {each: kept for each, kept in self._buckets.items() if not kept.full(now)}
            bucket = self._buckets[uid] = Bucket(MESSAGES_PER_SECOND, BURST, BURST, now)
        return bucket


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        if not path.parent.exists():
            path.parent.mkdir(parents=True)
            path.parent.chmod(0o755)  # whatever the umask: jobs of all users must get at the socket
        service.remove_stale_socket(path, "agent")
        listener.bind(str(path))
        path.chmod(0o666)  # everybody may speak; who it is, the kernel says
        listener.listen(CONNECTIONS)
    except OSError as exc:
        listener.close()
        raise Unavailable(
            f"socket {str(path)!r}: {exc.strerror or exc}; give another path with agent.socket"
        ) from exc
    except GpuwatchError:
        listener.close()
        raise
    return listener


def _outcome(refusal: GpuwatchError) -> str:
    if isinstance(refusal, Rejected):
        return "rejected"
    if isinstance(refusal, Forbidden):
        return "forbidden"
    return "unavailable" if isinstance(refusal, Unavailable) else "error"


def _line(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


__all__ = [
    "TYPES",
    "Bucket",
    "Declare",
    "EndRun",
    "JobSocket",
    "Message",
    "Peer",
    "Ping",
    "ReportProgress",
    "StartRun",
    "parse",
]
