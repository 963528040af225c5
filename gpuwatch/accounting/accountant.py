"""One pass of accounting: ask the batch systems, collect usage, post, acknowledge, forecast, compare, tell.

Every step can be repeated: a pass that stops anywhere is made good by the next one, because the ledger's
watermarks, and nothing else, say what is still to be read.
"""

from __future__ import annotations

import gc
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC
from threading import Event
from typing import Literal, NamedTuple

from gpuwatch import hygiene
from gpuwatch.accounting.alert_record import Record
from gpuwatch.accounting.alerting import Alerting, Decided, Seen
from gpuwatch.accounting.allocations import Allocations, Asked
from gpuwatch.accounting.cases import CHARGED
from gpuwatch.accounting.forecaster import Forecaster
from gpuwatch.accounting.forecaster import Policy as Foresight
from gpuwatch.accounting.overruns import Bounds
from gpuwatch.accounting.self_check import State
from gpuwatch.accounting.shown import jobs_in, shown
from gpuwatch.accounting.site_policy import SitePolicy
from gpuwatch.accounting.site_record import Standing
from gpuwatch.accounting.tariffs import SiteTariffs
from gpuwatch.errors import GpuwatchError, Rejected, Unavailable
from gpuwatch.ledger import alert_store, charging, forecast_store, history, queries, record_store, writing
from gpuwatch.ledger.charging import Cost, JobId
from gpuwatch.ledger.ledger import Posting
from gpuwatch.ledger.letter_store import To
from gpuwatch.ledger.marking import marked
from gpuwatch.ledger.posting import read
from gpuwatch.ledger.queries import Current
from gpuwatch.ledger.store import Store
from gpuwatch.model import Alert, Forecast
from gpuwatch.notifiers.base import Notifier, Personal
from gpuwatch.usage.base import Allocated, Asking, Delivery, Failure, Reached, UsageSource

log = logging.getLogger("gpuwatch.accounting")

AT_ONCE = 64
ROWS_AT_ONCE = 10_000
"""So many deliveries, or rows of them, are posted in one transaction."""

HISTORY_BYTES = 10 * 2.0**30
PORTIONS = 20
"""So many portions of jobs are charged in one pass: a hundred thousand, which takes a minute."""

THIN_SECONDS = 600.0
"""How often history that has grown old is thinned."""

ALERTS_SECONDS = 400 * 86_400.0
"""How long it is kept when which alert was raised and resolved; what became of it is kept for ever."""

Outcome = Literal["ok", "partial", "failed", "standby"]


@dataclass(frozen=True, slots=True)
class Collected:
    """What reading the sources came to."""

    nodes: int = 0
    failed: int = 0
    rows: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    notifications: Mapping[tuple[str, str], int] = field(default_factory=dict)
    figures: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """What sources know of themselves, by source and figure."""


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of a pass, and what there is to show."""

    time: float
    outcome: Outcome
    collected: Collected = field(default_factory=Collected)
    current: Current = field(default_factory=Current)
    forecasts: tuple[Forecast, ...] = ()
    alerts: tuple[Alert, ...] = ()
    waiting: Mapping[str, int] = field(default_factory=dict)
    asked: Asked = field(default_factory=Asked)
    costs: Mapping[JobId, Cost] = field(default_factory=dict)
    rates: str = ""
    rates_successful: bool = True
    uncharged: int = 0
    record: Standing | None = None
    observed: tuple[Alert, ...] = ()
    """Alerts that are active and told to nobody; `alerts` are those that are told."""
    alert_record: Record = field(default_factory=Record)
    alert_policy_successful: bool = True
    letters: Mapping[To, int] = field(default_factory=dict)
    """The letters of the last seven days, by whom they went to."""


class Accountant:
    """Makes passes over the usage sources into the ledger. One pass at a time."""

    def __init__(
        self,
        store: Store,
        sources: Mapping[str, UsageSource],
        notifiers: Mapping[str, Notifier | Personal],
        bounds: Bounds,
        stopping: Event | None = None,
        allocations: Allocations | None = None,
        cluster: str = "default",
        tariffs: SiteTariffs | None = None,
        history_bytes: float = HISTORY_BYTES,
        forecaster: Forecaster | None = None,
        interval_seconds: float = 60.0,
        policy: SitePolicy | None = None,
        open_ended: Sequence[str] = (),
    ) -> None:
        self._store = store
        self._cluster = cluster
        self._tariffs = tariffs or SiteTariffs(None, UTC)
        self._history_bytes = history_bytes
        self._allocations = allocations
        self._sources = sources
        self._alerting = Alerting(
            store, cluster, notifiers, bounds, policy or SitePolicy(), interval_seconds, open_ended
        )
        self._stopping = stopping or Event()
        self._failing: dict[str, str] = {}
        self._thinned = 0.0
        self._forecaster = forecaster or Forecaster(cluster, Foresight(bounds.tolerance_ratio))

    def stand_by(self) -> None:
        """Another one leads: what is known of the ledger may be no longer true."""
        self._forecaster.forget()
        self._alerting.forget()

    def run_pass(self, now: float) -> Report:
        """Read what is new and tell what changed; raises `Unavailable` where the ledger cannot be used."""
        with _uncollected():
            return self._pass(now)

    def _pass(self, now: float) -> Report:
        collection = _Collection()
        asked = self._allocations.collect(now) if self._allocations is not None else Asked()
        self._collect(now, collection)
        if collection.unposted is not None:
            raise collection.unposted
        charged = charging.catch_up(self._store, self._cluster, self._tariffs.look(), now, PORTIONS)
        self._thin(now)
        with self._store.reading() as connection:
            current = queries.current(connection, now, charged.jobs, self._cluster)
            uncharged = marked(connection, self._cluster)
            costs = charging.costs_of(connection, charged_to(current))
            forecasts = self._forecaster.forecasts(connection, current, costs, now)
            self._alerting.look(connection, current, self._forecaster.burnups, now)
            running = {each.scope for each in current.scopes if each.state != "ended"}
            compared = [forecast for forecast in forecasts if forecast.scope in running]
            forecaster, alerting = self._forecaster, self._alerting
            seen = Seen(
                current, compared, costs, forecaster.burnups, forecaster.taken_up, forecaster.record.threshold,
                self._state(collection, asked),
            )  # fmt: skip
            decided = alerting.decide(connection, seen, now)
        self._keep(decided, compared, now)
        told = alerting.tell(now)
        incomplete = collection.failed or not told.everybody or not all(asked.up.values())
        outcome: Outcome = "partial" if incomplete else "ok"
        collected = collection.collected(told.outcomes)
        return Report(
            now, outcome, collected, current, forecasts, alerting.with_mode("told"), told.waiting, asked, costs,
            self._tariffs.now.rates.version, self._tariffs.successful, uncharged, forecaster.record.standing,
            alerting.with_mode("observed"), alerting.record, alerting.policy.successful, alerting.letters,
        )  # fmt: skip

    def _thin(self, now: float) -> None:
        # By a clock that may jump.
        if abs(now - self._thinned) < THIN_SECONDS:
            return
        self._thinned = now
        with self._store.writing() as connection:
            history.thin(connection, self._cluster, now, self._history_bytes)
            forecast_store.thin(connection, self._cluster, now)
            alert_store.thin(connection, self._cluster, now - ALERTS_SECONDS)

    def _collect(self, now: float, collection: _Collection) -> None:
        with self._store.reading() as connection:
            asking = Asking(now, writing.watermarks(connection, self._cluster), self._allocated)
        for name, source in self._sources.items():
            try:
                self._collect_from(name, source, asking, collection)
            except GpuwatchError as exc:
                self._failed(name, str(exc), collection)
            collection.figures |= {(name, what): value for what, value in source.figures().items()}
        if collection.unposted is None and not self._stopping.is_set():
            # What is not told of any more fails no more, and is in the log again when it does.
            self._failing = {origin: told for origin, told in self._failing.items() if origin in collection.failed}

    def _allocated(self, since: float, until: float) -> Sequence[Allocated]:
        with self._store.reading() as connection:
            return record_store.allocated(connection, self._cluster, since, until)

    def _collect_from(self, name: str, source: UsageSource, asking: Asking, collection: _Collection) -> None:
        batch: list[_Taken] = []
        try:
            for found in source.collect(asking):
                if self._stopping.is_set() or collection.unposted is not None:
                    return
                if isinstance(found, Reached):
                    self._take(source, batch, collection)
                    batch = []
                    self._reach(found, collection)
                elif isinstance(found, Failure):
                    self._failed(found.origin, found.message, collection)
                elif (taken := self._read(name, found, collection)) is not None:
                    batch.append(taken)
                if len(batch) >= AT_ONCE or sum(each.posting.rows for each in batch) >= ROWS_AT_ONCE:
                    self._take(source, batch, collection)
                    batch = []
        finally:
            self._take(source, batch, collection)

    def _reach(self, reached: Reached, collection: _Collection) -> None:
        """Move a mark over what is posted; a source that failed goes on from where it was."""
        collection.origins.add(reached.origin)
        if collection.unposted is not None or reached.origin in collection.failed:
            return
        try:
            with self._store.writing() as connection:
                writing.reach(connection, self._cluster, reached)
        except Unavailable as exc:
            collection.unposted = exc
        else:
            self._answers_again(reached.origin)

    def _read(self, name: str, delivery: Delivery, collection: _Collection) -> _Taken | None:
        if _follows_a_failed(delivery, collection):
            return None
        collection.origins.add(delivery.origin)
        try:
            posting = read(delivery)
            if posting.cluster != self._cluster:
                theirs, ours = _safe(posting.cluster), _safe(self._cluster)
                raise Rejected(f"{delivery.origin}: is of cluster {theirs!r}; this is accounting of {ours!r}")
        except GpuwatchError as exc:
            self._failed(delivery.origin, str(exc), collection)
            return None
        if posting.rejected:
            log.warning(
                "usage rejected source=%s origin=%s reasons=%s", name, _safe(delivery.origin), posting.rejected
            )
        return _Taken(delivery, posting)

    def _take(self, source: UsageSource, batch: Sequence[_Taken], collection: _Collection) -> None:
        """Post deliveries together, as a commit takes as long as hundreds of rows; one that fails stays alone."""
        if not batch or collection.unposted is not None:
            return
        try:
            self._post(batch)
        except Unavailable as exc:
            # The ledger's failure, not a node's: the pass has failed, and the next one reads all of it again.
            collection.unposted = exc
            collection.failed.update(each.delivery.origin for each in batch)
            return
        except GpuwatchError:
            for each in batch:
                self._take_one(source, each, collection)
            return
        for each in batch:
            self._taken(source, each, collection)

    def _take_one(self, source: UsageSource, taken: _Taken, collection: _Collection) -> None:
        if collection.unposted is not None or _follows_a_failed(taken.delivery, collection):
            return
        try:
            self._post([taken])
        except Unavailable as exc:
            # Nor may the mark of a window be moved over it.
            collection.unposted = exc
            collection.failed.add(taken.delivery.origin)
        except GpuwatchError as exc:
            self._failed(taken.delivery.origin, str(exc), collection)
        else:
            self._taken(source, taken, collection)

    def _post(self, batch: Sequence[_Taken]) -> None:
        with self._store.writing() as connection:
            writing.post_all(connection, [writing.Posted(each.posting, each.delivery.origin) for each in batch])

    def _taken(self, source: UsageSource, taken: _Taken, collection: _Collection) -> None:
        collection.rows += taken.posting.rows
        collection.rejected.update(taken.posting.rejected)
        self._acknowledge(source, taken.delivery, collection)

    def _acknowledge(self, source: UsageSource, delivery: Delivery, collection: _Collection) -> None:
        try:
            source.acknowledge(delivery)
        except Unavailable as exc:
            # It is posted; the agent keeps it a little longer, and the next pass acknowledges it.
            self._failed(delivery.origin, str(exc), collection)
        else:
            self._answers_again(delivery.origin)

    def _answers_again(self, origin: str) -> None:
        if self._failing.pop(origin, None) is not None:
            log.info("node reachable again origin=%s", _safe(origin))

    def _failed(self, origin: str, message: str, collection: _Collection) -> None:
        collection.origins.add(origin)
        collection.failed.add(origin)
        if self._failing.get(origin) != message:
            log.warning("node cannot be read origin=%s reason=%s", _safe(origin), _safe(message))
        self._failing[origin] = message

    def _state(self, collection: _Collection, asked: Asked) -> State:
        return State(
            len(collection.origins), len(collection.failed), asked, self._alerting.waiting,
            self._tariffs.successful, self._alerting.policy.successful, self._forecaster.record.standing,
        )  # fmt: skip

    def _keep(self, decided: Decided, compared: Sequence[Forecast], now: float) -> None:
        with self._store.writing() as connection:
            self._alerting.write(connection, decided, now)
            self._forecaster.keep(connection, compared, now)
        self._forecaster.kept()


class _Taken(NamedTuple):
    """A delivery and what the ledger takes of it."""

    delivery: Delivery
    posting: Posting


class _Collection:
    """What a pass adds up as it goes."""

    def __init__(self) -> None:
        self.origins: set[str] = set()
        self.failed: set[str] = set()
        self.unposted: Unavailable | None = None
        self.rows = 0
        self.rejected: Counter[str] = Counter()
        self.figures: dict[tuple[str, str], float] = {}

    def collected(self, notifications: Mapping[tuple[str, str], int]) -> Collected:
        return Collected(
            len(self.origins),
            len(self.failed),
            self.rows,
            dict(self.rejected),
            notifications,
            self.figures,
        )


def _follows_a_failed(delivery: Delivery, collection: _Collection) -> bool:
    """Posting it would move the watermark over a delivery that was not posted."""
    return delivery.seq is not None and delivery.origin in collection.failed


def charged_to(current: Current) -> set[JobId]:
    """The job ids of the scopes that are exported, or that declare what is charged: those are held against it."""
    declaring = (scope for scope in current.scopes if not CHARGED.isdisjoint(scope.estimates))
    jobs = (job for scope in (*shown(current)[0], *declaring) for job in jobs_in(scope))
    return {(job.cluster, job_id) for job in jobs for job_id in job.job_ids}


@contextmanager
def _uncollected() -> Iterator[None]:
    """No search for cycles: a pass makes a million small values without any, and looking takes half its time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _safe(text: str) -> str:
    return hygiene.log(text)
