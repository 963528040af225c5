"""The ledger on disk: SQLAlchemy Core on SQLite, found by URL.

Durable before acknowledged: an agent forgets ended jobs once they are acknowledged, so a commit must survive a
power cut. Hence WAL with synchronous=FULL (NORMAL could lose the last commits), one fsync for each delivery.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, select
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from gpuwatch.errors import ConfigurationError, Unavailable
from gpuwatch.ledger import tables

BUSY_SECONDS = 10.0
_CHECKED_BYTES = 64 * 2**20
_READING = {"gpuwatch_reading": True}


def path_of(ledger: str) -> Path:
    """The file that a ledger's URL or plain path names; `ConfigurationError` for another kind of database."""
    if "://" not in ledger:
        return Path(ledger)
    try:
        url = make_url(ledger)
    except ArgumentError as exc:
        raise ConfigurationError([f"accounting.ledger: {ledger!r} is not a URL; write sqlite:////path"]) from exc
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        raise ConfigurationError([f"accounting.ledger: {ledger!r} is not supported; there is: sqlite:////path"])
    return Path(url.database)


class Store:
    """An open ledger. Any thread may use it; each transaction has a connection of its own."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self._engine = engine
        self.path = path

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that is committed as a whole or not at all; `Unavailable` where the disk will not."""
        with _translated(self.path), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent view, whatever is written meanwhile."""
        with (
            _translated(self.path),
            self._engine.connect() as connection,
            connection.execution_options(**_READING).begin(),
        ):
            yield connection

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


def open_store(ledger: str, busy_seconds: float = BUSY_SECONDS) -> Store:
    """Open the ledger for accounting, made where there is none; another's lock is waited for `busy_seconds`."""
    path = path_of(ledger)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Who ran what is not for everybody; SQLite gives its companion files the same mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640))
    except OSError as exc:
        raise Unavailable(f"ledger {str(path)!r}: cannot be opened; {exc.strerror}") from exc
    store = Store(_engine(path, busy_seconds, read_only=False), path)
    return _checked(store, writable=True)


def open_to_read(ledger: str) -> Store:
    """Open a ledger that is there, without the right to change it."""
    path = path_of(ledger)
    if not path.is_file():
        there = "start `gpuwatch accounting` or `gpuwatch up`, or name another with --ledger"
        raise Unavailable(f"ledger {str(path)!r}: there is no such file; {there}")
    return _checked(Store(_engine(path, BUSY_SECONDS, read_only=True), path), writable=False)


def _checked(store: Store, writable: bool) -> Store:
    try:
        with store.writing() if writable else store.reading() as connection:
            if store.path.stat().st_size < _CHECKED_BYTES:
                _check_integrity(connection, store.path)
            _check_schema(connection, store.path, writable)
    except BaseException:
        store.close()
        raise
    return store


def _check_integrity(connection: Connection, path: Path) -> None:
    result = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    if result != "ok":
        raise _damaged(path, str(result))


def _check_schema(connection: Connection, path: Path, writable: bool) -> None:
    there = connection.dialect.has_table(connection, tables.schema_version.name)
    version = connection.execute(select(tables.schema_version.c.version)).scalar() if there else None
    if version is not None and version > tables.SCHEMA_VERSION:
        known = f"this gpuwatch knows up to {tables.SCHEMA_VERSION}"
        raise ConfigurationError([f"ledger {str(path)!r}: has schema version {version}; {known}, use a newer one"])
    if version is None and not writable:
        raise Unavailable(f"ledger {str(path)!r}: is no ledger yet; start `gpuwatch accounting` on it")
    if version is not None and version < tables.SCHEMA_VERSION and not writable:
        raise Unavailable(
            f"ledger {str(path)!r}: has schema version {version}; start this gpuwatch's accounting on it first"
        )
    if writable and version != tables.SCHEMA_VERSION:
        _migrate(connection)


def _migrate(connection: Connection) -> None:
    """Bring a ledger to this schema, in the caller's transaction. Version 2 only added tables to version 1."""
    tables.metadata.create_all(connection)
    connection.execute(tables.schema_version.delete())
    connection.execute(tables.schema_version.insert().values(version=tables.SCHEMA_VERSION))


def _engine(path: Path, busy_seconds: float, read_only: bool) -> Engine:
    if read_only:
        # quote() leaves '/' alone and escapes the '?' and '#' that would end the path.
        database = f"file:{quote(str(path.absolute()))}"
        url = URL.create("sqlite", database=database, query={"mode": "ro", "uri": "true"})
    else:
        url = URL.create("sqlite", database=str(path.absolute()))
    engine = create_engine(url, connect_args={"timeout": busy_seconds})
    event.listen(engine, "connect", _set_up_reader if read_only else _set_up_writer)
    event.listen(engine, "begin", _begin)
    return engine


def _set_up_reader(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA query_only = ON")


def _set_up_writer(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin(connection: Connection) -> None:
    reading = connection.get_execution_options().get("gpuwatch_reading")
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except DBAPIError as exc:
        raise _unavailable(path, exc.orig) from exc
    except sqlite3.Error as exc:
        raise _unavailable(path, exc) from exc
    except SQLAlchemyError as exc:
        raise Unavailable(f"ledger {str(path)!r}: cannot be used; {exc}") from exc


def _unavailable(path: Path, cause: BaseException | None) -> Unavailable:
    text = str(cause)
    if "not a database" in text or "malformed" in text:
        return _damaged(path, text)
    return Unavailable(f"ledger {str(path)!r}: cannot be used; {text}")


def _damaged(path: Path, what: str) -> Unavailable:
    todo = "move it aside and put back a backup, or start a new one: agents deliver again what they still have"
    return Unavailable(f"ledger {str(path)!r}: is damaged ({what}); {todo}")
