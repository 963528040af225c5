"""Records and grants on disk: the same merge in SQL."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from gpuwatch.ledger import tables
from gpuwatch.ledger.record_store import (
    Posted,
    allocated,
    grants_where,
    open_since,
    post_grants,
    post_records,
    records_of,
    records_where,
    remembered,
    set_until,
    until_of,
)
from gpuwatch.ledger.records import accepted, merge_record
from gpuwatch.ledger.store import Store, open_store
from gpuwatch.schedulers.base import Grant, Live, Record, RecordId
from tests.ledger.batch import HOUR, T0, pending, record, records, running

GRANT = Grant("default", "ml", "", "gres/gpu", 3600.0, 60.0, float(T0), "root", ("ada",), source="slurm")


def post(store: Store, told: Iterable[Record]) -> Posted:
    with store.writing() as connection:
        return post_records(connection, told)


def in_ledger(store: Store, cluster: str = "default") -> dict[RecordId, Record]:
    with store.reading() as connection:
        return {each.key: each for each in records_where(connection, tables.records.c.cluster == cluster)}


_clusters = count()


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(told=st.lists(records, max_size=8), data=st.data())
def test_the_store_merges_as_the_model(store: Store, told: list[Record], data: st.DataObject) -> None:
    """Records in any order, some of them twice, leave the same rows in SQLite as the pure merge."""
    cluster = f"cluster-{next(_clusters)}"
    told = [replace(each, key=each.key._replace(cluster=cluster)) for each in told]
    model: dict[RecordId, Record] = {}
    for each in accepted(told).records:
        model[each.key] = merge_record(model[each.key], each) if each.key in model else each

    for each in data.draw(
        st.permutations(told + data.draw(st.lists(st.sampled_from(told or [None]), max_size=3)))
    ):
        post(store, [each] if each else [])

    assert model == in_ledger(store, cluster)


def test_the_same_again_changes_nothing(store: Store) -> None:
    """And is counted as taken, not as changed."""
    told = [record(), running("8", live=Live(5.0, "hello", devices=1.0, indices={"gw0": (1,)}))]

    first, second = post(store, told), post(store, told)

    assert (Posted(2, 2), Posted(2, 0)) == (first, second)
    assert {each.key: each for each in told} == in_ledger(store)


def test_what_is_refused_does_not_stop_the_rest(store: Store) -> None:
    """Counted by reason."""
    assert Posted(1, 1, {"range": 1}) == post(store, [record(devices=-1.0), record("8")])


def test_hostile_words_are_data(store: Store) -> None:
    """Quotes end no statement, and NUL, which PostgreSQL cannot keep, is replaced."""
    told = record(name="b'); DROP TABLE records;--\x00", live=Live(1.0, comment="x'\x00🤖"))

    post(store, [told])

    (kept,) = in_ledger(store).values()
    assert ("b'); DROP TABLE records;--\ufffd", "x'\ufffd🤖") == (kept.facts.name, kept.live and kept.live.comment)


def test_records_of_jobs_are_found_by_id(store: Store) -> None:
    """Each submission of an id, the oldest first, over more ids than fit into one statement."""
    post(store, [record("7"), record("7", submitted=T0 - 900), record("9"), record("9", cluster="other")])

    with store.reading() as connection:
        found = records_of(connection, [str(number) for number in range(1200)])

    assert {("default", "7"): 2, ("default", "9"): 1, ("other", "9"): 1} == {
        key: len(each) for key, each in found.items()
    }
    assert [T0 - 900, T0 - 60] == [each.key.submitted for each in found["default", "7"]]


def test_what_is_open_says_from_when_to_ask(store: Store) -> None:
    """The oldest sight of a job that waits or runs; what ended is known."""
    with store.reading() as connection:
        assert None is open_since(connection, "default")

    post(store, [record("1", seen=5.0), running("2", seen=T0 + 50.0), pending("3", seen=T0 + 70.0)])
    post(store, [running("4", cluster="other", seen=7.0)])

    with store.reading() as connection:
        assert T0 + 50.0 == open_since(connection, "default")


def test_how_far_the_history_was_read_never_moves_back(store: Store) -> None:
    """For each scheduler and cluster."""
    with store.writing() as connection:
        for until in (10.0, 30.0, 20.0):
            set_until(connection, "slurm", "default", until)
        read = [until_of(connection, "slurm", name) for name in ("default", "other")]

    assert [30.0, None] == read


def test_grants_seen_last_count(store: Store) -> None:
    """For each account, user, resource and source."""
    later, other = (
        replace(GRANT, used_seconds=90.0, seen=T0 + HOUR),
        replace(GRANT, user="ada", limit_seconds=None),
    )
    with store.writing() as connection:
        posted = [post_grants(connection, each) for each in ([later, other], [GRANT], [later])]
        post_grants(connection, [replace(GRANT, limit_seconds=-1.0)])
        found = list(grants_where(connection, tables.grants.c.account == "ml"))

    assert [Posted(2, 2), Posted(1, 0), Posted(1, 0)] == posted
    assert [later, other] == found


def test_what_is_told_again_is_only_seen_again(store: Store) -> None:
    """The times move as they would by a merge in full, of facts and of comments, of what runs and what ended."""
    comment = Live(float(T0), comment="gpuwatch: wall=1h")
    told = [running("7", live=comment), running("8"), record("9")]
    later = [
        replace(
            each,
            facts=replace(each.facts, seen=T0 + 9 * HOUR),
            live=each.live and replace(each.live, seen=T0 + 5.0),
        )
        for each in told
    ]
    with store.writing() as connection:
        post_records(connection, told)

    with store.writing() as connection:
        posted = post_records(connection, later, {each.key: each for each in told})

    assert Posted(3, 3) == posted
    merged = {each.key: merge_record(before, each) for before, each in zip(told, later, strict=True)}
    assert merged == in_ledger(store)


@pytest.mark.parametrize("meanwhile", [record("7"), running("7", state="SUSPENDED", seen=T0 + HOUR)])
def test_what_was_changed_meanwhile_is_merged_in_full(store: Store, meanwhile: Record) -> None:
    """An import told of its end, or of another state: saying the same again does not undo that by accident."""
    first, again = running("7"), running("7", seen=T0 + 2 * HOUR)
    with store.writing() as connection:
        post_records(connection, [first])
        post_records(connection, [meanwhile])

    with store.writing() as connection:
        post_records(connection, [again], {first.key: first})

    assert {first.key: merge_record(merge_record(first, meanwhile), again)} == in_ledger(store)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(polls=st.lists(st.lists(records, max_size=4), min_size=1, max_size=4))
def test_remembering_what_was_posted_changes_nothing(store: Store, polls: list[list[Record]]) -> None:
    """Polls one after the other, each posted with what the one before told, end as the pure merge does."""
    cluster = f"cluster-{next(_clusters)}"
    model: dict[RecordId, Record] = {}
    before: dict[RecordId, Record] = {}
    for number, poll in enumerate(polls):
        later = [
            replace(
                each, key=each.key._replace(cluster=cluster), facts=replace(each.facts, seen=T0 + 10.0 * number)
            )
            for each in poll
        ]
        with store.writing() as connection:
            post_records(connection, later, before)
        before = remembered(later)
        for each in accepted(later).records:
            model[each.key] = merge_record(model[each.key], each) if each.key in model else each

    assert model == in_ledger(store, cluster)


def test_what_was_allocated_is_found_without_history(tmp_path: Path) -> None:
    """Each window of usage asks for it: of a year of jobs those that ended since or did not."""
    asked = []
    with closing(open_store(f"sqlite:///{tmp_path / 'ledger.db'}", cluster="default")) as store:
        post(
            store,
            [running("1"), record("2", started=T0, ended=T0 + 50.0), record("3", started=T0, ended=T0 + 9.0)],
        )
        with store.reading() as connection:
            event.listen(connection, "before_cursor_execute", lambda *told: asked.append(told[2:4]))
            found = allocated(connection, "default", T0 + 10.0, T0 + 60.0)
            plans = [
                connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values).all() for text, values in [*asked]
            ]

    assert {"1", "2"} == {each.job_id for each in found}
    assert [True, True] == ["records_ended" in str(plan) for plan in plans], plans
