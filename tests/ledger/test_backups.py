"""Copies of the ledger: one a day, whole, and only so many."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gpuwatch.errors import Unavailable
from gpuwatch.ledger.backups import Backups
from gpuwatch.ledger.store import Store, open_to_read
from tests.ledger.deliveries import T0, delivery, row
from tests.ledger.test_store import book_in, post

DAY = 86_400.0


def backups(store: Store, directory: Path, kept: int = 7) -> Backups:
    assert store.path is not None
    return Backups(store.path, directory, kept)


def test_a_copy_has_what_was_committed(sqlite_store: Store, tmp_path: Path) -> None:
    """Also what is still in the log beside the file; and it is a ledger to read."""
    post(sqlite_store, [delivery([row()])])

    made = backups(sqlite_store, tmp_path / "kept").make(T0)

    assert "ledger-2025-11-24.db" == made.name
    with closing(open_to_read(str(made))) as copy:
        assert book_in(sqlite_store, "default") == book_in(copy, "default")
    assert [made] == list(made.parent.iterdir())


def test_one_is_due_each_day(sqlite_store: Store, tmp_path: Path) -> None:
    """A second pass on the same day makes none."""
    kept = backups(sqlite_store, tmp_path / "kept")
    before = kept.due(T0)
    kept.make(T0)

    assert (True, False, True) == (before, kept.due(T0 + 60.0), kept.due(T0 + DAY))


@pytest.mark.parametrize(("kept", "days"), [(1, [4]), (2, [3, 4]), (7, [0, 1, 2, 3, 4])])
def test_the_oldest_are_removed(sqlite_store: Store, tmp_path: Path, kept: int, days: list[int]) -> None:
    """Other files in the directory are nobody's business."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "other-2020-01-01.db").touch()
    copies = backups(sqlite_store, tmp_path / "kept", kept)
    for day in range(5):
        copies.make(T0 + day * DAY)

    assert [f"ledger-2025-11-{24 + day}.db" for day in days] == [each.name for each in copies.there()]
    assert (tmp_path / "kept" / "other-2020-01-01.db").exists()


def test_a_clock_that_was_wrong_does_not_cost_the_copy_just_made(sqlite_store: Store, tmp_path: Path) -> None:
    """Copies of the year after stay at the end of the order."""
    copies = backups(sqlite_store, tmp_path, 1)
    copies.make(T0 + 365 * DAY)

    made = copies.make(T0)

    assert made.exists()


def test_what_cannot_be_copied_leaves_nothing(sqlite_store: Store, tmp_path: Path) -> None:
    """Neither half a file nor an old one less."""
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="backup directory"):
        backups(sqlite_store, tmp_path / "file" / "kept").make(T0)
    assert sqlite_store.path is not None
    with sqlite_store.path.open("r+b") as file, closing(sqlite3.connect(":memory:")):
        sqlite_store.close()
        file.truncate(100)
        file.write(b"x" * 200)

    with pytest.raises(Unavailable, match="cannot be copied"):
        backups(sqlite_store, tmp_path / "kept").make(T0)
    assert [] == list((tmp_path / "kept").iterdir())
