"""One server's sender: takes what waits for it, in order, and does not let go of it before it is stored.

    stored                            on to the next
    not reached, 408, 425, 429, 5xx   the same again, after full jitter up to 30 s or what Retry-After asks for
    401, 403                          the same again after 60 s, or once a credential's file changed
    404                               the same again after 60 s: somebody has to make the bucket
    413                               in halves; a line too long by itself is rejected
    400, 422, other 4xx               in halves until the lines that are wrong are alone; these are rejected

A server that refuses everything is no reason to reject lines: before a line is rejected, with nothing of its
batch stored yet, the server is asked whether it refuses a request without lines in the same words.
Lines are sent again as they were, so whatever of a request had been stored already is stored over itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from gpuwatch.sinks.influxdb_answers import REASONS, Answer
from gpuwatch.sinks.influxdb_pace import Backoff, Pace, Waiting
from gpuwatch.sinks.influxdb_rejected import RejectedLines
from gpuwatch.sinks.influxdb_server import NOTHING
from gpuwatch.sinks.records import Backlog, Record

log = logging.getLogger("gpuwatch.sinks")

OLDEST_SECONDS = 30 * 86400.0
NEWEST_SECONDS = 600.0
MOST_AHEAD_SECONDS = 86400.0
LATE_SECONDS = 60.0
OPERATOR_SECONDS = 60.0
PROBE_LINES = 20
"""The first request after a failure is that short, so that a server that comes back is not hit by a full one."""

_IDLE_SECONDS = 1.0
_TELL_SECONDS = 600.0
_LINE_BYTES = 1024
_MOST_BYTES = 4 * 2**20


class Transport(Protocol):
    """What a sender sends through: `influxdb_server.Server`."""

    @property
    def url(self) -> str: ...
    def write(self, lines: bytes) -> Answer: ...
    def renew(self) -> None: ...
    def changed(self) -> bool: ...
    def close(self) -> None: ...


class Late(NamedTuple):
    """So many points came more than a minute late; their times are between `since` and `until`, Unix seconds.

    Of these times there may be more, which are told of before they are let go of, or come before this is there.
    """

    since: float
    until: float
    points: int


class Sender:
    """Runs in a thread of its own until `waiting` says that it shall not go on, or the backlog is closed."""

    def __init__(
        self,
        name: str,
        server: Transport,
        backlog: Backlog,
        rejected: RejectedLines,
        caught_up: Callable[[Late], None],
        waiting: Waiting,
        pace: Pace,
        backoff: Backoff,
        lines_per_request: int = 1000,
    ) -> None:
        self._name, self._server, self._backlog = name, server, backlog
        self._rejected, self._caught_up, self._waiting = rejected, caught_up, waiting
        self._pace, self._backoff, self._most = pace, backoff, lines_per_request
        self._read_bytes = min(lines_per_request * _LINE_BYTES, _MOST_BYTES)
        self.failures = dict.fromkeys(REASONS, 0)
        self.up: bool | None = None
        """Whether the last request went well; None before the first."""
        self.server: tuple[str, str] | None = None
        self._ahead = 0.0
        self._accepted = False
        self._late: Late | None = None
        self._announced: Late | None = None
        self._trouble = ""
        self._told_at = -_TELL_SECONDS

    def run(self, delay: float = 0.0) -> None:
        """Deliver until told to end; `delay` is waited before the first request."""
        if self._waiting.pause(delay):
            while self._waiting.pause(0.0):
                self._guarded_turn()
        self._tell_late()
        self._server.close()

    def _guarded_turn(self) -> None:
        try:
            self._turn()
        except Exception:
            # Without this thread nothing would be delivered any more; what waits is read again.
            log.exception("delivery fails sink=%s url=%s reason=error", self._name, self._server.url)
            self.up = False
            self._waiting.pause(OPERATOR_SECONDS)

    def _turn(self) -> None:
        records = self._backlog.read(self._read_bytes) if self._backlog.wait(_IDLE_SECONDS) else ()
        if not records:
            self._tell_late()
            # A closed backlog does not wait.
            self._waiting.pause(0.05)
            return
        dropped: dict[str, int] = {}
        kept = self._in_time(records, dropped)
        if kept is not None and self._deliver(kept, dropped):
            # First told, then let go of: who is killed in between does both again.
            self._note_late(kept)
            self._backlog.done(records[-1].after, dropped)

    def _in_time(self, records: Sequence[Record], dropped: dict[str, int]) -> Sequence[Record] | None:
        """The records whose time a server takes, by its clock or ours; None where that cannot be known now."""
        if all(self._is_in_time(record) for record in records):
            return records
        # A clock that is wrong here must not cost anything: whoever refuses by the time says what time it is.
        # InfluxDB 2 does so too, though it refuses a request without lines.
        answer = self._send(NOTHING)
        if answer.verdict not in ("stored", "refused"):
            self._wait(answer)
            return None
        kept = [record for record in records if self._is_in_time(record)]
        points = sum(record.points for record in records) - sum(record.points for record in kept)
        if points:
            dropped["time"] = points
            log.warning("points dropped sink=%s reason=time points=%d", self._name, points)
        return kept

    def _is_in_time(self, record: Record) -> bool:
        here = self._waiting.now()
        # A server's clock may be slow, or tell local time. If ours is that far off, it is ours that was never set.
        clocks = (here + self._ahead, here) if abs(self._ahead) <= MOST_AHEAD_SECONDS else (here + self._ahead,)
        return any(clock - OLDEST_SECONDS <= record.time <= clock + NEWEST_SECONDS for clock in clocks)

    def _deliver(self, records: Iterable[Record], dropped: dict[str, int]) -> bool:
        """Send until every line is stored or rejected; False where the sender shall end before that."""
        lines = [line for record in records for line in record.lines.split(b"\n") if line]
        pieces = [lines[start : start + self._most] for start in range(0, len(lines), self._most)][::-1]
        self._accepted = False
        while pieces:
            if not self._waiting.pause(0.0):
                return False
            self._attempt(pieces, dropped)
        return True

    def _attempt(self, pieces: list[list[bytes]], dropped: dict[str, int]) -> None:
        """One request, of the last piece: it goes, or comes back in halves or as it is."""
        piece = pieces.pop()
        if self._backoff.failures and len(piece) > PROBE_LINES:
            pieces.append(piece[PROBE_LINES:])
            piece = piece[:PROBE_LINES]
        if not self._waiting.pause(self._pace.take(len(piece), self._waiting.monotonic())):
            pieces.append(piece)
            return
        answer = self._send(b"\n".join(piece) + b"\n")
        if answer.verdict in ("too_large", "refused") and len(piece) > 1:
            half = len(piece) // 2
            pieces += [piece[half:], piece[:half]]
        elif answer.verdict in ("too_large", "refused") and self._is_the_line(answer):
            self._reject(piece[0], answer, dropped)
        elif answer.verdict != "stored":
            pieces.append(piece)
            self._wait(answer)

    def _send(self, lines: bytes) -> Answer:
        answer = self._server.write(lines)
        if answer.time is not None:
            self._ahead = answer.time - self._waiting.now()
        self.server = answer.server or self.server
        if answer.verdict == "stored":
            self._accepted = self._accepted or lines is not NOTHING
            self._works()
        else:
            self.failures[answer.reason] += 1
        return answer

    def _is_the_line(self, answer: Answer) -> bool:
        """Whether a line is wrong, and not how all requests are answered."""
        if self._accepted:
            return True
        empty = self._send(NOTHING)
        return empty.verdict == "stored" or (empty.verdict == "refused" and empty.detail != answer.detail)

    def _reject(self, line: bytes, answer: Answer, dropped: dict[str, int]) -> None:
        reason = "too_large" if answer.verdict == "too_large" else "rejected"
        dropped[reason] = dropped.get(reason, 0) + 1
        self._rejected.add(self._waiting.now(), reason, answer.detail, line)
        now = self._waiting.monotonic()
        if now - self._told_at >= _TELL_SECONDS:
            self._told_at = now
            log.warning("line rejected sink=%s reason=%s detail=%s", self._name, reason, answer.detail)

    def _wait(self, answer: Answer) -> None:
        self.up = False
        seconds = self._backoff.failed(answer.wait_seconds)
        # A connection that idled may be closed by the other side just when it is used: that is nothing to tell.
        if self._trouble != answer.reason and (answer.reason != "network" or self._backoff.failures > 1):
            self._trouble = answer.reason
            log.warning(
                "delivery fails sink=%s url=%s reason=%s detail=%s",
                self._name, self._server.url, answer.reason, answer.detail,
            )  # fmt: skip
        if answer.verdict == "forbidden":
            self._wait_for_credential()
        else:
            self._waiting.pause(OPERATOR_SECONDS if answer.verdict == "missing" else seconds)

    def _wait_for_credential(self) -> None:
        until = self._waiting.monotonic() + OPERATOR_SECONDS
        while self._waiting.monotonic() < until and not self._server.changed() and self._waiting.pause(1.0):
            pass
        self._server.renew()

    def _works(self) -> None:
        self.up = True
        self._backoff.succeeded()
        if self._trouble:
            self._trouble = ""
            log.info("delivery works again sink=%s url=%s", self._name, self._server.url)

    def _note_late(self, records: Iterable[Record]) -> None:
        now = self._waiting.now()
        late = [record for record in records if now - record.time > LATE_SECONDS]
        if not late:
            self._tell_late()
            return
        spans = [Late(record.time, record.time, record.points) for record in late]
        self._late = _joined([self._late, *spans] if self._late else spans)
        if self._announced is None or not _covers(self._announced, self._late):
            # All that waits now comes before what is told now: telling of it need not wait for the end, before
            # which the process may be killed.
            self._announced = self._late._replace(until=max(self._late.until, now - LATE_SECONDS))
            self._caught_up(self._announced)
            self._late = None

    def _tell_late(self) -> None:
        if self._late is not None:
            self._caught_up(self._late)
            self._late = None


def _covers(announced: Late, late: Late) -> bool:
    return announced.since <= late.since and late.until <= announced.until


def _joined(spans: Sequence[Late]) -> Late:
    return Late(
        min(span.since for span in spans), max(span.until for span in spans), sum(span.points for span in spans)
    )
