"""A ledger for each test, in SQLite and in PostgreSQL. A test that asks for the server is marked by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuwatch.ledger import tables
from gpuwatch.ledger.store import Store, open_store
from tests.ledger import postgres
from tests.ledger.postgres import Postgres

_MISSING = postgres.missing()
ON_POSTGRES = (
    pytest.mark.xdist_group("postgresql"),
    pytest.mark.skipif(_MISSING is not None, reason=str(_MISSING)),
)
"""Marks of a test that needs the server: one worker has it."""


_SERVERS = {"postgres_server", "own_server"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the tests that need the server on one worker, and skipped where there is none."""
    for item in items:
        if _SERVERS & set(getattr(item, "fixturenames", ())):
            for mark in ON_POSTGRES:
                item.add_marker(mark)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """One server for all tests; each takes a database of its own, or cleans the shared one."""
    with postgres.running() as server:
        yield server


@pytest.fixture
def own_server() -> Iterator[Postgres]:
    """A server that a test may end."""
    with postgres.running() as server:
        yield server


@pytest.fixture(scope="session")
def shared_store(postgres_server: Postgres) -> Iterator[Store]:
    """A ledger in PostgreSQL that `store` empties for each test, which is faster than making one."""
    opened = open_store(postgres_server.make_database())
    yield opened
    opened.close()


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Store]:
    """An empty ledger in a file."""
    opened = open_store(str(tmp_path / "ledger.db"))
    yield opened
    opened.close()


@pytest.fixture
def postgres_store(shared_store: Store) -> Store:
    """An empty ledger in PostgreSQL."""
    clear(shared_store)
    return shared_store


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=ON_POSTGRES)])
def store(request: pytest.FixtureRequest) -> Store:
    """An empty ledger, in each of the databases."""
    name = "sqlite_store" if request.param == "sqlite" else "postgres_store"
    opened: Store = request.getfixturevalue(name)
    return opened


def clear(store: Store) -> None:
    """Empty every table but the version."""
    store.fence(None)
    with store.writing() as connection:
        names = [each.name for each in reversed(tables.metadata.sorted_tables) if each.name != "schema_version"]
        connection.exec_driver_sql("; ".join(f"DELETE FROM {name}" for name in names))
