"""Which declaration counts."""

from __future__ import annotations

from gpuwatch.ledger import scopes
from gpuwatch.ledger.ledger import JournalEntry, JournalId
from gpuwatch.model import Estimate, Scope


def entry(text: str, job_id: str | None = "run-1", time: float = 10.0, channel: str = "socket") -> JournalEntry:
    return JournalEntry(time, job_id, 0, channel, 1000, 1, text)


def estimate(likely: float, at: float = 10.0, channel: str = "socket", quantity: str = "device-hours") -> Estimate:
    return Estimate(Scope("job", "j"), quantity, likely, likely, likely, "s", declared_at=at, channel=channel)


def key(seq: int) -> JournalId:
    return JournalId("c", "n", "e", seq)


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


def test_a_jobs_tags_are_those_of_its_own_declarations() -> None:
    """Of each key the highest rank counts, then the latest; what is declared for a campaign is not the job's."""
    said = [
        (key(1), entry("tag=table:1 tag=seed:7", time=10.0)),
        (key(2), entry("tag=table:2", time=20.0)),
        (key(3), entry("tag=table:3 tag=data:c4", time=99.0, channel="environment")),
        (key(4), entry("for=campaign:llama tag=table:4", time=50.0)),
        (key(5), entry("not a declaration", time=60.0)),
    ]

    assert {"table": "2", "seed": "7", "data": "c4"} == scopes.tags_of(said) == scopes.tags_of(said[::-1])
    assert {} == scopes.tags_of([])
