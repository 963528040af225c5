"""One accounting leads a cluster's ledger.

A file is locked, as only one machine has it: a second accounting is a mistake there and ends. In PostgreSQL the
leading one has an advisory lock on the cluster's name, in a session of its own; another stands by and takes over
once that session has ended, however it ended.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, func, select, text

from gpuwatch import hygiene
from gpuwatch.errors import Unavailable
from gpuwatch.ledger.store import Store
from gpuwatch.ledger.store_postgres import key_of
from gpuwatch.ledger.store_sqlite import beside
from gpuwatch.service import PidLock

log = logging.getLogger("gpuwatch.accounting")


class Leadership(Protocol):
    """Whether this accounting is the one that writes. For one thread."""

    def leads(self) -> bool:
        """Whether it leads now, after having tried to; raises `Unavailable` where the database cannot be asked."""
        ...

    def release(self) -> None:
        """Let another lead."""
        ...


class OfFile:
    """Leads from the start to the end; raises `Locked` where another process does."""

    def __init__(self, ledger: Path) -> None:
        try:
            ledger.parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise Unavailable(f"ledger {str(ledger)!r}: cannot be opened; {exc.strerror}") from exc
        self._lock = PidLock(beside(ledger, "lock"), f"ledger {str(ledger)!r}")

    def leads(self) -> bool:
        """Always."""
        return True

    def release(self) -> None:
        """Unlock the file."""
        self._lock.release()


class InPostgres:
    """Leads while its session lives. What it writes is refused once that has ended."""

    def __init__(self, store: Store, cluster: str) -> None:
        self._store = store
        self._cluster = cluster
        self._session: Connection | None = None
        self._waiting = False

    def leads(self) -> bool:
        """Whether its session still has the lock, else whether it could be taken."""
        if self._session is not None:
            with self._store.translated():
                try:
                    self._session.execute(select(1))
                except BaseException:
                    self._end()
                    log.error("leadership is lost cluster=%s", hygiene.log(self._cluster))
                    raise
            return True
        leads = self._take()
        if not leads and not self._waiting:
            log.info("another accounting leads; this one stands by cluster=%s", hygiene.log(self._cluster))
        self._waiting = not leads
        return leads

    def _take(self) -> bool:
        with self._store.translated():
            session = self._store.session()
            try:
                key = key_of("leader", str(session.scalar(select(func.current_schema()))), self._cluster)
                if session.scalar(select(func.pg_try_advisory_lock(key))):
                    pid = int(session.scalar(select(func.pg_backend_pid())) or 0)
                    self._session = session
                    self._store.fence(lambda connection: self._check(connection, pid, key))
                    log.info("this accounting leads cluster=%s", hygiene.log(self._cluster))
                    return True
            finally:
                if self._session is None:
                    session.close()
        return False

    def _check(self, connection: Connection, pid: int, key: int) -> None:
        halves = {"high": key >> 32 & 0xFFFFFFFF, "low": key & 0xFFFFFFFF}
        if not connection.scalar(_HELD, {"pid": pid, **halves}):
            raise Unavailable(f"ledger {self._store.where!r}: this accounting no longer leads; nothing is written")

    def release(self) -> None:
        """End the session."""
        self._end()

    def _end(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            # Not given back to others: it would keep the lock.
            session.invalidate()
            session.close()


_HELD = text(
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = :pid AND objsubid = 1"
    " AND classid = CAST(:high AS bigint)::oid AND objid = CAST(:low AS bigint)::oid"
)
