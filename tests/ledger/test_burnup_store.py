"""Burn-ups on disk, in both databases."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from gpuwatch.ledger.burnup_store import (
    drop_unseen,
    is_due,
    load_burnups,
    load_projected,
    read,
    save_burnups,
    save_projected,
    written,
)
from gpuwatch.ledger.forecast_tables import burnups
from gpuwatch.ledger.store import Store
from gpuwatch.model import BurnUp, BurnUpPoint, grown

STARTED = 1_800_000_000


def burnup(number: int, started: int = STARTED) -> BurnUp:
    """A job of so many minutes, half of which is not measured."""
    made = BurnUp(started)
    for minute in range(1, number + 1):
        joules = 24_000.0 * minute if minute % 2 else None
        made = grown(
            made, BurnUpPoint(started + 60.25 * minute, 480.125 * minute, joules, minute / 4, 100.0 + minute // 9)
        )
    return made


# A million times as much as the largest training, and still exact to the thousandth.
finite = st.floats(0, 1e11)
points = st.lists(
    st.builds(BurnUpPoint, st.floats(0, 4e9), finite, st.none() | finite, st.none() | finite, st.none() | finite),
    max_size=20,
)


@given(points, st.floats(1, 1e6))
def test_what_is_written_is_read(told: list[BurnUpPoint], spacing: float) -> None:
    """Times and device-seconds to the thousandth, energy to the joule, steps as they were told."""
    known = read(written(BurnUp(float(STARTED), tuple(told), spacing)), float(STARTED))

    assert known is not None
    assert (STARTED, spacing, len(told)) == (known.started, known.spacing_seconds, len(known.points))
    for before, after in zip(told, known.points, strict=True):
        assert before[3:] == after[3:]
        assert (before.time, before.used) == (
            pytest.approx(after.time, abs=6e-4), pytest.approx(after.used, abs=6e-4),
        )  # fmt: skip
        assert before.joules == (None if after.joules is None else pytest.approx(after.joules, abs=0.51))


def test_burnups_are_found_by_their_run(store: Store) -> None:
    """Many at once, each with what it had; what is not asked for or not there is not found."""
    told = {(f"job-{number}", STARTED + number): burnup(number, STARTED + number) for number in range(300)}
    with store.writing() as connection:
        save_burnups(connection, "default", told, STARTED)
        save_burnups(connection, "other", {("job-1", STARTED + 1): burnup(7)}, STARTED)

    with store.reading() as connection:
        found = load_burnups(connection, "default", [*told][:-1])
        none = load_burnups(connection, "default", [("job-1", STARTED), ("job-999", STARTED)])
    assert {key: each for key, each in told.items() if key != ("job-299", STARTED + 299)} == found
    assert {} == none


def test_what_grew_takes_the_place_of_what_was(store: Store) -> None:
    """And what is saved twice is there once."""
    key = ("7", STARTED)
    for number in (5, 140, 140):
        with store.writing() as connection:
            save_burnups(connection, "default", {key: burnup(number)}, STARTED)

    with store.reading() as connection:
        assert {key: burnup(140)} == load_burnups(connection, "default", [key])


def test_a_burnup_is_due_when_a_point_has_come_to_stay() -> None:
    """A last point that the next one replaces is not worth a row."""
    kept = burnup(5)
    latest = kept.points[-1]

    nearer = grown(kept, latest._replace(time=latest.time + 5.0, used=latest.used + 40.0))
    farther = grown(kept, latest._replace(time=latest.time + 60.0, used=latest.used + 480.0))
    assert [False, False, True] == [is_due(each, kept) for each in (kept, nearer, farther)]
    assert [True, False] == [is_due(kept, None), is_due(BurnUp(STARTED), None)]


def test_what_was_not_seen_for_long_is_dropped_the_oldest_first(store: Store) -> None:
    """So many at once, of this cluster alone."""
    for age in (3, 2, 1, 0):
        with store.writing() as connection:
            save_burnups(connection, "default", {(f"{age} old", STARTED): burnup(3)}, 1000.0 - age)
            save_burnups(connection, "other", {(f"{age} old", STARTED): burnup(3)}, 1000.0 - age)

    keys = [(f"{age} old", STARTED) for age in range(4)]
    for left in ([0, 1, 2], [0, 1], [0, 1]):
        with store.writing() as connection:
            drop_unseen(connection, "default", 999.0, 1)
            found = load_burnups(connection, "default", keys)
        assert {(f"{age} old", STARTED) for age in left} == {*found}
    with store.reading() as connection:
        assert 4 == len(load_burnups(connection, "other", keys))


def test_what_burnups_projected_is_kept_beside_them(store: Store) -> None:
    """And stays when the burn-up is written again; a run that has none, or projected nothing, is passed over."""
    keys = [(f"{number}", STARTED + number) for number in range(4)]
    told = {keys[0]: ((0, 100.5), (3, 90.25)), keys[1]: ((7, 1e9),), keys[2]: (), keys[3]: ((1, 2.0),)}
    with store.writing() as connection:
        save_burnups(connection, "default", {key: burnup(5) for key in keys[:3]}, STARTED)
        save_projected(connection, "default", told)
        save_projected(connection, "other", {keys[0]: ((5, 1.0),)})
        save_burnups(connection, "default", {keys[0]: burnup(6)}, STARTED + 60)

    with store.reading() as connection:
        assert {keys[0]: told[keys[0]], keys[1]: told[keys[1]]} == load_projected(connection, "default")
        assert {} == load_projected(connection, "other")


def test_what_was_projected_first_comes_first(store: Store) -> None:
    """Whoever holds too many forgets those."""
    with store.writing() as connection:
        for number in (3, 1, 2):
            key = (f"{number}", STARTED)
            save_burnups(connection, "default", {key: burnup(1)}, STARTED + number)
            save_projected(connection, "default", {key: ((0, 1.0),)})

    with store.reading() as connection:
        assert ["1", "2", "3"] == [job_id for job_id, _ in load_projected(connection, "default")]


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "{}", "null",
        '{"every":60,"times":[1,2],"used":[1],"joules":[null],"steps":[1],"totals":[[9,1]]}',
        '{"every":60,"times":["1"],"used":[1],"joules":[null],"steps":[1],"totals":[[9,1]]}',
        '{"every":60,"times":[1],"used":[1],"joules":[null],"steps":["1"],"totals":[[9,1]]}',
        '{"every":60,"times":[1],"used":[1],"joules":[null],"steps":[1],"totals":[["9",1]]}',
        '{"every":60,"times":[1],"used":[NaN],"joules":[null],"steps":[1],"totals":[[9,1]]}',
        '{"every":60,"times":[1],"used":[1],"joules":[null],"steps":[1e999],"totals":[[9,1]]}',
        '{"every":"60","times":[1],"used":[1],"joules":[null],"steps":[1],"totals":[[9,1]]}',
        '{"every":0,"times":[1],"used":[1],"joules":[null],"steps":[1],"totals":[[9,1]]}',
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_not_there(store: Store, text: str) -> None:
    """Others are, and it grows anew."""
    told = {("1", STARTED): burnup(3), ("2", STARTED): burnup(5)}
    with store.writing() as connection:
        save_burnups(connection, "default", told, STARTED + 900.0)
        save_projected(connection, "default", dict.fromkeys(told, ((3, 900.0),)))
        values = {"points": text, "projected": text}
        connection.execute(update(burnups).where(burnups.c.job_id == "1").values(values))

    with store.reading() as connection:
        assert {("2", STARTED): burnup(5)} == load_burnups(connection, "default", told.keys())
        assert {("2", STARTED): ((3, 900.0),)} == load_projected(connection, "default")
