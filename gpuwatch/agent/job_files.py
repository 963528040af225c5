"""What jobs say in files of their own: `progress` and `declare` in a directory for each job (docs/socket.md).

A directory in one that nobody but root and the agent's user may write was made by one of the two, and so is the
word of the job whose id is its name. What is in it was written by a user: only regular files of the directory's
owner are read, without following links or waiting for a writer, and no more than 64 kB of them.
"""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import Protocol

from gpuwatch.agent.intake import Speaker
from gpuwatch.agent.messages import Written, decode, written
from gpuwatch.errors import Forbidden, GpuwatchError, Rejected

LOOK_SECONDS = 1.0
MOST_BYTES = 64 * 1024
FILES = ("declare", "progress")

_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

log = logging.getLogger("gpuwatch.agent")

Stamp = tuple[int, ...]


class Hears(Protocol):
    """Who takes what the files say: `intake.Intake`."""

    def hear_declaration(self, speaker: Speaker, text: str) -> None:
        """The text of a file `declare`, as it is."""
        ...

    def hear_progress(self, speaker: Speaker, written: Written) -> None:
        """The report in a file `progress`."""
        ...

    def refuse_file(self, speaker: Speaker, refusal: GpuwatchError) -> None:
        """A file that is not what it should be."""
        ...


class JobFiles:
    """Looks at the files of jobs that live, and of those that have just ended once more, in a thread of its own.

    `living` gives the jobs; a file is read again only when it has changed.
    """

    def __init__(
        self,
        directory: Path,
        hears: Hears,
        living: Callable[[], Collection[str]],
        trusted: frozenset[int] | None = None,
    ) -> None:
        self._directory = directory
        self._hears = hears
        self._living = living
        self._trusted = frozenset({0, os.geteuid()}) if trusted is None else trusted
        self._seen: dict[str, dict[str, Stamp]] = {}
        self._stopping = Event()
        self._thread: Thread | None = None

    def start(self) -> None:
        """Look every second until `stop`."""
        self._thread = Thread(target=self._work, name="gpuwatch-files", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; one that a file system holds up is left behind."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)

    def _work(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            try:
                self.look()
            except Exception:
                # The outermost loop: a mistake over one file must not end the reading of all.
                log.exception("files of jobs cannot be looked at path=%s", self._directory)
                self._stopping.wait(60 * LOOK_SECONDS)

    def look(self) -> None:
        """Hear what has changed since the last time."""
        living = {job_id for job_id in self._living() if _JOB_ID.fullmatch(job_id)}
        over = self._seen.keys() - living
        try:
            parent = os.open(self._directory, _DIRECTORY)
        except OSError:
            self._seen = {}
            return
        try:
            if refusal_of_parent(os.fstat(parent), self._trusted) is None:
                for job_id in sorted({*living, *over}):
                    self._look_at(parent, job_id, job_id in over)
        finally:
            os.close(parent)
        for job_id in over:
            self._seen.pop(job_id, None)

    def _look_at(self, parent: int, job_id: str, over: bool) -> None:
        try:
            directory = os.open(job_id, _DIRECTORY, dir_fd=parent)
        except PermissionError as exc:
            self._refuse_directory(Speaker(job_id, over=over), f"cannot be opened, {exc.strerror}")
            return
        except OSError:
            # There is none (yet), or something that is none: nobody was given the job's word.
            self._seen.pop(job_id, None)
            return
        try:
            status = os.fstat(directory)
            seen = self._seen.setdefault(job_id, {})
            if status.st_mode & 0o022 == 0:
                for name in FILES:
                    self._hear(directory, name, Speaker(job_id, status.st_uid, over=over), seen)
            else:
                why = f"others may write it, mode {stat.S_IMODE(status.st_mode):o}"
                self._refuse_directory(Speaker(job_id, status.st_uid, over=over), why)
        finally:
            os.close(directory)

    def _refuse_directory(self, speaker: Speaker, why: str) -> None:
        """Say once what is wrong with it."""
        seen = self._seen.setdefault(speaker.job_id, {})
        if "" not in seen:
            seen[""] = ()
            self._hears.refuse_file(speaker, Forbidden(f"{speaker.job_id}: {why}"))

    def _hear(self, directory: int, name: str, speaker: Speaker, seen: dict[str, Stamp]) -> None:
        try:
            stamp = _stamp(os.stat(name, dir_fd=directory, follow_symlinks=False))
        except OSError:
            seen.pop(name, None)
            return
        if seen.get(name) == stamp:
            return
        seen[name] = stamp
        try:
            data, changed = read(directory, name, {speaker.uid or 0, *self._trusted})
            if name == "declare":
                self._hears.hear_declaration(speaker, data.decode())
            else:
                self._hears.hear_progress(speaker, _dated(written(decode(data.strip())), changed))
        except GpuwatchError as exc:
            self._hears.refuse_file(speaker, exc)
        except UnicodeDecodeError:
            self._hears.refuse_file(speaker, Rejected(f"{name}: not UTF-8"))


def read(directory: int, name: str, owners: Collection[int]) -> tuple[bytes, float]:
    """What a file in an opened directory has in it, and when it was written, Unix seconds.

    Raises `Forbidden` where it is not a plain file of one of the owners, `Rejected` where it cannot be read.
    """
    try:
        descriptor = os.open(name, _FILE, dir_fd=directory)
    except OSError as exc:
        raise Rejected(f"{name}: cannot be opened; {exc.strerror}") from exc
    try:
        status = os.fstat(descriptor)
        if (refusal := _refusal_of_file(status, owners)) is not None:
            raise Forbidden(f"{name}: {refusal}")
        data = os.read(descriptor, MOST_BYTES + 1)
    except OSError as exc:
        raise Rejected(f"{name}: cannot be read; {exc.strerror}") from exc
    finally:
        with suppress(OSError):
            os.close(descriptor)
    if len(data) > MOST_BYTES:
        raise Rejected(f"{name}: more than {MOST_BYTES} bytes")
    return data, status.st_mtime


def refusal_of_parent(status: os.stat_result, trusted: Collection[int]) -> str | None:
    """Why the directories in this one are not believed; None where they are."""
    if status.st_uid not in trusted:
        return f"belongs to uid {status.st_uid}, not to root"
    if status.st_mode & 0o022:
        return f"may be written by others, mode {stat.S_IMODE(status.st_mode):o}"
    return None


def _refusal_of_file(status: os.stat_result, owners: Collection[int]) -> str | None:
    if not stat.S_ISREG(status.st_mode):
        return "is no regular file"
    if status.st_uid not in owners:
        return f"belongs to uid {status.st_uid}"
    if status.st_nlink != 1:
        return "has several names"
    if status.st_size > MOST_BYTES:
        return f"has {status.st_size} bytes, more than {MOST_BYTES}"
    return None


def _dated(report: Written, changed: float) -> Written:
    # A file may be dated before 1970.
    return report if report.time is not None else Written(report.report, max(0.0, changed), report.pid)


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_uid, status.st_mode
