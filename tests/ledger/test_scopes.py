"""Which declaration counts."""

from __future__ import annotations

import pytest

from gpuwatch.ledger import scopes
from gpuwatch.ledger.ledger import JournalEntry, JournalId
from gpuwatch.ledger.scopes import Life
from gpuwatch.model import Estimate, Scope


def entry(
    text: str,
    job_id: str | None = "run-1",
    time: float = 10.0,
    channel: str = "socket",
    uid: int | None = 1000,
    who: str | None = None,
) -> JournalEntry:
    return JournalEntry(time, job_id, 0, channel, uid, 1, text, who)


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
    """A job that claims to be another, an account or an array is not heard; for campaigns see below."""
    others = [entry(f"device-hours=1 for={scope}") for scope in ("job:run-2", "account:ml", "array:run-1")]
    campaign = entry("device-hours=1 for=campaign:llama")

    assert [(), (), ()] == [scopes.estimates_of(other) for other in others]
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


def test_who_declared_is_said_as_it_is_proven() -> None:
    """By name before number; an administrator's comment does not say whose it is."""
    said = (
        entry("wall=1h", who="ada"), entry("wall=1h"), entry("wall=1h", uid=None),
        entry("wall=1h", uid=None, channel="admin-comment"),
    )  # fmt: skip

    assert ["user:ada", "uid:1000", "", "administrator"] == [
        each.declared_by for one in said for each in scopes.estimates_of(one)
    ]


@pytest.mark.parametrize(
    ("declared_at", "ended", "original"),
    [
        (-500.0, 1000.0, True),
        (99.9, 1000.0, True),
        (100.1, 1000.0, False),
        (900.0, None, True),
        (900.0, 9000.0, True),
    ],
)
def test_the_first_declaration_is_original_if_it_came_early(
    declared_at: float, ended: float | None, original: bool
) -> None:
    """Before a tenth of the run; how long that is, is known at its end, and until then the first one stands."""
    first, second = estimate(1.0, declared_at), estimate(2.0, declared_at + 1.0)

    found = scopes.revisions([(key(1), first), (key(2), second)], Life(0.0, ended))

    assert [(second, False), (first, original)] == [(each.estimate, each.original) for each in found]


@pytest.mark.parametrize(
    ("declared_at", "channel", "late"),
    [
        (1000.0, "api", False),
        (1000.9, "api", False),
        (1001.1, "api", True),
        (1059.0, "socket", False),
        (1061.0, "socket", True),
        (1061.0, "comment", True),
    ],
)
def test_what_is_declared_after_the_end_never_counts(declared_at: float, channel: str, late: bool) -> None:
    """Whatever its rank; a node's clock may be a minute off, and of the end the whole second counts."""
    before, after = estimate(1.0, 5.0, "file"), estimate(2.0, declared_at, channel)

    last, first = scopes.revisions([(key(1), before), (key(2), after)], Life(0.0, 1000.0))

    assert (late, not late, False) == (last.after_end, last.in_force, last.original)
    assert (False, late, True) == (first.after_end, first.in_force, first.original)


def test_a_campaign_that_may_go_on_has_no_end_to_come_after() -> None:
    """All of its jobs are over, and more may come."""
    (found,) = scopes.revisions([(key(1), estimate(1.0, 2000.0, "api"))], Life(0.0, 1000.0, resumes=True))

    assert (True, False, False) == (found.in_force, found.after_end, found.original)


def test_a_campaign_is_estimated_by_who_has_a_part_in_it() -> None:
    """From its jobs, by their owners, by who came first, and by whom the API knew to have the right."""
    said = {
        "first": entry("wall=1h", "run-8", 1.0, uid=8),
        "first again": entry("wall=1h", "run-9", 2.0, uid=8),
        "member": entry("wall=1h", "run-1", 3.0, uid=None),
        "owner elsewhere": entry("wall=1h", "run-5", 3.0, uid=1000),
        "owner by name": entry("wall=1h", "run-4", 3.0, "comment", None, "ada"),
        "stranger": entry("wall=1h", "run-6", 3.0, uid=6),
        "nobody": entry("wall=1h", "run-7", 3.0, uid=None),
        "api": entry("wall=1h", None, 3.0, "api", 6, "eve"),
    }
    keyed = [(key(number), each) for number, each in enumerate(said.values())]

    heard = scopes.rightful(keyed, {("c", "run-1")}, {("c", 1000), ("c", "ada")})

    names = [name for name, each in said.items() if each in [one for _, one in heard]]
    assert ["first", "first again", "member", "owner elsewhere", "owner by name", "api"] == names
    assert [] == scopes.rightful([], (), ())


def test_who_came_first_to_a_campaign_is_somebody() -> None:
    """By API or on a node; two jobs of which nobody knows whose they are need not be one person's."""
    nameless = [entry("wall=1h", f"run-{number}", float(number), uid=None) for number in range(2)]
    ada = [entry("wall=1h", None, 1.0, "api", 1000, "ada"), entry("wall=1h", "run-3", 2.0, uid=1000)]

    for expected, said in ((nameless[:1], nameless), (ada, ada)):
        heard = scopes.rightful([(key(number), each) for number, each in enumerate(said)], (), ())
        assert expected == [each for _, each in heard]
