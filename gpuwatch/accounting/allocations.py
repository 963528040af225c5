"""What batch systems allocated, asked for in every pass and posted to the ledger.

How far a history was read is kept in the ledger, beside the records and in the same transaction. What is asked
for reaches back to where the ledger lost sight of a job that still runs as far as it knows: a batch system that
was down, or whose database was, tells of the ends later.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from gpuwatch import hygiene
from gpuwatch.errors import GpuwatchError
from gpuwatch.ledger import record_store
from gpuwatch.ledger.jobs import LOST_SECONDS
from gpuwatch.ledger.store import Store
from gpuwatch.model import EMPTY, Labelled, Labels
from gpuwatch.schedulers.base import Poll, Record, RecordId, Scheduler

log = logging.getLogger("gpuwatch.accounting")


@dataclass(frozen=True, slots=True)
class Asked:
    """What asking the batch systems came to: seconds each took, which answered in full, what was posted."""

    seconds: Labelled = EMPTY
    up: Mapping[str, bool] = EMPTY
    records: int = 0
    rejected: Mapping[str, int] = EMPTY


class Allocations:
    """Asks the batch systems of a cluster, one after the other."""

    def __init__(self, store: Store, schedulers: Mapping[str, Scheduler], cluster: str) -> None:
        self._store = store
        self._schedulers = schedulers
        self._cluster = cluster
        self._failing: dict[str, tuple[str, ...]] = {}
        self._unread: dict[str, str] = {}
        self._posted: dict[str, dict[RecordId, Record]] = {}

    def collect(self, now: float) -> Asked:
        """Ask each, post what it says; one that fails stays alone."""
        seconds: dict[Labels, float] = {}
        up: dict[str, bool] = {}
        records, rejected = 0, dict[str, int]()
        for name, scheduler in self._schedulers.items():
            began = time.monotonic()
            try:
                poll = scheduler.poll(*self._wanted(name, now), now)
                posted = self._post(name, poll)
            except GpuwatchError as exc:
                up[name] = self._told(name, (str(exc),))
            else:
                up[name] = self._told(name, tuple(poll.failures))
                records += posted.taken
                for reason, count in (*posted.refused.items(), ("unreadable", len(poll.unreadable))):
                    rejected[reason] = rejected.get(reason, 0) + count
            seconds[name] = time.monotonic() - began
        return Asked(seconds, up, records, rejected)

    def _wanted(self, name: str, now: float) -> tuple[float | None, frozenset[str]]:
        with self._store.reading() as connection:
            until = record_store.until_of(connection, name, self._cluster)
            lost = record_store.open_since(connection, self._cluster)
            known = record_store.located(connection)
        if until is None:
            return None, known
        # It was read by a clock that may have been ahead.
        until = min(until, now)
        return until if lost is None else min(until, max(lost, now - LOST_SECONDS)), known

    def _post(self, name: str, poll: Poll) -> record_store.Posted:
        before = self._posted.pop(name, {})
        with self._store.writing() as connection:
            posted = record_store.post_records(connection, poll.records, before)
            if poll.grants is not None:
                record_store.post_grants(connection, poll.grants)
            if poll.until is not None:
                record_store.set_until(connection, name, self._cluster, poll.until)
        # Only what is committed counts as posted: after a failure all is posted in full.
        self._posted[name] = record_store.remembered(poll.records)
        if poll.unreadable and self._unread.get(name) != poll.unreadable[0]:
            first = hygiene.log(poll.unreadable[0])
            log.warning("rows cannot be read scheduler=%s count=%d first=%s", name, len(poll.unreadable), first)
        self._unread[name] = next(iter(poll.unreadable), "")
        if posted.refused:
            log.warning("records rejected scheduler=%s reasons=%s", name, dict(posted.refused))
        return posted

    def _told(self, name: str, failures: tuple[str, ...]) -> bool:
        """Whether all went well; a change of it is logged."""
        if failures and self._failing.get(name) != failures:
            for failure in failures:
                log.warning("scheduler cannot be read scheduler=%s reason=%s", name, hygiene.log(failure))
        if not failures and name in self._failing:
            log.info("scheduler readable again scheduler=%s", name)
        if failures:
            self._failing[name] = failures
        else:
            self._failing.pop(name, None)
        return not failures
