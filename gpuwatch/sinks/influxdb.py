"""Pushes what the agent knows to InfluxDB and whatever speaks its write API, and loses nothing on the way.

Snapshots go to a thread that makes lines of them and puts these into the spool, on the disk. Each server has a
thread that sends what it has not had yet. A server that is down, slow or hangs holds up nobody but itself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from threading import Thread

from gpuwatch.model import EMPTY, Forecast, Labels, Probe, SinkHealth, Site, Snapshot
from gpuwatch.sinks.influxdb_check import check_server, check_spool
from gpuwatch.sinks.influxdb_pace import Backoff, Pace, RealWaiting, phase
from gpuwatch.sinks.influxdb_rejected import RejectedLines
from gpuwatch.sinks.influxdb_sender import Sender
from gpuwatch.sinks.influxdb_server import Server
from gpuwatch.sinks.influxdb_settings import InfluxdbSettings, ServerSettings
from gpuwatch.sinks.influxdb_writer import Writer
from gpuwatch.sinks.pushing import Pushing
from gpuwatch.sinks.spool import Limits, Spool

log = logging.getLogger("gpuwatch.sinks")

NAME = "influxdb"
MOST_DELAY_SECONDS = 60.0
"""Where pushes are rarer, what waits from before does not wait for them."""

SENDERS_SECONDS = 0.2
CLOSE_SECONDS = 0.7
"""How long `close` waits for requests that are under way, and for what is written to the disk last."""


class InfluxdbSink:
    """One writer and a sender for each server, once started; `health` tells of each server as `influxdb:NAME`."""

    Settings = InfluxdbSettings

    def __init__(self, settings: InfluxdbSettings, site: Site, clock: Callable[[], float] = time.time) -> None:
        self._settings, self._site, self._clock = settings, site, clock
        self._running: _Running | None = None

    def start(self) -> None:
        """Open the spool and begin; raises `errors.Locked` where another process has the spool."""
        self._running = _Running(self._settings, self._site, self._clock)

    def take(self, snapshot: Snapshot) -> None:
        """The newest snapshot; a queue of 30 lies between it and the disk."""
        if self._running is not None:
            self._running.writer.offer(snapshot)

    def take_forecasts(self, forecasts: Sequence[Forecast], cluster: str, now: float) -> None:
        """What a pass forecast, in accounting."""
        if self._running is not None and forecasts:
            self._running.writer.offer_forecasts(forecasts, cluster)

    def health(self) -> Mapping[str, SinkHealth]:
        """What became of the points, by server."""
        return EMPTY if self._running is None else self._running.health(self._clock())

    def close(self) -> None:
        """Put what is known into the spool and leave it there, within a second whatever hangs."""
        if self._running is not None:
            self._running.close()

    def check(self, now: float) -> Sequence[Probe]:
        """Whether the spool can be written, and each server answers, would take points and has our time."""
        settings = self._settings
        probes = [check_spool(settings.spool_directory, settings.spool_bytes)]
        for name, server in settings.servers.items():
            probes += check_server(_sink(name), Server(server, self._clock), now)
        return probes


def _sink(name: str) -> str:
    return f"{NAME}:{name}"


class _Running:
    """What a started sink has: the spool and the threads."""

    def __init__(self, settings: InfluxdbSettings, site: Site, clock: Callable[[], float]) -> None:
        limits = Limits(settings.spool_bytes, settings.spool_days * 86400.0)
        self._spool = Spool(settings.spool_directory, tuple(settings.servers), limits)
        self._directory, self._most_seconds = settings.spool_directory, limits.age_seconds
        self._spool.open()
        pushing = Pushing(settings.push_seconds, settings.jobs_seconds, settings.raw_jobs, settings.raw_devices)
        self.writer = Writer(pushing, self._spool, site, clock)
        self._waiting = RealWaiting()
        self._writing = Thread(target=self._write, name="influxdb-writer", daemon=True)
        self._senders = {name: self._sender(name, each, settings) for name, each in settings.servers.items()}
        delay = phase(site.node, min(settings.push_seconds, MOST_DELAY_SECONDS))
        self._sending = [
            Thread(target=sender.run, args=(delay,), name=f"influxdb-{name}", daemon=True)
            for name, sender in self._senders.items()
        ]
        for thread in (self._writing, *self._sending):
            thread.start()

    def _sender(self, name: str, server: ServerSettings, settings: InfluxdbSettings) -> Sender:
        return Sender(
            _sink(name),
            Server(server),
            self._spool.backlog(name),
            RejectedLines(settings.spool_directory / f"rejected-{name}.txt"),
            self.writer.late,
            self._waiting,
            Pace(server.lines_per_second, server.lines_per_request),
            Backoff(),
            server.lines_per_request,
        )

    def _write(self) -> None:
        self.writer.run()
        self._spool.close()

    def health(self, now: float) -> Mapping[str, SinkHealth]:
        """By the value of the label `sink`."""
        return {_sink(name): self._health(name, sender, now) for name, sender in self._senders.items()}

    def _health(self, name: str, sender: Sender, now: float) -> SinkHealth:
        counts = self._spool.counts(name)
        lost = self.writer.lost
        dropped: dict[Labels, float] = dict(counts.dropped.items())
        if lost:
            dropped["queue"] = lost
        return SinkHealth(
            up=sender.up,
            taken=counts.taken + lost,
            delivered=counts.delivered,
            dropped=dropped,
            queued=counts.queued,
            queued_bytes=counts.queued_bytes,
            oldest_age_seconds=None if counts.oldest is None else max(0.0, now - counts.oldest),
            failures=dict(sender.failures.items()),
            spool_degraded=float(self._spool.degraded),
            spool_limit_bytes=float(self._spool.most_bytes),
            spool_limit_seconds=self._most_seconds,
            server={sender.server: 1.0} if sender.server else EMPTY,
        )

    def close(self) -> None:
        """End the senders, then the writer, who closes the spool; who does not end in time is left behind."""
        self._waiting.end()
        until = time.monotonic() + SENDERS_SECONDS
        for thread in self._sending:
            thread.join(max(0.0, until - time.monotonic()))
        self.writer.end()
        self._writing.join(CLOSE_SECONDS)
        if self._writing.is_alive():
            log.warning("the spool is not closed yet directory=%s", self._directory)
