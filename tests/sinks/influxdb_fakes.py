"""What a sender works with, without threads, network or time: each test scripts it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from gpuwatch.sinks.influxdb_answers import Answer
from gpuwatch.sinks.records import Place, Record

STORED = Answer("stored")
NOW = 1_764_000_000.0


class Ticking:
    """Time that passes only while somebody waits; `pauses` has how long each waited."""

    def __init__(self, now: float = NOW, until: float = NOW + 1e6) -> None:
        self.time, self.until = now, until
        self.pauses: list[float] = []
        self.ended = False
        self.each_second: Callable[[float], None] = lambda time: None

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time - NOW

    def pause(self, seconds: float) -> bool:
        if seconds:
            self.pauses.append(seconds)
            self.time += seconds
            self.each_second(self.time)
        return not self.ended and self.time < self.until

    def end(self) -> None:
        self.ended = True


class ListBacklog:
    """Records in a list; when all are dealt with, the sender's time ends unless more comes."""

    def __init__(self, records: Iterable[Record], ticking: Ticking) -> None:
        self.records = list(records)
        self.dropped: list[Mapping[str, int]] = []
        self.more_comes = False
        self._ticking = ticking

    def read(self, most_bytes: int) -> Sequence[Record]:
        taken: list[Record] = []
        size = 0
        for record in self.records:
            size += len(record.lines)
            if taken and size > most_bytes:
                break
            taken.append(record)
        return taken

    def done(self, after: Place, dropped: Mapping[str, int]) -> None:
        self.records = [record for record in self.records if record.after > after]
        self.dropped.append(dict(dropped))

    def wait(self, seconds: float) -> bool:
        if not self.records and self.more_comes:
            self._ticking.pause(seconds)
        elif not self.records:
            self._ticking.end()
        return bool(self.records)

    @property
    def total_dropped(self) -> dict[str, int]:
        """Dropped so far, by reason."""
        total: dict[str, int] = {}
        for each in self.dropped:
            for reason, count in each.items():
                total[reason] = total.get(reason, 0) + count
        return total


class ScriptedServer:
    """Answers as `script(number of the request, lines)` says; `stored` has each line that was taken."""

    url = "http://influxdb:8086"

    def __init__(self, script: Callable[[int, list[bytes]], Answer] = lambda number, lines: STORED) -> None:
        self._script = script
        self.requests: list[bytes] = []
        self.stored: list[bytes] = []
        self.renewed = 0
        self.has_changed = False

    def write(self, lines: bytes) -> Answer:
        sent = [line for line in lines.split(b"\n") if line]
        self.requests.append(lines)
        answer = self._script(len(self.requests) - 1, sent)
        if answer.verdict == "stored":
            self.stored += sent
        return answer

    def renew(self) -> None:
        self.renewed += 1
        self.has_changed = False

    def changed(self) -> bool:
        return self.has_changed

    def close(self) -> None:
        pass


def lines_of(count: int, first: int = 0, time: float = NOW) -> bytes:
    """Real lines, each a point of its own: a millisecond later."""
    return b"".join(
        b"gpuwatch_device,node=gw0,uuid=GPU-%d power_watts=%d %d000000\n"
        % (each % 8, each, int(time * 1000) + each)
        for each in range(first, first + count)
    )


def records_of(count: int, lines_each: int = 9, time: float = NOW, step: float = 0.0) -> list[Record]:
    """Records of so many lines each, the first at `time`."""
    return [
        Record(
            time + number * step,
            lines_each,
            lines_of(lines_each, number * lines_each, time + number * step),
            Place(1, number + 1),
        )
        for number in range(count)
    ]
