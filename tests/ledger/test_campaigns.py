"""Which campaign a job belongs to: who may say it after the fact, and that the latest word counts."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.ledger.campaigns import (
    Actor,
    Decision,
    JobRef,
    Pattern,
    Person,
    Rules,
    is_about,
    owner_of,
    ref_of,
    standing_of,
)
from gpuwatch.ledger.jobs import Job
from gpuwatch.model import Scope, Usage
from tests.ledger.batch import HOUR, T0, record

ADA, BOB, EVE = Person("ada", 1000), Person("bob", 1001), Person("eve", 1002)
_numbers = count(1)


def job(job_id: str = "7", campaign: str | None = None, **changed: Any) -> Job:
    """A job of ada's, in account ml."""
    told = record(job_id, **changed)
    return Job(
        Scope("job", job_id), "default", job_id, T0, T0 + HOUR, "ended", ("gw0",), (), (), Usage(),
        name=told.facts.name, campaign=campaign, record=told, job_ids=frozenset({job_id}),
    )  # fmt: skip


def said(what: str, by: Person = ADA, standing: str = "owner", time: float = 1.0, **changed: Any) -> Decision:
    """Something said of job 7 and campaign x."""
    values = {"campaign": "x", "job": JobRef("default", "7", T0), **changed}
    return Decision(next(_numbers), time, values.pop("campaign"), what, by, standing, **values)  # type: ignore[arg-type]


def rules(*decisions: Decision, patterns: tuple[Pattern, ...] = (), **coordinates: Any) -> Rules:
    about = tuple(each for each in decisions if each.job is not None)
    consents = tuple(each for each in decisions if each.job is None)
    return Rules({("default", "7"): about}, consents, patterns, coordinates)


def campaign_of(found: Rules, of: Job) -> str | None:
    membership = found.membership(of)
    return membership.campaign if membership else None


def pattern(name: str = "tr*", by: Person = ADA, role: str = "self", **changed: Any) -> Pattern:
    values = {"id": next(_numbers), "time": 1.0, "campaign": "p", **changed}
    return Pattern(by=by, role=role, name=name, **values)  # type: ignore[arg-type]


def test_a_job_belongs_to_what_it_declares_where_nothing_else_is_said() -> None:
    """As ever."""
    found = Rules().membership(job(campaign="d"))

    assert found is not None
    assert ("d", "declared") == (found.campaign, found.why)


def test_what_is_added_goes_before_what_is_declared_and_that_before_a_pattern() -> None:
    """In this order, whatever the time."""
    like = (pattern(time=99.0),)

    assert "x" == campaign_of(rules(said("add"), patterns=like), job(campaign="d"))
    assert "d" == campaign_of(rules(patterns=like), job(campaign="d"))
    assert "p" == campaign_of(rules(patterns=like), job())


def test_what_is_removed_belongs_no_more_whatever_it_declares_or_looks_like() -> None:
    """A declaration cannot be unsaid; a removal can, by adding again."""
    like = (pattern(campaign="x"),)

    assert campaign_of(rules(said("remove"), patterns=like), job(campaign="x")) is None
    assert "x" == campaign_of(rules(said("remove"), said("add", time=2.0)), job())


def test_a_job_that_is_added_to_a_second_campaign_moves_there() -> None:
    """It has one; taken out of that one, it is where it was before."""
    first, second = said("add"), said("add", campaign="y", time=2.0)

    assert "y" == campaign_of(rules(first, second), job())
    assert "x" == campaign_of(rules(first, second, said("remove", campaign="y", time=3.0)), job())


def test_who_has_no_right_asks_and_only_the_owner_makes_it_count() -> None:
    """Until then it is a request, with who made it."""
    ask = said("add", EVE, "")

    assert campaign_of(rules(ask), job()) is None
    assert [("x", "eve", False)] == [(each.campaign, each.by, each.refused) for each in rules(ask).requests(job())]
    assert campaign_of(rules(ask, said("agree", BOB, "owner", 2.0, job=None)), job()) is None
    assert "x" == campaign_of(rules(ask, said("agree", time=2.0)), job())
    assert () == rules(ask, said("agree", time=2.0)).requests(job())


def test_an_owner_agrees_for_all_jobs_at_once_and_before_he_is_asked() -> None:
    """Co-authors say it once."""
    agreed = said("agree", time=1.0, job=None)

    assert "x" == campaign_of(rules(agreed, said("add", EVE, "", 2.0)), job())
    assert campaign_of(rules(agreed), job()) is None


def test_an_agreement_is_taken_back() -> None:
    """The request stands, as refused."""
    found = rules(said("add", EVE, ""), said("agree", time=2.0), said("disagree", time=3.0))

    assert campaign_of(found, job()) is None
    assert [True] == [each.refused for each in found.requests(job())]


def test_a_request_changes_nothing_for_a_job_that_belongs_elsewhere() -> None:
    """Nor does it end what somebody with a right to it decided before."""
    assert "d" == campaign_of(rules(said("add", EVE, "")), job(campaign="d"))
    assert "x" == campaign_of(rules(said("add", BOB, "coordinator"), said("add", EVE, "", 2.0)), job())
    assert campaign_of(rules(said("remove", time=1.0), said("add", EVE, "", 2.0)), job(campaign="x")) is None


def test_an_agreement_of_before_a_removal_does_not_bring_a_job_back() -> None:
    """Only a later one does."""
    old, gone, ask = said("agree", time=1.0, job=None), said("remove", time=2.0), said("add", EVE, "", 3.0)

    assert campaign_of(rules(old, gone, ask), job()) is None
    assert "x" == campaign_of(rules(old, gone, ask, said("agree", time=4.0)), job())


def test_a_request_is_taken_back_by_who_made_it_alone() -> None:
    """Another's word without a right has no effect on it."""
    ask = said("add", BOB, "")
    noise = (said("add", EVE, "", 2.0), said("remove", EVE, "", 3.0))

    assert ["bob"] == [each.by for each in rules(ask, *noise).requests(job())]
    assert () == rules(ask, said("remove", BOB, "", 2.0)).requests(job())


def test_who_disagrees_overrules_himself_and_no_coordinator() -> None:
    """The account's coordinator and the staff need no agreement."""
    disagreed = said("disagree", time=5.0, job=None)

    assert campaign_of(rules(said("add"), disagreed), job()) is None
    for standing in ("coordinator", "support", "admin"):
        assert "x" == campaign_of(rules(said("add", BOB, standing), disagreed), job())


@pytest.mark.parametrize(
    ("role", "by", "agrees", "expected"),
    [
        ("self", ADA, False, "p"),
        ("self", EVE, False, None),
        ("self", EVE, True, "p"),
        ("self", BOB, False, "p"),
        ("support", EVE, False, "p"),
        ("admin", EVE, False, "p"),
    ],
)
def test_a_pattern_matches_what_its_owner_may_read_or_whose_owner_agreed(
    role: str, by: Person, agrees: bool, expected: str | None
) -> None:
    """Bob coordinates the account; ada owns the job; eve is anybody."""
    consent = (said("agree", campaign="p", job=None),) if agrees else ()
    found = rules(*consent, patterns=(pattern(by=by, role=role),), bob=frozenset({("default", "ml")}))

    assert expected == campaign_of(found, job())


@pytest.mark.parametrize(
    ("changed", "matches"),
    [
        ({}, True),
        ({"name": "TR*"}, False),
        ({"name": "t?ain"}, True),
        ({"name": "train[0-9]"}, False),
        ({"user": "ada", "account": "ml", "partition": "gpu"}, True),
        ({"user": "bob"}, False),
        ({"account": "cv"}, False),
        ({"partition": "cpu"}, False),
        ({"begins": float(T0), "ends": T0 + 1.0}, True),
        ({"begins": T0 + 1.0}, False),
        ({"ends": float(T0)}, False),
    ],
)
def test_a_pattern_is_a_glob_and_what_it_is_limited_to(changed: dict[str, Any], matches: bool) -> None:
    """Job `train` of ada's in ml, on partition gpu, from T0."""
    assert matches is pattern(**changed).matches(job())


def test_of_two_patterns_the_later_one_counts() -> None:
    """As of all that is said."""
    both = (pattern(campaign="old"), pattern(campaign="new", time=2.0))

    assert "new" == campaign_of(rules(patterns=both), job())
    assert "old" == campaign_of(rules(said("remove", campaign="new"), patterns=both), job())


@pytest.mark.parametrize(
    ("actor", "standing"),
    [
        (Actor(ADA), "owner"),
        (Actor(Person("", 1000)), ""),
        (Actor(EVE), ""),
        (Actor(EVE, "support"), "support"),
        (Actor(EVE, "admin"), "admin"),
        (Actor(BOB, "self", frozenset({("default", "ml")})), "coordinator"),
        (Actor(BOB, "self", frozenset({("other", "ml")})), ""),
        (Actor(Person("", None)), ""),
    ],
)
def test_by_what_right_somebody_decides(actor: Actor, standing: str) -> None:
    """A batch system's job is its user's by name; of other clusters' accounts nobody here is coordinator."""
    assert standing == standing_of(actor, job())


def test_a_job_outside_of_a_batch_system_is_its_users_by_number_or_name() -> None:
    """The kernel said so."""
    run = Job(Scope("job", "run-1"), "default", "run-1", T0, T0, "ended", (), (), (), Usage(), uid=1000)
    plain = Job(Scope("job", "user:bob"), "default", "user:bob", T0, T0, "ended", (), (), (), Usage())

    assert ("owner", "", "owner") == (
        standing_of(Actor(ADA), run), standing_of(Actor(BOB), run), standing_of(Actor(BOB), plain),
    )  # fmt: skip
    assert Person("bob", None) == owner_of(plain)


def test_what_is_said_of_a_job_is_not_said_of_another_with_its_id() -> None:
    """Ids come back; an earlier attempt of the same job that is told of late is the same job."""
    mine = job()
    later = JobRef("default", "7", T0 + 100_000)

    assert is_about(ref_of(mine), mine)
    assert is_about(JobRef("default", "7", T0 + 1800), mine)
    assert not is_about(later, mine)
    assert not is_about(JobRef("other", "7", T0), mine)
    assert campaign_of(rules(said("add", job=later)), mine) is None


_decisions = st.lists(
    st.builds(
        Decision,
        id=st.integers(0, 99),
        time=st.integers(0, 5).map(float),
        campaign=st.sampled_from(("x", "y")),
        what=st.sampled_from(("add", "remove", "agree", "disagree")),
        by=st.sampled_from((ADA, EVE)),
        standing=st.just("owner"),
        job=st.sampled_from((None, JobRef("default", "7", T0))),
    ),
    max_size=8,
    unique_by=lambda each: each.id,
).map(lambda some: [_possible(each) for each in some])


def _possible(decision: Decision) -> Decision:
    """Eve has no right to ada's job, and adds and removes are of a job."""
    about = decision.job if decision.what in ("agree", "disagree") else JobRef("default", "7", T0)
    standing = "owner" if decision.by == ADA or about is None else ""
    return Decision(decision.id, decision.time, decision.campaign, decision.what, decision.by, standing, about)  # type: ignore[arg-type]


@given(_decisions, st.randoms(use_true_random=False))
def test_the_order_in_which_words_are_read_does_not_matter(decisions: list[Decision], random: Any) -> None:
    """Who said what when does."""
    shuffled = random.sample(decisions, len(decisions))

    assert rules(*decisions).membership(job()) == rules(*shuffled).membership(job())
    assert rules(*decisions).requests(job()) == rules(*shuffled).requests(job())


@given(_decisions)
def test_the_owners_last_word_counts(decisions: list[Decision]) -> None:
    """Whatever was said before, of whatever campaigns, by whomever."""
    last = max((each.time for each in decisions), default=0.0) + 1.0

    assert "x" == campaign_of(rules(*decisions, said("add", time=last)), job(campaign="y"))
    removed = rules(*decisions, said("remove", time=last))
    assert campaign_of(removed, job(campaign="x")) != "x"


@given(_decisions)
def test_nobody_without_a_right_moves_a_job_against_its_owner(decisions: list[Decision]) -> None:
    """With all that eve said left out, a job is where it was, or where ada agreed that it should be."""
    found = rules(*decisions).membership(job(campaign="d"))
    without = rules(*(each for each in decisions if each.by == ADA)).membership(job(campaign="d"))

    agreed = {each.campaign for each in decisions if each.by == ADA and each.what in ("agree", "add")}
    assert found == without or (found is not None and found.campaign in agreed)
