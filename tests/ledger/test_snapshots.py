"""A campaign that was frozen stays as it is, whatever becomes of the ledger."""

from __future__ import annotations

import hashlib

import pytest

from gpuwatch.errors import Forbidden, Rejected, Unavailable
from gpuwatch.ledger import campaign_store, snapshots
from gpuwatch.ledger.campaign_document import document
from gpuwatch.ledger.campaign_tables import snapshots as table
from gpuwatch.ledger.campaigns import Actor
from gpuwatch.ledger.snapshots import Difference, Snapshot, canonical, differences, freeze, snapshots_of
from gpuwatch.ledger.store import Store
from tests.ledger.batch import HOUR, record
from tests.ledger.told import ADA, ADMIN, EVE, NOW, fill, jobs, told, view


def frozen(store: Store, actor: Actor = ADA, label: str = "") -> Snapshot:
    seen = view(store)
    with store.writing() as connection:
        return freeze(connection, actor, seen, label)


def kept(store: Store, number: int = 1) -> Snapshot:
    with store.reading() as connection:
        return snapshots.snapshot(connection, "llama", number)


def test_a_snapshot_is_what_the_ledger_says_and_its_digest_is_that_of_its_text(store: Store) -> None:
    """Numbered from 1, by whom and what for."""
    fill(store)

    first, second = frozen(store, label="camera-ready"), frozen(store)
    assert ("llama#1", "llama#2", "ada", "camera-ready", NOW) == (
        first.name, second.name, first.by, first.label, first.time,
    )  # fmt: skip
    assert hashlib.sha256(canonical(document(view(store))).encode()).hexdigest() == first.digest
    assert first == kept(store)


def test_a_snapshot_does_not_change_when_the_ledger_does(store: Store) -> None:
    """And what changed is said, of the whole and of each job."""
    fill(store)
    before = frozen(store)
    assert () == differences(before.document, document(view(store)))

    fill(store, [record(each, state="COMPLETED", devices=4.0, seen=NOW, name="llama-7b-1") for each in "1"])
    with store.writing() as connection:
        campaign_store.add(connection, ADA, "llama", jobs(connection, "2"), NOW)
    after = kept(store)

    changes = differences(after.document, document(view(store)))
    assert (before, True) == (after, after.intact)
    assert Difference("totals.device_seconds", 2 * HOUR, 6 * HOUR) in changes
    assert Difference("device_seconds", 2 * HOUR, 4 * HOUR, "1") in changes
    assert Difference("member", False, True, "2") in changes
    assert all(each.figure not in ("now", "gpuwatch") for each in changes)


def test_a_snapshot_whose_text_was_changed_says_so(store: Store) -> None:
    """Whoever can write the file can change it; not unseen."""
    fill(store)
    frozen(store)
    with store.writing() as connection:
        connection.execute(table.update().values(document='{"totals":{}}'))

    assert not kept(store).intact


def test_who_takes_part_freezes_and_nobody_else(store: Store) -> None:
    """Eve has no job in it."""
    fill(store)

    with pytest.raises(Forbidden, match="none of its jobs is yours"):
        frozen(store, EVE)
    assert 1 == frozen(store, ADMIN).number


def test_there_is_nothing_to_freeze_without_a_job(store: Store) -> None:
    """And a label is short."""
    fill(store, told()[1:])
    with store.writing() as connection:
        campaign_store.add(connection, EVE, "llama", jobs(connection, "2"), NOW)

    with pytest.raises(Rejected, match="has no job yet"):
        frozen(store)
    with store.writing() as connection:
        campaign_store.add(connection, ADA, "llama", jobs(connection, "2"), NOW)
    with pytest.raises(Rejected, match="129 characters long"):
        frozen(store, label="x" * 129)


def test_a_number_that_was_not_given_is_not_there(store: Store) -> None:
    """With what to do."""
    fill(store)
    frozen(store)

    with pytest.raises(Unavailable, match="snapshot 'llama#2': not in the ledger"):
        kept(store, 2)
    with store.reading() as connection:
        assert ["llama#1"] == [each.name for each in snapshots_of(connection, "llama")]


def test_a_difference_by_rounding_is_none() -> None:
    """Sums are not always made in the same order; what became known is one."""
    then = {"now": 1.0, "totals": {"a": 0.1 + 0.2, "b": None, "c": [1], "d": 1}}
    now = {"now": 2.0, "totals": {"a": 0.3, "b": 1.0, "c": [1], "d": True}}

    assert (Difference("totals.b", None, 1.0),) == differences(then, now)
