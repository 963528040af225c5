"""The file system as a spool uses it: the steps between which a kill, a power cut or an error may come."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import NamedTuple

from gpuwatch.errors import Locked

_IN_MEMORY = frozenset({"tmpfs", "ramfs"})


class Room(NamedTuple):
    """Bytes of a file system: what may be taken of it, and how large it is."""

    free: int
    total: int


class Disk:
    """Every step that a spool makes on disk. Raises `OSError`; for any thread."""

    def make(self, directory: Path) -> None:
        """Make a directory, and those above it, where they are missing."""
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)

    def names(self, directory: Path) -> list[str]:
        """What is in a directory."""
        return os.listdir(directory)  # noqa: PTH208 - names, not paths

    def status(self, path: Path) -> os.stat_result:
        """Size, kind and times of what has the name itself."""
        return path.lstat()

    def read(self, path: Path, begin: int, length: int) -> bytes:
        """Part of a file, less where it ends before."""
        # Neither a pipe nor a link may have taken the name.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            parts, end = [], begin + length
            while begin < end and (part := os.pread(descriptor, end - begin, begin)):
                parts.append(part)
                begin += len(part)
            return b"".join(parts)
        finally:
            os.close(descriptor)

    def create(self, path: Path, content: bytes) -> None:
        """A file anew; not yet on the disk when this returns."""
        descriptor = os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o640
        )
        try:
            _pour(descriptor, content, 0)
        finally:
            os.close(descriptor)

    def put(self, path: Path, offset: int, content: bytes) -> None:
        """End a file that is there at `offset` and go on with `content`: done twice it does the same."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.ftruncate(descriptor, offset)
            _pour(descriptor, content, offset)
        finally:
            os.close(descriptor)

    def overwrite(self, path: Path, offset: int, content: bytes) -> None:
        """Write over a part of a file, on the disk when this returns; also on a full disk."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            _pour(descriptor, content, offset)
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def sync(self, path: Path) -> None:
        """Have what was put into a file on the disk."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        """Give a file another name, in place of whatever has it."""
        source.replace(target)

    def remove(self, path: Path) -> None:
        """Remove a file, where there is one."""
        path.unlink(missing_ok=True)

    def sync_directory(self, path: Path) -> None:
        """Have the names in a directory on the disk."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def room(self, directory: Path) -> Room:
        """What the file system of a directory has."""
        figures = os.statvfs(directory)
        return Room(figures.f_bavail * figures.f_frsize, figures.f_blocks * figures.f_frsize)

    def in_memory(self, directory: Path) -> bool:
        """Whether a directory is kept in memory, and takes it from everybody."""
        device = directory.stat().st_dev
        wanted = f"{os.major(device)}:{os.minor(device)}"
        return any(
            fields[2] == wanted and fields[fields.index("-") + 1] in _IN_MEMORY
            for fields in map(str.split, Path("/proc/self/mountinfo").read_text(errors="replace").splitlines())
        )


def _pour(descriptor: int, content: bytes, offset: int) -> None:
    left = memoryview(content)
    while left:
        written = os.pwrite(descriptor, left, offset)
        left, offset = left[written:], offset + written


class DirectoryLock:
    """A locked file with the pid of its holder; the kernel frees it however the process ends.

    Raises `Locked`, naming the holder, where another process holds it, and `OSError` where it cannot be had.
    """

    def __init__(self, directory: Path) -> None:
        path = directory / "lock"
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
        except OSError:
            # What cannot be written can be locked all the same.
            self._file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self._take(directory)
        except BaseException:
            os.close(self._file)
            raise

    def _take(self, directory: Path) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            holder = os.pread(self._file, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise Locked(f"spool {str(directory)!r}: in use by the process {holder}") from exc
        # Whoever finds it taken wants to know by whom; a full disk need not say it.
        try:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)
        except OSError:
            return

    def release(self) -> None:
        """Let another process have it."""
        os.close(self._file)
