"""Many rows at once into PostgreSQL: what comes of it is what SQLite makes of the same rows."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from sqlalchemy import Table, select

from gpuwatch.errors import Rejected
from gpuwatch.ledger import tables, writing
from gpuwatch.ledger.copying import FEWEST
from gpuwatch.ledger.ledger import Posting
from gpuwatch.ledger.posting import read
from gpuwatch.ledger.record_store import post_records
from gpuwatch.ledger.sql import Insert, run_many
from gpuwatch.ledger.store import Store
from tests.ledger.batch import record, running
from tests.ledger.deliveries import delivery, row

MANY = FEWEST + 50


def posting(turn: int, closed: bool = False) -> Posting:
    """What an agent tells of many jobs; it grows with each turn."""
    rows = [
        row(str(number), held_seconds=10.0 * turn, last_seen=2000.0 + turn, open=not closed or number % 2 == 0)
        for number in range(MANY)
    ]
    return read(delivery(rows=rows, seq=turn))


def content(store: Store, table: Table) -> list[tuple[object, ...]]:
    """All rows of a table in a fixed order."""
    with store.reading() as connection:
        return sorted((tuple(each) for each in connection.execute(select(table))), key=repr)


def test_late_and_repeated_deliveries_end_in_the_same_rows(sqlite_store: Store, postgres_store: Store) -> None:
    """The greatest counts, a closed row stays closed, and jobs are marked."""
    for store in (sqlite_store, postgres_store):
        for each in (posting(2), posting(3, closed=True), posting(1), posting(2)):
            with store.writing() as connection:
                writing.post(connection, each, "gw0")

    for table in (tables.usage, tables.changed, tables.watermarks):
        assert content(sqlite_store, table) == content(postgres_store, table)


def test_a_key_that_comes_twice_is_merged(sqlite_store: Store, postgres_store: Store) -> None:
    """One statement would refuse to touch its row twice."""
    told = [each for number in range(MANY) for each in (record(str(number)), running(str(number)))]
    for store in (sqlite_store, postgres_store):
        with store.writing() as connection:
            post_records(connection, told)

    found = content(postgres_store, tables.records)
    assert (MANY, content(sqlite_store, tables.records)) == (len(found), found)


def test_several_times_in_one_transaction(postgres_store: Store) -> None:
    """What was copied before is not inserted again, and what did not change is not counted."""
    first: Sequence[tuple[str, str]] = [("default", str(number)) for number in range(MANY)]
    second = [("default", str(number)) for number in range(MANY // 2, MANY + MANY // 2)]

    with postgres_store.writing() as connection:
        counts = [run_many(connection, _changed, rows) for rows in (first, second)]

    assert [MANY, MANY // 2] == counts
    assert MANY + MANY // 2 == len(content(postgres_store, tables.changed))


def test_what_cannot_be_stored_is_rejected(postgres_store: Store) -> None:
    """As where rows are sent one by one, and the connection is used again."""
    rows = [("default", "\0" if number == 7 else str(number)) for number in range(MANY)]
    with pytest.raises(Rejected, match="cannot be stored"), postgres_store.writing() as connection:
        run_many(connection, _changed, rows)

    assert [] == content(postgres_store, tables.changed)


def _changed(insert: Insert) -> object:
    return insert(tables.changed).on_conflict_do_nothing()
