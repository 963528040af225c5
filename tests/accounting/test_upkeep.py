"""What a ledger's file needs beside passes: a reserve, copies, and being looked through."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gpuwatch.accounting.upkeep import AGAIN_SECONDS, Upkeep, Upkept
from gpuwatch.errors import ConfigurationError
from gpuwatch.ledger import store_sqlite
from gpuwatch.ledger.store import Store, open_store
from gpuwatch.settings import AccountingSettings
from tests.ledger.deliveries import T0, delivery, row
from tests.ledger.test_store import post

DAY = 86_400.0


def upkeep(store: Store, **changed: Any) -> Upkeep:
    return Upkeep(store, AccountingSettings.model_validate(changed))


def test_the_reserve_is_kept(tmp_path: Path) -> None:
    """Made again after it was given up."""
    with closing(open_store(str(tmp_path / "ledger.db"), reserve_bytes=4096)) as store:
        kept = upkeep(store)
        first = kept.before_pass(T0)
        assert store.reserve is not None
        store.reserve.release()

        assert [4096.0, 4096.0] == [first.reserve_bytes, kept.before_pass(T0 + 60.0).reserve_bytes]


def test_without_settings_there_is_nothing_to_do(sqlite_store: Store) -> None:
    """No reserve, no copies, and a small file is looked through whenever it is opened."""
    assert Upkept() == upkeep(sqlite_store).before_pass(T0)


def test_each_day_has_a_copy(sqlite_store: Store, tmp_path: Path) -> None:
    """Of which so many are kept."""
    kept = upkeep(sqlite_store, backup_directory=tmp_path / "kept", backups_kept=2)
    times = [kept.before_pass(T0 + day * DAY / 2).backup_timestamp_seconds for day in range(8)]

    assert ["ledger-2025-11-27.db", "ledger-2025-11-28.db"] == sorted(
        each.name for each in (tmp_path / "kept").iterdir()
    )
    assert None not in times


def test_a_copy_that_fails_is_tried_again_an_hour_later(sqlite_store: Store, tmp_path: Path) -> None:
    """Not in each pass: a large ledger takes a while to copy until the disk is full."""
    (tmp_path / "file").touch()
    kept = upkeep(sqlite_store, backup_directory=tmp_path / "file")
    failed = kept.before_pass(T0)
    (tmp_path / "file").unlink()

    soon = kept.before_pass(T0 + 60.0)
    later = kept.before_pass(T0 + AGAIN_SECONDS)

    assert (None, None) == (failed.backup_timestamp_seconds, soon.backup_timestamp_seconds)
    assert later.backup_timestamp_seconds is not None
    assert [0.0, 0.0, 1.0] == [each.backup_successful for each in (failed, soon, later)]


@pytest.fixture
def large(sqlite_store: Store) -> Store:
    """A ledger that is too large to be looked through when it is opened."""
    post(sqlite_store, [delivery([row(f"run-{number}") for number in range(200)])])
    with sqlite_store.writing() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE ballast AS SELECT zeroblob(?) AS x", (store_sqlite.CHECKED_BYTES,)
        )
    # Its companion is taken over into the file when it is closed.
    sqlite_store.close()
    return sqlite_store


def test_a_large_file_is_looked_through_each_week(large: Store) -> None:
    """Also by an accounting that was started anew since."""
    assert large.path is not None
    checked = [upkeep(large).before_pass(T0 + day * DAY).intact for day in (0, 1, 6, 7, 8)]

    assert [1.0, None, None, 1.0, None] == checked


def test_a_large_file_that_is_damaged_is_said(large: Store) -> None:
    """The metric has it from then on."""
    assert large.path is not None
    large.close()
    with large.path.open("r+b") as file:
        file.seek(8 * 4096)
        file.write(b"\xa5" * 64 * 4096)
    kept = upkeep(large)

    assert [0.0, 0.0] == [kept.before_pass(T0).intact, kept.before_pass(T0 + 60.0).intact]


def test_copies_of_a_database_server_are_not_ours(postgres_store: Store, tmp_path: Path) -> None:
    """A setting that cannot be honoured is said at start."""
    assert Upkept() == upkeep(postgres_store).before_pass(T0)
    with pytest.raises(ConfigurationError, match="use pg_dump"):
        upkeep(postgres_store, backup_directory=tmp_path)
