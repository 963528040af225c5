"""One pass of accounting: ask the batch systems, collect usage, post, acknowledge, forecast, compare, tell.

Every step can be repeated: a pass that stops anywhere is made good by the next one, because the ledger's
watermarks, and nothing else, say what is still to be read.
"""

from __future__ import annotations

import gc
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import Literal

from gpuwatch import hygiene
from gpuwatch.accounting import alerts
from gpuwatch.accounting.allocations import Allocations, Asked
from gpuwatch.accounting.forecasts import forecasts_of
from gpuwatch.errors import GpuwatchError, Rejected, Unavailable
from gpuwatch.ledger import alert_store, queries, writing
from gpuwatch.ledger.posting import read
from gpuwatch.ledger.queries import Current
from gpuwatch.ledger.store import Store
from gpuwatch.model import Alert, Forecast
from gpuwatch.notifiers.base import Notifier
from gpuwatch.usage.base import Delivery, UsageSource

log = logging.getLogger("gpuwatch.accounting")

OUTBOX_SECONDS = 86_400.0
"""How long a notification is tried; who was not reached by then is told by /metrics alone."""

Outcome = Literal["ok", "partial", "failed"]
Marks = Mapping[str, tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Collected:
    """What reading the sources came to."""

    nodes: int = 0
    failed: int = 0
    rows: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    notifications: Mapping[tuple[str, str], int] = field(default_factory=dict)


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


class Accountant:
    """Makes passes over the usage sources into the ledger. One pass at a time."""

    def __init__(
        self,
        store: Store,
        sources: Mapping[str, UsageSource],
        notifiers: Mapping[str, Notifier],
        policy: alerts.Policy,
        stopping: Event | None = None,
        allocations: Allocations | None = None,
    ) -> None:
        self._store = store
        self._allocations = allocations
        self._sources = sources
        self._notifiers = notifiers
        self._policy = policy
        self._stopping = stopping or Event()
        self._failing: dict[str, str] = {}

    def run_pass(self, now: float) -> Report:
        """Read what is new and tell what changed; raises `Unavailable` where the ledger cannot be used."""
        with _uncollected():
            return self._pass(now)

    def _pass(self, now: float) -> Report:
        collection = _Collection()
        asked = self._allocations.collect(now) if self._allocations is not None else Asked()
        self._collect(collection)
        with self._store.reading() as connection:
            current = queries.current(connection, now)
        forecasts = forecasts_of(current, now)
        active = self._evaluate(current, forecasts, now)
        waiting = self._notify(collection, now)
        incomplete = collection.failed or any(waiting.values()) or not all(asked.up.values())
        outcome: Outcome = "partial" if incomplete else "ok"
        collected = collection.collected()
        return Report(now, outcome, collected, current, forecasts, tuple(active.values()), waiting, asked)

    def _collect(self, collection: _Collection) -> None:
        with self._store.reading() as connection:
            marks = writing.watermarks(connection)
        for name, source in self._sources.items():
            try:
                self._collect_from(name, source, marks, collection)
            except GpuwatchError as exc:
                self._failed(name, str(exc), collection)

    def _collect_from(self, name: str, source: UsageSource, marks: Marks, collection: _Collection) -> None:
        for found in source.collect(marks):
            if self._stopping.is_set():
                return
            if isinstance(found, Delivery):
                self._take(name, source, found, collection)
            else:
                self._failed(found.origin, found.message, collection)

    def _take(self, name: str, source: UsageSource, delivery: Delivery, collection: _Collection) -> None:
        # Posting what follows a delivery that was not posted would move the watermark over it.
        if delivery.origin in collection.failed:
            return
        collection.origins.add(delivery.origin)
        try:
            posting = read(delivery)
            with self._store.writing() as connection:
                writing.post(connection, posting, delivery.origin)
        except GpuwatchError as exc:
            self._failed(delivery.origin, str(exc), collection)
            return
        collection.rows += posting.rows
        collection.rejected.update(posting.rejected)
        if posting.rejected:
            log.warning(
                "usage rejected source=%s origin=%s reasons=%s", name, _safe(delivery.origin), posting.rejected
            )
        self._acknowledge(source, delivery, collection)

    def _acknowledge(self, source: UsageSource, delivery: Delivery, collection: _Collection) -> None:
        try:
            source.acknowledge(delivery)
        except Unavailable as exc:
            # It is posted; the agent keeps it a little longer, and the next pass acknowledges it.
            self._failed(delivery.origin, str(exc), collection)
        else:
            if self._failing.pop(delivery.origin, None) is not None:
                log.info("node reachable again origin=%s", _safe(delivery.origin))

    def _failed(self, origin: str, message: str, collection: _Collection) -> None:
        collection.origins.add(origin)
        collection.failed.add(origin)
        if self._failing.get(origin) != message:
            log.warning("node cannot be read origin=%s reason=%s", _safe(origin), _safe(message))
        self._failing[origin] = message

    def _evaluate(self, current: Current, forecasts: tuple[Forecast, ...], now: float) -> alerts.Alerts:
        running = {each.scope for each in current.scopes if each.state != "ended"}
        compared = [forecast for forecast in forecasts if forecast.scope in running]
        with self._store.writing() as connection:
            before = alert_store.active(connection)
            active, changes = alerts.evaluate(compared, before, self._policy, now)
            alert_store.save(connection, active, changes, self._notifiers.keys(), now)
        return active

    def _notify(self, collection: _Collection, now: float) -> dict[str, int]:
        with self._store.writing() as connection:
            given_up = alert_store.forget_before(connection, now - OUTBOX_SECONDS)
        if given_up:
            log.error("notifications given up count=%d", given_up)
            collection.notifications["", "given_up"] += given_up
        return {name: self._tell(name, notifier, collection) for name, notifier in self._notifiers.items()}

    def _tell(self, name: str, notifier: Notifier, collection: _Collection) -> int:
        """Tell a notifier what it does not know yet; how much of it is left for another try."""
        with self._store.reading() as connection:
            waiting = alert_store.waiting(connection, name)
        if not waiting:
            return 0
        try:
            outcome = "sent" if notifier.notify([each.change for each in waiting]) else "later"
        except Rejected as exc:
            log.error("notification rejected notifier=%s reason=%s", name, _safe(str(exc)))
            outcome = "rejected"
        except Unavailable as exc:
            log.warning("notifier unavailable notifier=%s reason=%s", name, _safe(str(exc)))
            outcome = "later"
        collection.notifications[name, outcome] += len(waiting)
        if outcome == "later":
            return len(waiting)
        with self._store.writing() as connection:
            alert_store.taken(connection, name, waiting)
        return 0


class _Collection:
    """What a pass adds up as it goes."""

    def __init__(self) -> None:
        self.origins: set[str] = set()
        self.failed: set[str] = set()
        self.rows = 0
        self.rejected: Counter[str] = Counter()
        self.notifications: Counter[tuple[str, str]] = Counter()

    def collected(self) -> Collected:
        return Collected(
            len(self.origins), len(self.failed), self.rows, dict(self.rejected), dict(self.notifications)
        )


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
