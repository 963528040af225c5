"""Copies of a ledger's file, one for each day, the oldest removed."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from gpuwatch.errors import Unavailable
from gpuwatch.ledger import store_sqlite

_DATE = r"-\d{4}-\d\d-\d\d\.db"


class Backups:
    """The copies of the ledger `path` in a directory, of which `kept` stay."""

    def __init__(self, path: Path, directory: Path, kept: int) -> None:
        self._path = path
        self._directory = directory
        self._kept = kept

    def due(self, now: float) -> bool:
        """Whether this day (UTC) has no copy yet."""
        return not self._of(now).exists()

    def make(self, now: float) -> Path:
        """Copy the ledger as it is now, and remove the oldest copies; raises `Unavailable`."""
        made = self._of(now)
        try:
            self._directory.mkdir(mode=0o750, parents=True, exist_ok=True)
            store_sqlite.copy(self._path, made)
            for old in [each for each in self.there() if each != made][: -self._kept + 1 or None]:
                old.unlink()
        except OSError as exc:
            raise Unavailable(f"backup directory {str(self._directory)!r}: {exc.strerror}") from exc
        return made

    def there(self) -> list[Path]:
        """The copies, the oldest first."""
        name = re.compile(re.escape(self._path.stem) + _DATE)
        return sorted(each for each in self._directory.glob("*.db") if name.fullmatch(each.name))

    def latest(self) -> float | None:
        """When the latest copy was made, Unix seconds; None: there is none."""
        there = self.there()
        return there[-1].stat().st_mtime if there else None

    def _of(self, now: float) -> Path:
        return self._directory / f"{self._path.stem}-{datetime.fromtimestamp(now, UTC):%Y-%m-%d}.db"
