"""One accounting leads: another stands by in PostgreSQL, and takes over however the first one ended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from gpuwatch.accounting.leadership import InPostgres, OfFile
from gpuwatch.errors import Locked, Unavailable
from gpuwatch.ledger.store import Store, open_store
from tests.integration.debian import wait_until
from tests.ledger.deliveries import delivery, row
from tests.ledger.test_store import post

END = text("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
LEFT = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")


def end_sessions(store: Store) -> None:
    """End whoever leads; a server has done so a moment after it was told to."""
    with store.reading() as connection:
        connection.execute(END)
        wait_until(lambda: connection.scalar(LEFT) == 0, 20.0, "the session has ended", 0.01)


@pytest.fixture
def stores(postgres_store: Store) -> Iterator[tuple[Store, Store]]:
    """The same ledger as two accountings have it."""
    with closing(open_store(postgres_store.where)) as first, closing(open_store(postgres_store.where)) as second:
        yield first, second


def test_a_file_has_one_that_leads(tmp_path: Path) -> None:
    """A second one on the same machine is a mistake."""
    first = OfFile(tmp_path / "new" / "ledger.db")

    with pytest.raises(Locked):
        OfFile(tmp_path / "new" / "ledger.db")
    assert first.leads()
    first.release()
    OfFile(tmp_path / "new" / "ledger.db").release()


def test_the_second_of_a_cluster_stands_by(stores: tuple[Store, Store]) -> None:
    """Until the first one lets go."""
    first, second = InPostgres(stores[0], "hydra"), InPostgres(stores[1], "hydra")
    before = [first.leads(), second.leads(), first.leads(), second.leads()]
    first.release()

    after = [second.leads(), first.leads()]

    assert [True, False, True, False] == before
    assert [True, False] == after
    second.release()


def test_each_cluster_has_its_own(stores: tuple[Store, Store]) -> None:
    """They share nothing but the database."""
    leaders = InPostgres(stores[0], "hydra"), InPostgres(stores[1], "medusa")

    assert [True, True] == [each.leads() for each in leaders]
    for each in leaders:
        each.release()


def test_one_whose_session_ended_writes_nothing_more(stores: tuple[Store, Store]) -> None:
    """It may not know yet that another has taken over."""
    first, second = InPostgres(stores[0], "hydra"), InPostgres(stores[1], "hydra")
    first.leads()
    post(stores[0], [delivery([row()])])
    end_sessions(stores[1])

    with pytest.raises(Unavailable, match="no longer leads"):
        post(stores[0], [delivery([row()])])
    assert second.leads()
    for each in (first, second):
        each.release()


def test_one_whose_session_ended_tries_again(stores: tuple[Store, Store]) -> None:
    """The pass in which it notices fails; the next one leads again if nobody else does."""
    first = InPostgres(stores[0], "hydra")
    first.leads()
    end_sessions(stores[1])

    with pytest.raises(Unavailable):
        first.leads()
    assert first.leads()
    post(stores[0], [delivery([row()])])
    first.release()
