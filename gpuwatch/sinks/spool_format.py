"""The bytes of a spool's files: segments of records, and cursors. Pure.

A segment is a header and records. A record is a marker, a checksum of its header, its header and the compressed
lines: where bytes in the middle were destroyed, the next marker with a whole header behind it is where it goes on.
A record is called by its number, which grows by one; a segment by the number of its first record.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

VERSION = 1
LEVEL = 6
LAST_NUMBER = 10**15
"""No spool ever comes to this number; a file or a cursor that names one beyond it is not ours."""

_MAGIC = b"gwspool\n"
_SEGMENT = struct.Struct("<8sIQ")
_MARKER = b"\xa7GW\x1a"
_HEAD = struct.Struct("<IIQdI")
_CURSOR = struct.Struct("<4sIQQQ")
_CURSOR_MAGIC = b"gwcu"
_CHECKSUM = struct.Struct("<I")

SEGMENT_HEAD_BYTES = _SEGMENT.size + _CHECKSUM.size
HEAD_BYTES = len(_MARKER) + _CHECKSUM.size + _HEAD.size
SLOT_BYTES = 512


class Head(NamedTuple):
    """What a record says of itself: `length` and `checksum` are those of the compressed lines."""

    length: int
    checksum: int
    seq: int
    time: float
    points: int


class Piece(NamedTuple):
    """A part of a segment, from `begin` to `end`: a whole record, or damage, of which the head may be whole."""

    begin: int
    end: int
    head: Head | None
    whole: bool


def encode(seq: int, time: float, points: int, lines: bytes) -> bytes:
    """A record."""
    packed = zlib.compress(lines, LEVEL)
    head = _HEAD.pack(len(packed), zlib.crc32(packed), seq, time, points)
    return _MARKER + _CHECKSUM.pack(zlib.crc32(head)) + head + packed


def lines_of(record: bytes) -> bytes:
    """The lines in a whole record. Raises `zlib.error` where they cannot be unpacked."""
    return zlib.decompress(memoryview(record)[HEAD_BYTES:])


def segment_head(number: int, version: int = VERSION) -> bytes:
    """The beginning of a segment."""
    head = _SEGMENT.pack(_MAGIC, version, number)
    return head + _CHECKSUM.pack(zlib.crc32(head))


def version_of(data: bytes) -> int | None:
    """The version of the format that a segment is written in; None where its beginning is destroyed."""
    head = data[: _SEGMENT.size]
    if len(data) < SEGMENT_HEAD_BYTES or _CHECKSUM.unpack_from(data, _SEGMENT.size)[0] != zlib.crc32(head):
        return None
    magic, version, _ = _SEGMENT.unpack(head)
    return int(version) if magic == _MAGIC else None


def half_made(data: bytes, number: int) -> bool:
    """Whether this is the beginning of a new segment, cut short or filled up with zeros."""
    return segment_head(number).startswith(data.rstrip(b"\0"))


def head_at(data: bytes, begin: int) -> Head | None:
    """The head of the record that begins there; None where none does."""
    if not data.startswith(_MARKER, begin) or begin + HEAD_BYTES > len(data):
        return None
    head = data[begin + len(_MARKER) + _CHECKSUM.size : begin + HEAD_BYTES]
    if zlib.crc32(head) != _CHECKSUM.unpack_from(data, begin + len(_MARKER))[0]:
        return None
    return Head(*_HEAD.unpack(head))


def pieces(data: bytes, begin: int) -> Iterator[Piece]:
    """All of a segment from `begin` on, in order and without a gap."""
    view = memoryview(data)
    while begin < len(data):
        head = head_at(data, begin)
        end = begin + HEAD_BYTES + (head.length if head else 0)
        whole = (
            head is not None and end <= len(data) and zlib.crc32(view[begin + HEAD_BYTES : end]) == head.checksum
        )
        if not whole:
            end = next_head(data, begin + 1)
        yield Piece(begin, end, head, whole)
        begin = end


def next_head(data: bytes, begin: int) -> int:
    """Where the next record with a whole head begins, or the end where none does."""
    while (begin := data.find(_MARKER, begin)) >= 0:
        if head_at(data, begin) is not None:
            return begin
        begin += 1
    return len(data)


def torn(tail: bytes) -> bool:
    """Whether the end of a segment is a record of which only a beginning came to the disk, or nothing but zeros.

    Nobody was told that such a record is safe. What was written whole and changed afterwards is not torn.
    """
    written = tail.rstrip(b"\0")
    if len(written) < HEAD_BYTES:
        return written[: len(_MARKER)] == _MARKER[: len(written)]
    head = head_at(tail, 0)
    return head is not None and len(written) < HEAD_BYTES + head.length


def encode_cursor(generation: int, segment: int, seq: int) -> bytes:
    """One slot of a cursor: `seq` is the first record not passed, `segment` the segment it is or will be in."""
    slot = _CURSOR.pack(_CURSOR_MAGIC, VERSION, generation, segment, seq)
    return (slot + _CHECKSUM.pack(zlib.crc32(slot))).ljust(SLOT_BYTES, b"\0")


def decode_cursor(data: bytes) -> tuple[int, int, int] | None:
    """The newest of the slots in a cursor's file: generation, segment and seq; None where none can be believed."""
    found = [_slot(data[begin : begin + SLOT_BYTES]) for begin in range(0, len(data), SLOT_BYTES)]
    return max((slot for slot in found if slot is not None), default=None)


def _slot(slot: bytes) -> tuple[int, int, int] | None:
    if len(slot) < _CURSOR.size + _CHECKSUM.size:
        return None
    magic, version, generation, segment, seq = _CURSOR.unpack_from(slot)
    if _CHECKSUM.unpack_from(slot, _CURSOR.size)[0] != zlib.crc32(slot[: _CURSOR.size]):
        return None
    believed = magic == _CURSOR_MAGIC and version <= VERSION and segment <= LAST_NUMBER and 0 < seq <= LAST_NUMBER
    return (generation, segment, seq) if believed else None
