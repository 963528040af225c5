"""The ledger in PostgreSQL: durable, no password in what is said, and usable again after the server was gone."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import make_url, select, text

from gpuwatch.errors import ConfigurationError, Rejected, Unavailable
from gpuwatch.ledger import store_postgres, tables
from gpuwatch.ledger.store import Store, open_store, open_to_read, path_of
from tests.ledger.deliveries import delivery, row
from tests.ledger.postgres import Postgres
from tests.ledger.test_store import post


def _settings(store: Store, *names: str) -> list[str]:
    with store.reading() as connection:
        return [str(connection.scalar(text(f"SHOW {name}"))) for name in names]


def test_a_commit_is_durable_whatever_the_server_thinks(postgres_store: Store) -> None:
    """The tests' server has synchronous_commit off by default; nothing waits for ever."""
    shown = _settings(postgres_store, "synchronous_commit", "statement_timeout", "lock_timeout")

    assert ["on", "2min", "30s"] == shown


def test_a_view_does_not_change_while_it_is_read(postgres_store: Store) -> None:
    """Two questions of one view have answers of one moment."""
    post(postgres_store, [delivery([row("run-1")])])
    jobs = select(tables.usage.c.job_id)
    with postgres_store.reading() as connection:
        first = connection.scalars(jobs).all()
        post(postgres_store, [delivery([row("run-2")])])
        second = connection.scalars(jobs).all()

    assert (["run-1"], ["run-1"]) == (first, second)


def test_what_cannot_be_stored_is_rejected(postgres_store: Store) -> None:
    """It would be refused at every try."""
    with pytest.raises(Rejected, match="cannot be stored"), postgres_store.writing() as connection:
        connection.execute(tables.nodes.insert().values(cluster="a\0", node="b", epoch="c", seen=1.0))


def test_a_ledger_that_is_not_there_is_named(postgres_server: Postgres) -> None:
    """With what to do about it; the database that is missing too."""
    empty = postgres_server.make_database()

    with pytest.raises(Unavailable, match="is no ledger yet"):
        open_to_read(empty)
    with pytest.raises(Unavailable, match='database "nowhere" does not exist'):
        open_to_read(postgres_server.url("nowhere"))


def test_two_that_make_a_ledger_at_once_make_one(postgres_server: Postgres) -> None:
    """Accountings of two clusters that are started together."""
    url = postgres_server.make_database()
    opened: list[Store] = []
    threads = [threading.Thread(target=lambda: opened.append(open_store(url))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    with opened[0].reading() as connection:
        versions = connection.scalars(select(tables.schema_version.c.version)).all()
    for store in opened:
        store.close()

    assert (4, [tables.SCHEMA_VERSION]) == (len(opened), versions)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann:hunter2@db/ledger", "postgresql://ann:***@db/ledger"),
        ("postgresql+psycopg://ann@db/ledger?password=hunter2&x=1", "postgresql://ann@db/ledger?x=1"),
    ],
)
def test_a_password_is_not_shown(url: str, shown: str) -> None:
    """Neither in the URL's place for it nor among its parameters."""
    assert shown == store_postgres.shown(make_url(url))
    assert path_of(url) is None


def test_a_server_that_is_not_there_is_said_without_the_password(tmp_path: Path) -> None:
    """Nobody listens there."""
    with pytest.raises(Unavailable, match="cannot be used") as raised:
        open_store(f"postgresql://ann:hunter2@/ledger?host={tmp_path}")

    assert "hunter2" not in str(raised.value)


def test_a_password_comes_from_a_file(tmp_path: Path, postgres_server: Postgres) -> None:
    """So that it stands in no configuration; one that cannot be read is a mistake in it."""
    (tmp_path / "password").write_text("hunter2\n")
    with closing(open_store(postgres_server.make_database(), password_file=tmp_path / "password")) as store:
        password = store._engine.url.password

    assert "hunter2" == password
    with pytest.raises(ConfigurationError, match=r"ledger_password_file: '.*none' cannot be read"):
        open_store(postgres_server.url(), password_file=tmp_path / "none")
    with pytest.raises(ConfigurationError, match="is a file without one"):
        open_store(str(tmp_path / "ledger.db"), password_file=tmp_path / "password")


def test_an_encoding_that_cannot_keep_names_is_refused(postgres_server: Postgres) -> None:
    """What Debian makes where no locale is set."""
    url = postgres_server.make_database("ENCODING 'SQL_ASCII' TEMPLATE template0")

    with pytest.raises(ConfigurationError, match="its encoding is SQL_ASCII, not UTF8"):
        open_store(url)


def test_a_server_that_was_gone_is_used_again(own_server: Postgres) -> None:
    """Meanwhile each try says so; nothing that was committed is lost."""
    with closing(open_store(own_server.make_database())) as store:
        post(store, [delivery([row("run-1")])])
        own_server.stop()
        for _ in range(2):
            with pytest.raises(Unavailable, match="cannot be used"):
                post(store, [delivery([row("run-2")])])
        own_server.start()
        post(store, [delivery([row("run-2")])])
        with store.reading() as connection:
            jobs = connection.scalars(select(tables.usage.c.job_id).order_by(tables.usage.c.job_id)).all()

    assert ["run-1", "run-2"] == jobs


def test_a_connection_that_is_ended_in_a_transaction_is_unavailable(postgres_store: Store) -> None:
    """By an administrator, say; the next transaction has another."""
    end = text("SELECT pg_terminate_backend(pg_backend_pid())")
    with pytest.raises(Unavailable), postgres_store.writing() as connection:
        connection.execute(end)

    post(postgres_store, [delivery([row()])])
