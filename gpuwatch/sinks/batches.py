"""Lines that go into a spool together, and times that no point of this process has yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

BATCH_BYTES = 256 * 1024
SPAN_SECONDS = 60.0
"""No point is so much older than its batch: where the clock was set, times may be years apart."""

LIMIT_TIMES = 20_000


@dataclass(frozen=True, slots=True)
class Batch:
    """Points to be delivered: `time` is that of the newest, Unix seconds; `points` is how many lines there are."""

    time: float
    points: int
    lines: bytes


class Line(NamedTuple):
    """A point as it is written, with its line break, and its time in Unix milliseconds."""

    time: int
    text: str


def batches(lines: Iterable[Line]) -> tuple[Batch, ...]:
    """The lines in their order, in batches of about 256 KiB and a minute at most.

    Lines without text are no points.
    """
    return tuple(_batch(each) for each in _parts(line for line in lines if line.text))


def _parts(lines: Iterable[Line]) -> Iterator[list[Line]]:
    part: list[Line] = []
    size = oldest = newest = 0
    for line in lines:
        oldest, newest = (min(oldest, line.time), max(newest, line.time)) if part else (line.time, line.time)
        if part and (size + len(line.text) > BATCH_BYTES or newest - oldest > SPAN_SECONDS * 1000):
            yield part
            part, size = [], 0
            oldest = newest = line.time
        part.append(line)
        size += len(line.text)
    if part:
        yield part


def _batch(lines: list[Line]) -> Batch:
    newest = max(line.time for line in lines)
    return Batch(newest / 1000, len(lines), "".join(line.text for line in lines).encode())


def milliseconds(time: float) -> int:
    """Unix seconds as whole milliseconds, never later."""
    return int(time * 1000 // 1)


class Times:
    """Gives out each millisecond once, also where the clock was set back.

    The last 20,000 are remembered: that is more than three days of pushing every 15 s.
    """

    def __init__(self, limit: int = LIMIT_TIMES) -> None:
        self._limit = limit
        self._order: deque[int] = deque()
        self._used: set[int] = set()
        self._newest: int | None = None

    def free(self, wanted: int) -> int:
        """The first millisecond from `wanted` on that was not used."""
        if self._newest is None or wanted > self._newest:
            return wanted
        while wanted in self._used:
            wanted += 1
        return wanted

    def use(self, time: int) -> int:
        """`time` is used now."""
        if time not in self._used:
            self._used.add(time)
            self._order.append(time)
            self._newest = time if self._newest is None else max(self._newest, time)
            if len(self._order) > self._limit:
                self._used.discard(self._order.popleft())
        return time
