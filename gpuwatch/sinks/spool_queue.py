"""What waits in a spool, and for whom: which segments there are, what is in memory, how far readers are. No I/O.

At every moment and for each reader: taken = delivered + queued + Σ dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from gpuwatch.sinks.records import Place


class Batch(NamedTuple):
    """A record that is not on disk: `content` is as it would be there, `seen` when it was taken (monotonic)."""

    seq: int
    time: float
    points: int
    content: bytes
    seen: float


class Ahead(NamedTuple):
    """A record that was read and is not passed: `end` is where it ends in its segment, None for one in memory."""

    seq: int
    time: float
    points: int
    end: int | None


class Adrift(NamedTuple):
    """A record that was given up for `reason` while it is being delivered: it may arrive all the same."""

    seq: int
    points: int
    reason: str


@dataclass(slots=True, eq=False)
class Segment:
    """A file of records from `first` to `last`, whole up to `end`; `seen` is the age of its newest (monotonic).

    `left` is how many of its points each reader has not passed; one that is `going` is being removed.
    """

    path: Path
    number: int
    first: int
    last: int
    end: int
    first_time: float
    seen: float
    damaged: bool = False
    going: bool = False
    left: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Reader:
    """How far one reader is: `next` is the first record that it has not passed."""

    name: str
    next: int = 1
    taken: int = 0
    delivered: int = 0
    queued: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    ahead: deque[Ahead] = field(default_factory=deque)
    # What was read last is before this record.
    shown: int = 0
    adrift: list[Adrift] = field(default_factory=list)
    # Where `next` begins: the number of a segment, and bytes from its start.
    begin: tuple[int, int] = (0, 0)
    # The time of `next` where it is inside a segment, or of one just before.
    time: float = 0.0

    def drop(self, reason: str, points: int) -> None:
        """Count what waited and never will be delivered."""
        if points:
            self.queued -= points
            self.dropped[reason] = self.dropped.get(reason, 0) + points

    def lose(self, reason: str, points: int, records: Sequence[Ahead]) -> None:
        """Points are not there any more, those of `records` among them; what is being delivered waits for that."""
        adrift = [Adrift(each.seq, each.points, reason) for each in records if each.seq < self.shown]
        self.adrift += adrift
        self.drop(reason, points - sum(each.points for each in adrift))

    def settle(self) -> None:
        """What is adrift does not arrive any more."""
        for each in self.adrift:
            self.drop(each.reason, each.points)
        self.adrift = []


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the points that one reader was to get; since the spool was opened, with what waited then.

    `oldest` is the time of the oldest record that waits, None where none does; it may be that of the one before.
    """

    taken: int
    delivered: int
    dropped: Mapping[str, int]
    queued: int
    queued_bytes: int
    oldest: float | None


class Queue:
    """Not thread-safe: the spool's lock covers it."""

    def __init__(self, readers: Sequence[str]) -> None:
        self.segments: deque[Segment] = deque()
        self.memory: deque[Batch] = deque()
        self.readers = {name: Reader(name) for name in readers}
        self.open: Segment | None = None
        self.on_disk = self.in_memory = 0
        # The newest record and the newest segment there ever were.
        self.newest_on_disk = self.newest_segment = 0
        self.closed = False

    def found(self, segment: Segment) -> None:
        """A segment that was there already, newer than all others; its points are counted by `take`."""
        self.segments.append(segment)
        self.on_disk += segment.end
        self.newest_on_disk, self.newest_segment = segment.last, segment.number

    def take(self, points: int) -> None:
        """Points that every reader is to get."""
        for reader in self.readers.values():
            reader.taken += points
            reader.queued += points

    def put(self, segment: Segment, end: int, batch: Batch) -> None:
        """A batch is on disk, as the last of a segment, which ends at `end` now."""
        if not self.segments or self.segments[-1] is not segment:
            self.segments.append(segment)
            segment.end = 0
        for reader in self.readers.values():
            if reader.next > segment.last:
                reader.time = batch.time
            if reader.next <= batch.seq:
                segment.left[reader.name] = segment.left.get(reader.name, 0) + batch.points
        self.on_disk += end - segment.end
        segment.last, segment.end, segment.seen = batch.seq, end, batch.seen
        self.newest_on_disk, self.newest_segment = batch.seq, segment.number
        self.open = segment

    def keep(self, batch: Batch) -> None:
        """A batch that the disk does not take."""
        self.memory.append(batch)
        self.in_memory += len(batch.content)

    def release(self) -> None:
        """Forget the oldest batch in memory: it is on disk, or everybody has passed it."""
        self.in_memory -= len(self.memory.popleft().content)

    def passed_by_all(self, seq: int) -> bool:
        """Whether no reader waits for a record."""
        return all(reader.next > seq for reader in self.readers.values())

    def drop_batch(self, reason: str) -> None:
        """Give up the oldest batch in memory."""
        batch = self.memory[0]
        for reader in self.readers.values():
            if reader.next <= batch.seq:
                reader.lose(reason, batch.points, [each for each in reader.ahead if each.seq == batch.seq])
                reader.ahead = deque(each for each in reader.ahead if each.seq != batch.seq)
        self.release()

    def drop_segment(self, reason: str) -> Segment:
        """Give up the oldest segment as a whole."""
        segment = self._forget()
        for reader in self.readers.values():
            if reader.next <= segment.last:
                gone = [each for each in reader.ahead if each.seq <= segment.last]
                reader.lose(reason, segment.left.get(reader.name, 0), gone)
                reader.next = segment.last + 1
                reader.ahead = deque(each for each in reader.ahead if each.seq > segment.last)
        return segment

    def _forget(self) -> Segment:
        segment = self.segments.popleft()
        self.on_disk -= segment.end
        if segment is self.open:
            self.open = None
        return segment

    def pop_passed(self) -> Iterator[Segment]:
        """Forget the segments that all readers have passed, but for the one that is written to."""
        while self.segments and self.segments[0] is not self.open and self.passed_by_all(self.segments[0].last):
            yield self._forget()

    def waits(self, reader: Reader) -> bool:
        """Whether there is anything for a reader."""
        newest = self.memory[-1].seq if self.memory else self.segments[-1].last if self.segments else 0
        return newest >= reader.next

    def segment_of(self, seq: int) -> Segment | None:
        """The oldest segment that has this record or a newer one."""
        return next((each for each in self.segments if each.last >= seq), None)

    def batches_of(self, reader: Reader) -> list[Batch]:
        """What waits in memory for a reader."""
        return [batch for batch in self.memory if batch.seq >= reader.next]

    def saw(self, reader: Reader, records: Sequence[Ahead], count: int) -> None:
        """A reader was shown `count` of these records, the first of which is the oldest that it has not passed."""
        reader.settle()
        reader.shown = records[count - 1].seq + 1 if count else 0
        known = reader.ahead[-1].seq if reader.ahead else 0
        reader.ahead.extend(each for each in records if each.seq > known)

    def pass_(self, reader: Reader, upto: int, dropped: Mapping[str, int]) -> None:
        """A reader has dealt with the records before `upto` that it was shown: delivered, but for `dropped`."""
        passed = sum(each.points for each in reader.adrift if each.seq < upto)
        reader.adrift = [each for each in reader.adrift if each.seq >= upto]
        while reader.ahead and reader.ahead[0].seq < upto:
            record = reader.ahead.popleft()
            segment = self.segment_of(record.seq)
            if segment is not None and record.seq >= segment.first:
                segment.left[reader.name] -= record.points
                reader.begin = (segment.number, record.end) if record.end is not None else (0, 0)
            passed += record.points
            reader.next, reader.time = record.seq + 1, record.time
        for reason, points in dropped.items():
            # Done twice is done once.
            lost = min(points, passed)
            reader.drop(reason, lost)
            passed -= lost
        reader.queued -= passed
        reader.delivered += passed
        self._settle(reader)

    def give_up(self, reader: Reader, segment: Segment, upto: int) -> None:
        """There is nothing to be read in a segment before `upto`, though there was once."""
        segment.damaged = True
        reader.next = max(reader.next, upto)
        self._settle(reader)

    def _settle(self, reader: Reader) -> None:
        """What a reader could not be shown of segments that it has passed was destroyed."""
        for segment in self.segments:
            if segment.last >= reader.next:
                break
            lost = segment.left.get(reader.name, 0)
            if lost:
                segment.left[reader.name] = 0
                segment.damaged = True
                reader.drop("corrupt", lost)

    def counts(self, reader: Reader) -> Counts:
        """What became of what a reader was to get."""
        waiting = [segment for segment in self.segments if segment.last >= reader.next]
        size = sum(segment.end for segment in waiting) + sum(len(each.content) for each in self.batches_of(reader))
        if waiting and waiting[0].number == reader.begin[0]:
            size -= reader.begin[1]
        oldest = self._oldest(reader, waiting) if reader.queued else None
        return Counts(reader.taken, reader.delivered, dict(reader.dropped), reader.queued, size, oldest)

    def _oldest(self, reader: Reader, waiting: Sequence[Segment]) -> float:
        if reader.ahead:
            return reader.ahead[0].time
        if waiting:
            return waiting[0].first_time if waiting[0].first >= reader.next else reader.time
        return next((batch.time for batch in self.memory if batch.seq >= reader.next), reader.time)

    def place(self, reader: Reader) -> Place:
        """How far a reader is; as long as there are segments, the one that is named is among them."""
        newest = [segment.number for segment in self.segments if segment.first <= reader.next]
        return place_of(newest[-1] if newest else self.newest_segment, reader.next)


def place_of(segment: int, seq: int) -> Place:
    """The place before a record. A segment has the number of its first record, so that the sum is the record's."""
    return Place(segment, seq - segment)
