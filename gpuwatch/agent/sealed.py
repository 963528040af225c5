"""JSON with a checksum in front: what a disk changed by itself is noticed, also where it is still valid JSON.

The checksum is the first member of the object, so that a program that knows nothing of it reads the rest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from zlib import crc32

HEAD = b'{"crc":"'
_BODY = len(HEAD) + len('01234567",')


def seal(document: Mapping[str, Any]) -> bytes:
    """A JSON object, not empty, as one line without its end."""
    body = json.dumps(document, separators=(",", ":")).encode()
    return b'%s%08x",%s' % (HEAD, crc32(body), body[1:])


def unseal(sealed: bytes) -> dict[str, Any]:
    """The object; `ValueError` says why it cannot be what was written."""
    if not sealed.startswith(HEAD) or sealed[_BODY - 2 : _BODY] != b'",':
        raise ValueError("it does not begin with a checksum")
    body = b"{" + sealed[_BODY:]
    if sealed[len(HEAD) : _BODY - 2] != b"%08x" % crc32(body):
        raise ValueError("its checksum is wrong")
    document: dict[str, Any] = json.loads(body)
    return document
