"""The ledger on disk: the same rule in SQL, and what happens to bad files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select

from gpuwatch.errors import ConfigurationError, Unavailable
from gpuwatch.ledger import tables, writing
from gpuwatch.ledger.ledger import (
    Book,
    Held,
    JournalEntry,
    JournalId,
    ProgressId,
    RowId,
    RunEvent,
    RunId,
)
from gpuwatch.ledger.measures import MEASURES
from gpuwatch.ledger.posting import read
from gpuwatch.ledger.store import Store, open_store, open_to_read, path_of
from gpuwatch.model import Progress
from gpuwatch.usage.base import Delivery, Mark, Reached
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
                _row(each): tuple(getattr(each, name) for name in MEASURES)
                for each in _all(connection, tables.usage, cluster)
            },
            {
                _row(each): Held(each.last_seen, each.share, each.basis, each.model, each.open)
                for each in _all(connection, tables.usage, cluster)
            },
            {
                JournalId(each.cluster, each.node, each.epoch, each.seq): JournalEntry(
                    each.time, each.job_id, each.started, each.channel, each.uid, each.pid, each.text
                )
                for each in _all(connection, tables.journal, cluster)
            },
            {
                ProgressId(each.cluster, each.node, each.job_id, each.started): Progress(
                    each.step,
                    each.total,
                    each.start_step,
                    each.time,
                    each.best,
                    each.lost,
                    each.least_total,
                    each.most_total,
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
    """Deliveries in any order, some of them twice, leave the same facts in either database as in the pure one."""
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
        assert {} == writing.watermarks(connection, "default")
    assert Book() == book_in(store, "default")


def test_source_goes_on_from_the_state_that_it_left_with_its_mark(store: Store) -> None:
    """What reached further is kept with its state; what reached less far changes nothing."""
    for seq, state in ((10, "ten"), (7, "seven")):
        with store.writing() as connection:
            writing.reach(connection, "default", Reached("http://prometheus", Mark("aa", seq, state)))

    with store.reading() as connection:
        assert {"http://prometheus": Mark("aa", 10, "ten")} == writing.watermarks(connection, "default")


def test_delivery_without_a_number_moves_no_watermark(store: Store) -> None:
    """Its rows are posted all the same."""
    post(store, [delivery(seq=None)])

    with store.reading() as connection:
        assert {} == writing.watermarks(connection, "default")


def test_watermarks_move_forward_within_an_epoch(store: Store) -> None:
    """A late delivery does not move it back; a new epoch begins where it begins."""
    marks = []
    for epoch, seq in (("aa", 10), ("aa", 7), ("bb", 3)):
        post(store, [delivery(epoch=epoch, seq=seq)])
        with store.reading() as connection:
            marks.append(writing.watermarks(connection, "default")[ORIGIN])

    assert [Mark("aa", 10), Mark("aa", 10), Mark("bb", 3)] == marks


def test_the_ledger_outlives_the_process(store: Store) -> None:
    """Closed and opened again, everything is there."""
    post(store, [delivery([row()], [declared("device-hours=1")], [progress(5)])])
    before = book_in(store, "default")
    store.close()

    again = open_store(store.where)

    assert before == book_in(again, "default")
    again.close()


def test_a_reader_sees_what_is_committed_while_somebody_writes(store: Store) -> None:
    """Neither waits for the other."""
    post(store, [delivery([row()])])
    reader = open_to_read(store.where)
    with store.writing() as writer, reader.reading() as connection:
        writing.post(writer, read(delivery([row("run-2")])), ORIGIN)
        seen = connection.execute(select(tables.usage.c.job_id)).scalars().all()
    reader.close()

    assert ["run-1"] == seen


def test_a_reader_cannot_write(store: Store) -> None:
    """The command line looks, and touches nothing."""
    reader = open_to_read(store.where)

    with pytest.raises(Unavailable, match=r"read-?only"), reader.reading() as connection:
        connection.execute(tables.watermarks.delete())
    reader.close()


def test_a_ledger_of_a_newer_version_is_refused(store: Store) -> None:
    """Older software must not write into what it does not understand."""
    with store.writing() as connection:
        connection.execute(tables.schema_version.update().values(version=tables.SCHEMA_VERSION + 1))
    try:
        for opening in (open_store, open_to_read):
            with pytest.raises(ConfigurationError, match=f"schema version {tables.SCHEMA_VERSION + 1}"):
                opening(store.where)
    finally:
        with store.writing() as connection:
            connection.execute(tables.schema_version.update().values(version=tables.SCHEMA_VERSION))


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:hunter2@h/d",
        "postgresql+psycopg2://h/d",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:// x",
        "postgresql://u:hunter2@h:port/d",
    ],
)
def test_another_database_is_a_configuration_mistake(url: str) -> None:
    """Said at start, with what there is, and without a password."""
    with pytest.raises(ConfigurationError, match=r"accounting\.ledger") as raised:
        path_of(url)
    assert "hunter2" not in str(raised.value)


def test_text_survives_as_it_was_given(store: Store) -> None:
    """Quotes and emoji in a declaration are data; only NUL, which PostgreSQL cannot keep, is replaced."""
    text = "tag=a:b'); DROP TABLE counters;--\x00🤖"
    post(store, [delivery(declarations=[declared(text)])])

    (entry,) = book_in(store, "default").journal.values()

    assert (text.replace("\x00", "\ufffd"), float(T0 + 1)) == (entry.text, entry.time)
