"""What a ledger's file needs beside passes: place on its disk, a copy each night, a look through it each week."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from gpuwatch import hygiene
from gpuwatch.errors import ConfigurationError, Unavailable
from gpuwatch.ledger import store_sqlite
from gpuwatch.ledger.backups import Backups
from gpuwatch.ledger.store import Store
from gpuwatch.settings import AccountingSettings

log = logging.getLogger("gpuwatch.accounting")

WEEK_SECONDS = 7 * 86_400.0
AGAIN_SECONDS = 3600.0
"""How long after a failure it is tried again."""


@dataclass(frozen=True, slots=True)
class Upkept:
    """How the file is: bytes of its reserve, when it was last copied, whether it was whole when last looked at.

    `backup_successful` is whether the last try to copy it was; None where no copies are wanted.
    """

    reserve_bytes: float | None = None
    backup_timestamp_seconds: float | None = None
    intact: float | None = None
    backup_successful: float | None = None


class Upkeep:
    """Looks after a ledger's file between passes; a database server has its own administrators for that."""

    def __init__(self, store: Store, settings: AccountingSettings) -> None:
        directory = settings.backup_directory
        if store.path is None and directory is not None:
            todo = "use pg_dump, and leave it unset"
            raise ConfigurationError([f"accounting.backup_directory: is for SQLite, not {store.where!r}; {todo}"])
        self._store = store
        self._backups = Backups(store.path, directory, settings.backups_kept) if store.path and directory else None
        self._intact: float | None = None
        self._failed: dict[str, float] = {}

    def before_pass(self, now: float) -> Upkept:
        """Do what is due; what fails is logged, and tried again an hour later."""
        if self._store.path is None:
            return Upkept()
        reserve = self._store.reserve
        if reserve is not None:
            reserve.keep()
        latest = self._copied(self._backups, now) if self._backups is not None else None
        self._look_through(self._store.path, now)
        successful = float("backup" not in self._failed) if self._backups is not None else None
        return Upkept(float(reserve.size()) if reserve is not None else None, latest, self._intact, successful)

    def _may(self, what: str, now: float) -> bool:
        """Whether it did not fail within the last hour, by a clock that may jump."""
        return abs(now - self._failed.get(what, -AGAIN_SECONDS)) >= AGAIN_SECONDS

    def _copied(self, backups: Backups, now: float) -> float | None:
        """When the ledger was last copied, after doing so where it is due."""
        try:
            if self._may("backup", now) and backups.due(now):
                log.info("backup of the ledger made path=%s", backups.make(now))
            if not backups.due(now):
                self._failed.pop("backup", None)
            return backups.latest()
        except (Unavailable, OSError) as exc:
            self._failed["backup"] = now
            log.error("no backup of the ledger reason=%s", hygiene.log(str(exc)))
        return None

    def _look_through(self, path: Path, now: float) -> None:
        """A small file is looked through whenever it is opened; when a large one was is in a file beside it."""
        marker = store_sqlite.beside(path, "checked")
        try:
            if path.stat().st_size < store_sqlite.CHECKED_BYTES or 0 <= now - _time_in(marker) < WEEK_SECONDS:
                return
            if self._may("check", now):
                with self._store.reading() as connection:
                    store_sqlite.check_whole(connection, path)
                marker.write_text(f"{now:.0f}\n", encoding="ascii")
                self._intact = 1.0
        except Unavailable as exc:
            self._failed["check"], self._intact = now, 0.0
            log.error("the ledger cannot be looked through reason=%s", hygiene.log(str(exc)))
        except OSError as exc:
            self._failed["check"] = now
            log.error("the ledger's check cannot be noted path=%s reason=%s", marker, exc.strerror)


def _time_in(marker: Path) -> float:
    try:
        return float(marker.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return float("-inf")
