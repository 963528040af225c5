"""Where the next page begins, as an opaque word: a client gives back what it was given and does not read it."""

from __future__ import annotations

import base64
import binascii
import json

from gpuwatch.errors import Rejected
from gpuwatch.ledger.listing import Position

_LATEST = 2**53
_LENGTH = 2048


def cursor(*parts: str | int) -> str:
    """The word for a place in a list."""
    text = json.dumps(parts, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def position(word: str) -> Position:
    """The place in a list of jobs; `Rejected` for a word that was not given by one."""
    parts = _parts(word)
    if len(parts) == 2 and type(parts[0]) is int and abs(parts[0]) < _LATEST and isinstance(parts[1], str):
        return Position(parts[0], parts[1])
    raise _refused()


def name_after(word: str) -> str:
    """The place in a list of names; `Rejected` for a word that was not given by one."""
    parts = _parts(word)
    if len(parts) == 1 and isinstance(parts[0], str):
        return parts[0]
    raise _refused()


def numbers(word: str, count: int) -> tuple[int, ...]:
    """A place that is told by so many whole numbers; `Rejected` for a word that no list gave."""
    parts = [each for each in _parts(word) if type(each) is int and abs(each) < _LATEST]
    if len(parts) == count == len(_parts(word)):
        return tuple(parts)
    raise _refused()


def _parts(word: str) -> list[object]:
    try:
        if len(word) > _LENGTH:
            raise _refused()
        decoded = base64.b64decode(word + "=" * (-len(word) % 4), altchars=b"-_", validate=True)
        found = json.loads(decoded.decode())
    except (binascii.Error, ValueError, RecursionError) as exc:
        raise _refused() from exc
    if not isinstance(found, list) or not all(_storable(each) for each in found):
        raise _refused()
    return found


def _storable(part: object) -> bool:
    """Whether a part could be in the ledger, as no half of a character could."""
    return not isinstance(part, str) or part.encode("utf-8", "replace").decode() == part


def _refused() -> Rejected:
    return Rejected("cursor: is none that a list gave as `next`")
