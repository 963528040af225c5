"""A command's output, passed on unchanged and at once, while another process looks for progress in it.

Three processes: `gpuwatch run` starts the command and waits for it; the relay copies what the command prints to
where it would have gone, until nobody can print any more; the follower tries the pattern. Nothing that the
follower does, or fails to do, holds up the relay: what it is too slow for it does not get.
"""

from __future__ import annotations

import errno
import os
import re
import select
import signal
import stat
import termios
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from fcntl import ioctl
from typing import NoReturn

from gpuwatch.cli import progress_lines

_BLOCK = 128 * 1024
_FEED_INTERVAL = 0.1
_MOST_WAITING = 512 * 1024
"""Bytes that wait for the follower; of more the oldest are dropped."""
_FOLLOWER_WAIT = 2.0
_IGNORED = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


@dataclass(frozen=True, slots=True)
class Stream:
    """What the command prints there (`descriptors`) comes out of `source` and goes to `target`."""

    descriptors: tuple[int, ...]
    inlet: int
    source: int
    target: int
    terminal: bool


class Relay:
    """The relay as `gpuwatch run` sees it; made before the command is started.

    Raises OSError where there cannot be one: it runs, or nothing is put between the command and its readers.
    """

    def __init__(self, pattern: re.Pattern[str], total: float | None, environment: dict[str, str]) -> None:
        self._streams = _streams()
        self._ended, self._end = os.pipe()
        self._done, done = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.environ.update(environment)
                _close([self._end, self._done, *(each.inlet for each in self._streams)])
                with suppress(OSError, RuntimeError):  # which is a thread's
                    _relay(self._streams, self._ended, done, pattern, total)
            finally:
                os._exit(1)
        _close([self._ended, done, *(each.source for each in self._streams)])
        if not os.read(self._done, 1):
            _close([self._end, self._done, *(each.inlet for each in self._streams)])
            raise OSError(errno.EAGAIN, "a limit of processes, threads or open files")

    def file_actions(self) -> list[tuple[int, int, int]]:
        """What makes the command print into the relay, as `os.posix_spawn` takes it."""
        return [
            (os.POSIX_SPAWN_DUP2, each.inlet, descriptor)
            for each in self._streams
            for descriptor in each.descriptors
        ]

    def started(self) -> None:
        """The command has its own ends now, or there is none; once they are closed there is no more to come."""
        _close([each.inlet for each in self._streams])

    def command_ended(self) -> None:
        """What it has left behind may print on, but nobody waits for that."""
        _close([self._end])

    def settle(self, timeout: float | None) -> None:
        """Wait until all that the command has printed is passed on and its progress told, or for so long."""
        select.select([self._done], [], [], timeout)


def _streams() -> list[Stream]:
    """Standard output and standard error, as one where they go to one file, so that their order stays."""
    targets: dict[tuple[int, ...], list[int]] = {}
    for descriptor in (1, 2):
        with suppress(OSError):  # it is closed
            status = os.fstat(descriptor)
            device = status.st_rdev if stat.S_ISCHR(status.st_mode) else 0
            targets.setdefault((status.st_dev, status.st_ino, device), []).append(descriptor)
    _occupy()
    return [_stream(tuple(descriptors)) for descriptors in targets.values()]


def _occupy() -> None:
    """Take the places of standard streams that are closed, or a pipe would; the command still has them closed."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def _stream(descriptors: tuple[int, ...]) -> Stream:
    """A pipe, or a terminal where the command would have had one."""
    target = descriptors[0]
    try:
        source, inlet = os.openpty() if os.isatty(target) else os.pipe()
    except OSError:  # no terminal is left
        source, inlet = os.pipe()
    if not os.isatty(inlet):
        return Stream(descriptors, inlet, source, target, False)
    with suppress(termios.error):
        settings = termios.tcgetattr(target)
        settings[1] &= ~termios.OPOST  # the terminal itself does that, and once is enough
        termios.tcsetattr(inlet, termios.TCSANOW, settings)
    _resize(target, source)
    return Stream(descriptors, inlet, source, target, True)


def _resize(terminal: int, other: int) -> bool:
    """Make the other terminal as large as this one; whether it was not."""
    with suppress(OSError):
        size = ioctl(terminal, termios.TIOCGWINSZ, bytes(8))
        if size != ioctl(other, termios.TIOCGWINSZ, bytes(8)):
            ioctl(other, termios.TIOCSWINSZ, size)
            return True
    return False


def _close(descriptors: Sequence[int]) -> None:
    for each in descriptors:
        os.close(each)


def _relay(
    streams: Sequence[Stream], ended: int, done: int, pattern: re.Pattern[str], total: float | None
) -> NoReturn:
    """Be the relay: a thread for each stream, and this one for the follower."""
    _ignore()
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    source, sink = os.pipe()
    living, alive = os.pipe()
    follower = os.fork()
    if follower == 0:
        try:
            os.dup2(nothing, 1)
            _close([sink, living, ended, done, *(each.source for each in streams)])
            progress_lines.serve(source, pattern, total)
        finally:
            os._exit(1)
    _close([source, alive])
    _follow_size([each for each in streams if each.terminal])
    feed = Feed(len(streams))
    threads = [threading.Thread(target=_copy, args=(each, ended, feed)) for each in streams]
    for thread in threads:
        thread.start()
    os.write(done, b".")
    feed.run(sink)
    if not select.select([living], [], [], _FOLLOWER_WAIT)[0]:
        os.kill(follower, signal.SIGKILL)
    os.close(done)
    for thread in threads:
        thread.join()
    os._exit(0)


def _ignore() -> None:
    """Leave to the command what the terminal sends to all of its processes."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _follow_size(terminals: Sequence[Stream]) -> None:
    """Keep the command's terminals as large as the user's; who asked for the size too early is told again."""

    def resized(number: int, frame: object) -> None:
        for each in terminals:
            if _resize(each.target, each.source):
                with suppress(OSError):
                    os.killpg(os.tcgetpgrp(each.target), signal.SIGWINCH)

    if terminals:
        signal.signal(signal.SIGWINCH, resized)


class Feed:
    """What waits for the follower: whole lines, the newest that there is room for."""

    def __init__(self, streams: int) -> None:
        self._streams = streams
        self._changed = threading.Condition()
        self._blocks: deque[bytes] = deque()
        self._size = 0

    def add(self, block: bytes) -> None:
        """Whole lines of one stream."""
        if not block:
            return
        with self._changed:
            self._blocks.append(block)
            self._size += len(block)
            while self._size > _MOST_WAITING:
                self._size -= len(self._blocks.popleft())
            self._changed.notify()

    def drained(self, rest: bytes) -> None:
        """One stream has passed on all that the command has printed; `rest` is its last line, without an end."""
        self.add(rest)
        with self._changed:
            self._streams -= 1
            self._changed.notify()

    def run(self, sink: int) -> None:
        """Give the follower what waits for it, ten times a second, until all streams are drained."""
        open_ = True
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._blocks or not self._streams)
                blocks, last = b"".join(self._blocks), not self._streams
                self._blocks.clear()
                self._size = 0
            open_ = open_ and _written(sink, blocks)
            if last:
                os.close(sink)
                return
            with self._changed:
                self._changed.wait_for(lambda: not self._streams, _FEED_INTERVAL)


def _written(target: int, block: bytes) -> bool:
    """Write all of it; False where nobody reads any more."""
    rest = memoryview(block)
    while rest:
        try:
            rest = rest[os.write(target, rest) :]
        except BlockingIOError:  # whoever shares the file has made it so
            select.select([], [target], [])
        except OSError:
            return False
    return True


def _copy(stream: Stream, ended: int, feed: Feed) -> None:
    """Pass on a stream to its end; once the command has ended and nothing is left, it counts as drained."""
    lines, over, drained = Lines(), False, False
    poll = select.poll()
    poll.register(stream.source, select.POLLIN)
    poll.register(ended, select.POLLIN)
    while True:
        ready = [descriptor for descriptor, _ in poll.poll(0 if over and not drained else None)]
        if ended in ready:
            over = True
            poll.unregister(ended)
        elif stream.source in ready:
            received = _read(stream.source)
            if not received or not _written(stream.target, received):
                break
            if not drained:
                feed.add(lines.taken(received))
        else:
            drained = True
            feed.drained(lines.rest())
    os.close(stream.source)  # where nobody reads, the command learns that as it would without the relay
    if not drained:
        feed.drained(lines.rest())


def _read(source: int) -> bytes:
    try:
        return os.read(source, _BLOCK)
    except OSError:  # a terminal that nobody has open any more
        return b""


class Lines:
    """Cuts a stream into blocks of whole lines; of a line that is very long it keeps the beginning."""

    def __init__(self) -> None:
        self._begun = b""

    def taken(self, received: bytes) -> bytes:
        """The lines that are whole now, with what had begun before."""
        end = max(received.rfind(b"\n"), received.rfind(b"\r")) + 1
        room = 4 * progress_lines.LONGEST_LINE
        if not end:
            self._begun += received[: max(0, room - len(self._begun))]
            return b""
        block = self._begun + received[:end]
        self._begun = received[end : end + room]
        return block

    def rest(self) -> bytes:
        """The line that nothing has ended."""
        return self._begun + b"\n" if self._begun else b""
