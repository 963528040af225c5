"""What an NFS client counts of each mount, from `mountstats`; pure.

The kernel keeps the file itself: reading it asks no server, so that one that is gone hangs nobody. Of a mount:
`bytes` has what the server sent and took (fields 5 and 6), and each operation its requests, transmissions, major
timeouts, bytes sent and received, and milliseconds of queue, of the server's answer and of the whole
(`rpc_iostats` in `include/linux/sunrpc/metrics.h`). A mount that is bound elsewhere too is listed again, with the
same counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

NFS = frozenset((b"nfs", b"nfs4"))
READ, WRITE, METADATA = "read", "write", "metadata"

Counts = dict[tuple[str, str], float]
"""By field of `HostReading` and operation, "" where it has none."""

_OPERATIONS = {b"READ": READ, b"READ_PLUS": READ, b"WRITE": WRITE, b"COMMIT": WRITE}
# Of the numbers of an operation: which, where it belongs, and its unit.
_COLUMNS = (
    (0, "nfs_operations", 1.0),
    (2, "nfs_major_timeouts", 1.0),
    (5, "nfs_queue_seconds", 1e-3),
    (6, "nfs_response_seconds", 1e-3),
    (7, "nfs_request_seconds", 1e-3),
)
_SERVER_READ, _SERVER_WRITTEN = 4, 5
_LONGEST_NUMBER = 20


@dataclass(slots=True)
class Mount:
    """An NFS mount: where it is, what it is of, and what it has counted."""

    path: str
    source: bytes
    counts: Counts = field(default_factory=dict)


def mounts(content: bytes, most: int) -> tuple[list[Mount], int]:
    """The NFS mounts, the same one once, and how many more than `most` there are."""
    found: dict[tuple[bytes, frozenset[tuple[tuple[str, str], float]]], Mount] = {}
    beyond = 0
    for block in _blocks(content):
        if len(found) >= most:
            beyond += 1
            continue
        mount = _mount(block)
        found.setdefault((mount.source, frozenset(mount.counts.items())), mount)
    return list(found.values()), beyond


def _blocks(content: bytes) -> Iterator[list[bytes]]:
    """The lines of each NFS mount, its head first."""
    block: list[bytes] = []
    for line in content.splitlines():
        if line.startswith((b"device ", b"no device ")):
            if block:
                yield block
            block = [line] if _is_nfs(line.split()) else []
        elif block:
            block.append(line)
    if block:
        yield block


def _is_nfs(words: list[bytes]) -> bool:
    """`device SOURCE mounted on PATH with fstype TYPE …`; blanks in names are escaped."""
    return len(words) >= 8 and words[2:4] == [b"mounted", b"on"] and words[7] in NFS


def _mount(block: list[bytes]) -> Mount:
    words = block[0].split()
    mount = Mount(unescaped(words[4]).decode(errors="replace"), words[1])
    for line in block[1:]:
        name, _, rest = line.strip().partition(b":")
        if name == b"bytes":
            _count_bytes(rest.split(), mount.counts)
        elif name.isupper() and name.replace(b"_", b"").isalnum():
            _count_operation(_OPERATIONS.get(name, METADATA), rest.split(), mount.counts)
    return mount


def _count_bytes(words: list[bytes], counts: Counts) -> None:
    numbers = _numbers(words)
    if len(numbers) > _SERVER_WRITTEN:
        counts["nfs_read_bytes", ""] = numbers[_SERVER_READ]
        counts["nfs_write_bytes", ""] = numbers[_SERVER_WRITTEN]


def _count_operation(operation: str, words: list[bytes], counts: Counts) -> None:
    numbers = _numbers(words)
    if len(numbers) < 8:
        return
    for place, name, unit in _COLUMNS:
        key = (name, operation)
        counts[key] = counts.get(key, 0.0) + numbers[place] * unit


def _numbers(words: list[bytes]) -> list[float]:
    """The words as numbers, up to the first that is none."""
    numbers: list[float] = []
    for word in words[:9]:
        if not word.isdigit() or len(word) > _LONGEST_NUMBER:
            break
        numbers.append(float(word))
    return numbers


def unescaped(path: bytes) -> bytes:
    """A path as the kernel escapes it in lists, with blanks and line ends as they are."""
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes((int(match[1], 8) & 0xFF,)), path)
