"""What is kept of ended jobs from pass to pass is what there is to know."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuwatch.accounting.experience import OVERLAP_SECONDS, RENEWAL_SECONDS, SETTLED_SECONDS, OutcomeReader
from gpuwatch.errors import Unavailable
from gpuwatch.forecast.outcomes import Outcome
from gpuwatch.ledger.record_store import post_records, set_until
from gpuwatch.ledger.store import Store, open_store
from gpuwatch.schedulers.base import Record
from tests.ledger.batch import HOUR, T0, record

NOW = T0 + 100 * HOUR
ADA = frozenset({"ada"})


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Store]:
    """An empty ledger."""
    opened = open_store(str(tmp_path / "ledger.db"))
    yield opened
    opened.close()


def ended(job_id: str, at: float, user: str = "ada", hours: float = 1.0) -> Record:
    """A job that ended then, of so many hours on two devices."""
    began = at - hours * HOUR
    return record(job_id, user=user, started=began, ended=at, submitted=int(began) - 60, seen=at)


def preempted(job_id: str, before: float) -> Record:
    """An attempt of the same job, of an hour, that ended three hours earlier."""
    began = before - 5 * HOUR
    return record(
        job_id, state="PREEMPTED", user="", started=began, ended=began + HOUR, submitted=int(began), seen=before
    )


def post(store: Store, *records: Record) -> None:
    """Into the ledger."""
    with store.writing() as connection:
        post_records(connection, records)


def look(reader: OutcomeReader, store: Store, users: frozenset[str], now: float) -> list[float]:
    """How many hours the new ones came to on two devices."""
    with store.reading() as connection:
        return [each.final / 2 / HOUR for each in reader.look(connection, users, now)]


def test_what_is_new_is_told_once(ledger: Store) -> None:
    """First the latest there are, then those that ended since, whosever they are."""
    reader = OutcomeReader("default")
    post(ledger, ended("1", NOW - 9 * HOUR, hours=1), ended("2", NOW - 8 * HOUR, "bob", hours=2))
    first = look(reader, ledger, ADA, NOW)

    post(ledger, ended("3", NOW, hours=3), ended("4", NOW + 1, "eve", hours=4))
    assert [1.0, 2.0] == first
    assert [3.0, 4.0] == look(reader, ledger, ADA, NOW + 2 * SETTLED_SECONDS)
    assert [] == look(reader, ledger, ADA, NOW + 3 * SETTLED_SECONDS)


def test_a_job_counts_once_its_energy_can_be_known(ledger: Store) -> None:
    """A few minutes after its end."""
    reader = OutcomeReader("default")
    post(ledger, ended("1", NOW - SETTLED_SECONDS + 1))

    assert [] == look(reader, ledger, ADA, NOW)
    assert [1.0] == look(reader, ledger, ADA, NOW + 60)


def test_an_end_may_be_told_late(ledger: Store) -> None:
    """So much later, or as late as the batch system's history went on."""
    reader = OutcomeReader("default")
    with ledger.writing() as connection:
        set_until(connection, "slurm", "default", NOW - 9 * HOUR)
    look(reader, ledger, ADA, NOW)
    post(ledger, ended("1", NOW - OVERLAP_SECONDS / 2))
    late = look(reader, ledger, ADA, NOW + 60)

    post(ledger, ended("2", NOW - 9 * HOUR, hours=2))
    before = look(reader, ledger, ADA, NOW + 120)
    with ledger.writing() as connection:
        set_until(connection, "slurm", "default", NOW)
    assert [1.0] == late
    assert [] == before
    assert [2.0] == look(reader, ledger, ADA, NOW + 180)


def test_a_user_who_is_new_brings_his_own(ledger: Store) -> None:
    """The latest of the cluster have none of them, as there were others since."""
    reader = OutcomeReader("default", of_cluster=2)
    post(ledger, ended("1", NOW - 20 * HOUR, "bob", hours=7), *(ended(f"2{n}", NOW - HOUR) for n in range(3)))
    first = look(reader, ledger, ADA, NOW)

    assert [1.0, 1.0, 1.0] == first
    assert [7.0] == look(reader, ledger, ADA | {"bob"}, NOW + 60)
    assert [NOW - 20 * HOUR] == list(reader.ends_of_user("bob"))


def test_what_was_passed_over_counts_once_its_user_is_asked_for(ledger: Store) -> None:
    """It was told late, and the latest of the cluster ended after it."""
    reader = OutcomeReader("default", of_cluster=1)
    post(ledger, ended("1", NOW - HOUR / 4))
    look(reader, ledger, frozenset(), NOW)
    post(ledger, ended("2", NOW - HOUR / 2, "eve", hours=5))
    late = look(reader, ledger, frozenset(), NOW + 60)

    assert [] == late == look(reader, ledger, frozenset(), NOW + 120)
    assert [5.0] == look(reader, ledger, frozenset({"eve"}), NOW + 180)


def test_only_the_latest_are_kept(ledger: Store) -> None:
    """Of a user and of the cluster; of users who are not asked for nothing but that."""
    reader = OutcomeReader("default", of_user=2, of_cluster=3)
    post(ledger, *(ended(str(n), NOW - n * HOUR, hours=n) for n in range(1, 6)))
    look(reader, ledger, ADA, NOW)
    post(ledger, ended("9", NOW, hours=9), ended("8", NOW, "bob", hours=8))
    look(reader, ledger, ADA, NOW + HOUR)

    assert [NOW - HOUR, NOW] == list(reader.ends_of_user("ada"))
    assert [1.0, 8.0, 9.0] == [each.final / 2 / HOUR for each in reader.of_cluster()]
    assert [] == list(reader.ends_of_user("bob"))


def test_users_who_are_gone_are_forgotten_within_a_day(ledger: Store) -> None:
    """When all is read anew, which is told."""
    reader = OutcomeReader("default", of_cluster=1)
    post(ledger, ended("1", NOW - 3 * HOUR), ended("2", NOW - 2 * HOUR, "bob"), ended("3", NOW - HOUR, "eve"))
    look(reader, ledger, frozenset({"ada", "bob"}), NOW)
    renewals = reader.renewals
    again = look(reader, ledger, ADA, NOW + RENEWAL_SECONDS + 1)

    assert (1, 2) == (renewals, reader.renewals)
    assert [1.0, 1.0] == again
    assert [] == list(reader.ends_of_user("bob"))


def test_where_too_much_is_new_all_is_read_anew(ledger: Store) -> None:
    """As after a history was imported; then all is returned again."""
    reader = OutcomeReader("default", at_once=3)
    post(ledger, ended("1", NOW - HOUR))
    first = look(reader, ledger, ADA, NOW)
    post(ledger, *(ended(f"2{n}", NOW, hours=2) for n in range(4)))

    assert [1.0] == first
    assert [1.0, 2.0, 2.0, 2.0, 2.0] == look(reader, ledger, ADA, NOW + HOUR)
    assert 2 == reader.renewals


def test_what_could_not_be_read_is_read_the_next_time(ledger: Store) -> None:
    """Nothing is lost by a ledger that is away for a moment."""
    reader = OutcomeReader("default")
    look(reader, ledger, ADA, NOW)
    post(ledger, ended("1", NOW - HOUR))
    with ledger.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE charges RENAME TO away")
    with pytest.raises(Unavailable):
        look(reader, ledger, ADA | {"bob"}, NOW + 60)
    with ledger.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO charges")

    assert [1.0] == look(reader, ledger, ADA | {"bob"}, NOW + 120)


@pytest.mark.parametrize("jump", [-30 * HOUR, -2 * HOUR, -60.0, 3 * HOUR, 5 * RENEWAL_SECONDS])
def test_clocks_may_jump(ledger: Store, jump: float) -> None:
    """And back: what is held is what a reader that was just made holds, and nothing that is yet to come."""
    reader = OutcomeReader("default")
    post(ledger, *(ended(str(n), NOW - n * HOUR, hours=n + 9) for n in range(-3, 50)))
    look(reader, ledger, ADA, NOW)
    look(reader, ledger, ADA, NOW + jump)
    post(ledger, ended("99", NOW))
    look(reader, ledger, ADA, NOW + HOUR)

    assert held(reader, ADA) == held(made(ledger, ADA, NOW + HOUR), ADA)


@pytest.mark.parametrize("seed", range(3))
def test_after_a_restart_it_is_as_if_it_had_run_on(ledger: Store, seed: int) -> None:
    """Users come and go, jobs end, some with an attempt before, some are told late, some ids are used again."""
    chance = random.Random(seed)
    reader = OutcomeReader("default", of_user=5, of_cluster=8)
    users: frozenset[str] = frozenset()
    now = NOW
    for turn in range(60):
        now += chance.uniform(60.0, HOUR)
        late = [now - chance.uniform(0.0, 0.8 * OVERLAP_SECONDS) for _ in range(chance.randrange(4))]
        told = (ended(f"{turn % 40}-{n}", at, f"user{chance.randrange(4)}") for n, at in enumerate(late))
        post(ledger, *told, *(preempted(f"{turn % 40}-0", at) for at in late[:1]))
        users = frozenset(f"user{n}" for n in range(4) if chance.random() < 0.5)
        look(reader, ledger, users, now)

    assert held(made(ledger, users, now, of_user=5, of_cluster=8), users) == held(reader, users)


def test_what_is_returned_is_what_is_held(ledger: Store) -> None:
    """Whoever keeps what he is told has all of it."""
    reader = OutcomeReader("default")
    told: list[Outcome] = []
    for turn in range(1, 20):
        now = NOW + turn * HOUR
        post(ledger, ended(str(turn), now - SETTLED_SECONDS, f"user{turn % 3}", hours=turn))
        with ledger.reading() as connection:
            told += reader.look(connection, {"user1", "user2"} if turn > 9 else {"user1"}, now)

    assert sorted(told, key=lambda each: each.ended) == list(reader.of_cluster())
    user2 = [each.ended for each in reader.of_cluster() if each.user == "user2"]
    assert user2 == list(reader.ends_of_user("user2"))


def made(store: Store, users: frozenset[str], now: float, **bounds: int) -> OutcomeReader:
    """A reader as after a restart."""
    reader = OutcomeReader("default", **bounds)
    look(reader, store, users, now)
    return reader


def held(reader: OutcomeReader, users: frozenset[str]) -> tuple[list[Outcome], dict[str, list[float]]]:
    """All that it holds of the cluster and of some users."""
    return list(reader.of_cluster()), {user: list(reader.ends_of_user(user)) for user in sorted(users)}
