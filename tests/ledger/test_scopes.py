"""Attempts and their names; which declaration counts."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuwatch.ledger import scopes
from gpuwatch.ledger.ledger import JournalEntry, JournalId
from gpuwatch.ledger.scopes import TOLERANCE_SECONDS, Attempt, Sight
from gpuwatch.model import Estimate, Scope

sights = st.builds(
    lambda start, length: Sight(start, float(start + length)), st.integers(0, 2000), st.integers(0, 300)
)


def entry(text: str, job_id: str | None = "run-1", time: float = 10.0, channel: str = "socket") -> JournalEntry:
    return JournalEntry(time, job_id, 0, channel, 1000, 1, text)


def estimate(likely: float, at: float = 10.0, channel: str = "socket", quantity: str = "device-hours") -> Estimate:
    return Estimate(Scope("job", "j"), quantity, likely, likely, likely, "s", declared_at=at, channel=channel)


def key(seq: int) -> JournalId:
    return JournalId("c", "n", "e", seq)


@settings(max_examples=1000)
@given(st.lists(sights, max_size=8), st.randoms())
def test_attempts_are_a_partition_that_order_does_not_change(given_sights: list[Sight], random: object) -> None:
    """Every sight is in one attempt, the attempts are apart by more than the tolerance."""
    shuffled = list(given_sights)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    found = scopes.attempts("c", "j", shuffled)

    assert scopes.attempts("c", "j", given_sights) == found
    starts = [start for attempt in found for start in attempt.starts]
    assert sorted({sight.started for sight in given_sights}) == sorted(starts)
    gaps = [later.started - before.last_seen for before, later in pairwise(found)]
    assert all(gap > TOLERANCE_SECONDS for gap in gaps)


@settings(max_examples=500)
@given(st.lists(sights, min_size=1, max_size=8))
def test_seeing_more_never_splits_an_attempt(given_sights: list[Sight]) -> None:
    """A later delivery may join attempts, but what was one stays one."""
    before = scopes.attempts("c", "j", given_sights[:-1])
    after = scopes.attempts("c", "j", given_sights)

    assert all(any(old.starts <= new.starts for new in after) for old in before)


def test_nodes_that_start_together_are_one_attempt() -> None:
    """A job of two nodes, the second a few seconds later, touching only through the tolerance."""
    found = scopes.attempts("c", "j", [Sight(100, 130.0), Sight(150, 900.0)])

    assert [Attempt("c", "j", frozenset({100, 150}), 100, 900.0)] == list(found)


def test_a_job_id_used_again_is_another_attempt() -> None:
    """A requeue after two minutes."""
    found = scopes.attempts("c", "j", [Sight(100, 200.0), Sight(320, 400.0)])

    assert [100, 320] == [attempt.started for attempt in found]


def test_the_first_attempt_has_the_job_id_for_a_name() -> None:
    """Later ones carry when they began."""
    found = scopes.attempts("c", "j", [Sight(100, 200.0), Sight(900, 950.0)])

    assert ["j", "j@900"] == list(scopes.names(found).values())


def test_names_are_never_given_twice() -> None:
    """Not even to two clusters' jobs that began in the same second."""
    clusters = [scopes.attempts(name, "j", [Sight(100, 200.0)])[0] for name in ("a", "b", "c")]

    assert ["j", "j@100", "j@100@c"] == list(scopes.names(clusters).values())


@pytest.mark.parametrize(
    ("started", "time", "expected"),
    [(900, 0.0, 900), (0, 150.0, 100), (0, 50.0, 100), (0, 500.0, 900), (0, 5000.0, 900), (77, 150.0, 100)],
)
def test_what_is_said_belongs_to_the_attempt_running_or_next(started: int, time: float, expected: int) -> None:
    """By its start where it has one, else by time."""
    found = scopes.attempts("c", "j", [Sight(100, 200.0), Sight(900, 950.0)])

    attempt = scopes.attempt_at(found, started, time)

    assert attempt is not None
    assert expected == attempt.started


def test_the_latest_of_a_rank_counts() -> None:
    """Whatever the order in which they arrive."""
    early, late = (key(1), estimate(1.0, at=10.0)), (key(2), estimate(2.0, at=20.0))

    assert scopes.in_force([early, late]) == scopes.in_force([late, early]) == {"device-hours": late[1]}


def test_a_higher_rank_counts_whatever_the_time() -> None:
    """What was declared by hand outranks what a script's environment says later."""
    by_hand, by_script = estimate(1.0, 10.0, "cli"), estimate(2.0, 99.0, "environment")

    assert {"device-hours": by_hand} == scopes.in_force([(key(1), by_hand), (key(2), by_script)])


def test_all_revisions_are_kept_newest_first() -> None:
    """With the one in force marked, for each quantity."""
    old, new, energy = estimate(1.0, 10.0), estimate(2.0, 20.0), estimate(5.0, 5.0, quantity="energy")

    found = scopes.revisions([(key(1), old), (key(2), new), (key(3), energy)])

    assert [(new, True), (old, False), (energy, True)] == [(each.estimate, each.in_force) for each in found]


def test_a_declaration_speaks_for_its_own_job_alone() -> None:
    """A job that claims to be another is not heard; a campaign may be estimated by anybody."""
    other, campaign = entry("device-hours=1 for=job:run-2"), entry("device-hours=1 for=campaign:llama")

    assert () == scopes.estimates_of(other)
    assert [Scope("campaign", "llama")] == [each.scope for each in scopes.estimates_of(campaign)]


def test_an_operator_may_declare_for_any_job() -> None:
    """What comes by API or command line was authorised there."""
    found = scopes.estimates_of(entry("device-hours=1 for=job:run-2", None, channel="api"))

    assert [(Scope("job", "run-2"), 3600.0)] == [(each.scope, each.likely) for each in found]


def test_what_cannot_be_parsed_declares_nothing() -> None:
    """It is in the journal all the same."""
    assert () == scopes.estimates_of(entry("device-hours=many"))


def test_the_latest_campaign_is_the_jobs() -> None:
    """A declaration without a campaign does not take the job out of one."""
    said = [
        (key(1), entry("campaign=a", time=1.0)),
        (key(2), entry("campaign=b", time=2.0)),
        (key(3), entry("wall=1h")),
    ]

    assert "b" == scopes.campaign_of(said)


def test_who_estimates_another_job_does_not_join_it_to_a_campaign() -> None:
    """Membership is the job's own word."""
    assert None is scopes.campaign_of([(key(1), entry("campaign=a for=job:run-2"))])
