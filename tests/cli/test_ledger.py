"""`gpuwatch ledger`: a copy, and whether the file is whole."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gpuwatch.cli import application
from gpuwatch.errors import Rejected, Unavailable
from gpuwatch.ledger.store import Store, open_to_read
from tests.ledger.deliveries import delivery, row
from tests.ledger.test_store import book_in, post


def run(*arguments: str) -> str:
    done = CliRunner().invoke(application(["ledger"]), ["ledger", *arguments], catch_exceptions=False)
    assert 0 == done.exit_code, done.output
    return done.output


def test_a_ledger_in_use_is_copied(sqlite_store: Store, tmp_path: Path) -> None:
    """With what was committed last."""
    post(sqlite_store, [delivery([row()])])

    said = run("backup", str(tmp_path / "copy.db"), "--ledger", sqlite_store.where)

    assert said.startswith(f"{tmp_path / 'copy.db'}: ")
    with closing(open_to_read(str(tmp_path / "copy.db"))) as copy:
        assert book_in(sqlite_store, "default") == book_in(copy, "default")


def test_a_copy_overwrites_nothing(sqlite_store: Store, tmp_path: Path) -> None:
    """Not the ledger itself either."""
    with pytest.raises(Rejected, match="is there already"):
        run("backup", sqlite_store.where, "--ledger", sqlite_store.where)


def test_a_ledger_is_looked_through(sqlite_store: Store) -> None:
    """All of it."""
    assert f"{sqlite_store.where}: whole\n" == run("check", "--ledger", sqlite_store.where)


def test_a_damaged_ledger_says_what_to_do(sqlite_store: Store) -> None:
    """With the exit code of what is not there now."""
    post(sqlite_store, [delivery([row(f"run-{number}") for number in range(200)])])
    sqlite_store.close()
    with Path(sqlite_store.where).open("r+b") as file:
        file.seek(Path(sqlite_store.where).stat().st_size // 2)
        file.write(b"\xa5" * 8192)

    with pytest.raises(Unavailable, match="put back a backup") as raised:
        run("check", "--ledger", sqlite_store.where)
    assert 69 == raised.value.exit_code


def test_a_database_has_its_own_tools(postgres_store: Store, tmp_path: Path) -> None:
    """Which are named."""
    for arguments, tool in ((["backup", str(tmp_path / "x")], "pg_dump"), (["check"], "pg_amcheck")):
        with pytest.raises(Unavailable, match=f"use PostgreSQL's own {tool}"):
            run(*arguments, "--ledger", postgres_store.where)
