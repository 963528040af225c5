"""Accounting as a daemon: APScheduler triggers the pass, and a watch on the clock keeps the trigger honest.

APScheduler plans by the wall clock: set back an hour, it would sleep for an hour; set forward a year, it would
enumerate every firing of that year. Hence a trigger that never has more than one firing in the past, and a job
that is added again when the wall clock jumps. What a pass has to read is decided by the ledger's watermarks.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from apscheduler.events import EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED, JobEvent
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from gpuwatch import config, hygiene
from gpuwatch.accounting import landing, metrics
from gpuwatch.accounting.accountant import Accountant, Collected, Report
from gpuwatch.accounting.alert_policy import Policy
from gpuwatch.accounting.allocations import Allocations
from gpuwatch.accounting.forecaster import Forecaster
from gpuwatch.accounting.forecaster import Policy as Foresight
from gpuwatch.accounting.leadership import InPostgres, Leadership, OfFile
from gpuwatch.accounting.metrics import Health
from gpuwatch.accounting.outputs import Outputs, outputs_of
from gpuwatch.accounting.overruns import Bounds
from gpuwatch.accounting.retained import retained, running_in
from gpuwatch.accounting.site_policy import SitePolicy
from gpuwatch.accounting.tariffs import SiteTariffs
from gpuwatch.accounting.upkeep import Upkeep
from gpuwatch.errors import GpuwatchError
from gpuwatch.ledger import clusters
from gpuwatch.ledger.store import Store, open_store, path_of
from gpuwatch.notifiers.base import Notifier, Personal
from gpuwatch.schedulers.base import Scheduler
from gpuwatch.service import ClockWatch
from gpuwatch.settings import Settings
from gpuwatch.usage.base import UsageSource

log = logging.getLogger("gpuwatch.accounting")

JOB = "pass"
STUCK_SECONDS = 600.0
FAILURES_SHOWN = 3
_MISSED = {EVENT_JOB_MISSED: "missed", EVENT_JOB_MAX_INSTANCES: "overlap"}


class Clock(Protocol):
    """What time it is; the module `time` is one."""

    def time(self) -> float:
        """Unix seconds, which may jump."""

    def monotonic(self) -> float:
        """Seconds that never jump."""


class NextInterval(BaseTrigger):  # type: ignore[misc]
    """Fires every interval; what was missed is one firing, however long ago it was due."""

    def __init__(self, interval_seconds: float) -> None:
        self._interval = timedelta(seconds=interval_seconds)

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        """The firing after `previous`, or where that is past already one interval from now."""
        if previous is None:
            return now
        following: datetime = previous + self._interval
        return following if following > now else now + self._interval


class AccountingDaemon:
    """Passes at an interval, and the outcome of the latest. `tick` belongs to the main loop.

    Until its first pass one that comes after another shows what that one has found and counted.
    """

    def __init__(self, settings: Settings, clock: Clock = time, before: AccountingDaemon | None = None) -> None:
        self._settings = settings
        self._interval = settings.accounting.interval_seconds
        self._clock = clock
        self._watch = ClockWatch()
        self._stopping = threading.Event()
        self._running = threading.Lock()
        self._state = threading.Lock()
        self._pass_began: float | None = None
        self._report: Report | None = None
        self._running_jobs = 0
        self._failures = 0
        self._health = metrics.at_start()
        self._rendered: tuple[Health, bytes] | None = None
        self._leadership: Leadership | None = None
        self._store: Store | None = None
        self._upkeep: Upkeep | None = None
        self._accountant: Accountant | None = None
        self._policy: SitePolicy | None = None
        self._outputs: Outputs | None = None
        self._scheduler = self._new_scheduler()
        if before is not None and before._settings.site.cluster == settings.site.cluster:
            self._report, self._running_jobs, self._health = before._report, before._running_jobs, before._health

    def _new_scheduler(self) -> BackgroundScheduler:
        scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(1)},
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        )
        scheduler.add_listener(self._missed, EVENT_JOB_MISSED | EVENT_JOB_MAX_INSTANCES)
        return scheduler

    def start(self) -> None:
        """Open the ledger and begin; raises `Locked`, `Unavailable` or `ConfigurationError`."""
        settings = self._settings
        sources: Mapping[str, UsageSource] = _built("usage", settings.accounting.usage, settings)
        notifiers: Mapping[str, Notifier | Personal] = _built("notifiers", settings.accounting.notifiers, settings)
        schedulers: Mapping[str, Scheduler] = _built("schedulers", settings.accounting.schedulers, settings)
        outputs = outputs_of(settings)
        policy = self._policy = SitePolicy(settings.alerts.policy_file, settings.alerts.tell)
        store = self._open(settings.site.cluster)
        self._upkeep = Upkeep(store, settings.accounting)
        bounds = Bounds(settings.alerts.tolerance_ratio, settings.alerts.floor_device_hours)
        allocations = Allocations(store, schedulers, settings.site.cluster)
        cluster = settings.site.cluster
        accounting = settings.accounting
        tariffs = SiteTariffs(accounting.rates_file, accounting.zone)
        foresight = Foresight(settings.alerts.tolerance_ratio, accounting.open_ended_names)
        self._accountant = Accountant(
            store, sources, notifiers, bounds, self._stopping, allocations, cluster, tariffs,
            accounting.history_bytes, Forecaster(cluster, foresight), self._interval, policy,
            accounting.open_ended_names,
        )  # fmt: skip
        outputs.start()
        self._outputs = outputs
        self._scheduler.start()
        self._schedule()

    def _open(self, cluster: str) -> Store:
        """Open the ledger; a file is locked before anything in it is changed."""
        chosen = self._settings.accounting
        path = path_of(chosen.ledger)
        if path is not None:
            self._leadership = OfFile(path)
        store = self._store = open_store(
            chosen.ledger, cluster=cluster, password_file=chosen.ledger_password_file,
            reserve_bytes=chosen.reserve_bytes,
        )  # fmt: skip
        if path is None:
            self._leadership = InPostgres(store, cluster)
        with store.writing() as connection:
            clusters.claim(connection, cluster, self._clock.time(), store.where)
        return store

    def _schedule(self) -> None:
        first = datetime.now(UTC)
        self._scheduler.add_job(
            self._pass, NextInterval(self._interval), id=JOB, replace_existing=True, next_run_time=first
        )

    def _pass(self) -> None:
        now = self._clock.time()
        # Before a pass and not after it: whoever saw that it ended may ask for the next at once.
        if self._upkeep is not None and self.ready():
            self._look_after(self._upkeep, now)
        self.run_pass(now)

    def _look_after(self, upkeep: Upkeep, now: float) -> None:
        upkept = upkeep.before_pass(now)
        self._change(
            lambda health: replace(
                health,
                disk_reserve_bytes=upkept.reserve_bytes,
                last_backup_timestamp_seconds=upkept.backup_timestamp_seconds,
                last_backup_successful=upkept.backup_successful,
                ledger_intact=0.0 if self._damaged() else upkept.intact,
            )
        )

    def tick(self, now: float) -> None:
        """Look after the clock; called about every second with the monotonic time."""
        if self._outputs is not None and (sinks := self._outputs.health()):
            self._change(lambda health: replace(health, sinks=sinks))
        jump = self._watch.jumped(now, self._clock.time())
        if not jump:
            return
        log.warning("the wall clock jumped seconds=%+.1f", jump)
        self._change(lambda health: replace(health, clock_jumps=float(self._watch.jumps)))
        self._schedule()

    def reloaded(self, successfully: bool) -> None:
        """The configuration was read again."""
        self._change(lambda health: replace(health, config_last_reload_successful=float(successfully)))

    def stop(self) -> None:
        """Let a pass that is under way come to an end of its own, and close the ledger."""
        self._stopping.set()
        if self._scheduler.running:
            self._scheduler.shutdown(wait=True)
        if self._outputs is not None:
            self._outputs.close()
        if self._store is not None:
            self._store.close()
        if self._leadership is not None:
            self._leadership.release()
            self._leadership = None

    def run_pass(self, now: float) -> Report:
        """One pass; whatever goes wrong in it is its outcome and in the log, never raised."""
        with self._running:
            began = self._clock.monotonic()
            self._pass_began = began
            try:
                report = self._attempt(now)
            finally:
                self._pass_began = None
            if self._damaged():
                self._change(lambda health: replace(health, ledger_intact=0.0))
            self._finished(report, self._clock.monotonic() - began)
            return report

    def _damaged(self) -> bool:
        return self._store is not None and self._store.damaged

    def _attempt(self, now: float) -> Report:
        try:
            if self._accountant is None or self._leadership is None:
                raise RuntimeError("run_pass before start")
            leads = self._leads(self._leadership, self._accountant)
            report = self._accountant.run_pass(now) if leads else Report(now, "standby")
        except GpuwatchError as exc:
            log.error("pass failed reason=%s", hygiene.log(str(exc)))
        except Exception:
            log.exception("pass failed")
        else:
            self._failures = 0
            return report
        self._failures += 1
        # What was true a moment ago is shown for a few passes; then it is no longer known.
        shown = self._report if self._report and self._failures < FAILURES_SHOWN else Report(now, "failed")
        return replace(shown, time=now, outcome="failed", collected=Collected())

    def _leads(self, leadership: Leadership, accountant: Accountant) -> bool:
        leads = False
        try:
            leads = leadership.leads()
        finally:
            if not leads:
                accountant.stand_by()
            self._change(lambda health: replace(health, leading=float(leads)))
        return leads

    def _finished(self, report: Report, seconds: float) -> None:
        if report.outcome != "failed" or not report.current.scopes:
            self._running_jobs = running_in(report)
        self._report = retained(report)
        passed = {report.outcome: 1}
        self._change(
            lambda health: replace(health, passes=metrics.grown(health.passes, passed), pass_seconds=seconds)
        )
        if report.outcome in ("ok", "partial"):
            self._change(lambda health: metrics.after(health, report))
        if self._outputs is not None:
            self._outputs.take(report)

    def _missed(self, event: JobEvent) -> None:
        reason = _MISSED[event.code]
        log.warning("pass did not begin reason=%s", reason)
        self._change(
            lambda health: replace(health, passes_missed=metrics.grown(health.passes_missed, {reason: 1}))
        )

    def _change(self, change: Callable[[Health], Health]) -> None:
        with self._state:
            self._health = change(self._health)

    @property
    def store(self) -> Store | None:
        """The ledger, for others who read it; None until `start` has opened it."""
        return self._store

    @property
    def alert_policy(self) -> Policy:
        """Which alerts are told now."""
        return self._policy.now if self._policy is not None else Policy()

    @property
    def health(self) -> Health:
        """What accounting knows of itself."""
        return self._health

    def healthy(self) -> bool:
        """Whether passes are being made; false where one has been under way for far too long."""
        began = self._pass_began
        longest = max(STUCK_SECONDS, 10 * self._interval)
        return began is None or self._clock.monotonic() - began < longest

    def ready(self) -> bool:
        """Whether the last pass came to its end; one that stands by is not."""
        return self._report is not None and self._report.outcome in ("ok", "partial")

    def status(self) -> str:
        """One line for `systemctl status`."""
        report = self._report
        if report is None:
            return "no pass yet"
        if report.outcome == "standby":
            return "standing by: another accounting leads"
        collected = report.collected
        text = f"jobs running: {self._running_jobs}, alerts: {len(report.alerts)}; last pass {report.outcome}"
        parts = [f"{text}, {collected.failed} of {collected.nodes} nodes failed" if collected.failed else text]
        parts += [] if self._health.config_last_reload_successful else ["configuration not reloaded"]
        return "; ".join(parts)

    def render_metrics(self) -> bytes:
        """The text of /metrics, rendered at most once for each pass and change of health."""
        health, report = self._health, self._report
        if self._rendered is None or self._rendered[0] is not health:
            self._rendered = health, metrics.render(report, health)
        return self._rendered[1]

    def body(self) -> str:
        """HTML of the current scopes for the landing page."""
        return landing.body(self._report)


def _built(room: str, names: tuple[str, ...], settings: Settings) -> dict[str, Any]:
    return {name: config.build(room, name, settings) for name in names}
