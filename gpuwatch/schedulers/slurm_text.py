"""The words that Slurm's commands print, read: node lists, durations, moments, states, exit codes and job ids.

Pure functions of one word each. What means "nothing" in any version of Slurm is None or empty; what cannot be
read raises `Rejected`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from itertools import product
from typing import NamedTuple

from gpuwatch.errors import Rejected

MAX_NODES = 65_536
"""The most nodes that one list may name: as many as Slurm itself takes."""
MAX_TASKS = 4_000_001
"""The most tasks of an array (Slurm's own limit on MaxArraySize)."""

_NOTHING = frozenset(
    {"", "none", "unknown", "n/a", "(null)", "null", "none assigned", "invalid", "not_set", "unlimited",
     "partition_limit", "infinite"}
)  # fmt: skip
_NO_VALUE = 2**32 - 2
"""NO_VAL of Slurm; INFINITE is one more."""
_RANGE = re.compile(r"(\d{1,18})(?:-(\d{1,18}))?")
_DURATION = re.compile(
    r"(?:(?P<days>\d{1,7})-(?P<a>\d{1,5})(?::(?P<b>\d{1,5})(?::(?P<c>\d{1,5}(?:\.\d+)?))?)?"
    r"|(?:(?P<hours>\d{1,7}):)?(?P<minutes>\d{1,7}):(?P<seconds>\d{1,5}(?:\.\d+)?))"
)
_ID = re.compile(
    r"(?P<job>\d{1,18})(?:_(?:(?P<task>\d{1,18})|\[(?P<tasks>[^\]]*)\])|\+(?P<offset>\d{1,9}))?(?:\.(?P<step>.+))?"
)


class JobId(NamedTuple):
    """An id as users see it: `123`, the array task `123_4`, the component `123+1` of a heterogeneous job.

    `tasks` is above 1 where tasks of an array wait together (`123_[5-9%2]`). `step` is empty for the job itself.
    """

    job: str
    task: str = ""
    offset: str = ""
    step: str = ""
    tasks: int = 1


def nothing(word: str) -> bool:
    """Whether Slurm prints this word where it has no value."""
    return word.strip().lower() in _NOTHING


@lru_cache(maxsize=4096)
def node_list(text: str) -> tuple[str, ...]:
    """The nodes of `gw[1-2,5],login1`, in its order and with its zeros; `Rejected` where it is no such list."""
    if nothing(text):
        return ()
    found: dict[str, None] = {}
    for word in parts(text):
        for name in _expanded(word):
            found[name] = None
            if len(found) > MAX_NODES:
                raise Rejected(f"node list {text[:60]!r}: more than {MAX_NODES} nodes")
    return tuple(found)


def seconds(text: str, number: float = 60.0) -> float | None:
    """Seconds of `1-02:03:04`, `02:03:04`, `03:04`, `1-02`; None for no limit. A bare number is times `number`."""
    word = text.strip()
    if nothing(word):
        return None
    if word.isascii() and word.isdecimal() and len(word) < 19:
        return None if int(word) >= _NO_VALUE else int(word) * number
    match = _DURATION.fullmatch(word)
    if match is None:
        raise Rejected(f"duration {text[:60]!r}: not in a form that Slurm prints")
    if match["days"] is not None:
        return (
            int(match["days"]) * 86_400.0
            + int(match["a"]) * 3600.0
            + int(match["b"] or 0) * 60.0
            + float(match["c"] or 0)
        )
    return int(match["hours"] or 0) * 3600.0 + int(match["minutes"]) * 60.0 + float(match["seconds"])


def moment(text: str, zone: tzinfo = UTC) -> float | None:
    """Unix seconds of `2020-11-16T11:59:11` in `zone`, or of Unix seconds themselves; None for `Unknown` and 0."""
    word = text.strip()
    if word.isascii() and word.isdecimal() and len(word) < 19:
        number = int(word)
        return float(number) if 0 < number < _NO_VALUE else None
    if nothing(word):
        return None
    try:
        return _time(word, zone)
    except (ValueError, OverflowError) as exc:
        raise Rejected(f"time {text[:60]!r}: not in a form that Slurm prints") from exc


def state(text: str) -> str:
    """The state alone: `CANCELLED` of `CANCELLED by 1234` and of `CANCELLED+`."""
    words = text.split()
    return words[0].rstrip("+").upper() if words else ""


def exit_code(text: str) -> int | None:
    """The status as a shell has it: 1 of `1:0`, 128 + 9 of `0:9`."""
    if nothing(text):
        return None
    status, _, signal = text.strip().partition(":")
    if not (_small(status) and (_small(signal) or not signal)):
        raise Rejected(f"exit code {text[:60]!r}: not STATUS:SIGNAL")
    return 128 + int(signal) if int(signal or 0) else int(status)


def job_id(text: str) -> JobId:
    """The parts of an id; `Rejected` where it is none."""
    match = _ID.fullmatch(text.strip())
    if match is None:
        raise Rejected(f"job id {text[:60]!r}: not one of Slurm's")
    tasks = 1 if match["tasks"] is None else _tasks(match["tasks"])
    return JobId(match["job"], match["task"] or "", match["offset"] or "", match["step"] or "", tasks)


def indices(text: str) -> tuple[int, ...]:
    """The numbers of `0-1,3`; none of `N/A`. `Rejected` where they are none, or very many."""
    if nothing(text):
        return ()
    found: list[int] = []
    for part in text.split(","):
        first, last = _bounds(part, text)
        if last - first + len(found) >= MAX_NODES:
            raise Rejected(f"numbers {text[:60]!r}: more than {MAX_NODES}")
        found += range(first, last + 1)
    return tuple(found)


def parts(text: str, brackets: str = "[]") -> Iterator[str]:
    """The parts of a list between the commas that are not within brackets; `Rejected` where these do not match."""
    opening, closing = brackets[0], brackets[1]
    depth = begin = 0
    for at, char in enumerate(text):
        if char == opening:
            depth += 1
        elif char == closing:
            depth -= 1
        elif char == "," and depth == 0:
            yield text[begin:at].strip()
            begin = at + 1
        if depth not in (0, 1):
            break
    if depth != 0:
        raise Rejected(f"list {text[:60]!r}: its brackets do not match")
    yield text[begin:].strip()


def _time(word: str, zone: tzinfo) -> float | None:
    read = datetime.fromisoformat(word)
    if read.tzinfo is None:
        read = read.replace(tzinfo=zone)
    found = read.timestamp()
    return found if found > 0 else None


def _small(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) < 10


def _expanded(word: str) -> Iterator[str]:
    pieces = re.split(r"\[([^\]]*)\]", word)
    if not word or any(char.isspace() for char in word):
        raise Rejected(f"node list: {word[:60]!r} is no name")
    choices: list[list[str]] = []
    size = 1
    for at, piece in enumerate(pieces):
        choices.append(_numbers(piece, word) if at % 2 else [piece])
        size *= len(choices[-1])
        if size > MAX_NODES:
            raise Rejected(f"node list {word[:60]!r}: more than {MAX_NODES} nodes")
    return ("".join(each) for each in product(*choices))


def _numbers(inside: str, whole: str) -> list[str]:
    """`001-003,7` written out, each range with the zeros of its first number."""
    found: list[str] = []
    for part in inside.split(","):
        first, last = _bounds(part, whole)
        if last - first + len(found) >= MAX_NODES:
            raise Rejected(f"node list {whole[:60]!r}: more than {MAX_NODES} nodes")
        width = len(part.strip().partition("-")[0])
        found += [str(number).zfill(width) for number in range(first, last + 1)]
    return found


def _bounds(part: str, whole: str) -> tuple[int, int]:
    match = _RANGE.fullmatch(part.strip())
    if match is None or not part.isascii():
        raise Rejected(f"{whole[:60]!r}: {part[:20]!r} is no number or range")
    first = int(match[1])
    last = int(match[2]) if match[2] else first
    if last < first:
        raise Rejected(f"{whole[:60]!r}: {part[:20]!r} runs backwards")
    return first, last


def _tasks(text: str) -> int:
    """How many tasks `1,3-5,10-20:2%4` names: the count after `%` is how many may run at once."""
    found = 0
    for part in text.partition("%")[0].split(","):
        if part.strip() == "...":
            continue  # cut short by Slurm: as many as it tells
        span, _, step = part.partition(":")
        first, last = _bounds(span, text)
        if step and not (_small(step) and int(step)):
            raise Rejected(f"job id: {text[:60]!r} names no tasks of an array")
        found += (last - first) // int(step or 1) + 1
        if found > MAX_TASKS:
            raise Rejected(f"job id: {text[:60]!r} names more than {MAX_TASKS} tasks")
    return max(found, 1)
