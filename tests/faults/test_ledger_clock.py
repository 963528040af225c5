"""Accounting's own clock jumps between passes: what has ended stays, and the days are right again afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC

import pytest

from gpuwatch.accounting.accountant import Accountant
from gpuwatch.accounting.allocations import Allocations
from gpuwatch.accounting.overruns import Bounds
from gpuwatch.accounting.tariffs import SiteTariffs
from gpuwatch.ledger import tables
from gpuwatch.ledger.store import Store
from gpuwatch.schedulers.base import Poll, Record
from tests.accounting.fakes import FakeSource
from tests.faults.ledgers import check_days, rows, totals
from tests.ledger.batch import HOUR, record, running
from tests.ledger.deliveries import T0, delivery, row

NOW = T0 + 2 * HOUR
YEAR = 365 * 86_400.0
KEPT = (tables.usage, tables.charges, tables.daily, tables.history)


@dataclass
class FakeScheduler:
    """Says at each poll what is in `told`; what runs is seen by the clock that it is shown."""

    told: Sequence[Record] = ()
    running: Sequence[str] = ()
    polls: list[float | None] = field(default_factory=list)

    def poll(self, since: float | None, known: object, now: float) -> Poll:
        self.polls.append(since)
        alive = [running(job, started=float(T0), submitted=T0 - 60, seen=now) for job in self.running]
        return Poll((*self.told, *alive), now)


def ended(job_id: str, end: float) -> Record:
    """Two devices from `T0` to `end`."""
    return record(job_id, started=float(T0), ended=end, submitted=T0 - 60, seen=end)


class Site:
    """An accountant with an agent and a batch system to be told things by."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.agent, self.scheduler = FakeSource(), FakeScheduler()
        allocations = Allocations(store, {"fake": self.scheduler}, "default")
        self.accountant = Accountant(
            store, {"fake": self.agent}, {}, Bounds(0.1, 0.0), None, allocations, "default", SiteTariffs(None, UTC)
        )

    def run(self, *moments: float) -> None:
        """A pass at each of these times, after each of which the days add up."""
        for now in moments:
            self.accountant.run_pass(now)
            check_days(self.store)

    def kept(self) -> list[object]:
        return [rows(self.store, table) for table in KEPT]


@pytest.fixture
def site(store: Store) -> Site:
    return Site(store)


def test_what_has_ended_is_the_same_after_any_jump(site: Site) -> None:
    """Also where agents and the batch system tell of it again, while the clock is wrong."""
    site.scheduler.told = [ended("7", T0 + HOUR)]
    site.agent.answers = [delivery([row("7", open=False, held_seconds=7000.0, last_seen=T0 + HOUR), row("run-1")])]
    site.run(NOW)
    before = site.kept()

    for jump in (-HOUR, 0.0, YEAR, 0.0, 0.0):
        site.run(NOW + jump)
        site.run(NOW + jump + 60.0)

    assert before == site.kept()


def test_a_job_that_ends_while_the_clock_is_behind_is_charged_in_full(site: Site) -> None:
    """Nobody tells of it again: what lies ahead of the clock is charged again by itself."""
    site.scheduler.running = ["7"]
    site.run(T0 + HOUR)
    site.scheduler.running, site.scheduler.told = (), [ended("7", NOW)]
    site.run(NOW - 2 * HOUR)
    site.scheduler.told = ()
    site.run(NOW - 2 * HOUR + 60.0, NOW + 60.0)

    ((key, sums),) = totals(site.store).items()
    assert (2 * 2 * HOUR, True) == (sums["charged_seconds"], key[-1])
    site.run(NOW + 120.0)
    assert [] == rows(site.store, tables.changed), "and only as long as it lies ahead"


def test_a_job_that_runs_through_a_jump_has_its_days_back(site: Site) -> None:
    """A year ahead it is charged until then; once the clock is right those days are gone."""
    site.scheduler.running = ["7"]
    site.run(T0 + HOUR)
    before = rows(site.store, tables.daily)
    site.run(T0 + HOUR + YEAR)
    ahead = len(rows(site.store, tables.daily))

    site.run(T0 + HOUR)

    assert (366, before) == (ahead, rows(site.store, tables.daily))
    site.scheduler.running, site.scheduler.told = (), [ended("7", NOW)]
    site.run(NOW)
    assert [2 * 2 * HOUR] == [each["charged_seconds"] for each in totals(site.store).values()]


def test_history_is_not_thinned_by_a_clock_that_is_ahead(site: Site) -> None:
    """It would be lost for ever: what is old is old beside what was seen last."""
    for minute in range(30):
        site.agent.answers = [delivery([row(last_seen=T0 + 60.0 * minute, held_seconds=60.0 * minute)])]
        site.run(T0 + 60.0 * minute)

    site.run(T0 + YEAR)

    assert 30 == len(rows(site.store, tables.history))


def test_the_history_of_a_batch_system_is_asked_for_again_after_a_jump(site: Site) -> None:
    """How far it was read stands a year ahead in the ledger; nothing ends there yet."""
    site.run(NOW, NOW + YEAR, NOW + 60.0)

    assert [None, NOW, NOW + 60.0] == site.scheduler.polls


def test_a_row_of_another_century_costs_ten_years_of_days_at_most(site: Site) -> None:
    """An agent's clock stood at 1970, or at the end of what can be told; what was held is held all the same."""
    site.agent.answers = [
        delivery(
            [
                row("old", started=1, open=False),
                row("new", last_seen=2.0**32, open=False),
                row("huge", last_seen=2.0**52),
            ]
        )
    ]

    site.run(NOW)

    sums = totals(site.store)
    assert {"old": 100.0, "new": 100.0} == {key[0]: each["held_seconds"] for key, each in sums.items()}
    assert len(rows(site.store, tables.charges)) <= 2 * 3661
