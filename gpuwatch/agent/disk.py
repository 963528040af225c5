"""The file system as the agent uses it: the steps between which a kill or a power cut may come."""

from __future__ import annotations

import os
from pathlib import Path


class Disk:
    """Every change that state and journal make on disk. Raises `OSError`; for any thread."""

    def read(self, path: Path) -> bytes:
        """All of a file."""
        return path.read_bytes()

    def write(self, path: Path, content: bytes) -> None:
        """A whole file anew, and on the disk when this returns."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        try:
            self._pour(descriptor, content, 0)
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def put(self, path: Path, offset: int, content: bytes) -> None:
        """End a file at `offset` and go on with `content`: done twice, or after half of it, it does the same."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            os.ftruncate(descriptor, offset)
            self._pour(descriptor, content, offset)
        finally:
            os.close(descriptor)

    def _pour(self, descriptor: int, content: bytes, offset: int) -> None:
        left = memoryview(content)
        while left:
            written = os.pwrite(descriptor, left, offset)
            left, offset = left[written:], offset + written

    def overwrite(self, path: Path, content: bytes) -> None:
        """Write over the beginning of a file that is there: it needs no room, so also a full disk takes it."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            self._pour(descriptor, content, 0)
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def copy(self, source: Path, start: int, target: Path) -> None:
        """What a file has from `start` on as another file, on the disk when this returns."""
        with source.open("rb") as full, target.open("wb") as file:
            full.seek(start)
            while block := full.read(1 << 20):
                file.write(block)
            file.flush()
            os.fdatasync(file.fileno())

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

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name, which must be free."""
        target.hardlink_to(source)

    def remove(self, path: Path) -> None:
        """Remove a file, where there is one."""
        path.unlink(missing_ok=True)

    def sync_directory(self, path: Path) -> None:
        """Have the names in a directory on the disk: without it a power cut may bring an old one back."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
