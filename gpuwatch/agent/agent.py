"""The agent: one tick reads everything, meters it, and publishes one immutable snapshot."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from gpuwatch import specs
from gpuwatch.agent.journal import Journal
from gpuwatch.agent.registry import Registry, claims
from gpuwatch.agent.sampler import Clock, Round, Sample, Sampler, Worker
from gpuwatch.agent.socket import Declare, EndRun, Peer, ReportProgress, StartRun
from gpuwatch.agent.state import State, StateDirectory, boot_id, encode
from gpuwatch.agent.usage import event_entry, row_entry, usage_document
from gpuwatch.declaration import Declaration, estimates, parse
from gpuwatch.errors import Forbidden, Rejected, Unavailable
from gpuwatch.hygiene import label
from gpuwatch.jobs.base import Run
from gpuwatch.meter import Meter, MeterSettings, Nature
from gpuwatch.model import AgentHealth, Allocation, JobKey, JobRow, Labels, Reading, RowKey, Site, Snapshot
from gpuwatch.service import ClockWatch
from gpuwatch.sinks.base import Sink

log = logging.getLogger("gpuwatch.agent")

SAVE_SECONDS = 5.0
GRACE_SECONDS = 900.0
UNHEALTHY_SECONDS = 60.0
LIMIT_ENDED_ROWS = 10_000
ENTRIES_PER_ANSWER = 5_000


class Agent:
    """One node. `tick` is called by the main loop, `handle`, `since` and `acknowledge` by other threads."""

    def __init__(
        self,
        site: Site,
        sampler: Sampler,
        sinks: Sequence[Sink],
        directory: StateDirectory,
        meter: MeterSettings | None = None,
        clock: Clock = time,
        socket_counters: Callable[[], Mapping[tuple[str, str], float]] = dict,
    ) -> None:
        self._site = site
        self._sampler = sampler
        self._sinks = sinks
        self._directory = directory
        self._clock = clock
        self.socket_counters = socket_counters
        self._lock = threading.Lock()
        self._journal = Journal(directory.path / "journal.jsonl")
        self._meter = Meter(meter)
        self._registry = Registry()
        self._state = directory.load(boot_id(site.procfs))
        self._seq = max(self._state.seq, self._journal.last_seq)
        self._resume(self._state)
        self._rows: dict[RowKey, JobRow] = {}
        self._ended: dict[RowKey, JobRow] = {}
        self._closing: dict[RowKey, JobRow] = {}
        self._xids: dict[tuple[str, Labels], float] = {}
        self._natures: dict[str, Nature] = {}
        self._clock_watch = ClockWatch()
        self._saved_at = self._ticked_at = float("-inf")
        self._writer = Worker("state")
        self._writing: Round | None = None
        self._allocations: tuple[Allocation, ...] = ()
        self._health = AgentHealth()
        self.snapshot: Snapshot | None = None

    def _resume(self, state: State) -> None:
        self._meter.resume(state.rows, state.devices, state.meters)
        self._registry.restore(state.registry)

    def tick(self, now: float) -> Snapshot:
        """Read, meter, publish. Raises only `RestartRequired`."""
        began = time.perf_counter()
        wall = self._clock.time()
        sample = self._sampler.sample(now, wall, self._runs)
        with self._lock:
            self._watch_clock(now, wall)
            self._account(sample, now, wall)
            self._save_when_due(now)
            self._health = replace(
                self._health,
                tick_seconds=time.perf_counter() - began,
                clock_jumps=float(self._clock_watch.jumps),
                socket_requests=dict(self.socket_counters().items()),
            )
            snapshot = self.snapshot = self._publish(sample, wall)
            self._ticked_at = now
        for sink in self._sinks:
            sink.take(snapshot)
        return snapshot

    def _runs(self) -> Mapping[str, Run]:
        with self._lock:
            return dict(self._registry.runs)

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def _watch_clock(self, now: float, wall: float) -> None:
        jump = self._clock_watch.jumped(now, wall)
        if jump:
            log.warning("the wall clock jumped seconds=%+.1f", jump)
            self._note(wall, "clock_jump", seconds=jump)

    def _note(self, wall: float, kind: str, **facts: Any) -> None:
        entry = event_entry(self._state.epoch, self._next_seq(), wall, kind, facts)
        self._journal.append(entry, wall)

    def _account(self, sample: Sample, now: float, wall: float) -> None:
        allocations, unknown = claims(sample.readings, sample.jobs)
        self._allocations = tuple(allocations)
        holdings = self._registry.hold(allocations, self._linger, now, wall)
        for uid, device in sample.devices.items():
            if uid not in self._natures:
                self._natures[uid] = nature_of(device.model)
        self._meter.advance(now, sample.readings, holdings, unknown, self._natures)
        shares = {holding.row: (holding.share, holding.basis) for holding in holdings}
        self._update_rows(shares, wall)
        if all(each is not None for each in sample.jobs.values()):
            alive = frozenset().union(*(each.alive for each in sample.jobs.values() if each is not None))
            self._end_runs(alive, wall)
            self._close(self._registry.ended(alive | frozenset(self._registry.runs), now), wall)
        self._settle(wall)
        self._note_xids(sample.readings, wall)

    def _linger(self, job_id: str) -> float:
        return max((source.linger_seconds(job_id) for source in self._sampler.job_sources.values()), default=0.0)

    def _update_rows(self, shares: Mapping[RowKey, tuple[float, str]], wall: float) -> None:
        changed = self._meter.changed
        seq = self._next_seq()
        for key in changed or ():
            before = self._closing.get(key) or self._rows.get(key)
            share, basis = shares.get(key) or ((before.share, before.basis) if before else (0.0, "holders"))
            row = JobRow(key, self._meter.rows[key], share, basis, key not in self._closing, seq, wall)
            (self._rows if row.open else self._closing)[key] = row

    def _end_runs(self, alive: frozenset[str], wall: float) -> None:
        for job_id in [job_id for job_id in self._registry.runs if job_id not in alive]:
            del self._registry.runs[job_id]
            self._note(wall, "run_ended", job_id=job_id, exit_code=None)

    def _close(self, jobs: Sequence[JobKey], wall: float) -> None:
        for job in jobs:
            log.debug("job ended job_id=%s started=%d", job.job_id, job.started)
            for key in [key for key in self._rows if (key.job_id, key.started) == job]:
                self._closing[key] = replace(self._rows.pop(key), open=False, seq=self._next_seq())

    def _settle(self, wall: float) -> None:
        """Put ended jobs into the journal once no reading can change them any more."""
        for key in [key for key in self._closing if self._meter.settled(key)]:
            row = self._closing.pop(key)
            row = self._ended[key] = replace(row, open=False, seq=self._next_seq())
            self._journal.append(row_entry(self._state.epoch, row, self._model(key.device)), wall)
            self._meter.forget(key)
            self._saved_at = float("-inf")
        for key in [key for key, row in self._ended.items() if wall - row.last_seen > GRACE_SECONDS]:
            self._forget(key)
        while len(self._ended) > LIMIT_ENDED_ROWS:
            self._forget(next(iter(self._ended)))

    def _forget(self, key: RowKey) -> None:
        del self._ended[key]
        self._registry.forget(JobKey(key.job_id, key.started))

    def _model(self, uid: str) -> str:
        device = self.snapshot.devices.get(uid) if self.snapshot else None
        return device.model if device else ""

    def _note_xids(self, readings: Mapping[str, Reading | None], wall: float) -> None:
        for uid, reading in readings.items():
            for xid, count in reading.xid_errors.items() if reading else ():
                if count > self._xids.get((uid, xid), 0.0):
                    self._note(wall, "xid", uuid=uid, xid=xid)
                self._xids[(uid, xid)] = count

    def _save_when_due(self, now: float) -> None:
        """Save in another thread: a slow disk does not hold up the tick."""
        if self.saving:
            return
        if self._writing is not None:
            self._note_saved(self._writing.wait(0)["state"].error)
            self._writing = None
        if now - self._saved_at >= SAVE_SECONDS:
            self._saved_at = now
            document, self._writing = encode(self._current_state(now)), Round(["state"])
            self._writer.ask(self._writing, lambda: self._directory.write(document))

    @property
    def saving(self) -> bool:
        """Whether the state is being written just now."""
        return self._writing is not None and not self._writing.wait(0)

    def _note_saved(self, error: Exception | None) -> None:
        if error is not None and self._health.state_saved:
            log.error("%s", error)
        saved = self._journal.flush() and error is None
        self._health = replace(self._health, state_saved=float(saved))

    def _current_state(self, now: float) -> State:
        return State(
            self._state.epoch, self._state.boot_id, now, self._seq,
            self._meter.rows, self._meter.devices, self._meter.state(), self._registry.document(),
        )  # fmt: skip

    def _publish(self, sample: Sample, wall: float) -> Snapshot:
        usage = self._meter.devices
        health = replace(
            self._health,
            residual_seconds=sum(abs(each.residual_seconds) for each in usage.values()),
            residual_joules=sum(abs(each.residual_joules) for each in usage.values()),
            share_excess=self._meter.share_excess,
            journal_dropped=dict(self._journal.dropped),
        )
        rows = {**self._ended, **self._closing, **self._rows}
        return Snapshot(
            self._site.cluster, self._site.node, wall, self._seq, self._state.epoch, self._state.boot_id,
            devices=sample.devices,
            readings={uid: reading for uid, reading in sample.readings.items() if reading is not None},
            device_usage=dict(usage),
            allocations=self._allocations,
            rows=rows,
            declared=self._registry.declared({JobKey(key.job_id, key.started) for key in rows}),
            host=sample.host,
            sources={name: each.value() for name, each in self._sampler.health.items()},
            agent=health,
        )  # fmt: skip

    def missed(self, count: int) -> None:
        """The main loop has missed that many ticks so far."""
        self._health = replace(self._health, ticks_missed=float(count))

    def reloaded(self, successfully: bool) -> None:
        """The configuration was read again."""
        self._health = replace(self._health, config_last_reload_successful=float(successfully))

    def close(self) -> None:
        """Save everything; called after the last tick."""
        self._writer.stop()
        with self._lock:
            try:
                self._directory.write(encode(self._current_state(self._clock.monotonic())))
            except Unavailable as exc:
                log.error("%s", exc)
        self._sampler.close()
        for sink in self._sinks:
            sink.close()

    # What jobs say, from the socket's thread.

    def handle(self, peer: Peer, message: object) -> dict[str, Any]:
        """Answer one message of a process; raises `GpuwatchError` to refuse it."""
        if isinstance(message, StartRun):
            return self._start_run(peer, message)
        if isinstance(message, EndRun):
            return self._end_run(peer, message)
        if isinstance(message, Declare):
            return self._declare(peer, message)
        if isinstance(message, ReportProgress):
            return self._report(peer, message)
        return {"cluster": self._site.cluster, "node": self._site.node}

    def _start_run(self, peer: Peer, message: StartRun) -> dict[str, Any]:
        with self._lock:
            job_id = f"run-{self._state.epoch[:4]}{self._next_seq():x}"
            name = label(message.name)
            self._registry.runs[job_id] = Run(job_id, name, peer.pid, peer.pid_start, peer.uid)
            self._note(self._clock.time(), "run_started", job_id=job_id, name=name, uid=peer.uid)
            self._saved_at = float("-inf")
        return {"job_id": job_id}

    def _end_run(self, peer: Peer, message: EndRun) -> dict[str, Any]:
        with self._lock:
            for job_id, run in self._registry.runs.items():
                if (run.pid, run.pid_start) == (peer.pid, peer.pid_start):
                    del self._registry.runs[job_id]
                    self._note(self._clock.time(), "run_ended", job_id=job_id, exit_code=message.exit_code)
                    return {"job_id": job_id}
        raise Rejected(f"run_end: process {peer.pid} did not start a run")

    def _job_of(self, peer: Peer) -> str:
        """The job of a process, by what the kernel says of it; called without the lock, as it reads procfs."""
        runs = self._runs()
        for source in self._sampler.job_sources.values():
            job_id = source.job_of(peer.pid, runs)
            if job_id is not None:
                return job_id
        raise Rejected(f"process {peer.pid} belongs to no job on this node")

    def _declare(self, peer: Peer, message: Declare) -> dict[str, Any]:
        declaration = parse(message.text)
        job_id = self._job_of(peer)
        _check_scope(declaration, job_id)
        wall = self._clock.time()
        with self._lock:
            declared_by = f"uid:{peer.uid}"
            if declaration.scope is None or declaration.scope.kind == "job":
                told = estimates(declaration, job_id, declared_by, wall, "socket")
                self._registry.declare(job_id, told, declaration.campaign)
            key = self._registry.key_of(job_id)
            entry = {
                "type": "declaration", "epoch": self._state.epoch, "seq": self._next_seq(), "time": wall,
                "job_id": job_id, "started": key.started if key else None, "channel": "socket",
                "uid": peer.uid, "pid": peer.pid, "text": message.text,
            }  # fmt: skip
            self._journal.append(entry, wall)
        return {"job_id": job_id}

    def _report(self, peer: Peer, message: ReportProgress) -> dict[str, Any]:
        job_id = self._job_of(peer)
        with self._lock:
            before = self._registry.said(job_id).progress
            total = message.total if message.total is not None else before.total if before else None
            if total is None:
                raise Rejected("progress: the total is not known yet; send it with the first step")
            progress = self._registry.report(job_id, message.step, total, self._clock.time(), self._next_seq())
        return {"job_id": job_id, "ratio": progress.ratio}

    # What accounting asks, from the web server's threads.

    def since(self, seq: int) -> Mapping[str, Any]:
        """The document of the usage API (docs/usage-api.md) with everything that changed after `seq`."""
        with self._lock:
            rows = [row for row in (*self._rows.values(), *self._closing.values()) if row.seq > seq]
            entries = list(self._journal.entries(seq, limit=ENTRIES_PER_ANSWER + 1))
            progress = self._registry.progress_since(seq)
            head = {
                "schema": 1, "cluster": self._site.cluster, "node": self._site.node, "epoch": self._state.epoch,
                "boot_id": self._state.boot_id, "seq": self._seq, "now": self._clock.time(),
            }  # fmt: skip
        return usage_document(head, rows, entries, progress, self._model, ENTRIES_PER_ANSWER)

    def acknowledge(self, seq: int) -> None:
        """The reader has everything up to `seq`: forget what is over."""
        with self._lock:
            self._journal.acknowledge(seq)

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
        down = [f"{each.source} down: {each.message}" for each in snapshot.sources.values() if not each.up]
        lost = len(snapshot.devices) - len(snapshot.readings)
        parts = [f"{len(snapshot.readings)} devices", f"{len(self._registry.open)} jobs"]
        return "; ".join(parts + ([f"{lost} devices not answering"] if lost else []) + down)


def nature_of(model: str) -> Nature:
    """What the specs say of a model."""
    spec = specs.lookup(model)
    if spec is None:
        return Nature(model)
    return Nature(model, spec.idle_watts, spec.watts)


def _check_scope(declaration: Declaration, job_id: str) -> None:
    """A process speaks for its own job, whatever it claims; of other scopes only a campaign is open to all."""
    scope = declaration.scope
    if scope is None or scope.kind == "campaign" or (scope.kind == "job" and scope.name == job_id):
        return
    raise Forbidden(f"for={scope}: this process belongs to job {job_id!r} and may not declare for that")


__all__ = ["Agent", "nature_of"]
