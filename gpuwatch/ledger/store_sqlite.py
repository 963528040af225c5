"""The ledger in a file of SQLite.

WAL with synchronous=FULL (NORMAL could lose the last commits), one fsync for each transaction.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

from gpuwatch.errors import Unavailable

BUSY_SECONDS = 10.0
CHECKED_BYTES = 64 * 2**20
"""A file smaller than this is looked through each time it is opened; that takes less than half a second."""

READING = {"gpuwatch_reading": True}
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)


def beside(path: Path, ending: str) -> Path:
    """A companion file of the ledger: `ledger.db.lock`."""
    return path.with_name(f"{path.name}.{ending}")


def make_file(path: Path) -> None:
    """Make an empty file where there is none; raises `Unavailable`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Who ran what is not for everybody; SQLite gives its companion files the same mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640))
    except OSError as exc:
        raise Unavailable(f"ledger {str(path)!r}: cannot be opened; {exc.strerror}") from exc


def check_there(path: Path) -> None:
    """Raises `Unavailable` where there is no file."""
    if not path.is_file():
        there = "start `gpuwatch accounting` or `gpuwatch up`, or name another with --ledger"
        raise Unavailable(f"ledger {str(path)!r}: there is no such file; {there}")


def engine(path: Path, busy_seconds: float, read_only: bool) -> Engine:
    """Connections to a file that is there. One that is put in its place, a backup say, is taken from then on."""
    # quote() leaves '/' alone and escapes the '?' and '#' that would end the path.
    database = f"file:{quote(str(path.absolute()))}"
    url = URL.create("sqlite", database=database, query={"mode": "ro" if read_only else "rw", "uri": "true"})
    made = create_engine(url, connect_args={"timeout": busy_seconds})
    event.listen(made, "connect", _set_up_reader if read_only else _set_up_writer)
    event.listen(made, "begin", _begin)
    _follow(made, path.absolute())
    return made


def _follow(made: Engine, path: Path) -> None:
    """Never use a connection to a file that is no longer at its path: what is written there is lost."""

    def connected(_connection: object, record: ConnectionPoolEntry) -> None:
        record.info["file"] = identity(path)

    def checked_out(_connection: object, record: ConnectionPoolEntry, _proxy: object) -> None:
        if record.info["file"] != identity(path):
            raise DisconnectionError(f"{path} is another file now")

    event.listen(made, "connect", connected)
    event.listen(made, "checkout", checked_out)


def identity(path: Path) -> tuple[int, int] | None:
    """Which file is there, by device and number; None: none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


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


def check_small(connection: Connection, path: Path) -> None:
    """Look through a file that is small; raises `Unavailable` where it is damaged."""
    if path.stat().st_size < CHECKED_BYTES:
        result = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
        if result != "ok":
            raise damaged(path, str(result))


def check_whole(connection: Connection, path: Path) -> None:
    """Look through all of a file, indexes too; raises `Unavailable` where it is damaged."""
    result = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
    if result != "ok":
        raise damaged(path, str(result))


def copy(path: Path, to: Path) -> None:
    """Copy what is committed into a new file, whoever writes meanwhile; raises `Unavailable`, and leaves nothing.

    The copy appears under its name when it is whole and on the disk.
    """
    part = beside(to, "part")
    try:
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640))
        connection = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True, timeout=BUSY_SECONDS)
        try:
            connection.execute("VACUUM INTO ?", (str(part),))
        finally:
            connection.close()
        _sync(part)
        part.replace(to)
        _sync(to.parent)
    except (OSError, sqlite3.Error) as exc:
        part.unlink(missing_ok=True)
        what = exc.strerror if isinstance(exc, OSError) else str(exc)
        raise Unavailable(f"ledger {str(path)!r}: cannot be copied to {str(to)!r}; {what}") from exc


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_damage(cause: BaseException | None) -> bool:
    """Whether the file is no longer what SQLite wrote."""
    return getattr(cause, "sqlite_errorcode", 0) & 0xFF in _DAMAGE


def is_full(cause: BaseException | None) -> bool:
    """Whether the disk had no place for what was written."""
    if isinstance(cause, OSError):
        return cause.errno in (errno.ENOSPC, errno.EDQUOT)
    return getattr(cause, "sqlite_errorcode", None) in _FULL


def damaged(path: Path, what: str) -> Unavailable:
    """What to say of a damaged file."""
    beside_it = f"{path.name}-wal and {path.name}-shm"
    todo = (
        f"move it aside with {beside_it}, and put back a backup or start a new one; agents deliver what they have"
    )
    return Unavailable(f"ledger {str(path)!r}: is damaged ({what}); {todo}")
