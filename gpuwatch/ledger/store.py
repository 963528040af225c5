"""The ledger in its database, SQLite or PostgreSQL, found by URL.

Durable before acknowledged: an agent forgets ended jobs once they are acknowledged, so a commit must survive a
power cut. A database that went away makes what is asked of it `Unavailable`, and is used again once it is back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, SQLAlchemyError

from gpuwatch.errors import ConfigurationError, Rejected, Unavailable
from gpuwatch.ledger import schema, store_postgres, store_sqlite
from gpuwatch.ledger.reserve import Reserve
from gpuwatch.ledger.store_sqlite import BUSY_SECONDS

THERE_IS = "there is: sqlite:////path, postgresql://user@host/database"

Fence = Callable[[Connection], None]
"""Called in each transaction that writes; raises `Unavailable` where it may not."""


class Store:
    """An open ledger. Any thread may use it; each transaction has a connection of its own.

    `where` names it in messages, without a password; `path` is its file, None in PostgreSQL.
    """

    def __init__(
        self, engine: Engine, where: str, path: Path | None = None, reserve: Reserve | None = None
    ) -> None:
        self._engine = engine
        self._fence: Fence | None = None
        self.where = where
        self.path = path
        self.reserve = reserve
        self._damaged: tuple[int, int] | None = None

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._engine.dialect.name

    @property
    def damaged(self) -> bool:
        """Whether the file that is there was found damaged; nothing is written to it any more."""
        return (
            self.path is not None
            and self._damaged is not None
            and self._damaged == store_sqlite.identity(self.path)
        )

    def fence(self, fence: Fence | None) -> None:
        """From now on ask in each transaction that writes whether it may."""
        self._fence = fence

    @contextmanager
    def writing(self, fenced: bool = True) -> Iterator[Connection]:
        """A transaction that is committed as a whole or not at all; `Unavailable` where the database will not.

        Not `fenced` is what every accounting may write, whichever leads.
        """
        if self.path is not None and self.damaged:
            # What was taken now would be missing in the backup that is put in its place.
            raise store_sqlite.damaged(self.path, "as was found before")
        with self.translated(), self._engine.begin() as connection:
            if fenced and self._fence is not None:
                self._fence(connection)
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent view, whatever is written meanwhile."""
        options = store_sqlite.READING if self.dialect == "sqlite" else store_postgres.READING
        with (
            self.translated(),
            self._engine.connect() as connection,
            connection.execution_options(**options).begin(),
        ):
            yield connection

    def session(self) -> Connection:
        """A connection of the caller's own in PostgreSQL, on which each statement counts at once."""
        return self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def translated(self) -> Iterator[None]:
        """The database's errors as `Unavailable`, or `Rejected` where a value can never be stored."""
        try:
            yield
        except DataError as exc:
            raise Rejected(f"ledger {self.where!r}: a value cannot be stored; {_line(exc.orig)}") from exc
        except DBAPIError as exc:
            raise self._unavailable(exc.orig) from exc
        except sqlite3.Error as exc:
            raise self._unavailable(exc) from exc
        except SQLAlchemyError as exc:
            raise Unavailable(f"ledger {self.where!r}: cannot be used; {_line(exc)}") from exc

    def _unavailable(self, cause: BaseException | None) -> Unavailable:
        if self.path is not None and store_sqlite.is_damage(cause):
            self._damaged = store_sqlite.identity(self.path)
            return store_sqlite.damaged(self.path, str(cause))
        if self.reserve is not None and store_sqlite.is_full(cause):
            self.reserve.release()
        return Unavailable(f"ledger {self.where!r}: cannot be used; {_line(cause)}")


def path_of(ledger: str) -> Path | None:
    """The file that a ledger's URL or plain path names, None in PostgreSQL; `ConfigurationError` for others."""
    return _file_of(_url_of(ledger))


def open_store(
    ledger: str,
    busy_seconds: float = BUSY_SECONDS,
    *,
    cluster: str = "default",
    password_file: Path | None = None,
    reserve_bytes: int = 0,
) -> Store:
    """Open the ledger for accounting, made where there is none; another's lock is waited for `busy_seconds`.

    An older ledger is brought up to date; what did not know of clusters then becomes `cluster`'s.
    """
    url = _url_of(ledger)
    path = _file_of(url)
    _check_password(path, password_file)
    if path is None:
        store = _postgres(url, password_file)
    else:
        store_sqlite.make_file(path)
        reserve = Reserve(store_sqlite.beside(path, "reserve"), reserve_bytes) if reserve_bytes else None
        store = Store(store_sqlite.engine(path, busy_seconds, read_only=False), str(path), path, reserve)
    with _closed_on_failure(store), store.writing() as connection:
        if path is not None:
            store_sqlite.check_small(connection, path)
        schema.bring_up_to_date(connection, store.where, path, cluster)
    return store


def open_to_read(ledger: str, *, password_file: Path | None = None) -> Store:
    """Open a ledger that is there, without the right to change it."""
    url = _url_of(ledger)
    path = _file_of(url)
    _check_password(path, password_file)
    if path is None:
        store = _postgres(url, password_file)
    else:
        store_sqlite.check_there(path)
        store = Store(store_sqlite.engine(path, BUSY_SECONDS, read_only=True), str(path), path)
    with _closed_on_failure(store), store.reading() as connection:
        if path is not None:
            store_sqlite.check_small(connection, path)
        schema.check_readable(connection, store.where)
    return store


@contextmanager
def _closed_on_failure(store: Store) -> Iterator[None]:
    try:
        yield
    except BaseException:
        store.close()
        raise


def _url_of(ledger: str) -> URL:
    if "://" not in ledger:
        return URL.create("sqlite", database=ledger)
    try:
        url = make_url(ledger)
    except (ArgumentError, ValueError) as exc:
        # It may have a password in it.
        raise ConfigurationError([f"accounting.ledger: its value (not shown) is not a URL; {THERE_IS}"]) from exc
    if url.drivername in store_postgres.NAMES:
        return url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        raise ConfigurationError(
            [f"accounting.ledger: {store_postgres.shown(url)!r} is not supported; {THERE_IS}"]
        )
    return url


def _file_of(url: URL) -> Path | None:
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def _postgres(url: URL, password_file: Path | None) -> Store:
    return Store(store_postgres.engine(url, password_file), store_postgres.shown(url))


def _check_password(path: Path | None, password_file: Path | None) -> None:
    if path is not None and password_file is not None:
        raise ConfigurationError([f"accounting.ledger_password_file: ledger {str(path)!r} is a file without one"])


def _line(cause: BaseException | None) -> str:
    return " ".join(str(cause).split())
