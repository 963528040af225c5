"""Usage from InfluxDB, where agents push it (docs/influxdb.md): InfluxQL, which 1.x, 2.x and 3.x understand."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Annotated

from pydantic import AfterValidator, Field

from gpuwatch import hygiene
from gpuwatch.errors import Unavailable
from gpuwatch.http.client import Client, Refused, ServerSettings, ServerUrl
from gpuwatch.http.times import skew_text
from gpuwatch.model import EMPTY, Probe, Site
from gpuwatch.usage.base import Asking, Delivery, Failure, Mark, Reached
from gpuwatch.usage.clocks import MOST_SKEW_SECONDS, in_future
from gpuwatch.usage.influxdb_api import Database
from gpuwatch.usage.influxql_points import (
    EVENT_COLUMNS,
    ONE_COLUMN,
    ROW_COLUMNS,
    SELECTORS,
    Late,
    Row,
    Span,
    came_late,
    deliveries,
    events_of,
    events_query,
    jobs_query,
    nodes_query,
    rows_of,
    rows_query,
)
from gpuwatch.usage.windows import check_over, windows

EPOCH = "windows"
"""The epoch of the mark: its number is the Unix second until which was read."""

MOST_WINDOWS = 200
"""So many windows are read in one pass; what is left comes with the next."""
LEAST_SECONDS = 60.0
"""A window that is too much for the server is cut into shorter ones, none shorter than this."""
MOST_LATE_SECONDS = 31 * 86_400.0
"""Points that are older came too late: agents do not send them (docs/influxdb.md)."""
JOBS_AT_ONCE = 250
"""So many jobs are asked for in one query."""
MOST_NODES = 16
"""A span that more nodes wrote late is read again for all of them."""
SEEN_SECONDS = 300.0

_NOTHING = Span(0.0, 1.0)
"""A time of which there is nothing to read."""
_HOPELESS = frozenset((401, 403, 404, 405))


def _named(name: str) -> str:
    if not name or not name.isprintable():
        raise ValueError("must be the name of a database")
    return name


class InfluxqlUsage:
    """Reads what agents of this cluster pushed into a database, in windows of time, each since the last one.

    What agents deliver late, since the server was away, they say; that time is then read once more.
    """

    class Settings(ServerSettings):
        """The table `[usage.influxql]`."""

        url: ServerUrl = Field(default="http://127.0.0.1:8086", description="address of the InfluxDB")
        database: Annotated[str, AfterValidator(_named)] = Field(
            default="gpuwatch", description="database to read; of InfluxDB 2 that of the bucket's DBRP mapping"
        )
        retention_policy: str = Field(default="", description="retention policy; empty: the database's default")
        window_seconds: float = Field(
            default=3600.0, ge=60, le=86_400, description="read at most so much time in one query"
        )
        first_seconds: float = Field(
            default=86_400.0, ge=0, le=31 * 86_400, description="how far back to read the first time"
        )
        lag_seconds: float = Field(
            default=45.0, ge=0, le=3600, description="read up to this long before now, so that points are there"
        )
        overlap_seconds: float = Field(
            default=120.0, ge=0, le=86_400, description="read again so much before the last window"
        )

    def __init__(self, settings: Settings, site: Site, client: Client | None = None) -> None:
        self._settings = settings
        self._cluster = site.cluster
        # 1.8 and later, 2.x and 3.x all know a token by this word.
        self._client = client or Client(settings, "Token")
        self._database = Database(self._client, settings.url, settings.database, settings.retention_policy)
        policy = f".{settings.retention_policy}" if settings.retention_policy else ""
        self._origin = f"{settings.url} {settings.database}{policy}"
        self._dealt_with: dict[Late, int] = {}

    def collect(self, asking: Asking) -> Iterator[Delivery | Reached | Failure]:
        """Every window since the mark, in order; one that cannot be read stays open, with what comes after it."""
        self._client.renew()
        settings, mark = self._settings, asking.marks.get(self._origin)
        until = float(mark.seq) if mark is not None and mark.epoch == EPOCH else None
        if until is not None and (wrong := in_future(until, asking.now)):
            yield Failure(self._origin, wrong)
            return
        reading: _Pass | None = None
        for window in windows(
            until, asking.now, settings.lag_seconds, settings.window_seconds, settings.first_seconds, MOST_WINDOWS
        ):
            start = float(window.start)
            if reading is None:
                start = max(0.0, start - settings.overlap_seconds)
                reading = self._pass(start, until or 0.0, asking.now)
            try:
                yield from reading.window(Span(start, window.end))
                check_over(window.end, self._database.date)
            except Unavailable as exc:
                yield Failure(self._origin, str(exc))
                return
            self._dealt_with = {**dict.fromkeys(reading.late, window.end), **self._dealt_with}
            yield Reached(self._origin, Mark(EPOCH, window.end))

    def _pass(self, start: float, reached: float, now: float) -> _Pass:
        # What was dealt with in a window that then was not posted is dealt with again.
        self._dealt_with = {
            late: end for late, end in self._dealt_with.items() if end <= reached and late.time >= start
        }
        return _Pass(
            self._database, self._cluster, self._origin, self._settings.window_seconds, start, now,
            frozenset(self._dealt_with),
        )  # fmt: skip

    def acknowledge(self, delivery: Delivery) -> None:
        """Nothing: what is in the database stays there as long as its retention policy says."""

    def figures(self) -> Mapping[str, float]:
        """None: agents export their own."""
        return EMPTY

    def check(self, now: float) -> Sequence[Probe]:
        """Ask for the nodes that wrote in the last five minutes."""
        self._client.renew()
        what = f"read {self._origin}"
        try:
            span = Span(max(0.0, now - SEEN_SECONDS), now + MOST_SKEW_SECONDS)
            found = self._database.query(nodes_query(self._cluster, span), ONE_COLUMN)
            nodes = len({series.tags.get("node", "") for series in found})
        except Unavailable as exc:
            return (Probe(what, False, str(exc)),)
        told = f"nodes of cluster {hygiene.log(self._cluster)} that wrote in the last 5 minutes: {nodes}"
        return (Probe(what, True, told), *self._clock(now))

    def _clock(self, now: float) -> Sequence[Probe]:
        date = self._database.date
        if date is None:
            return ()
        ahead = date - now
        return (Probe(f"clock of {self._settings.url}", abs(ahead) <= MOST_SKEW_SECONDS, skew_text(ahead)),)


class _Pass:
    """One reading of a database: from `start` in order, and before it what is found to have come late.

    Whatever is after `start` is read later than any event that the pass finds was written: what came late there
    had come by then. Only what is before it must be read again.
    """

    def __init__(
        self,
        database: Database,
        cluster: str,
        origin: str,
        window_seconds: float,
        start: float,
        now: float,
        done: frozenset[Late],
    ) -> None:
        self._database = database
        self._cluster = cluster
        self._origin = origin
        self._window_seconds = window_seconds
        self._start = start
        self._oldest = now - MOST_LATE_SECONDS
        self._most_seconds = math.inf
        self._done = done
        self._again: set[tuple[int, str]] = set()
        self.late: set[Late] = set()
        """What nodes said came late, and was dealt with."""

    def window(self, span: Span) -> Iterator[Delivery]:
        """Everything in a window, and whatever its events say came late before the pass began."""
        late: list[Late] = []
        yield from self._read(span, late)
        while late:
            again = self._spans(late)
            late = []
            for each in again:
                yield from self._read(each, late)

    def _read(self, span: Span, late: list[Late]) -> Iterator[Delivery]:
        """A span in as many parts as the server can answer."""
        start = span.start
        while start < span.end:
            part = span._replace(start=start, end=min(span.end, start + self._most_seconds))
            try:
                found = self._part(part, late)
            except Unavailable as exc:
                if part.end - start <= LEAST_SECONDS or not self._may_be_too_much(exc):
                    raise
                self._most_seconds = max(LEAST_SECONDS, math.ceil((part.end - start) / 2))
                continue
            yield from found
            start = part.end

    def _part(self, span: Span, late: list[Late]) -> Sequence[Delivery]:
        events = list(events_of(self._database.query(events_query(self._cluster, span), EVENT_COLUMNS)))
        rows = self._rows(span)
        found = list(deliveries(self._cluster, self._origin, rows, events, span.end))
        late += filter(None, map(came_late, events))
        return found

    def _rows(self, span: Span) -> Iterator[Row]:
        wrote = self._database.query(jobs_query(self._cluster, span), ONE_COLUMN)
        jobs = [series.tags.get("job_id", "") for series in wrote]
        for first in range(0, len(jobs), JOBS_AT_ONCE):
            some = jobs[first : first + JOBS_AT_ONCE]
            queries = [rows_query(self._cluster, span, some, selector) for selector in SELECTORS]
            found = (rows_of(self._database.query(query, ROW_COLUMNS)) for query in queries)
            yield from {row.point: row for row in chain.from_iterable(found)}.values()

    def _may_be_too_much(self, problem: Unavailable) -> bool:
        """Whether less might be answered: the server answers, but not this."""
        if isinstance(problem, Refused):
            return problem.status not in _HOPELESS
        try:
            list(self._database.query(nodes_query(self._cluster, _NOTHING), ONE_COLUMN))
        except Unavailable:
            return False
        return True

    def _spans(self, late: Sequence[Late]) -> Sequence[Span]:
        """What is to be read again, in windows: together for nodes that were away together."""
        nodes: dict[int, set[str]] = defaultdict(set)
        for each in set(late) - self._done - self.late:
            self.late.add(each)
            first, last = max(each.since, self._oldest, 0.0), min(each.until, self._start)
            for number in range(int(first // self._window_seconds), math.ceil(last / self._window_seconds)):
                if (number, each.node) not in self._again:
                    nodes[number].add(each.node)
        self._again |= {(number, node) for number, its in nodes.items() for node in its}
        return [self._window(number, nodes[number]) for number in sorted(nodes)]

    def _window(self, number: int, nodes: set[str]) -> Span:
        start = number * self._window_seconds
        end = min(start + self._window_seconds, math.ceil(self._start))
        return Span(start, end, tuple(sorted(nodes)) if len(nodes) <= MOST_NODES else ())
