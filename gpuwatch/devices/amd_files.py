"""Small files of sysfs: what one says, or None where it says nothing that is understood. No call here raises."""

from __future__ import annotations

import os
import re

MOST_BYTES = 4096
"""The longest that an attribute of sysfs can be."""

_INTEGER = re.compile(rb"-?\d{1,20}")


def content(path: str) -> bytes | None:
    """All of a file; None where it cannot be read, gone or refused alike."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # a third of what a Path costs, for files of every second
    except (OSError, ValueError):
        return None
    try:
        return os.read(file, MOST_BYTES)
    except OSError:
        return None
    finally:
        os.close(file)


def text(path: str) -> str | None:
    """The file as one printable line; None where it has nothing, or something else."""
    found = content(path)
    line = None if found is None else found.decode(errors="replace").strip("\0 \t\r\n")
    return line if line and line.isprintable() else None


def integer(path: str) -> int | None:
    """The decimal number that is all of the file, negative ones too; None where it is something else."""
    found = content(path)
    stripped = b"" if found is None else found.strip()
    return int(stripped) if _INTEGER.fullmatch(stripped) else None


def hexadecimal(path: str) -> int | None:
    """The number behind `0x` that is all of the file; None where it is something else."""
    found = text(path)
    return int(found, 16) if found is not None and re.fullmatch(r"0x[0-9a-fA-F]{1,16}", found) else None


def entries(path: str) -> list[str] | None:
    """The names in a directory, sorted; None where it cannot be listed."""
    try:
        return sorted(os.listdir(path))  # noqa: PTH208 - names alone, and every second
    except OSError:
        return None
