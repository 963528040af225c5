"""What is said of campaigns after the fact, in the ledger: who may, what is kept, what readers make of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import Connection

from gpuwatch.errors import DeclarationError, Forbidden, Rejected
from gpuwatch.ledger import campaign_store, queries, writing
from gpuwatch.ledger.campaigns import Actor, Pattern, Person
from gpuwatch.ledger.jobs import Job
from gpuwatch.ledger.posting import read
from gpuwatch.ledger.store import Store
from tests.ledger import deliveries
from tests.ledger.told import ADA, ADMIN, BOB, COORDINATOR, EVE, NOW, fill, jobs, members, view

Word = Callable[[Connection, Actor, str, Sequence[Job], float], object]


def say(store: Store, word: Word, actor: Actor, *job_ids: str, at: float = NOW, name: str = "llama") -> Any:
    with store.writing() as connection:
        return word(connection, actor, name, jobs(connection, *job_ids), at)


def add_pattern(store: Store, actor: Actor, name: str = "llama-*", **changed: Any) -> int:
    new = Pattern(0, 0.0, "llama", Person(), "self", name, **changed)
    with store.writing() as connection:
        return campaign_store.add_pattern(connection, actor, new, NOW)


def test_jobs_are_added_by_who_may_and_asked_for_by_others(store: Store) -> None:
    """Ada adds her own; bob's and eve's wait until they agree."""
    fill(store)

    said = say(store, campaign_store.add, ADA, "2", "3", "4")
    assert [("2", "owner"), ("3", ""), ("4", "")] == [(each.job.scope.name, each.standing) for each in said]
    assert {"1": "declared", "2": "added"} == members(store)
    assert [("3", "ada"), ("4", "ada")] == [(each.job, each.request.by) for each in view(store).asked]

    say(store, campaign_store.agree, BOB, "3")
    assert {"1": "declared", "2": "added", "3": "added"} == members(store)


@pytest.mark.parametrize("actor", [COORDINATOR, ADMIN, Actor(Person("sue"), "support")])
def test_coordinators_and_staff_need_no_agreement(store: Store, actor: Actor) -> None:
    """They may read those jobs anyway."""
    fill(store)
    say(store, campaign_store.add, actor, "3", "4")

    assert {"1": "declared", "3": "added", "4": "added"} == members(store)
    assert () == view(store).asked


def test_a_coordinator_is_who_the_batch_system_says_with_sub_accounts(store: Store) -> None:
    """Cleo coordinates science, and therefore ml."""
    fill(store)

    with store.reading() as connection:
        cleo = campaign_store.actor_of(connection, Person("cleo", 1003))
        nobody = campaign_store.actor_of(connection, Person("eve", 1002))
    assert {("default", "science"), ("default", "ml")} == cleo.coordinates
    assert frozenset() == nobody.coordinates


def test_what_is_removed_is_out_and_can_be_added_again(store: Store) -> None:
    """The log has it all, and who said why."""
    fill(store)
    with store.writing() as connection:
        mine = jobs(connection, "1")
        campaign_store.remove(connection, ADA, "llama", mine, NOW, "another paper")
    assert {} == members(store)

    say(store, campaign_store.add, ADA, "1", at=NOW + 1)
    assert {"1": "added"} == members(store)
    with store.reading() as connection:
        log = campaign_store.log_of(connection, "llama")
    assert [("remove", "ada", 1000, "another paper"), ("add", "ada", 1000, "")] == [
        (each.what, each.by.user, each.by.uid, each.reason) for each in log
    ]


def test_nobody_removes_or_agrees_for_jobs_of_others(store: Store) -> None:
    """But who asked may take that back."""
    fill(store)

    with pytest.raises(Forbidden, match="job '1' is not yours to remove"):
        say(store, campaign_store.remove, EVE, "1")
    for actor in (EVE, ADMIN, COORDINATOR):
        with pytest.raises(Forbidden, match="job '3' is not yours; its owner agrees"):
            say(store, campaign_store.agree, actor, "3")
    say(store, campaign_store.add, EVE, "1", name="mine")
    say(store, campaign_store.remove, EVE, "1", name="mine", at=NOW + 1)
    assert () == view(store, "mine").asked


def test_an_agreement_for_all_covers_jobs_to_come(store: Store) -> None:
    """And is revocable."""
    fill(store)
    say(store, campaign_store.agree, BOB)
    say(store, campaign_store.add, ADA, "3", "5", at=NOW + 1)
    assert {"1", "3", "5"} == set(members(store))

    with store.writing() as connection:
        campaign_store.agree(connection, BOB, "llama", (), NOW + 2, agrees=False)
    assert {"1"} == set(members(store))


def test_a_pattern_finds_jobs_of_its_owner_and_of_those_who_agreed(store: Store) -> None:
    """Zed's job looks like it and is nobody's business."""
    fill(store)
    number = add_pattern(store, ADA)
    assert {"1": "declared", "2": "pattern"} == members(store)

    say(store, campaign_store.agree, BOB)
    assert {"1": "declared", "2": "pattern", "3": "pattern"} == members(store)

    with store.writing() as connection:
        campaign_store.drop_pattern(connection, ADA, "llama", number, NOW)
    assert {"1": "declared"} == members(store)


def test_a_coordinators_pattern_finds_the_jobs_of_his_account(store: Store) -> None:
    """By what the batch system says of him when it is read."""
    fill(store)
    add_pattern(store, COORDINATOR, "*7b*")

    assert {"1": "declared", "2": "pattern", "3": "pattern"} == members(store)


def test_a_pattern_finds_runs_that_no_batch_system_knows(store: Store) -> None:
    """By the name they were begun with."""
    with store.writing() as connection:
        found = deliveries.delivery([deliveries.row()], events=[deliveries.run_started()])
        writing.post(connection, read(found), found.origin)
    add_pattern(store, ADA)

    assert {"run-1": "pattern"} == members(store)


def test_a_pattern_is_dropped_by_who_made_it_or_an_administrator(store: Store) -> None:
    """And there are only so many, of so many characters."""
    fill(store)
    number = add_pattern(store, ADA)
    with store.writing() as connection:
        with pytest.raises(Forbidden, match="'ada' made it"):
            campaign_store.drop_pattern(connection, EVE, "llama", number, NOW)
        with pytest.raises(Rejected, match="has none of number 99"):
            campaign_store.drop_pattern(connection, ADA, "llama", 99, NOW)
        campaign_store.drop_pattern(connection, ADMIN, "llama", number, NOW)
    for name in ("", "x" * 129):
        with pytest.raises(Rejected, match="characters; write 1 to 128"):
            add_pattern(store, ADA, name)
    for _ in range(campaign_store.MAX_PATTERNS):
        add_pattern(store, ADA)
    with pytest.raises(Rejected, match="has 100; drop one"):
        add_pattern(store, ADA)


@pytest.mark.parametrize(
    "name", ["", "a b", "-x", "x=y", "../x", "x\0", "x" * 129, "x#1", "'; drop table journal"]
)
def test_hostile_names_are_refused(store: Store, name: str) -> None:
    """A campaign's name follows the grammar of declarations."""
    fill(store)

    with pytest.raises(DeclarationError):
        say(store, campaign_store.add, ADA, "1", name=name)


@pytest.mark.parametrize("text", ["\0", "\ud800", "'; --", "x" * 1000, "日本"])
def test_reasons_and_globs_of_any_kind_can_be_stored(store: Store, text: str) -> None:
    """And a glob that matches nothing matches nothing."""
    fill(store)
    with store.writing() as connection:
        campaign_store.add(connection, ADA, "llama", jobs(connection, "2"), NOW, text)
    add_pattern(store, ADA, text[:100] + "[")

    assert {"1": "declared", "2": "added"} == members(store)
    with store.writing() as connection, pytest.raises(Rejected, match="1001 characters long"):
        campaign_store.add(connection, ADA, "llama", (), NOW, "x" * 1001)


def test_every_reader_sees_where_a_job_belongs(store: Store) -> None:
    """The pass, the lists, and a job by itself."""
    fill(store)
    say(store, campaign_store.add, ADA, "2")
    say(store, campaign_store.remove, ADA, "1")

    with store.reading() as connection:
        (campaign,) = queries.campaigns_of(connection, ["llama"], NOW)
        shown = {job.scope.name: job.campaign for job in queries.jobs_of(connection, ["1", "2", "3"], NOW)}
        current = queries.current(connection, NOW - 2 * 3600.0)
    assert ["2"] == [job.scope.name for job in campaign.jobs]
    assert {"1": None, "2": "llama", "3": None} == shown
    assert ["llama"] == [each.scope.name for each in current.campaigns]


def test_where_nothing_was_said_nothing_is_looked_for(store: Store) -> None:
    """A pass over 20,000 jobs asks twice whether there is anything, and takes the jobs as they are."""
    fill(store)
    with store.reading() as connection:
        some = queries.jobs_as_declared(connection, ["1", "2", "3"], NOW) * 7000
        best = min(_seconds(lambda: campaign_store.resolved(connection, some)) for _ in range(3))

    assert best < 0.1


def _seconds(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began
