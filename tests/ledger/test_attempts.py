"""Which sights and records are one attempt, which attempts are one job, and what jobs are called."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuwatch.ledger import attempts
from gpuwatch.ledger.attempts import TOLERANCE_SECONDS, Attempt, Sight
from gpuwatch.schedulers.base import Record
from tests.ledger.batch import HOUR, T0, pending, record

sights = st.builds(
    lambda start, length: Sight(start, float(start + length)), st.integers(0, 2000), st.integers(0, 300)
)


@settings(max_examples=1000)
@given(st.lists(sights, max_size=8), st.randoms())
def test_attempts_are_a_partition_that_order_does_not_change(given_sights: list[Sight], random: object) -> None:
    """Every sight is in one attempt, the attempts are apart by more than the tolerance."""
    shuffled = list(given_sights)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    found = attempts.attempts("c", "j", shuffled)

    assert attempts.attempts("c", "j", given_sights) == found
    starts = [start for attempt in found for start in attempt.starts]
    assert sorted({sight.started for sight in given_sights}) == sorted(starts)
    gaps = [later.started - before.last_seen for before, later in pairwise(found)]
    assert all(gap > TOLERANCE_SECONDS for gap in gaps)


def test_of_records_that_cover_a_sight_alike_the_first_submitted_has_it() -> None:
    """In whichever order a database has them."""
    alike = [record("9", started=float(T0), ended=T0 + 60.0, submitted=T0 - before) for before in (60, 30)]
    seen = [Sight(T0 + 1, T0 + 50.0)]
    found = attempts.attempts("default", "9", seen, alike)

    assert attempts.attempts("default", "9", seen, alike[::-1]) == found
    assert [(T0 - 60, {T0 + 1}), (T0 - 30, set())] == [
        (each.record.key.submitted, set(each.starts)) for each in found if each.record is not None
    ]


@settings(max_examples=500)
@given(st.lists(sights, min_size=1, max_size=8))
def test_seeing_more_never_splits_an_attempt(given_sights: list[Sight]) -> None:
    """A later delivery may join attempts, but what was one stays one."""
    before = attempts.attempts("c", "j", given_sights[:-1])
    after = attempts.attempts("c", "j", given_sights)

    assert all(any(old.starts <= new.starts for new in after) for old in before)


def test_nodes_that_start_together_are_one_attempt() -> None:
    """A job of two nodes, the second a few seconds later, touching only through the tolerance."""
    found = attempts.attempts("c", "j", [Sight(100, 130.0), Sight(150, 900.0)])

    assert [Attempt("c", "j", frozenset({100, 150}), 100, 900.0)] == list(found)


def test_a_job_id_used_again_is_another_attempt() -> None:
    """A requeue after two minutes."""
    found = attempts.attempts("c", "j", [Sight(100, 200.0), Sight(320, 400.0)])

    assert [100, 320] == [attempt.started for attempt in found]


def test_the_first_attempt_has_the_job_id_for_a_name() -> None:
    """Later ones carry when they began."""
    found = attempts.attempts("c", "j", [Sight(100, 200.0), Sight(900, 950.0)])

    assert ["j", "j@900"] == [name for name, _ in attempts.named(attempts.chains(found))]


def test_names_are_never_given_twice() -> None:
    """Not even to two clusters' jobs that began in the same second."""
    clusters = [attempts.attempts(name, "j", [Sight(100, 200.0)])[0] for name in ("a", "b", "c")]

    assert ["j", "j@100", "j@100@c"] == [name for name, _ in attempts.named(attempts.chains(clusters))]


@pytest.mark.parametrize(
    ("started", "time", "expected"),
    [(900, 0.0, 900), (0, 150.0, 100), (0, 50.0, 100), (0, 500.0, 900), (0, 5000.0, 900), (77, 150.0, 100)],
)
def test_what_is_said_belongs_to_the_attempt_running_or_next(started: int, time: float, expected: int) -> None:
    """By its start where it has one, else by time."""
    found = attempts.attempts("c", "j", [Sight(100, 200.0), Sight(900, 950.0)])

    attempt = attempts.attempt_at(found, started, time)

    assert attempt is not None
    assert expected == attempt.started


LATE = T0 + 9 * HOUR


def test_what_nodes_saw_belongs_to_the_record_it_overlaps() -> None:
    """The node's clock is two seconds behind, and a second node came later."""
    told = record(started=float(T0), ended=T0 + HOUR)

    (found,) = attempts.attempts(
        "default", "7", [Sight(T0 - 2, T0 + HOUR), Sight(T0 + 9, T0 + 50.0)], [told], LATE
    )

    assert (frozenset({T0 - 2, T0 + 9}), T0, T0 + HOUR, told) == (
        found.starts, found.started, found.last_seen, found.record,
    )  # fmt: skip


def test_a_requeue_within_the_tolerance_is_two_attempts() -> None:
    """The batch system says where one ends and the next begins, however close they lie."""
    first = record(ended=T0 + 100.0, state="REQUEUED")
    second = record(submitted=T0 + 100, started=T0 + 103.0, ended=T0 + 400.0)

    found = attempts.attempts("default", "7", [Sight(T0, T0 + 99.0), Sight(T0 + 104, T0 + 400.0)], [second, first])

    assert [(T0, {T0}), (T0 + 103, {T0 + 104})] == [(each.started, set(each.starts)) for each in found]


def test_what_no_record_covers_is_an_attempt_of_its_own() -> None:
    """An id that another job had long ago, before there was accounting."""
    found = attempts.attempts(
        "default", "7", [Sight(T0 - 9000, T0 - 8000.0), Sight(T0, T0 + 9.0)], [record()], LATE
    )

    assert [(T0 - 9000, False), (T0, True)] == [(each.started, each.record is not None) for each in found]


@settings(max_examples=300)
@given(st.lists(sights, max_size=8), st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 300)), max_size=4))
def test_every_sight_is_in_one_attempt_whatever_the_records(
    given_sights: list[Sight], lives: list[tuple[int, int]]
) -> None:
    """Nothing that was held is lost, and nothing is in two attempts."""
    told = [
        record(submitted=number, started=float(start), ended=float(start + length))
        for number, (start, length) in enumerate(lives)
    ]

    found = attempts.attempts("default", "7", given_sights, told)

    starts = [start for attempt in found for start in attempt.starts]
    assert {sight.started for sight in given_sights} == set(starts)
    assert len(told) == sum(attempt.record is not None for attempt in found)


def chained(*told: Record) -> list[list[int]]:
    """The attempts' starts of each job that some records of one id are."""
    found = attempts.attempts("default", "7", [], told, LATE)
    return [[attempt.started for attempt in chain.attempts] for chain in attempts.chains(found, told)]


def test_a_requeued_job_is_one_job() -> None:
    """By the state of the attempt before, or by the number of restarts, or because it came at once."""
    hour = int(HOUR)
    for earlier, later in (({"state": "NODE_FAIL"}, {}), ({"state": "FAILED"}, {"restarts": 1})):
        first = record(ended=T0 + 100.0, **earlier)
        second = record(submitted=T0 + hour, started=T0 + 2 * HOUR, ended=T0 + 3 * HOUR, **later)
        assert [[T0, T0 + 2 * hour]] == chained(first, second)

    at_once = record(submitted=T0 + 100, started=T0 + 2 * HOUR, ended=T0 + 3 * HOUR)
    assert [[T0, T0 + 2 * hour]] == chained(record(ended=T0 + 100.0, state="CANCELLED"), at_once)


def test_an_id_used_again_is_another_job() -> None:
    """After the counter of job ids wrapped; also where the earlier job's last attempt was preempted."""
    hour = int(HOUR)
    again = record(submitted=T0 + hour, started=T0 + 2 * HOUR, ended=T0 + 3 * HOUR, user="bob")

    assert [[T0], [T0 + 2 * hour]] == chained(record(ended=T0 + 100.0), again)
    assert [[T0], [T0 + 2 * hour]] == chained(record(ended=T0 + 100.0, state="PREEMPTED"), again)


def test_parts_of_one_job_run_side_by_side() -> None:
    """Two pods of an owner at once and a third later are two runs of one job."""
    told = [
        record("pod-a", whole="owner", ended=T0 + 100.0),
        record("pod-b", whole="owner", started=T0 + 50.0, ended=T0 + 90.0),
        record("pod-c", whole="owner", started=T0 + 200.0, ended=T0 + 300.0),
    ]
    found = [each for part in told for each in attempts.attempts("default", part.key.job_id, [], [part], LATE)]

    (chain,) = attempts.chains(found, told)

    assert ("owner", [["pod-a", "pod-b"], ["pod-c"]]) == (
        chain.whole, [[attempt.job_id for attempt in run] for run in chain.runs()],
    )  # fmt: skip


def test_a_job_that_waits_to_run_again_says_so() -> None:
    """Requeued, and in the queue; one that waits for its first time is no job yet."""
    first, waits = record(ended=T0 + 100.0, state="REQUEUED"), pending(submitted=T0 + 100)
    found = attempts.attempts("default", "7", [], [first, waits], LATE)

    assert [waits] == [chain.waiting for chain in attempts.chains(found, [first, waits])]
    assert () == attempts.attempts("default", "7", [], [waits], LATE)
