"""Reads what is judged in a pass: snapshots kept in memory, and from time to time devices and what accounts used.

What is told over a time is told from snapshots that were taken meanwhile: after a restart, or when another one
took the lead, times begin anew; what needs a whole window is silent, or stands, for so long.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC

from sqlalchemy import Connection

from gpuwatch.accounting.alert_policy import Thresholds
from gpuwatch.accounting.device_looks import DeviceLooks
from gpuwatch.accounting.rates_of_use import DAYS, account_uses
from gpuwatch.accounting.watched import Snapshot, Watched, run_key, snapshot_of
from gpuwatch.ledger import device_rows
from gpuwatch.ledger.burnup_store import RunKey
from gpuwatch.ledger.charges import date_of, days_between
from gpuwatch.ledger.jobs import Job, Run
from gpuwatch.ledger.periods import midnight
from gpuwatch.ledger.queries import Current
from gpuwatch.ledger.summaries import zone_of
from gpuwatch.model import BurnUp

SNAPSHOT_SECONDS = 300.0
"""How far apart the snapshots of a run are, but for long windows, which have `MOST` of them."""

MOST = 12
SLOW_SECONDS = 600.0
"""How often devices are looked at, and what accounts used."""

_FIRST, _LAST = 2 * 86_400.0, 253_370_000_000.0


class Snapshots:
    """What runs had used, a few minutes apart: `of` has them by run, the oldest first."""

    def __init__(self, thresholds: Thresholds) -> None:
        longest = max(thresholds.window_seconds, thresholds.hung_seconds)
        self._keep_seconds = longest + SNAPSHOT_SECONDS
        self._spacing = max(SNAPSHOT_SECONDS, longest / (MOST - 2))
        self.of: dict[RunKey, tuple[Snapshot, ...]] = {}

    def take(self, jobs: Iterable[Job]) -> None:
        """Keep what runs have used now, where it is time to; what does not run any more is forgotten."""
        kept: dict[RunKey, tuple[Snapshot, ...]] = {}
        for job in jobs:
            key = run_key(job)
            if key is not None and job.state != "ended":
                kept[key] = self._grown(self.of.get(key, ()), job.runs[-1])
        self.of = kept

    def _grown(self, before: tuple[Snapshot, ...], run: Run) -> tuple[Snapshot, ...]:
        if not run.lines:
            return before
        seen = max([line.last_seen for line in run.lines])
        if before and before[-1].seen <= seen < before[-1].seen + self._spacing:
            return before
        new = snapshot_of(run)
        if new is None:
            return before
        # A clock that was set back, or an amount that was restated, contradicts what was seen.
        before = tuple([each for each in before if each.seen < new.seen and each.held <= new.held])
        oldest = next((place for place, each in enumerate(before) if each.seen > seen - self._keep_seconds), 0)
        return (*before[max(0, oldest - 1) :][-MOST:], new)


class Watch:
    """The eye of one accounting on what jobs of its cluster do; one thread uses it."""

    def __init__(self, cluster: str, thresholds: Thresholds, open_ended: tuple[str, ...] = ()) -> None:
        self._cluster, self._thresholds, self._open_ended = cluster, thresholds, open_ended
        self._devices = DeviceLooks(cluster, thresholds)
        self.forget()

    def forget(self) -> None:
        """Begin anew: somebody else may have led meanwhile."""
        self._snapshots = Snapshots(self._thresholds)
        self._devices.forget()
        self._slow = float("-inf")
        self._last = Watched()

    def look(
        self, connection: Connection, current: Current, burnups: Mapping[RunKey, BurnUp], now: float
    ) -> Watched:
        """What there is to judge by now."""
        self._snapshots.take(current.jobs)
        # By a clock that may jump.
        if abs(now - self._slow) >= SLOW_SECONDS:
            self._look_slowly(connection, current, now)
            self._slow = now
        nodes = device_rows.agents_heard(connection, self._cluster)
        return replace(
            self._last, jobs=current.jobs, burnups=burnups, snapshots=self._snapshots.of, nodes=nodes,
            open_ended=self._open_ended,
        )  # fmt: skip

    def _look_slowly(self, connection: Connection, current: Current, now: float) -> None:
        self._devices.look(connection, current.jobs, now)
        zone = zone_of(connection)
        today = days_between(*_a_moment(now), zone)[0][0]
        days = device_rows.account_days(connection, self._cluster, today - DAYS, today)
        self._last = Watched(
            looks=self._devices.found,
            looked=self._devices.looked,
            compared=self._devices.compared,
            rates=account_uses(days, today),
            day_begins=midnight(date_of(today), zone or UTC),
        )


def _a_moment(now: float) -> tuple[float, float]:
    moment = min(max(now, _FIRST), _LAST)
    return moment, moment + 1.0
