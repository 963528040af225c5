"""One device of a recording as it runs: what the file says at a moment of its course."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from gpuwatch.devices.checks import MOST_JOULES, reason_against
from gpuwatch.devices.recordings import Recording, Sample, ignore, in_order
from gpuwatch.errors import Unavailable
from gpuwatch.model import Reading

# Between the last row of one round and the first of the next.
PAUSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Index:
    """When a recording begins and ends, and the devices in it, each with its model where the file has it."""

    first: float
    last: float
    models: Mapping[str, str | None]


def index_of(path: Path) -> Index:
    """Read a recording once from end to end. `Unavailable` where there is nothing in it."""
    first, last = float("inf"), float("-inf")
    models: dict[str, str | None] = {}
    with Recording(path, ignore) as recording:
        for sample in in_order(recording.samples(), ignore):
            first, last = min(first, sample.reading.time), max(last, sample.reading.time)
            models.setdefault(sample.reading.device, recording.model)
    if not models:
        raise Unavailable(f"{path}: has no row that can be played; there is its header only")
    return Index(first, last, models)


def believable(joules: float | None) -> bool:
    """Whether an energy counter says what one can say."""
    return joules is not None and reason_against(joules, 0.0, MOST_JOULES) is None


class Player:
    """One device; to be used in one thread. It reads its own way through the file, forward only."""

    def __init__(self, path: Path, uid: str, index: Index, loop: bool) -> None:
        self._path = path
        self._uid = uid
        self._index = index
        self._loop = loop
        self._files = ExitStack()
        self._samples: Iterator[Sample] = iter(())
        self._round: int | None = None
        self._course = 0.0
        self._current: Reading | None = None
        self._next: Reading | None = None
        self._counted: float | None = None
        self._joules = 0.0

    def at(self, course: float, max_gap_seconds: float) -> tuple[Reading, float | None]:
        """The reading in force that many seconds into the course, and the energy counted up to then.

        `Unavailable` before the device's first row, in a gap, and after the end.
        """
        position = self._seek(course)
        current = self._current
        if current is None or position - current.time > max_gap_seconds:
            where = "has ended" if self._next is None and not self._loop else "has a gap here"
            raise Unavailable(
                f"{self._uid}: the recording {where}; it runs at {position - self._index.first:.0f} s"
            )
        return current, self._joules if believable(current.energy_joules) else None

    def close(self) -> None:
        """Close the file."""
        self._files.close()

    def _seek(self, course: float) -> float:
        """Go to that moment and return its time in the recording."""
        duration = self._index.last - self._index.first + PAUSE_SECONDS
        turn, into = divmod(course, duration) if self._loop else (0.0, course)
        if turn != self._round or course < self._course:
            self._rewind()
        self._round, self._course = int(turn), course
        position = self._index.first + into
        while self._next is not None and self._next.time <= position:
            self._current = self._next
            self._count(self._current.energy_joules)
            self._advance()
        return position

    def _rewind(self) -> None:
        self._files.close()
        recording = self._files.enter_context(Recording(self._path, ignore))
        self._samples = in_order(recording.samples(), ignore)
        self._current = self._counted = None
        self._advance()

    def _advance(self) -> None:
        self._next = next((sample.reading for sample in self._samples if sample.reading.device == self._uid), None)

    def _count(self, joules: float | None) -> None:
        """The file's own counter may begin anew, and does with each round; this one only rises."""
        if joules is None or not believable(joules):
            return
        if self._counted is not None and joules > self._counted:
            self._joules += joules - self._counted
        self._counted = joules
