"""From snapshots to the spool, in a thread of its own, so that no disk is waited for in the agent's main loop."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Condition, Lock
from typing import NamedTuple, Protocol

from gpuwatch.model import Forecast, Site, Snapshot, points
from gpuwatch.sinks.batches import SPAN_SECONDS, Batch, milliseconds
from gpuwatch.sinks.forecast_points import forecast_batches
from gpuwatch.sinks.influxdb_sender import Late
from gpuwatch.sinks.line_protocol import COUNT, COUNTER, Encoder, Field, Series

log = logging.getLogger("gpuwatch.sinks")

MOST_SNAPSHOTS = 30
MOST_PASSES = 5
MOST_EVENTS = 10_000

_REPLAYED = (Field("since", COUNTER), Field("until", COUNTER), Field("points", COUNT))


class Batches(Protocol):
    """What makes lines of snapshots: `pushing.Pushing`."""

    def take(self, snapshot: Snapshot) -> Sequence[Batch]: ...
    def flush(self) -> Sequence[Batch]: ...


class Appending(Protocol):
    """Where lines go: `spool.Spool`."""

    def append(self, time: float, points: int, lines: bytes) -> None: ...


class Passed(NamedTuple):
    """What a pass of a cluster's accounting forecast."""

    forecasts: Sequence[Forecast]
    cluster: str


class Writer:
    """Takes snapshots from the main loop and appends what becomes of them; `run` is its thread.

    Where the disk takes longer than 30 snapshots, the oldest is lost and counted in `lost`; its events are not.
    """

    def __init__(self, batches: Batches, spool: Appending, site: Site, clock: Callable[[], float]) -> None:
        self._batches, self._spool, self._site, self._clock = batches, spool, site, clock
        self._snapshots: deque[Snapshot] = deque()
        self._forecasts: deque[Passed] = deque()
        self._change = Condition()
        self._telling = Lock()
        self._ending = False
        self._encoder = Encoder()
        self._newest_ms = 0
        self.lost = 0

    def offer(self, snapshot: Snapshot) -> None:
        """The newest snapshot; returns at once."""
        with self._change:
            self._snapshots.append(snapshot)
            if len(self._snapshots) > MOST_SNAPSHOTS:
                lost, following = self._snapshots.popleft(), self._snapshots[0]
                events = (lost.events + following.events)[-MOST_EVENTS:]
                self._snapshots[0] = replace(following, events=events)
                self.lost += 1
            self._change.notify()

    def offer_forecasts(self, forecasts: Sequence[Forecast], cluster: str) -> None:
        """What a pass forecast; returns at once. Of more than five that wait the oldest is lost and counted."""
        with self._change:
            self._forecasts.append(Passed(forecasts, cluster))
            if len(self._forecasts) > MOST_PASSES:
                self._forecasts.popleft()
                self.lost += 1
            self._change.notify()

    def late(self, late: Late) -> None:
        """Points came late: readers of windows are told, by what is in the spool when this returns.

        For any thread.
        """
        with self._telling:
            now = self._clock()
            # Two servers may catch up in one millisecond, and would tell one event.
            self._newest_ms = max(milliseconds(now), self._newest_ms + 1)
            tags = (("cluster", self._site.cluster), ("node", self._site.node), ("kind", points.REPLAYED))
            values = (late.since - SPAN_SECONDS, late.until, float(late.points))
            line = self._encoder.line(Series(points.EVENT, tags), _REPLAYED, values, self._newest_ms)
        self._spool.append(now, 1, line.encode())

    def end(self) -> None:
        """Append what is there, then end."""
        with self._change:
            self._ending = True
            self._change.notify()

    def run(self) -> None:
        """Append until told to end."""
        while taken := self._next():
            snapshots, passes = taken
            for snapshot in snapshots:
                self._guarded(self._batches.take, snapshot)
            for passed in passes:
                self._guarded(forecast_batches, *passed)
        self._guarded(self._batches.flush)

    def _next(self) -> tuple[Sequence[Snapshot], Sequence[Passed]] | None:
        with self._change:
            while not (self._snapshots or self._forecasts or self._ending):
                self._change.wait()
            taken = tuple(self._snapshots), tuple(self._forecasts)
            for each in (self._snapshots, self._forecasts):
                each.clear()
        return taken if any(taken) else None

    def _guarded(self, make: Callable[..., Sequence[Batch]], *given: object) -> None:
        try:
            for batch in make(*given):
                self._spool.append(batch.time, batch.points, batch.lines)
        except Exception:
            # Without this thread nothing would be pushed any more, and nobody would know.
            with self._change:
                self.lost += bool(given)
            log.exception("a snapshot or the forecasts of a pass are not pushed")
