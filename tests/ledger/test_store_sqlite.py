"""The ledger in a file: durable commits, and what happens to bad files and full disks."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from gpuwatch.errors import Unavailable
from gpuwatch.ledger.store import Store, open_store, open_to_read
from tests.ledger.deliveries import delivery, row
from tests.ledger.test_store import post


def test_a_commit_is_synced(sqlite_store: Store) -> None:
    """An agent forgets what is acknowledged, so a power cut must not take it."""
    with sqlite_store.reading() as connection:
        modes = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]

    assert ["wal", 2] == modes


@pytest.mark.parametrize("content", [b"garbage" * 1000, b"SQLite format 3\x00" + b"\xff" * 8000])
def test_a_damaged_file_says_what_to_do(tmp_path: Path, content: bytes) -> None:
    """And is left as it is."""
    path = tmp_path / "ledger.db"
    path.write_bytes(content)

    with pytest.raises(Unavailable, match=r"is damaged .* move it aside"):
        open_store(str(path))
    assert content == path.read_bytes()


def test_damage_inside_the_file_is_found(sqlite_store: Store) -> None:
    """A page in the middle that is not what it was."""
    post(sqlite_store, [delivery([row(f"run-{number}") for number in range(200)])])
    sqlite_store.close()
    size = sqlite_store.path.stat().st_size
    with sqlite_store.path.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\xa5" * 8192)

    with pytest.raises(Unavailable, match="is damaged"):
        open_store(str(sqlite_store.path))


def test_a_ledger_that_is_not_there_is_named(tmp_path: Path) -> None:
    """With what to do about it."""
    with pytest.raises(Unavailable, match="no such file; start `gpuwatch accounting`"):
        open_to_read(str(tmp_path / "none.db"))


def test_an_empty_file_is_no_ledger_to_read(tmp_path: Path) -> None:
    """Accounting makes it one; reading does not."""
    (tmp_path / "empty.db").touch()

    with pytest.raises(Unavailable, match="no ledger yet"):
        open_to_read(str(tmp_path / "empty.db"))


def test_a_directory_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    """A file where a directory is needed."""
    (tmp_path / "file").touch()

    with pytest.raises(Unavailable, match="cannot be opened"):
        open_store(str(tmp_path / "file" / "ledger.db"))


def test_the_ledger_is_not_for_everybody(sqlite_store: Store) -> None:
    """Who ran what is in it."""
    post(sqlite_store, [delivery([row()])])

    modes = {path.name: path.stat().st_mode & 0o007 for path in sqlite_store.path.parent.iterdir()}

    assert {0} == set(modes.values())
    assert "ledger.db-wal" in modes


def test_a_locked_ledger_is_unavailable_not_an_error_of_the_database(sqlite_store: Store, tmp_path: Path) -> None:
    """Another program holds it: worth another try."""
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")

    with pytest.raises(Unavailable, match="locked"):
        open_store(str(tmp_path / "ledger.db"), busy_seconds=0.05)
    other.close()
