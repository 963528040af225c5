"""PostgreSQL is away, silent or another's: passes fail, catch up at once, and only one accounting writes."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import text

from gpuwatch import config
from gpuwatch.accounting.daemon import AccountingDaemon
from gpuwatch.ledger import tables
from gpuwatch.ledger.store import open_store, open_to_read
from tests.accounting.fakes import FakeClock
from tests.accounting.test_daemon import until
from tests.cli.command import start
from tests.cli.test_accounting import fetched
from tests.faults.ledgers import check_days, rows, totals
from tests.ledger.deliveries import T0, row
from tests.ledger.postgres import Postgres
from tests.usage.fake_agent import Answer, FakeAgent, document, packed

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("postgresql")]

NOW = T0 + 60.0
END_LEADER = text("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1")


class Working:
    """A node on which a job runs on, and one of a minute begins each minute."""

    def __init__(self) -> None:
        self.minutes = 0

    def usage(self, _since: int) -> Answer:
        long = row("long", held_seconds=60.0 * self.minutes, last_seen=T0 + 60.0 * self.minutes)
        short = [
            row(f"short-{minute}", started=T0 + 60 * minute, last_seen=T0 + 60.0 * minute + 50.0,
                held_seconds=50.0, open=False)
            for minute in range(self.minutes)
        ]  # fmt: skip
        return packed(document(seq=10 + self.minutes, now=T0 + 60.0 * self.minutes, rows=[long, *short]))

    def minute(self, daemon: AccountingDaemon) -> str:
        """One minute goes by, and a pass is made; how it ended."""
        self.minutes += 1
        return daemon.run_pass(T0 + 60.0 * self.minutes).outcome


Made = Callable[[str], tuple[AccountingDaemon, Working]]


@pytest.fixture
def make() -> Iterator[Made]:
    """Daemons on a ledger, each with its node, after their first pass."""
    made: list[AccountingDaemon | FakeAgent] = []

    def build(ledger: str) -> tuple[AccountingDaemon, Working]:
        working = Working()
        agent = FakeAgent(working.usage)
        agent.__enter__()
        settings = {
            "accounting.ledger": ledger, "accounting.interval_seconds": 3600.0, "accounting.reserve_bytes": 0,
            "usage.agents.urls": [agent.url],
        }  # fmt: skip
        daemon = AccountingDaemon(config.load(None, settings), FakeClock(wall=T0))
        made.extend((agent, daemon))
        daemon.start()
        until(daemon.ready)
        return daemon, working

    yield build
    for each in reversed(made):
        each.stop() if isinstance(each, AccountingDaemon) else each.__exit__()


def figures(daemon: AccountingDaemon) -> list[Any]:
    store = daemon.store
    assert store is not None
    check_days(store)
    return [rows(store, tables.usage), totals(store), rows(store, tables.changed)]


def test_an_hour_without_the_database_is_made_good_by_one_pass(
    own_server: Postgres, make: Made, tmp_path: Path
) -> None:
    """Nothing twice and nothing lost: as if it had never been away. The lead is taken again."""
    daemon, working = make(own_server.make_database())
    before = [working.minute(daemon) for _ in range(2)]
    own_server.stop()
    away = [working.minute(daemon) for _ in range(60)]
    leading = daemon.health.leading
    own_server.start()
    after = [working.minute(daemon) for _ in range(2)]
    undisturbed, other = make(f"sqlite:///{tmp_path / 'ledger.db'}")
    other.minutes = working.minutes - 1
    other.minute(undisturbed)

    assert (["ok"] * 2, ["failed"] * 60, ["ok"] * 2) == (before, away, after)
    assert (0.0, 1.0) == (leading, daemon.health.leading)
    assert figures(undisturbed) == figures(daemon)


def test_a_database_that_is_silent_holds_a_pass_up_and_nothing_else(own_server: Postgres, make: Made) -> None:
    """Once it goes on, so does the pass; /metrics is answered meanwhile."""
    daemon, working = make(own_server.make_database())
    server = psutil.Process(own_server.process.pid)
    stopped = [server, *server.children(recursive=True)]
    outcomes: list[str] = []
    for each in stopped:
        each.send_signal(signal.SIGSTOP)
    waiting = threading.Thread(target=lambda: outcomes.append(working.minute(daemon)))
    try:
        waiting.start()
        waiting.join(0.3)
        held, shown = waiting.is_alive(), daemon.render_metrics()
    finally:
        for each in stopped:
            each.send_signal(signal.SIGCONT)
    waiting.join(20)

    assert (True, ["ok"]) == (held, outcomes)
    assert b"gpuwatch_accounting_leading 1.0" in shown
    assert ["long", "short-0"] == sorted(each[0] for each in figures(daemon)[0])


class Accounting:
    """A real accounting in a process of its own."""

    def __init__(self, folder: Path, ledger: str, agent: str) -> None:
        folder.mkdir()
        path = folder / "gpuwatch.toml"
        path.write_text(
            f'[accounting]\nlisten = "127.0.0.1:0"\nledger = "{ledger}"\ninterval_seconds = 0.1\n'
            f'[usage.agents]\nurls = ["{agent}"]\ntimeout_seconds = 20\n'
        )
        self.process = start("accounting", "--config", str(path))
        assert self.process.stderr is not None
        found = re.search(r"serving (\S+)", self.process.stderr.readline())
        assert found is not None
        self.url = found[1]
        self._reader = threading.Thread(target=self.process.stderr.read)
        self._reader.start()

    def value(self, series: str) -> float:
        found = re.search(rf"^{re.escape(series)} (\S+)$", fetched(f"{self.url}/metrics")[1], re.MULTILINE)
        return float(found[1]) if found else 0.0

    def leads(self) -> bool:
        return self.value("gpuwatch_accounting_leading") == 1.0

    def stands_by(self) -> bool:
        return self.value('gpuwatch_accounting_passes_total{outcome="standby"}') >= 1.0

    def close(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait(10)
        self._reader.join(10)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


class Node:
    """An agent whose next answer can be held back."""

    def __init__(self) -> None:
        self.rows = [row("first")]
        self.seq = 10
        self.hold = threading.Event()
        self.held, self.release = threading.Event(), threading.Event()

    def usage(self, _since: int) -> Answer:
        answer = packed(document(seq=self.seq, now=NOW, rows=self.rows))
        if self.hold.is_set():
            self.hold.clear()
            self.held.set()
            self.release.wait(20)
        return answer


@pytest.fixture
def pair(postgres_server: Postgres, tmp_path: Path) -> Iterator[tuple[str, Node, Accounting, Accounting]]:
    """A ledger, its node, the accounting that leads, and one that stands by."""
    ledger, node = postgres_server.make_database(), Node()
    with FakeAgent(node.usage) as agent:
        made = []
        try:
            made.append(Accounting(tmp_path / "a", ledger, agent.url))
            until(made[0].leads, 20)
            made.append(Accounting(tmp_path / "b", ledger, agent.url))
            until(made[1].stands_by, 20)
            yield ledger, node, made[0], made[1]
        finally:
            node.release.set()
            for each in made:
                each.close()


def jobs(ledger: str) -> set[str]:
    with closing(open_to_read(ledger)) as store:
        return {each[0] for each in rows(store, tables.usage)}


def test_another_takes_over_from_a_leader_that_is_killed(pair: tuple[str, Node, Accounting, Accounting]) -> None:
    """At once, as its session ends with it."""
    ledger, node, leader, standby = pair
    leader.process.kill()
    killed = time.monotonic()
    until(standby.leads, 10)
    took = time.monotonic() - killed
    node.rows, node.seq = [row("first"), row("second")], 20
    until(lambda: jobs(ledger) == {"first", "second"})

    assert took < 5.0


def test_a_leader_that_wakes_up_too_late_writes_nothing(pair: tuple[str, Node, Accounting, Accounting]) -> None:
    """Stopped in the middle of a pass, with an answer in its hands; its session ends, and another leads."""
    ledger, node, leader, standby = pair
    node.rows, node.seq = [row("stale")], 15
    node.hold.set()
    assert node.held.wait(10)
    leader.process.send_signal(signal.SIGSTOP)
    node.rows, node.seq = [row("second")], 20
    with closing(open_store(ledger)) as store, store.reading() as connection:
        connection.execute(END_LEADER)
    until(standby.leads, 10)
    until(lambda: "second" in jobs(ledger))
    node.release.set()
    leader.process.send_signal(signal.SIGCONT)
    until(leader.stands_by, 10)

    assert {"first", "second"} == jobs(ledger)
    assert (0.0, 1.0) == tuple(each.value("gpuwatch_accounting_leading") for each in (leader, standby))
