"""The ledger on disk: the same rule in SQL, and what happens to bad files."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select

from gpuwatch.errors import ConfigurationError, Unavailable
from gpuwatch.ledger import record_store, tables, writing
from gpuwatch.ledger.ledger import (
    Book,
    CounterId,
    Held,
    JournalEntry,
    JournalId,
    ProgressId,
    RowId,
    RunEvent,
    RunId,
)
from gpuwatch.ledger.posting import read
from gpuwatch.ledger.store import Store, open_store, open_to_read, path_of
from gpuwatch.model import Progress
from gpuwatch.usage.base import Delivery
from tests.ledger.batch import record
from tests.ledger.deliveries import ORIGIN, T0, declared, delivery, progress, row
from tests.ledger.lives import streams


def post(store: Store, deliveries: Iterable[Delivery]) -> None:
    for each in deliveries:
        with store.writing() as connection:
            writing.post(connection, read(each), each.origin)


def book_in(store: Store, cluster: str) -> Book:
    """The store's content of a cluster as the pure model has it."""
    with store.reading() as connection:
        return Book(
            {
                CounterId(_row(each), each.counter): each.value
                for each in _all(connection, tables.counters, cluster)
            },
            {
                _row(each): Held(each.last_seen, each.share, each.basis, each.model, each.open)
                for each in _all(connection, tables.held, cluster)
            },
            {
                JournalId(each.cluster, each.node, each.epoch, each.seq): JournalEntry(
                    each.time, each.job_id, each.started, each.channel, each.uid, each.pid, each.text
                )
                for each in _all(connection, tables.journal, cluster)
            },
            {
                ProgressId(each.cluster, each.node, each.job_id, each.started): Progress(
                    each.step, each.total, each.start_step, each.time
                )
                for each in _all(connection, tables.progress, cluster)
            },
            {
                RunId(each.cluster, each.node, each.job_id, each.kind): RunEvent(
                    each.time, each.name, each.uid, each.exit_code
                )
                for each in _all(connection, tables.runs, cluster)
            },
        )


def _all(connection: Connection, table: object, cluster: str) -> Iterator[object]:
    yield from connection.execute(select(table).where(table.c.cluster == cluster))  # type: ignore


def _row(each: object) -> RowId:
    return RowId(*(getattr(each, name) for name in RowId._fields))


_clusters = count()


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_the_store_is_the_model(store: Store, data: st.DataObject) -> None:
    """Deliveries in any order, some of them twice, leave the same facts in SQLite as in the pure ledger."""
    cluster = f"cluster-{next(_clusters)}"
    sent = [each for stream in data.draw(streams(cluster)) for each in stream]
    again = data.draw(st.lists(st.sampled_from(sent), max_size=4))
    model = Book()
    for each in sent:
        model.post(read(each))

    post(store, data.draw(st.permutations(sent + again)))

    assert model == book_in(store, cluster)


def test_a_posting_and_its_watermark_are_one(store: Store) -> None:
    """What fails half way leaves neither."""
    posting = read(delivery([row()]))
    with pytest.raises(RuntimeError), store.writing() as connection:
        writing.post(connection, posting, ORIGIN)
        raise RuntimeError("power cut")

    with store.reading() as connection:
        assert {} == writing.watermarks(connection)
    assert Book() == book_in(store, "default")


def test_watermarks_move_forward_within_an_epoch(store: Store) -> None:
    """A late delivery does not move it back; a new epoch begins where it begins."""
    marks = []
    for epoch, seq in (("aa", 10), ("aa", 7), ("bb", 3)):
        post(store, [delivery(epoch=epoch, seq=seq)])
        with store.reading() as connection:
            marks.append(writing.watermarks(connection)[ORIGIN])

    assert [("aa", 10), ("aa", 10), ("bb", 3)] == marks


def test_the_ledger_outlives_the_process(store: Store) -> None:
    """Closed and opened again, everything is there."""
    post(store, [delivery([row()], [declared("device-hours=1")], [progress(5)])])
    before = book_in(store, "default")
    store.close()

    again = open_store(str(store.path))

    assert before == book_in(again, "default")
    again.close()


def test_a_reader_sees_what_is_committed_while_somebody_writes(store: Store) -> None:
    """WAL: neither waits for the other."""
    post(store, [delivery([row()])])
    reader = open_to_read(str(store.path))
    with store.writing() as writer, reader.reading() as connection:
        writing.post(writer, read(delivery([row("run-2")])), ORIGIN)
        seen = connection.execute(select(tables.held.c.job_id)).scalars().all()
    reader.close()

    assert ["run-1"] == seen


def test_a_reader_cannot_write(store: Store) -> None:
    """The command line looks, and touches nothing."""
    reader = open_to_read(f"sqlite:///{store.path}")

    with pytest.raises(Unavailable, match="readonly"), reader.reading() as connection:
        connection.execute(tables.watermarks.delete())
    reader.close()


def test_a_commit_is_synced(store: Store) -> None:
    """An agent forgets what is acknowledged, so a power cut must not take it."""
    with store.reading() as connection:
        modes = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]

    assert ["wal", 2] == modes


def test_a_ledger_of_a_newer_version_is_refused(store: Store) -> None:
    """Older software must not write into what it does not understand."""
    with store.writing() as connection:
        connection.execute(tables.schema_version.update().values(version=tables.SCHEMA_VERSION + 1))
    store.close()

    for opening in (open_store, open_to_read):
        with pytest.raises(ConfigurationError, match=f"schema version {tables.SCHEMA_VERSION + 1}"):
            opening(str(store.path))


def of_version_1(store: Store) -> None:
    """Make the ledger what the first schema was: the same without what a batch system tells."""
    with store.writing() as connection:
        for table in (tables.records, tables.grants, tables.polls):
            table.drop(connection)
        connection.execute(tables.schema_version.update().values(version=1))
    store.close()


def test_a_ledger_of_the_first_version_is_brought_up_to_date(store: Store) -> None:
    """Opened by accounting; every row is kept, and records can be posted."""
    post(store, [delivery([row()], [declared("device-hours=1")], [progress(5)])])
    before = book_in(store, "default")
    of_version_1(store)

    again = open_store(str(store.path))

    with again.writing() as connection:
        version = connection.scalar(select(tables.schema_version.c.version))
        posted = record_store.post_records(connection, [record()])
    assert (tables.SCHEMA_VERSION, 1) == (version, posted.changed)
    assert before == book_in(again, "default")
    again.close()


def test_a_reader_of_the_first_version_says_what_to_do(store: Store) -> None:
    """It may not change the file, and does not read half of it."""
    of_version_1(store)

    with pytest.raises(Unavailable, match="schema version 1; start this gpuwatch's accounting on it first"):
        open_to_read(str(store.path))


@pytest.mark.parametrize("content", [b"garbage" * 1000, b"SQLite format 3\x00" + b"\xff" * 8000])
def test_a_damaged_file_says_what_to_do(tmp_path: Path, content: bytes) -> None:
    """And is left as it is."""
    path = tmp_path / "ledger.db"
    path.write_bytes(content)

    with pytest.raises(Unavailable, match=r"is damaged .* move it aside"):
        open_store(str(path))
    assert content == path.read_bytes()


def test_damage_inside_the_file_is_found(store: Store) -> None:
    """A page in the middle that is not what it was."""
    post(store, [delivery([row(f"run-{number}") for number in range(200)])])
    store.close()
    size = store.path.stat().st_size
    with store.path.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\xa5" * 8192)

    with pytest.raises(Unavailable, match="is damaged"):
        open_store(str(store.path))


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


@pytest.mark.parametrize("url", ["postgresql://h/d", "sqlite://", "sqlite:///:memory:", "sqlite:// x"])
def test_another_database_is_a_configuration_mistake(url: str) -> None:
    """Said at start, with what there is."""
    with pytest.raises(ConfigurationError, match=r"accounting\.ledger"):
        path_of(url)


def test_the_ledger_is_not_for_everybody(store: Store) -> None:
    """Who ran what is in it."""
    post(store, [delivery([row()])])

    modes = {path.name: path.stat().st_mode & 0o007 for path in store.path.parent.iterdir()}

    assert {0} == set(modes.values())
    assert "ledger.db-wal" in modes


def test_a_locked_ledger_is_unavailable_not_an_error_of_the_database(store: Store, tmp_path: Path) -> None:
    """Another program holds it: worth another try."""
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")

    with pytest.raises(Unavailable, match="locked"):
        open_store(str(tmp_path / "ledger.db"), busy_seconds=0.05)
    other.close()


def test_text_survives_as_it_was_given(store: Store) -> None:
    """Quotes, NUL and emoji in a declaration are data."""
    text = "tag=a:b'); DROP TABLE counters;--\x00🤖"
    post(store, [delivery(declarations=[declared(text)])])

    (entry,) = book_in(store, "default").journal.values()

    assert (text, float(T0 + 1)) == (entry.text, entry.time)
