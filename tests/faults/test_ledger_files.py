"""The ledger's file is damaged, cut short, replaced or gone: said, not made worse, and made good by a backup."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from gpuwatch import config
from gpuwatch.accounting.daemon import AccountingDaemon
from gpuwatch.errors import Unavailable
from gpuwatch.ledger import store_sqlite, tables
from gpuwatch.ledger.store import Store, open_store
from tests.accounting.fakes import FakeClock, FakeSource
from tests.accounting.test_accountant import run
from tests.accounting.test_daemon import until
from tests.cli.command import gpuwatch
from tests.faults.ledgers import rows
from tests.ledger.deliveries import T0, delivery, row
from tests.usage.fake_agent import FakeAgent, document, packed

NOW = T0 + 120.0
JOBS = 300
FACTS = (tables.usage, tables.charges, tables.daily)


def usage(seq: int) -> list[dict[str, Any]]:
    """What an agent has then: jobs that go on, as many as fill some pages."""
    return [row(f"run-{number}", seq=seq, held_seconds=seq * 10.0) for number in range(JOBS)]


@pytest.fixture
def agent() -> Iterator[FakeAgent]:
    with FakeAgent(lambda _since: packed(document(now=NOW, rows=usage(1)))) as fake:
        yield fake


@pytest.fixture
def daemon(tmp_path: Path, agent: FakeAgent) -> Iterator[AccountingDaemon]:
    """It has made its first pass."""
    settings = config.load(
        None,
        {
            "accounting.ledger": f"sqlite:///{tmp_path / 'ledger.db'}", "accounting.interval_seconds": 3600.0,
            "accounting.reserve_bytes": 0, "usage.agents.urls": [agent.url],
        },
    )  # fmt: skip
    made = AccountingDaemon(settings, FakeClock(wall=NOW))
    made.start()
    until(made.ready)
    yield made
    made.stop()


def settle(path: Path) -> None:
    """Take over into the file what is beside it, and have everybody read it again."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE nodes SET seen = seen")
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def spoil(path: Path, at: int, size: int) -> None:
    """Write over a part of it."""
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\xa5" * size)


def put_back(path: Path, backup: Path) -> None:
    """As docs/ledger.md says."""
    for ending in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + ending).rename(path.with_name(f"damaged.db{ending}"))
    shutil.copy(backup, path)


def header(path: Path) -> None:
    spoil(path, 0, 100)


def middle(path: Path) -> None:
    """The first page of the table that every delivery goes into."""
    with closing(sqlite3.connect(path)) as database:
        (page,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'usage'").fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    spoil(path, (page - 1) * size, size)


@pytest.mark.integration
@pytest.mark.parametrize("damage", [header, middle])
def test_accounting_does_not_begin_on_a_damaged_file(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """It exits with 69 and the way out, and leaves the file as it is."""
    path = tmp_path / "ledger.db"
    with closing(open_store(str(path))) as store:
        run(store, FakeSource([delivery(usage(1))]))
    damage(path)
    before = path.read_bytes()

    done = gpuwatch("accounting", "--ledger", f"sqlite:///{path}", "--listen", "127.0.0.1:0", cwd=tmp_path)

    assert 69 == done.returncode
    assert "is damaged" in done.stderr and "put back a backup" in done.stderr
    assert before == path.read_bytes()


@pytest.mark.parametrize("damage", [header, middle])
def test_damage_while_it_runs_fails_passes_until_a_backup_is_put_back(
    daemon: AccountingDaemon, agent: FakeAgent, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """/metrics says so, nothing more is acknowledged, and what the agents have completes the backup."""
    path = tmp_path / "ledger.db"
    store_sqlite.copy(path, tmp_path / "backup.db")
    agent.usage = lambda _since: packed(document(seq=20, now=NOW, rows=usage(2)))
    settle(path)
    damage(path)
    damaged = path.read_bytes()
    outcomes = [daemon.run_pass(NOW + 60.0).outcome]
    # A pass may write for a while before it comes to where the damage is.
    found = list(agent.acknowledged)
    agent.usage = lambda _since: packed(document(seq=30, now=NOW, rows=usage(3)))
    outcomes += [daemon.run_pass(NOW + 60.0 * number).outcome for number in (2, 3)]
    shown = daemon.render_metrics().decode()
    after, acknowledged = path.read_bytes(), list(agent.acknowledged)
    put_back(path, tmp_path / "backup.db")
    again = daemon.run_pass(NOW + 240.0).outcome

    assert ["failed"] * 3 == outcomes
    assert "gpuwatch_accounting_ledger_intact 0.0" in shown
    assert (damaged, found) == (after, acknowledged)
    assert "ok" == again
    with closing(open_store(str(tmp_path / "undisturbed.db"))) as store:
        run(store, FakeSource([delivery(usage(3), seq=30, now=NOW)]), now=NOW + 240.0)
        assert daemon.store is not None
        assert [rows(store, table) for table in FACTS] == [rows(daemon.store, table) for table in FACTS]


def test_a_file_put_in_its_place_is_taken_at_once(sqlite_store: Store, tmp_path: Path) -> None:
    """What is written to one that was moved aside, and is acknowledged, would be lost."""
    run(sqlite_store, FakeSource([delivery([row("run-1")])]))
    store_sqlite.copy(tmp_path / "ledger.db", tmp_path / "backup.db")
    run(sqlite_store, FakeSource([delivery([row("run-2")], seq=20)]))
    put_back(tmp_path / "ledger.db", tmp_path / "backup.db")

    run(sqlite_store, FakeSource([delivery([row("run-3")], seq=30)]))

    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        jobs = connection.execute("SELECT job_id FROM usage ORDER BY job_id").fetchall()
    assert [("run-1",), ("run-3",)] == jobs


def test_a_file_that_is_gone_is_not_made_anew(sqlite_store: Store, tmp_path: Path) -> None:
    """An empty one would look as if nothing had ever run."""
    run(sqlite_store, FakeSource([delivery([row()])]))
    for path in tmp_path.glob("ledger.db*"):
        path.unlink()

    with pytest.raises(Unavailable, match="unable to open"):
        run(sqlite_store, FakeSource([delivery([row()])]))
    assert [] == list(tmp_path.glob("ledger.db*"))


@pytest.mark.parametrize("left", [0.0, 0.3, 0.9, 0.999])
def test_what_is_cut_off_the_end_of_the_wal_is_delivered_again(tmp_path: Path, left: float) -> None:
    """The watermark goes with the rows, so that the agents are asked from there."""
    first, second = delivery(usage(1), seq=10), delivery(usage(2), seq=20)
    with closing(open_store(str(tmp_path / "ledger.db"))) as store:
        run(store, FakeSource([first]))
        settle(tmp_path / "ledger.db")
        run(store, FakeSource([second]))
        (tmp_path / "cut").mkdir()
        for name in ("ledger.db", "ledger.db-wal"):
            shutil.copy(tmp_path / name, tmp_path / "cut" / name)
        whole = [rows(store, table) for table in FACTS]
    wal = tmp_path / "cut" / "ledger.db-wal"
    with wal.open("r+b") as file:
        file.truncate(int(wal.stat().st_size * left))
    source = FakeSource([second])

    with closing(open_store(str(tmp_path / "cut" / "ledger.db"))) as cut:
        run(cut, source)

        assert whole == [rows(cut, table) for table in FACTS]
    ((_, mark),) = (mark for mark in source.marks[0].items())
    assert mark[1] in (10, 20)
