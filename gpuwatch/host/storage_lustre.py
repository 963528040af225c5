"""What a Lustre client counts of each file system; the files are its own, and reading them asks no server.

`llite/<file system>-<instance>/stats` has a line for each operation that programs made: its samples, and of
`read_bytes` and `write_bytes` the sum of bytes. `osc` (data) and `mdc` (metadata) have one for each server, with
the time that requests waited for an answer (`req_waittime`, microseconds). Where they are depends on the release:
below procfs, below debugfs (where only root may look), or below `sys/fs/lustre`; the first that has any counts.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from gpuwatch.host.storage_nfs import METADATA, READ, WRITE, Counts

MOST_FILES = 512
"""Servers of all file systems; a client of more says nothing of the others."""
_MOST_BYTES = 65536

# What asks a server of metadata; what is answered by the node alone (seeks, mapped pages) is not here.
_METADATA = frozenset(
    b"open close getattr setattr create link unlink symlink mkdir rmdir mknod rename statfs readdir getxattr "
    b"getxattr_hits setxattr removexattr listxattr truncate flock fsync".split()
)
_INSTANCE = re.compile(r"(?P<filesystem>.{1,64})-[0-9a-f]{8,16}")
_SERVER = re.compile(r"(?P<filesystem>.{1,64})-(?:OST|MDT)[0-9a-f]{4}-(?:osc|mdc)-[0-9a-f]{8,16}")
_LINE = re.compile(rb"(?P<name>\w+)\s+(?P<samples>\d{1,20}) samples \[\w+\](?P<rest>[ \d]*)")


class Lustre:
    """The Lustre client of this node."""

    def __init__(self, procfs: Path, sysfs: Path) -> None:
        self._roots = (procfs / "fs" / "lustre", sysfs / "kernel" / "debug" / "lustre", sysfs / "fs" / "lustre")

    def read(self) -> dict[str, Counts]:
        """Counts by the name of the file system; those that are mounted more than once are summed up."""
        for root in self._roots:
            found = _clients(root)
            if found:
                for filesystem, lines in _stats((root / "osc", root / "mdc"), _SERVER):
                    if filesystem in found:
                        _add_waits(found[filesystem], lines)
                return found
        return {}


def _clients(root: Path) -> dict[str, Counts]:
    found: dict[str, Counts] = {}
    for filesystem, lines in _stats((root / "llite",), _INSTANCE):
        counts = found.setdefault(filesystem, {})
        for name, samples, total in lines:
            _add_operation(counts, name, samples, total)
    return found


def _add_operation(counts: Counts, name: bytes, samples: float, total: float | None) -> None:
    if name in (b"read_bytes", b"write_bytes"):
        operation, amount = (READ, "lustre_read_bytes") if name == b"read_bytes" else (WRITE, "lustre_write_bytes")
        _add(counts, (amount, ""), total or 0.0)
        _add(counts, ("lustre_operations", operation), samples)
    elif name in _METADATA:
        _add(counts, ("lustre_operations", METADATA), samples)


def _add_waits(counts: Counts, lines: Iterable[tuple[bytes, float, float | None]]) -> None:
    for name, samples, total in lines:
        if name == b"req_waittime" and total is not None:
            _add(counts, ("lustre_requests", ""), samples)
            _add(counts, ("lustre_request_wait_seconds", ""), total * 1e-6)


def _add(counts: Counts, key: tuple[str, str], amount: float) -> None:
    counts[key] = counts.get(key, 0.0) + amount


def _stats(
    directories: Iterable[Path], pattern: re.Pattern[str]
) -> Iterator[tuple[str, list[tuple[bytes, float, float | None]]]]:
    """File system and lines of each `stats` file below directories whose names are as `pattern` says."""
    for directory in directories:
        for name in _names(directory)[:MOST_FILES]:
            match = pattern.fullmatch(name)
            content = _content(directory / name / "stats") if match else None
            if match and content is not None:
                yield match["filesystem"], list(_lines(content))


def _lines(content: bytes) -> Iterator[tuple[bytes, float, float | None]]:
    """Name, samples and sum of each line; a line has smallest, greatest and sum, or none of them."""
    for line in content.splitlines():
        match = _LINE.match(line)
        if match:
            words = match["rest"].split()
            total = float(words[2]) if len(words) >= 3 and len(words[2]) <= 25 else None
            yield match["name"], float(match["samples"]), total


def _names(path: Path) -> list[str]:
    try:
        return sorted(os.listdir(path))  # noqa: PTH208 - names alone
    except OSError:
        return []


def _content(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES)
    except OSError:
        return None
