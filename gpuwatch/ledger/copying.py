"""Many rows into PostgreSQL: by COPY into a table of the session's own, and from there in one statement.

Sent one by one, each with its parameters, rows take several times as long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, column, select, table
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError

Statement = Callable[[Any], Any]

FEWEST = 200
"""For fewer rows it is not worth it."""


def copied(connection: Connection, statement: Statement, rows: Sequence[Sequence[object]]) -> int | None:
    """Run an insert for all rows at once, and how many rows it changed; None where it must be run for each.

    That is where the same key comes twice, as one statement may not touch a row twice, and where a session may not
    have tables of its own.
    """
    words = _words(statement)
    if len({tuple(row[place] for place in words.key) for row in rows}) < len(rows) or not _may(connection):
        return None
    connection.exec_driver_sql(words.make)
    with _translated(connection, words.copy), _cursor(connection) as cursor, cursor.copy(words.copy) as copy:
        for row in rows:
            copy.write_row(row)
    changed = connection.exec_driver_sql(words.insert).rowcount
    connection.exec_driver_sql(words.clear)
    return changed


class _Words(NamedTuple):
    """What is said to the database; `key` are the places of the key in a row."""

    key: tuple[int, ...]
    make: str
    copy: str
    insert: str
    clear: str


@cache
def _words(statement: Statement) -> _Words:
    made = statement(postgresql.insert)
    into: Table = made.table
    stage, names = f"staged_{into.name}", list(into.columns.keys())
    staged = table(stage, *(column(name) for name in names), schema="pg_temp")
    listed = ", ".join(f'"{name}"' for name in names)
    dialect: Any = postgresql.dialect
    insert = str(made.from_select(names, select(*staged.c)).compile(dialect=dialect()))
    return _Words(
        tuple(place for place, each in enumerate(into.columns) if each.primary_key),
        f'CREATE TEMPORARY TABLE IF NOT EXISTS {stage} (LIKE "{into.name}") ON COMMIT DELETE ROWS',
        f"COPY pg_temp.{stage} ({listed}) FROM STDIN",
        insert,
        f"DELETE FROM pg_temp.{stage}",
    )


def _may(connection: Connection) -> bool:
    query = "SELECT has_database_privilege(current_database(), 'TEMPORARY')"
    return bool(connection.exec_driver_sql(query).scalar())


@contextmanager
def _cursor(connection: Connection) -> Iterator[Any]:
    driver = connection.connection.driver_connection
    assert driver is not None
    with driver.cursor() as cursor:
        yield cursor


@contextmanager
def _translated(connection: Connection, said: str) -> Iterator[None]:
    """The driver's errors as SQLAlchemy's, which whoever uses a store expects."""
    base = connection.dialect.loaded_dbapi.Error
    try:
        yield
    except base as exc:
        raise DBAPIError.instance(said, None, exc, base, dialect=connection.dialect) from exc
