"""The agent: one tick reads everything, meters it, and publishes one immutable snapshot."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from gpuwatch import specs
from gpuwatch.agent.devices import DeviceWatch
from gpuwatch.agent.host_energy import HostEnergy
from gpuwatch.agent.intake import Intake
from gpuwatch.agent.journal import Journal
from gpuwatch.agent.records import Records
from gpuwatch.agent.registry import Registry, claims
from gpuwatch.agent.sampler import Clock, Sample, Sampler
from gpuwatch.agent.saving import KEEP_SECONDS, SAVE_SECONDS, Saving, Told
from gpuwatch.agent.state import SEQ_RESERVE, Loaded, State, StateDirectory, boot_id
from gpuwatch.agent.usage import usage_document
from gpuwatch.errors import Rejected, Unavailable
from gpuwatch.meter import Meter, MeterSettings, Nature
from gpuwatch.meter.documents import row_facts
from gpuwatch.model import (
    AgentHealth,
    Allocation,
    Device,
    JobKey,
    JobRow,
    Labels,
    Reading,
    RowKey,
    SinkHealth,
    Site,
    Snapshot,
)
from gpuwatch.service import ClockWatch
from gpuwatch.sinks.base import Sink

log = logging.getLogger("gpuwatch.agent")

GRACE_SECONDS = 900.0
# A device that was taken away says nothing any more of the energy of its last job.
SETTLE_SECONDS = 1800.0
UNHEALTHY_SECONDS = 60.0
LIMIT_ENDED_ROWS = 10_000
ENTRIES_PER_ANSWER = 5_000


class Agent:
    """One node. The main loop calls `tick`; other threads `handle` (of jobs), `since` and `acknowledge`.

    What jobs say by other ways is for `intake`; `living` are those that lived at the last tick, for any thread.
    """

    def __init__(
        self,
        site: Site,
        sampler: Sampler,
        sinks: Sequence[Sink],
        directory: StateDirectory,
        meter: MeterSettings | None = None,
        clock: Clock = time,
        socket_counters: Callable[[], Mapping[tuple[str, str], float]] = dict,
        save_seconds: float = SAVE_SECONDS,
    ) -> None:
        self._site = site
        self._sampler = sampler
        self._sinks = sinks
        self._directory = directory
        self._clock = clock
        self.socket_counters = socket_counters
        self._lock = threading.Lock()
        self._meter = Meter(meter)
        self._registry = Registry()
        loaded = directory.load(boot_id(site.procfs))
        self._state = loaded.state
        journal = Journal(directory.journal, disk=directory.disk, clock=clock.monotonic)
        self._records = Records(self._state.epoch, self._state.seq, journal)
        self.intake = Intake(site, self._lock, self._registry, self._records, sampler.job_sources, clock)
        self.handle = self.intake.handle
        self.living: frozenset[str] = frozenset()
        self._ended: dict[RowKey, JobRow] = {}
        self._closed: dict[RowKey, float] = {}
        self._shown_seq = -1
        self._xids: dict[tuple[str, Labels], float] = {}
        self._natures: dict[str, Nature] = {}
        self._watch, self._clock_watch, self._host = DeviceWatch(), ClockWatch(), HostEnergy()
        self._saving = Saving(directory, self._records, loaded.given, save_seconds)
        self._ticked_at = float("-inf")
        self._allocations: tuple[Allocation, ...] = ()
        self._health = AgentHealth()
        self.snapshot: Snapshot | None = None
        self._resume(loaded)

    def _resume(self, loaded: Loaded) -> None:
        state = loaded.state
        self._held = dict[RowKey, tuple[float, str]]()
        self._models = dict(state.models)
        over = self._records.ended_after(state.seq - SEQ_RESERVE) if state.rows else frozenset()
        rows = {key: row for key, row in state.rows.items() if key not in over}
        self._meter.resume({key: row.usage for key, row in rows.items()}, state.devices, state.meters)
        self._registry.restore(state.registry)
        ended = {JobKey(key.job_id, key.started) for key in over}
        self._registry.end(ended)
        is_open = {key: row.open and JobKey(key.job_id, key.started) not in ended for key, row in rows.items()}
        seq = self._records.next_seq()
        numbered = {key: replace(row, open=is_open[key], seq=seq) for key, row in rows.items()}
        self._rows = {key: row for key, row in numbered.items() if row.open}
        self._closing = {key: row for key, row in numbered.items() if not row.open}
        if self._records.abandon(loaded.abandoned, self._clock.time()):
            self._directory.told()

    def tick(self, now: float) -> Snapshot:
        """Read, meter, publish. Raises only `RestartRequired`."""
        began = time.perf_counter()
        wall = self._clock.time()
        sample = self._sampler.sample(now, wall, self.intake.runs)
        with self._lock:
            self._watch_clock(now, wall)
            self._account(sample, now, wall)
            self._saving.when_due(now, lambda: self._current_state(now))
            self._health = replace(
                self._health,
                tick_seconds=time.perf_counter() - began,
                clock_jumps=float(self._clock_watch.jumps),
                socket_requests=dict((*self.socket_counters().items(), *self.intake.counters().items())),
            )
            snapshot = self.snapshot = self._publish(sample, wall)
            self._ticked_at = now
        for sink in self._sinks:
            sink.take(snapshot)
        return snapshot

    def start(self) -> None:
        """Begin what outputs do in threads of their own; before the first tick."""
        for sink in self._sinks:
            sink.start()

    def adopt(self, sinks: Sequence[Sink], meter: MeterSettings, sampler: Sampler | None = None) -> None:
        """Go on with other outputs, rules and (None: the same) sources; between two ticks.

        New sinks are started already; the sources and sinks of before are the caller's to close.
        """
        with self._lock:
            if sampler is not None:
                self._sampler, self.intake.jobs = sampler, sampler.job_sources
            self._sinks = sinks
            self._meter.adopt(meter)

    def _watch_clock(self, now: float, wall: float) -> None:
        jump = self._clock_watch.jumped(now, wall)
        if jump:
            log.warning("the wall clock jumped seconds=%+.1f", jump)
            self._records.note(wall, "clock_jump", seconds=jump)

    def _account(self, sample: Sample, now: float, wall: float) -> None:
        allocations, unknown = claims(sample.readings, sample.jobs)
        self._allocations = tuple(allocations)
        holdings = self._registry.hold(allocations, self._linger, now, wall)
        for event in self._watch.look(now, sample.devices, sample.readings):
            self._records.note(wall, event.kind, **event.facts)
            if event.kind != "device_lost":
                self._natures.pop(event.facts["uuid"], None)
        for uid, device in sample.devices.items():
            if uid not in self._natures:
                self._natures[uid], self._models[uid] = nature_of(device), device.model
        waits = {
            job: waited for told in sample.jobs.values() if told for job, waited in told.storage_waits.items()
        }
        self._meter.advance(now, sample.readings, holdings, unknown, self._natures, waits, wall)
        self._meter.book_host(self._host.advance(now, sample, self._meter.devices, self._registry.key_of))
        shares = {holding.row: (holding.share, holding.basis) for holding in holdings}
        if shares != self._held:
            # Whoever holds at both ends of a gap is charged for it: be sure to know who held.
            self._held, self._records.urgent = shares, True
        self._update_rows(shares, wall)
        self.intake.hear_environment(sample.jobs)
        alive = self._registry.see(sample.jobs)
        self.living = frozenset(alive)
        self._end_runs(sample.runs - alive, wall)
        self._close(self._registry.ended(alive | set(self._registry.runs), now), wall)
        self._settle(now, wall)
        self._note_xids(sample.readings, wall)

    def _linger(self, job_id: str) -> float:
        return max((source.linger_seconds(job_id) for source in self._sampler.job_sources.values()), default=0.0)

    def _update_rows(self, shares: Mapping[RowKey, tuple[float, str]], wall: float) -> None:
        changed = self._meter.changed
        seq = self._records.next_seq()
        for key in changed or ():
            before = self._closing.get(key) or self._rows.get(key)
            share, basis = shares.get(key) or ((before.share, before.basis) if before else (0.0, "holders"))
            usage = self._meter.rows[key]
            if before is None and self._registry.key_of(key.job_id) != (key.job_id, key.started):
                # A job that is over and told: what comes now comes too late.
                self._meter.forget(key)
            elif before is not None and not before.open:
                self._closing[key] = replace(before, usage=usage, seq=seq)
            else:
                self._rows[key] = JobRow(key, usage, share, basis, True, seq, wall)

    def _end_runs(self, gone: Collection[str], wall: float) -> None:
        # One that began while the sources were read is not among those that they could find alive.
        for job_id in [job_id for job_id in self._registry.runs if job_id in gone]:
            del self._registry.runs[job_id]
            self._records.note(wall, "run_ended", job_id=job_id, exit_code=None)

    def _close(self, jobs: Sequence[JobKey], wall: float) -> None:
        for job in jobs:
            log.debug("job ended job_id=%s started=%d", job.job_id, job.started)
            for key in [key for key in self._rows if (key.job_id, key.started) == job]:
                self._closing[key] = replace(self._rows.pop(key), open=False, seq=self._records.next_seq())

    def _settle(self, now: float, wall: float) -> None:
        """Put ended jobs into the journal once no reading can change them any more."""
        for key in [key for key in self._closing if self._is_final(key, now)]:
            row = self._closing.pop(key)
            self._closed.pop(key, None)
            row = self._ended[key] = replace(row, open=False, seq=self._records.next_seq())
            self._records.keep("row", wall, row_facts(row, self._model(key.device)))
            self._meter.forget(key)
        for key in [key for key, row in self._ended.items() if self._is_past(row, wall)]:
            self._forget(key)
        while len(self._ended) > LIMIT_ENDED_ROWS:
            self._forget(next(iter(self._ended)))

    def _is_final(self, key: RowKey, now: float) -> bool:
        return self._meter.settled(key) or now - self._closed.setdefault(key, now) > SETTLE_SECONDS

    def _is_past(self, row: JobRow, wall: float) -> bool:
        # What ended while the agent was down may be old already; sinks have to see it once all the same.
        return wall - row.last_seen > GRACE_SECONDS and row.seq <= self._shown_seq

    def _forget(self, key: RowKey) -> None:
        del self._ended[key]
        self._registry.forget(JobKey(key.job_id, key.started))

    def _model(self, uid: str) -> str:
        return self._models.get(uid, "")

    def _note_xids(self, readings: Mapping[str, Reading | None], wall: float) -> None:
        for uid, reading in readings.items():
            for xid, count in reading.xid_errors.items() if reading else ():
                if count > self._xids.get((uid, xid), 0.0):
                    self._records.note(wall, "xid", uuid=uid, xid=xid)
                self._xids[(uid, xid)] = count

    def _current_state(self, now: float) -> State:
        rows = {**self._closing, **self._rows}
        needed = {*self._natures, *(key.device for key in rows)}
        self._models = {uid: model for uid, model in self._models.items() if uid in needed}
        return State(
            self._state.epoch, self._state.boot_id, now, self._records.seq, rows, self._meter.devices,
            self._meter.state(), self._registry.document(), self._models,
        )  # fmt: skip

    def _publish(self, sample: Sample, wall: float) -> Snapshot:
        usage = self._meter.devices
        health = replace(
            self._health,
            state_saved=float(self._saving.succeeded),
            residual_seconds=sum(abs(each.residual_seconds) for each in usage.values()),
            residual_joules=sum(abs(each.residual_joules) for each in usage.values()),
            share_excess=self._meter.share_excess + sum(each.excess for each in sample.jobs.values() if each),
            journal_dropped=dict(self._records.journal.dropped),
        )
        rows = {**self._ended, **self._closing, **self._rows}
        told = self._may_be_told()
        self._shown_seq = told.seq
        return Snapshot(
            self._site.cluster, self._site.node, wall, self._records.seq, self._state.epoch, self._state.boot_id,
            devices=sample.devices,
            readings={uid: reading for uid, reading in sample.readings.items() if reading is not None},
            device_usage=dict(usage),
            allocations=self._allocations,
            rows=rows,
            declared=self._registry.declared({JobKey(key.job_id, key.started) for key in rows}),
            host=self._host.shown(sample.host),
            sources={name: each.value() for name, each in self._sampler.health.items()},
            agent=health,
            saved=told.rows,
            saved_seq=told.seq,
            sinks={name: each for sink in self._sinks for name, each in sink.health().items()},
            events=self._records.recent(),
        )  # fmt: skip

    @property
    def saving(self) -> bool:
        """Whether the state is being written just now."""
        return self._saving.busy

    def missed(self, count: int) -> None:
        """The main loop has missed that many ticks so far."""
        self._health = replace(self._health, ticks_missed=float(count))

    def reloaded(self, successfully: bool) -> None:
        """The configuration was read again."""
        self._health = replace(self._health, config_last_reload_successful=float(successfully))

    def close(self) -> None:
        """Save everything; called after the last tick."""
        with self._lock:
            try:
                self._saving.last(self._current_state(self._clock.monotonic()))
            except Unavailable as exc:
                log.error("%s", exc)
            told, events = self._may_be_told(), self._records.recent()
        if self.snapshot is not None:
            for sink in self._sinks:
                sink.take(replace(self.snapshot, saved=told.rows, saved_seq=told.seq, events=events))
        self._sampler.close()
        for sink in self._sinks:
            sink.close()

    # What accounting asks, from the web server's threads.

    def since(self, seq: int) -> Mapping[str, Any]:
        """The document of the usage API (docs/usage-api.md) with everything that changed after `seq`, as saved."""
        with self._lock:
            told = self._may_be_told()
            rows = [row for row in told.rows if row.seq > seq]
            entries = list(self._records.journal.entries(seq, told.seq, limit=ENTRIES_PER_ANSWER + 1))
            progress = [each for each in self._registry.progress_since(seq) if each[2].seq <= told.ceiling]
            head = {
                "schema": 1, "cluster": self._site.cluster, "node": self._site.node, "epoch": self._state.epoch,
                "boot_id": self._state.boot_id, "seq": told.seq, "now": self._clock.time(),
            }  # fmt: skip
        return usage_document(head, rows, entries, progress, self._model, ENTRIES_PER_ANSWER)

    def keep(self) -> None:
        """Have on file what was published so far, so that a kill takes nothing of it back; a disk that hangs is
        not waited for.
        """
        with self._lock:
            ticked = self._ticked_at
            keeping = self._saving.keep(ticked, lambda: self._current_state(ticked))
        if keeping is not None:
            keeping.wait(KEEP_SECONDS)

    def _may_be_told(self) -> Told:
        return self._saving.told(self._records.seq, lambda: (*self._rows.values(), *self._closing.values()))

    def acknowledge(self, seq: int) -> None:
        """The reader has everything up to `seq`: forget what is over. `Rejected` for a number not given yet."""
        with self._lock:
            if seq > (given := self._may_be_told().seq):
                # A reader of an earlier life, or a liar: what it has is not what is here.
                raise Rejected(f"ack: seq {seq} was not given yet; there is: {given}")
            self._records.journal.acknowledge(seq)

    def healthy(self) -> bool:
        """Whether the main loop ticks."""
        return self.snapshot is None or self._clock.monotonic() - self._ticked_at < UNHEALTHY_SECONDS

    def ready(self) -> bool:
        """Whether there is a snapshot to show."""
        return self.snapshot is not None

    def status(self) -> str:
        """One line for `systemctl status`: what is measured, and what is not and why."""
        snapshot = self.snapshot
        if snapshot is None:
            return "starting"
        down = [f"{each.source} down: {each.message}" for each in snapshot.sources.values() if each.up is False]
        down += [f"{sink} down: {each.queued or 0:.0f} points wait" for sink, each in _sinks_down(snapshot)]
        lost = len(snapshot.devices) - len(snapshot.readings)
        parts = [f"devices: {len(snapshot.readings)}, jobs: {len(self._registry.open)}"]
        parts += [f"devices not answering: {lost}"] if lost else []
        parts += [] if self._saving.succeeded else ["state not saved"]
        parts += [] if self._health.config_last_reload_successful else ["configuration not reloaded"]
        return "; ".join(parts + down)


def _sinks_down(snapshot: Snapshot) -> list[tuple[str, SinkHealth]]:
    return [(name, each) for name, each in sorted(snapshot.sinks.items()) if each.up is False]


def nature_of(device: Device) -> Nature:
    """What is known of a device, and what the specs say of its model."""
    spec = specs.lookup(device.model)
    idle, limit = (None, None) if spec is None else (spec.idle_watts, spec.watts)
    return Nature(device.model, idle, limit, device.parent, device.fraction, device.driver)


__all__ = ["Agent", "nature_of"]
