"""The daemon: when passes are made, what it says of itself, and what it does about clocks and failures."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gpuwatch import config
from gpuwatch.accounting.daemon import AccountingDaemon, NextInterval
from gpuwatch.errors import ConfigurationError, Locked
from gpuwatch.ledger.store import Store
from tests.accounting.fakes import FakeClock
from tests.ledger.deliveries import T0, declared, progress, row
from tests.ledger.postgres import Postgres
from tests.usage.fake_agent import Answer, FakeAgent, document, packed


def until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for what another thread does."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.005)


def overrun(_since: int = 0) -> Answer:
    """An agent with a job that is going to use twice what it declared."""
    rows, said = [row()], [declared("device-hours=0.05")]
    return packed(document(now=T0 + 100.0, rows=rows, declarations=said, events=[progress(250)]))


@pytest.fixture
def agent() -> Iterator[FakeAgent]:
    with FakeAgent(overrun) as fake:
        yield fake


Make = Callable[..., AccountingDaemon]


@pytest.fixture
def make(tmp_path: Path, agent: FakeAgent) -> Iterator[Make]:
    """Daemons on one ledger, stopped at the end."""
    made: list[AccountingDaemon] = []

    def build(clock: Any = None, **changed: Any) -> AccountingDaemon:
        settings = config.load(
            None,
            {
                "accounting.ledger": f"sqlite:///{tmp_path / 'ledger.db'}",
                "accounting.interval_seconds": 3600.0,
                "accounting.reserve_bytes": 0,
                "usage.agents.urls": [agent.url],
                "alerts.floor_device_hours": 0.0,
                "alerts.tell": ["*"],
                **changed,
            },
        )
        made.append(AccountingDaemon(settings, clock or FakeClock(wall=T0 + 120.0)))
        return made[-1]

    yield build
    for daemon in made:
        daemon.stop()


def passes(daemon: AccountingDaemon) -> float:
    return sum(daemon.health.passes.values())


def test_the_first_pass_comes_at_once(make: Make) -> None:
    """With what it found on /metrics, and the alert."""
    daemon = make()
    daemon.start()
    until(daemon.ready)

    text = daemon.render_metrics().decode()

    assert 'gpuwatch_ledger_held_device_seconds_total{scope="run-1",scope_kind="job"} 100.0' in text
    assert 'gpuwatch_alert_active{kind="projected",quantity="device-hours",scope="run-1"' in text
    assert "jobs running: 1, alerts: 1; last pass ok" == daemon.status()
    assert "job:run-1" in daemon.body()


@pytest.mark.parametrize(
    ("changed", "told"),
    [({"accounting.open_ended_names": ["*"]}, False), ({"alerts.tolerance_ratio": 9.0}, True)],
)
def test_forecasts_are_as_configured(make: Make, changed: dict[str, Any], told: bool) -> None:
    """What has no end to be forecast has no quantiles; ten times what is declared is hardly ever needed."""
    daemon = make(**changed)
    daemon.start()
    until(daemon.ready)

    text = daemon.render_metrics().decode()

    assert told is ("gpuwatch_forecast_quantile" in text)
    assert "gpuwatch_alert_active" not in text


def test_passes_come_at_the_interval(make: Make) -> None:
    """The scheduler's doing."""
    daemon = make(**{"accounting.interval_seconds": 0.05})
    daemon.start()

    until(lambda: passes(daemon) >= 3)


def test_metrics_are_rendered_once_for_each_pass(make: Make) -> None:
    """However often they are asked for."""
    daemon = make()
    daemon.start()
    until(daemon.ready)
    until(lambda: daemon.health.nodes is not None)

    first, second = daemon.render_metrics(), daemon.render_metrics()
    daemon.run_pass(T0 + 180.0)

    assert first is second
    assert first is not daemon.render_metrics()


def test_before_the_first_pass_it_is_alive_and_not_ready(make: Make) -> None:
    """Readiness is a pass that came to its end."""
    daemon = make()

    assert (True, False, "no pass yet") == (daemon.healthy(), daemon.ready(), daemon.status())
    assert b"gpuwatch_accounting_passes_total" in daemon.render_metrics()


@pytest.mark.parametrize("jump", [-3600.0, 31_536_000.0])
def test_a_jump_of_the_clock_brings_a_pass_at_once(make: Make, jump: float) -> None:
    """The scheduler would sleep by the wall clock; it is counted, too."""
    clock = FakeClock(wall=T0 + 120.0)
    daemon = make(clock)
    daemon.start()
    until(lambda: passes(daemon) == 1)
    daemon.tick(clock.monotonic())

    clock.wall += jump
    daemon.tick(clock.monotonic())

    until(lambda: passes(daemon) == 2)
    assert 1.0 == daemon.health.clock_jumps


def test_a_clock_that_walks_brings_no_pass(make: Make) -> None:
    """An hour of ticks, with both clocks going on."""
    clock = FakeClock()
    daemon = make(clock)
    for _ in range(3600):
        clock.wall += 1.0
        clock.steady += 1.0
        daemon.tick(clock.monotonic())

    assert 0.0 == daemon.health.clock_jumps


def test_a_year_of_missed_firings_is_one() -> None:
    """The scheduler asks for the next firing until it is not in the past."""
    trigger = NextInterval(60.0)
    now = datetime(2026, 1, 1, tzinfo=UTC)

    following = trigger.get_next_fire_time(now - timedelta(days=365), now)

    assert now + timedelta(seconds=60) == following


def test_firings_keep_their_distance() -> None:
    """A pass that was a little late does not move those after it."""
    trigger = NextInterval(60.0)
    due = datetime(2026, 1, 1, tzinfo=UTC)

    assert due + timedelta(seconds=60) == trigger.get_next_fire_time(due, due + timedelta(seconds=5))


def test_a_second_accounting_on_the_ledger_is_refused(make: Make) -> None:
    """With the pid of the first; when that one stops the ledger is free."""
    first, second = make(), make()
    first.start()

    with pytest.raises(Locked, match=f"process {os.getpid()}"):
        second.start()
    first.stop()
    third = make()
    third.start()
    until(third.ready)


def test_a_second_accounting_on_a_database_stands_by(make: Make, postgres_store: Store) -> None:
    """It serves metrics, is not ready, and takes over when the first one stops."""
    changed = {"accounting.ledger": postgres_store.where, "accounting.interval_seconds": 0.05}
    first, second = make(**changed), make(**changed)
    first.start()
    until(first.ready)
    second.start()
    until(lambda: passes(second) >= 2)
    before = (second.ready(), second.healthy(), second.status(), second.health.leading, first.health.leading)
    shown = second.render_metrics()
    first.stop()
    until(second.ready)

    assert (False, True, "standing by: another accounting leads", 0.0, 1.0) == before
    assert b"gpuwatch_accounting_leading 0.0" in shown
    assert b"gpuwatch_ledger_held" not in shown
    assert 1.0 == second.health.leading


def test_a_database_that_is_gone_for_a_while_costs_passes_and_nothing_else(
    make: Make, own_server: Postgres
) -> None:
    """They fail meanwhile; once it is back this accounting leads again and reads what came in between."""
    changed = {"accounting.ledger": own_server.make_database(), "accounting.interval_seconds": 0.05}
    daemon = make(**changed)
    daemon.start()
    until(daemon.ready)
    own_server.stop()
    until(lambda: daemon.health.passes["failed"] >= 3)
    gone = (daemon.ready(), daemon.healthy(), daemon.health.leading)
    own_server.start()
    until(daemon.ready)
    daemon.stop()

    assert (False, True, 0.0) == gone
    assert 1.0 == daemon.health.leading


def test_a_ledger_of_another_cluster_is_refused(make: Make) -> None:
    """Two ledgers are not merged by mistake."""
    first = make()
    first.start()
    first.stop()

    with pytest.raises(ConfigurationError, match="is that of cluster 'default', not of 'medusa'"):
        make(**{"site.cluster": "medusa"}).start()


def test_a_ledger_that_cannot_be_used_fails_the_pass_and_nothing_else(make: Make, tmp_path: Path) -> None:
    """What was known is shown for two more passes, and then no longer."""
    daemon = make()
    daemon.start()
    until(daemon.ready)
    for path in tmp_path.glob("ledger.db*"):
        path.write_bytes(b"x" * 9000)

    shown = []
    for number in range(3):
        report = daemon.run_pass(T0 + 180.0 + number)
        shown.append((report.outcome, b'scope="run-1"' in daemon.render_metrics()))

    assert [("failed", True), ("failed", True), ("failed", False)] == shown
    assert (False, True, 3.0) == (daemon.ready(), daemon.healthy(), daemon.health.passes["failed"])


def test_a_pass_that_is_stuck_is_not_healthy(make: Make, agent: FakeAgent) -> None:
    """It has been under way for more than ten intervals and ten minutes."""
    asked, release = threading.Event(), threading.Event()

    def hang(_since: int) -> Answer:
        asked.set()
        release.wait(10)
        return packed(document())

    agent.usage = hang
    clock = FakeClock()
    daemon = make(clock, **{"accounting.interval_seconds": 60.0})
    daemon.start()
    assert asked.wait(10)
    before = daemon.healthy()
    clock.steady += 601.0

    during = daemon.healthy()
    release.set()

    until(daemon.healthy)
    assert (True, False) == (before, during)


def test_a_pass_that_overlaps_the_next_is_counted(make: Make, agent: FakeAgent) -> None:
    """The one that did not begin is not made up for: the ledger knows what is still to be read."""
    release = threading.Event()

    def hang(_since: int) -> Answer:
        release.wait(10)
        return packed(document())

    agent.usage = hang
    daemon = make(**{"accounting.interval_seconds": 0.05})
    daemon.start()

    until(lambda: daemon.health.passes_missed["overlap"] >= 1)
    release.set()
    until(daemon.ready)


def test_a_reload_that_failed_is_on_metrics(make: Make) -> None:
    """Until one succeeds."""
    daemon = make()
    daemon.reloaded(False)
    failed = daemon.health.config_last_reload_successful
    daemon.reloaded(True)

    assert (0.0, 1.0) == (failed, daemon.health.config_last_reload_successful)


def test_a_reload_that_failed_is_in_the_status_line(make: Make) -> None:
    """`systemctl status` shows that line."""
    daemon = make()
    daemon.start()
    until(daemon.ready)
    daemon.reloaded(False)

    assert daemon.status().endswith("last pass ok; configuration not reloaded")


def test_stopping_before_starting_is_nothing(make: Make) -> None:
    """The command line stops whatever it made."""
    make().stop()
