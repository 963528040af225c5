"""Words for both databases mean the same in both."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import bindparam, literal, select, update

from gpuwatch.ledger import tables
from gpuwatch.ledger.sql import Insert, among, chosen, greatest, least, run_many
from gpuwatch.ledger.store import Store


def _keep(insert: Insert) -> Any:
    return insert(tables.changed).on_conflict_do_nothing()


def _leave(_insert: Insert) -> Any:
    there = tables.changed.c
    return update(tables.changed).values(cluster=bindparam("new")).where(there.job_id == bindparam("its"))


@pytest.mark.parametrize(
    ("left", "right", "most", "fewest"), [(1.0, 2.0, 2.0, 1.0), (2.0, 1.0, 2.0, 1.0), (None, 1.0, 1.0, 1.0),
                                         (1.0, None, 1.0, 1.0), (0.0, 0.0, 0.0, 0.0)],
)  # fmt: skip
def test_the_greater_and_the_lesser_of_two(
    store: Store, left: float | None, right: float | None, most: float, fewest: float
) -> None:
    """Where one is null, the other."""
    kind = tables.history.c.busy_seconds.type
    pair = literal(left, kind), literal(right, kind)

    with store.reading() as connection:
        found = connection.execute(select(greatest(*pair), least(*pair))).one()

    assert (most, fewest) == tuple(found)


def test_many_values_are_one_parameter(store: Store) -> None:
    """Any strings, however many."""
    names = [f"job-{number}" for number in range(40_000)] + ["it's", 'a "b"', "é\u2028", "%s", ":x"]
    with store.writing() as connection:
        run_many(connection, _keep, [("c", name) for name in names[-6:]])

        found = set(
            connection.scalars(select(tables.changed.c.job_id).where(among(tables.changed.c.job_id, names)))
        )
        none = list(connection.scalars(select(tables.changed.c.job_id).where(among(tables.changed.c.job_id, []))))

    assert (set(names[-6:]), []) == (found, none)


def test_rows_go_by_position_or_by_name(store: Store) -> None:
    """And it is told how many rows a statement changed."""
    with store.writing() as connection:
        new = run_many(connection, _keep, [("c", "1"), ("c", "2")])
        again = run_many(connection, _keep, [{"cluster": "c", "job_id": "2"}, {"cluster": "c", "job_id": "3"}])
        moved = run_many(connection, _leave, [{"new": "d", "its": "1"}, {"new": "d", "its": "9"}])
        nothing = run_many(connection, _keep, [])
        left = sorted(connection.execute(select(tables.changed)).all())

    assert (2, 1, 1, 0) == (new, again, moved, nothing)
    assert [("c", "2"), ("c", "3"), ("d", "1")] == [tuple(each) for each in left]


def test_what_is_chosen_is_the_new_value_where_a_condition_holds(store: Store) -> None:
    """Else the one there."""
    with store.reading() as connection:
        found = connection.execute(
            select(*(chosen(literal(1) == number, literal("new"), literal("there")) for number in (1, 2)))
        ).one()

    assert ("new", "there") == tuple(found)
