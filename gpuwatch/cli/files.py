"""Files that somebody else wrote, read as lines: `-` is standard input, compressed ones are recognised."""

from __future__ import annotations

import gzip
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from gpuwatch.errors import Rejected, Unavailable

LONGEST_LINE = 2**20
_GZIP = b"\x1f\x8b"
_CHUNK = 2**20


class TextFile:
    """A file that can be read from its beginning several times. A context manager."""

    def __init__(self, name: str) -> None:
        self.name = "standard input" if name == "-" else name
        self._file = _kept() if name == "-" else _opened(name)
        self.changed = None if name == "-" else os.fstat(self._file.fileno()).st_mtime

    def lines(self) -> Iterator[str]:
        """Every line with its end; bytes that are no UTF-8 become lone surrogates. An endless line is cut."""
        with self._reading() as file:
            while line := file.readline(LONGEST_LINE):
                yield line.decode(errors="surrogateescape")

    @property
    def part(self) -> float | None:
        """What part of it was read; None where that is not known."""
        size = os.fstat(self._file.fileno()).st_size
        return min(1.0, self._file.tell() / size) if size > 0 else None

    def has(self, words: bytes) -> bool:
        """Whether the words stand anywhere in it."""
        with self._reading() as file:
            tail = b""
            while chunk := file.read(_CHUNK):
                if words in tail + chunk:
                    return True
                tail = chunk[-len(words) :]
        return False

    @contextmanager
    def _reading(self) -> Iterator[BinaryIO]:
        self._file.seek(0)
        is_gzip = self._file.read(2) == _GZIP
        self._file.seek(0)
        try:
            yield cast("BinaryIO", gzip.GzipFile(fileobj=self._file)) if is_gzip else self._file
        except (gzip.BadGzipFile, EOFError, zlib.error) as exc:
            raise Rejected(f"{self.name}: is damaged; {exc}") from exc
        except OSError as exc:
            raise Unavailable(f"{self.name}: cannot be read; {exc.strerror}") from exc

    def __enter__(self) -> TextFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _opened(name: str) -> BinaryIO:
    try:
        return Path(name).open("rb")
    except OSError as exc:
        raise Unavailable(f"{name}: cannot be read; {exc.strerror}") from exc


def _kept() -> BinaryIO:
    """Standard input in a file without a name, as it is read more than once."""
    kept = tempfile.TemporaryFile()  # noqa: SIM115
    shutil.copyfileobj(sys.stdin.buffer, kept, _CHUNK)
    return cast("BinaryIO", kept)
