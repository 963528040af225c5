"""What waits to be delivered, as whoever delivers it sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Place(NamedTuple):
    """A place in a spool: the number of a segment, and how many records from its start."""

    segment: int
    offset: int


@dataclass(frozen=True, slots=True)
class Record:
    """Lines that were put into the spool together.

    `time` is that of the newest point in them, Unix seconds; `points` is how many lines there are; `after` is
    where the next record begins.
    """

    time: float
    points: int
    lines: bytes
    after: Place


class Backlog(Protocol):
    """What one reader of a spool has not dealt with. For one thread; who appends is another."""

    def read(self, most_bytes: int) -> Sequence[Record]:
        """The oldest records, of at most `most_bytes` of lines together, but one at least where there is one.

        Until `done` is told of them they come again and again.
        """
        ...

    def done(self, after: Place, dropped: Mapping[str, int]) -> None:
        """Everything before `after` is dealt with: delivered, but for the points in `dropped` (reason → count)."""
        ...

    def wait(self, seconds: float) -> bool:
        """Wait until there is something to read or the spool is closed; whether there is something."""
        ...
