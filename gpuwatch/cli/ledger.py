"""`gpuwatch ledger`: look after the ledger's file. Accounting may run meanwhile."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpuwatch.cli.jobs import LedgerOption, open_usual
from gpuwatch.cli.options import ConfigOption
from gpuwatch.cli.waiting import waiting
from gpuwatch.errors import Rejected, Unavailable

if TYPE_CHECKING:
    from gpuwatch.ledger.store import Store

group = typer.Typer(no_args_is_help=True, help="Copy the ledger, and look whether it is whole.")


@group.command("backup")
def backup(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The copy to make; there must be no such file yet.")
    ],
    ledger: LedgerOption = None,
    config_file: ConfigOption = None,
) -> None:
    """Copy a SQLite ledger as it is at this moment, whoever writes meanwhile."""
    from gpuwatch.ledger import store_sqlite

    if file.exists():
        raise Rejected(f"{str(file)!r}: is there already; name a new file")
    with closing(open_usual(ledger, config_file)) as store, waiting("copying the ledger"):
        store_sqlite.copy(_file_of(store, "pg_dump"), file)
    print(f"{file}: {file.stat().st_size:,} bytes")


@group.command("check")
def check(ledger: LedgerOption = None, config_file: ConfigOption = None) -> None:
    """Look through all of a SQLite ledger, which takes a second for each 100 MB or so; exits 69 if damaged."""
    from gpuwatch.ledger import store_sqlite

    with closing(open_usual(ledger, config_file)) as store:
        path = _file_of(store, "pg_amcheck")
        with store.reading() as connection, waiting("looking through the ledger"):
            store_sqlite.check_whole(connection, path)
    print(f"{path}: whole")


def _file_of(store: Store, instead: str) -> Path:
    if store.path is None:
        raise Unavailable(f"ledger {store.where!r}: is no file; use PostgreSQL's own {instead}")
    return store.path
