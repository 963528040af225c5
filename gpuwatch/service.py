"""Run as a daemon: ticks on absolute monotonic deadlines, signals, sd_notify and its watchdog.

The watchdog is fed by the loop, and by nothing that a driver can hang: restarting a daemon because a device
does not answer helps nobody.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import logging
import math
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from types import FrameType

from gpuwatch.errors import Forbidden, GpuwatchError, Locked, Unavailable

log = logging.getLogger("gpuwatch.service")


RELEASED = 1_761_955_200.0
"""2025-11-01, before which no gpuwatch of this version was built; moved with each release."""
LATEST = 4_102_444_800.0  # 2100


def is_possible(wall: float) -> bool:
    """Whether it can be that late: a clock that nobody set is before the program that reads it."""
    return RELEASED <= wall <= LATEST


@dataclass(slots=True)
class Pace:
    """Absolute deadlines an interval apart; a late tick swallows those it missed instead of catching up."""

    interval_seconds: float
    next: float
    missed: int = 0

    def wait_seconds(self, now: float) -> float:
        """How long to wait for the next deadline; moves on to the one after it."""
        late = now - self.next
        if late >= self.interval_seconds:
            skipped = int(late // self.interval_seconds)
            self.missed += skipped
            self.next += skipped * self.interval_seconds
        wait = max(0.0, self.next - now)
        self.next += self.interval_seconds
        return wait

    def follow(self, interval_seconds: float) -> None:
        """Go on at another interval, counted from the deadline before the next."""
        self.next += interval_seconds - self.interval_seconds
        self.interval_seconds = interval_seconds


@dataclass(slots=True)
class ClockWatch:
    """Notices when the wall clock jumps, by its distance from a clock that cannot."""

    tolerance_seconds: float = 2.0
    offset: float | None = None
    jumps: int = 0

    def jumped(self, monotonic: float, wall: float) -> float:
        """By how much the wall clock jumped since the last call; 0 where it did not."""
        offset, before = wall - monotonic, self.offset
        self.offset = offset
        if before is None or abs(offset - before) <= self.tolerance_seconds:
            return 0.0
        self.jumps += 1
        return offset - before


class PidLock:
    """A locked file with the pid of its holder; the kernel frees it however the process ends.

    Raises `Forbidden`, `Unavailable` or, naming the holder, `Locked`; `what` is the thing that is locked.
    """

    def __init__(self, path: Path, what: str) -> None:
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except PermissionError as exc:
            raise Forbidden(f"{what}: no permission to write {str(path)!r}") from exc
        except OSError as exc:
            raise Unavailable(f"{what}: {str(path)!r} cannot be opened; {exc.strerror}") from exc
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            holder = os.pread(self._file, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._file)
            raise Locked(f"{what}: in use by the process {holder}") from exc
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another process have it."""
        os.close(self._file)


_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def remove_stale_socket(path: Path, who: str) -> None:
    """Remove the socket file of a process that is dead; anything else at the path is left alone.

    `Locked` where another one (`who`: agent, process) serves it, `Unavailable` where it is no socket.
    """
    if not path.exists():
        return
    if not path.is_socket():
        raise Unavailable(
            f"socket {str(path)!r}: there is a file that is no socket; remove it or give another path"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:  # its queue is full: alive, and busy
            pass
    raise Locked(f"socket {str(path)!r}: another {who} serves it; stop that one or give another path")


def one_line(text: str) -> str:
    """The text with control characters and line breaks shown as escapes."""
    return _CONTROLS.sub(lambda found: found.group().encode("unicode_escape").decode("ascii"), text)


def notify(*lines: str) -> bool:
    """Tell systemd (`READY=1`, `STATUS=…`); False where nobody listens, which is not an error."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            # A line break in a status would be an assignment of its own.
            sock.sendto("\n".join(map(one_line, lines)).encode("utf-8", "replace"), address)
    except OSError:
        return False
    return True


Stop = threading.Event
"""Set it to end `run` after the tick under way."""


@contextmanager
def _signals(handlers: dict[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    def adapt(handler: Callable[[], None]) -> Callable[[int, FrameType | None], None]:
        return lambda _number, _frame: handler()

    before = {number: signal.signal(number, adapt(handler)) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(
    tick: Callable[[float], None],
    *,
    interval_seconds: float | Callable[[], float] = 1.0,
    status: Callable[[], str] = lambda: "",
    reload: Callable[[], None] | None = None,
    missed: Callable[[int], None] = lambda _count: None,
    stop: Stop | None = None,
) -> None:
    """Call `tick(monotonic now)` at every deadline until SIGTERM, SIGINT or `stop`.

    READY is sent after the first tick that returns. What a tick raises ends the loop and is the caller's.
    The interval may be one that changes.
    """
    stop = stop or Stop()
    interval = interval_seconds if callable(interval_seconds) else lambda: interval_seconds
    hangup = threading.Event()
    handlers: dict[signal.Signals, Callable[[], None]] = {signal.SIGTERM: stop.set, signal.SIGINT: stop.set}
    handlers[signal.SIGHUP] = hangup.set
    pace = Pace(interval(), time.monotonic())
    with _signals(handlers):
        state = ["READY=1"]
        while not stop.wait(pace.wait_seconds(time.monotonic())):
            if hangup.is_set():
                hangup.clear()
                _reload(reload)
            missed(pace.missed)
            tick(time.monotonic())
            pace.follow(interval())
            notify(*state, "WATCHDOG=1", f"STATUS={status()}")
            state = []
    notify("STOPPING=1")


_MALLOPT = {"M_TRIM_THRESHOLD": (-1, 65_536), "M_MMAP_THRESHOLD": (-3, 65_536), "M_ARENA_MAX": (-8, 1)}


def spare_memory() -> None:
    """Have what is freed given back to the system: pages of text are made and dropped in many threads.

    glibc would keep a heap for each thread, and in it the place of the largest page so far; the interpreter's lock
    lets one thread allocate at a time anyway. To be called before there are threads.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in _MALLOPT.values():
            mallopt(option, value)


def listen_from_the_start(stop: Stop) -> None:
    """Until `run` listens: an early SIGTERM or SIGINT ends it before its first tick, a SIGHUP does nothing."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _reload(reload: Callable[[], None] | None) -> None:
    if reload is None:
        log.warning("SIGHUP ignored: nothing to reload")
        return
    reload()


class LogFormat(StrEnum):
    """How a line of the log looks."""

    TEXT = "text"
    JSON = "json"


def set_up_logging(verbose: bool = False, log_format: LogFormat = LogFormat.TEXT) -> None:
    """Log to stderr; under journald with its priority prefixes and, as text, no time of our own."""
    journald = "JOURNAL_STREAM" in os.environ
    lines: logging.Formatter = _OneLine(None if journald else "%(asctime)s %(levelname)s %(message)s")
    if log_format is LogFormat.JSON:
        lines = JsonLines()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Priority(lines) if journald else lines)
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler], force=True)
    for chatty in ("apscheduler", "uvicorn", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


@contextmanager
def last_words() -> Iterator[None]:
    """Log why a daemon ends, as it logs everything else, and exit with the code of the error."""
    try:
        yield
    except GpuwatchError as exc:
        for line in str(exc).splitlines():
            logging.getLogger("gpuwatch").error("%s", line)
        sys.exit(exc.exit_code)


class _OneLine(logging.Formatter):
    """A message is one line whatever names are in it, so that nobody forges a line; tracebacks are several."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        record.message = one_line(record.message)
        return super().formatMessage(record)


_SPECIFIER = re.compile(r"(?:\s*\b(?P<key>[a-z]\w*)=)?%(?:%|[-#0 +]*\d*(?:\.\d+)?[a-zA-Z])")
_OWN = ("time", "level", "logger", "message", "traceback")


class JsonLines(logging.Formatter):
    """One JSON object on each line: time, level, logger, message, traceback, and what was logged as key=value."""

    def format(self, record: logging.LogRecord) -> str:
        message, fields = _split(record)
        document: dict[str, object] = {
            "time": f"{datetime.fromtimestamp(record.created, UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message,
        }
        document |= {f"{key}_" if key in _OWN else key: _plain(value) for key, value in fields.items()}
        if record.exc_info:
            document["traceback"] = self.formatException(record.exc_info)
        return json.dumps(document, separators=(",", ":"), allow_nan=False)


def _split(record: logging.LogRecord) -> tuple[str, dict[str, object]]:
    """The message without its fields, and these, by where the format has `key=%s`: values may contain anything."""
    if not isinstance(record.msg, str) or not isinstance(record.args, tuple):
        return record.getMessage(), {}
    fields: dict[str, object] = {}
    arguments, left = iter(record.args), []

    def taken(found: re.Match[str]) -> str:
        if found[0] == "%%":
            return found[0]
        value = next(arguments)
        if found["key"] is None:
            left.append(value)
            return found[0]
        fields[found["key"]] = value
        return ""

    try:
        text = _SPECIFIER.sub(taken, record.msg)
        return (text % tuple(left) if record.args else record.msg), fields
    except (StopIteration, TypeError, ValueError):
        return record.getMessage(), {}


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool | int | str):
        return value
    return value if isinstance(value, float) and math.isfinite(value) else str(value)


class _Priority(logging.Formatter):
    """`<3>message`: what journald reads as the priority of a line."""

    def __init__(self, lines: logging.Formatter | None = None) -> None:
        super().__init__()
        self._lines = lines or _OneLine()

    def format(self, record: logging.LogRecord) -> str:
        priority = 3 if record.levelno >= logging.ERROR else 4 if record.levelno >= logging.WARNING else 6
        return f"<{priority}>{self._lines.format(record)}".replace("\n", f"\n<{priority}>")
